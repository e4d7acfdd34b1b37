"""Training: from a configuration to a record, through any number of interruptions."""

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from tqdm import tqdm

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.files import to_json, to_npz, to_parquet, write_atomically
from bump_diffusion.metrics.evaluation import evaluate, evaluation_labels
from bump_diffusion.metrics.interventions import (
    compare_variation,
    patch_activations,
    probe_and_intervene,
)
from bump_diffusion.models.build import build_model
from bump_diffusion.models.unet import UNet
from bump_diffusion.runs.partial import Partial
from bump_diffusion.runs.provenance import commit, package_versions, provenance
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import Store
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.trainer import Trainer

CHECKPOINT_SECONDS = 30.0
"""Most seconds of training that an interruption costs."""


def load_model(record: Record, device: torch.device | str = "cpu") -> UNet:
    """The trained network of a record that ships its weights, in single precision.

    Raises UserError for a record without weights.
    """
    if "weights" not in record.extras:
        raise UserError(
            f"Record {record.id} has no weights; the experiment samplers has records that do."
        )
    model = build_model(record.configuration, device)
    model.load_state_dict(safetensors.torch.load_file(record.weights))
    return model


EXTRA_TABLES = {
    "interventions": probe_and_intervene,
    "variation": compare_variation,
    "patching": patch_activations,
}
"""The extras that are tables, and what makes them of the trained network and the untrained one."""


def train(
    c: Configuration,
    store: Store,
    extras: Iterable[str] = (),
    remake: bool = False,
    wait: float = -1,
    each_step: Callable[[], None] | None = None,
) -> Record:
    """Train and evaluate a configuration; return its record, from the store if it is there.

    Interrupted, it goes on from its last checkpoint when it is called again, and on one kind of
    CPU the record's tables and arrays are bit for bit those of an uninterrupted run.
    `extras` (names of `store.EXTRAS`) are what the record must hold besides, `remake` replaces a
    damaged one.
    While another process makes the run, this one waits for `wait` seconds, without end if negative,
    and then raises filelock.Timeout. `each_step`, which may raise to stop the run, is called after
    each step in place of a progress bar. Raises UserError if the loss stops being finite, and at
    once for an extra of `EXTRA_TABLES` of a task without a plane.
    """
    refused = [extra for extra in EXTRA_TABLES if extra in extras]
    if refused and not task_of(c).has_plane:
        raise UserError(
            f"axes is {c.axes!r}, it must be 'xy' for {refused[0]}: without y there is no plane."
        )
    commit()  # asked before training, in which files may change; it is kept
    if wait < 0 and store.is_being_made(c):
        print(f"Another process makes run {c.id}; waiting for it.", file=sys.stderr)
    with store.lock(c).acquire(timeout=wait):
        if record := store.get(c, extras, remake):
            return record
        if record := store.get(c, remake=remake):
            extras = {*extras, *record.extras}  # what it has, its successor must not lack
        with one_thread():
            partial_run = Partial(store, c)
            trainer, seconds = _train(c, partial_run, each_step)
            return store.finish(c, _collect(c, partial_run, trainer, seconds, extras))


def _train(
    c: Configuration, run: Partial, each_step: Callable[[], None] | None
) -> tuple[Trainer, dict[str, float]]:
    device = pick_device()
    trainer = Trainer(c, device)
    untrained = build_model(c, device)
    code = {"commit": commit(), "versions": package_versions()}
    clock = Clock(run.folder / "seconds.json")
    if run.checkpoint.exists():
        trainer.load(run.checkpoint)
    bar = tqdm(
        total=c.steps,
        initial=trainer.step,
        desc=f"{c.id} {c.conditioning} seed {c.seed}",
        unit="step",
        mininterval=1,
        disable=each_step is not None,
    )
    with bar:
        while True:
            if trainer.step in c.evaluation_steps and not run.has_evaluation(trainer.step):
                losses = trainer.losses[: trainer.step]
                weights = trainer.average.module.parameters()
                # The loss at a step is that before its update.
                finite = losses.isfinite().all() and all(w.isfinite().all() for w in weights)
                if not finite:
                    raise UserError(
                        f"Run {c.id} diverged before step {trainer.step}: its loss or its "
                        f"weights are not finite; learning_rate is {c.learning_rate}, it must be "
                        "lower for this run."
                    )
                clock.save()
                done = evaluate(c, trainer.average.module, untrained, trainer.step)
                run.save_evaluation(trainer.step, done)
                clock.save(evaluating=True)
                bar.set_postfix(correct=f"{done.metrics['accuracy']:.0%}")
                trainer.save(run.checkpoint, code)
            if trainer.step == c.steps:
                clock.save()
                return trainer, clock.seconds
            trainer.train_step()
            bar.update()
            if each_step is not None:
                each_step()
            if clock.since_save() > CHECKPOINT_SECONDS:
                trainer.save(run.checkpoint, code)
                clock.save()


class Clock:
    """Seconds spent on a run and, of these, on its evaluations, added up over interruptions."""

    def __init__(self, path: Path):
        self.path = path
        self.seconds = {"wall_seconds": 0.0, "evaluation_seconds": 0.0}
        if path.exists():
            self.seconds = json.loads(path.read_bytes())
        self.saved = time.monotonic()

    def save(self, evaluating: bool = False) -> None:
        """Add the seconds since the last call, to those of evaluation too if it was that."""
        since, self.saved = self.since_save(), time.monotonic()
        self.seconds["wall_seconds"] += since
        self.seconds["evaluation_seconds"] += since * evaluating
        write_atomically(self.path, to_json(self.seconds))

    def since_save(self) -> float:
        return time.monotonic() - self.saved


def _collect(
    c: Configuration,
    run: Partial,
    trainer: Trainer,
    seconds: dict[str, float],
    extras: Iterable[str],
) -> dict[str, bytes]:
    """The files of the finished record."""
    rows, probes, samplers, arrays = [], [], [], []
    losses = trainer.losses.cpu().numpy()
    for step in c.evaluation_steps:
        done = run.evaluation(step)
        recent = losses[max(0, step - 100) : step]
        loss = float(recent.mean()) if step else float("nan")
        rows.append(
            {"step": step, "images_seen": step * c.batch_size, "loss": loss, **done.metrics}
        )
        probes.append(done.probes.assign(step=step))
        samplers.append(done.samplers.assign(step=step))
        arrays.append(done.arrays)
    stacked = {name: np.stack([a[name] for a in arrays]) for name in arrays[0]}
    stacked |= {"labels": evaluation_labels(c).numpy(), "losses": losses}
    files = {
        "provenance.json": to_json(provenance(trainer.device, seconds)),
        "checkpoints.parquet": to_parquet(pd.DataFrame(rows)),
        "probes.parquet": to_parquet(pd.concat(probes, ignore_index=True)),
        "samplers.parquet": to_parquet(pd.concat(samplers, ignore_index=True)),
        "arrays.npz": to_npz(stacked),
    }
    network, untrained = trainer.average.module, build_model(c, trainer.device)
    for extra, take_apart in EXTRA_TABLES.items():
        if extra in extras:
            tables = take_apart(c, network, untrained)
            files |= {f"{name}.parquet": to_parquet(table) for name, table in tables.items()}
    if "weights" in extras:
        state = network.state_dict()
        half = {k: v.half().cpu().contiguous() for k, v in state.items()}
        files["weights.safetensors"] = safetensors.torch.save(half)
    return files
