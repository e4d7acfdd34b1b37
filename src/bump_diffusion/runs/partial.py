"""A run under way: its checkpoint and its evaluations so far."""

import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open

from bump_diffusion.config import Configuration
from bump_diffusion.errors import UserError
from bump_diffusion.files import read_npz, sha256, to_npz, write_atomically
from bump_diffusion.metrics.evaluation import Evaluation
from bump_diffusion.runs.provenance import describe_code, describe_difference
from bump_diffusion.runs.store import Store
from bump_diffusion.training.trainer import Trainer


class Partial:
    """A run that is being made: the files by which it goes on after an interruption.

    The checkpoint, which is checked as a whole, holds all else: the code that made it, the seconds
    spent, and the SHA-256 of each evaluation. An evaluation that it does not list is repeated.
    """

    def __init__(self, store: Store, c: Configuration):
        self.folder = store.partial_folder(c)
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.seconds = {"wall_seconds": 0.0, "evaluation_seconds": 0.0}
        "Spent on the run and, of these, on its evaluations, added up over interruptions."
        self.evaluations: dict[str, str] = {}
        "The SHA-256 of each evaluation's file by its step, written in digits."
        self.saved = time.monotonic()

    def step(self) -> int:
        """Steps that the last checkpoint has behind it; 0 if there is none that can be read."""
        try:
            with safe_open(self.checkpoint, "np") as file:
                return int(file.metadata()["step"])
        except (OSError, SafetensorError, TypeError, KeyError, ValueError):
            return 0

    def save(self, trainer: Trainer) -> None:
        self.count_seconds()
        content = {"code": describe_code(), "seconds": self.seconds, "files": self.evaluations}
        trainer.save(self.checkpoint, content)

    def count_seconds(self, share: float = 1.0) -> None:
        """Add the seconds since the last call or saving, or this share of them, to the run's."""
        now = time.monotonic()
        self.seconds["wall_seconds"] += share * (now - self.saved)
        self.saved = now

    def load(self, trainer: Trainer) -> None:
        """Continue from the checkpoint, if there is one.

        Raises UserError if a file is damaged or was made by other code.
        """
        if not self.checkpoint.exists():
            return
        content = trainer.load(self.checkpoint)
        way_on = f"start it anew by --remake, or by deleting {self.folder}"
        if difference := describe_difference(content.get("code", {}), describe_code()):
            raise UserError(
                f"The unfinished run {trainer.c.id} was made with {difference}; {way_on}."
            )
        self.seconds, self.evaluations = content["seconds"], content["files"]
        for step, digest in self.evaluations.items():
            path = self._path(int(step))
            if not path.is_file() or sha256(path) != digest:
                raise UserError(f"{path.name} of run {trainer.c.id} is damaged; {way_on}.")

    def _path(self, step: int) -> Path:
        return self.folder / f"evaluation-{step:09d}.npz"

    def has_evaluation(self, step: int) -> bool:
        return str(step) in self.evaluations

    def save_evaluation(self, step: int, evaluation: Evaluation, seconds: float) -> None:
        tables = {
            name: np.array(table.to_json(orient="split", double_precision=15))
            for name, table in (("probes", evaluation.probes), ("samplers", evaluation.samplers))
        }
        metrics = {"metrics": np.array(json.dumps(evaluation.metrics))}
        write_atomically(self._path(step), to_npz({**evaluation.arrays, **tables, **metrics}))
        self.evaluations[str(step)] = sha256(self._path(step))
        self.seconds["evaluation_seconds"] += seconds

    def evaluation(self, step: int) -> Evaluation:
        arrays = read_npz(self._path(step))
        metrics = json.loads(str(arrays.pop("metrics")))
        probes, samplers = (
            pd.read_json(io.StringIO(str(arrays.pop(name))), orient="split")
            for name in ("probes", "samplers")
        )
        return Evaluation(metrics, probes, samplers, arrays)
