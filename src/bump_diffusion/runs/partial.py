"""A run under way: its checkpoint and its evaluations so far."""

import io
import json
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from bump_diffusion.config import Configuration
from bump_diffusion.errors import UserError
from bump_diffusion.files import read_npz, sha256, to_json, to_npz, to_parquet, write_atomically
from bump_diffusion.metrics.evaluation import Evaluation
from bump_diffusion.runs.provenance import describe_code, describe_difference
from bump_diffusion.runs.store import Store
from bump_diffusion.training.trainer import Trainer

MADE_ON_THE_WAY = {"umap", "trajectory", "patching"}
"""The extras that need what only a run under way has: they cannot be added at its end."""


class Partial:
    """A run that is being made: the files by which it goes on after an interruption.

    The checkpoint, which is checked as a whole, holds all else: the code that made it, the seconds
    spent, and the SHA-256 of each evaluation and of the weights that are kept. An evaluation that
    it does not list is repeated.
    """

    def __init__(self, store: Store, c: Configuration, extras: Iterable[str] = ()):
        self.folder = store.partial_folder(c)
        self.checkpoint = self.folder / "checkpoint.safetensors"
        self.seconds = {"wall_seconds": 0.0, "evaluation_seconds": 0.0}
        "Spent on the run and, of these, on its evaluations, added up over interruptions."
        self.evaluations: dict[str, str] = {}
        "The SHA-256 of each evaluation's file by its step, written in digits."
        self.weights: dict[str, str] = {}
        "The same of the files of averaged weights, where they are kept."
        self.extras = MADE_ON_THE_WAY & set(extras)
        self.saved = time.monotonic()

    def step(self) -> int:
        """Steps that the last checkpoint has behind it; 0 if there is none that can be read."""
        try:
            with safe_open(self.checkpoint, "np") as file:
                return int(file.metadata()["step"])
        except (OSError, SafetensorError, TypeError, KeyError, ValueError):
            return 0

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint, with all that it lists."""
        self.count_seconds()
        content = {
            "code": describe_code(),
            "seconds": self.seconds,
            "files": self.evaluations,
            "weights": self.weights,
            "extras": sorted(self.extras),
        }
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
        for extra in sorted(self.extras.difference(content["extras"])):
            raise UserError(
                f"The unfinished run {trainer.c.id} was begun without the extra {extra}; {way_on}."
            )
        self.extras.update(content["extras"])
        self.seconds, self.evaluations = content["seconds"], content["files"]
        self.weights = content["weights"]
        listed = {self._path(int(step)): digest for step, digest in self.evaluations.items()}
        listed |= {self._weights_path(int(step)): digest for step, digest in self.weights.items()}
        for path, digest in listed.items():
            if not path.is_file() or sha256(path) != digest:
                raise UserError(f"{path.name} of run {trainer.c.id} is damaged; {way_on}.")

    def _path(self, step: int) -> Path:
        return self.folder / f"evaluation-{step:09d}.npz"

    def has_evaluation(self, step: int) -> bool:
        return str(step) in self.evaluations

    def save_evaluation(self, step: int, evaluation: Evaluation, seconds: float) -> None:
        content = {f"table.{name}": to_parquet(t) for name, t in evaluation.tables.items()}
        content["metrics"] = to_json(evaluation.metrics)
        packed = {name: np.frombuffer(data, np.uint8) for name, data in content.items()}
        write_atomically(self._path(step), to_npz({**evaluation.arrays, **packed}))
        self.evaluations[str(step)] = sha256(self._path(step))
        self.seconds["evaluation_seconds"] += seconds

    def evaluation(self, step: int) -> Evaluation:
        arrays = read_npz(self._path(step))
        metrics = json.loads(arrays.pop("metrics").tobytes())
        tables = {
            name.removeprefix("table."): pd.read_parquet(io.BytesIO(arrays.pop(name).tobytes()))
            for name in [name for name in arrays if name.startswith("table.")]
        }
        return Evaluation(metrics, tables, arrays)

    def accuracies(self) -> dict[int, float]:
        """The accuracy at every step evaluated so far."""
        steps = sorted(map(int, self.evaluations))
        return {step: self.evaluation(step).metrics["accuracy"] for step in steps}

    def _weights_path(self, step: int) -> Path:
        return self.folder / f"weights-{step:09d}.safetensors"

    def save_weights(self, step: int, model: nn.Module) -> None:
        """Keep a network's weights, in case the step is to be evaluated later."""
        state = {name: weights.cpu().contiguous() for name, weights in model.state_dict().items()}
        write_atomically(self._weights_path(step), safetensors.torch.save(state))
        self.weights[str(step)] = sha256(self._weights_path(step))

    def weights_at(self, step: int) -> dict[str, Tensor]:
        """The state of the network at a step whose weights are kept."""
        return safetensors.torch.load_file(self._weights_path(step))

    def drop_weights(self, steps: Iterable[int], trainer: Trainer) -> None:
        """Delete weights, but a trajectory's, once the checkpoint lists them no more."""
        needed = self.evaluations if "trajectory" in self.extras else {}
        dropped = [step for step in steps if str(step) in self.weights.keys() - needed.keys()]
        for step in dropped:
            del self.weights[str(step)]
        if dropped:
            self.save(trainer)
        for step in dropped:
            self._weights_path(step).unlink(missing_ok=True)
