"""A run under way: its checkpoint and its evaluations so far."""

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from bump_diffusion.config import Configuration
from bump_diffusion.files import to_npz, write_atomically
from bump_diffusion.metrics.evaluation import Evaluation
from bump_diffusion.runs.store import Store


class Partial:
    """A run that is being made: its folder, held so that no other process makes it too."""

    def __init__(self, store: Store, c: Configuration):
        self.folder = store.partial_folder(c)
        self.checkpoint = self.folder / "checkpoint.safetensors"

    def step(self) -> int:
        """Steps that the last checkpoint has behind it; 0 if there is none that can be read."""
        try:
            with safe_open(self.checkpoint, "np") as file:
                return int(file.metadata()["step"])
        except (OSError, SafetensorError):
            return 0

    def _evaluation(self, step: int) -> Path:
        return self.folder / f"evaluation-{step:09d}.npz"

    def has_evaluation(self, step: int) -> bool:
        return self._evaluation(step).exists()

    def save_evaluation(self, step: int, evaluation: Evaluation) -> None:
        tables = {
            name: np.array(table.to_json(orient="split", double_precision=15))
            for name, table in (("probes", evaluation.probes), ("samplers", evaluation.samplers))
        }
        metrics = {"metrics": np.array(json.dumps(evaluation.metrics))}
        write_atomically(self._evaluation(step), to_npz({**evaluation.arrays, **tables, **metrics}))

    def evaluation(self, step: int) -> Evaluation:
        with np.load(self._evaluation(step), allow_pickle=False) as file:
            arrays = dict(file)
        metrics = json.loads(str(arrays.pop("metrics")))
        probes, samplers = (
            pd.read_json(io.StringIO(str(arrays.pop(name))), orient="split")
            for name in ("probes", "samplers")
        )
        return Evaluation(metrics, probes, samplers, arrays)
