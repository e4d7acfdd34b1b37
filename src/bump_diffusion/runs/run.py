"""Training: from a configuration to a record, through any number of interruptions."""

import copy
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from torch import nn
from tqdm import tqdm

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.files import discard, system_errors_in_a_sentence, to_json, to_npz, to_parquet
from bump_diffusion.metrics.evaluation import Evaluation, Networks, evaluate
from bump_diffusion.metrics.interventions import compare_variation, intervene, locate_patched
from bump_diffusion.metrics.layers import probe_layers
from bump_diffusion.metrics.sampling import evaluation_labels
from bump_diffusion.models.quantize import quantize_state
from bump_diffusion.models.unet import UNet, build_model
from bump_diffusion.runs.partial import Partial
from bump_diffusion.runs.provenance import describe_code, provenance
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.schedule import next_to_evaluate, steps_between
from bump_diffusion.runs.store import Store
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.trainer import Trainer

CHECKPOINT_SECONDS = 30.0
"""Most seconds of training that an interruption costs."""

TRAJECTORY = 8
"""Checkpoints whose weights the extra "trajectory" holds."""

EXTRA_TABLES = {
    "interventions": {"layers": probe_layers, "interventions": intervene},
    "variation": {"signals": compare_variation},
}
"""The extras that are tables of the trained network: by its file's name, what measures each."""


def load_model(record: Record, device: torch.device | str = "cpu") -> UNet:
    """The trained network of a record that holds its weights, in single precision.

    Raises UserError for a record without weights.
    """
    if "weights" not in record.extras:
        raise UserError(f"Record {record.id} has no weights; make it again with --extra weights.")
    model = build_model(record.configuration, device)
    model.load_state_dict(safetensors.torch.load_file(record.weights))
    return model


@system_errors_in_a_sentence()
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
    `extras` (names of `record.EXTRAS`) are what the record must hold besides; `remake` replaces a
    record or an unfinished run that is damaged, and an unfinished one of other code.
    While another process makes the run, this one waits for `wait` seconds, without end if negative,
    and then raises filelock.Timeout. `each_step`, which may raise to stop the run, is called after
    each step in place of a progress bar. Raises UserError for what is damaged and not replaced, a
    loss that is not finite, a store that cannot be written to, and `extras` that the task lacks.
    """
    refuse_extras(c, extras)
    describe_code()  # before training, in which files may change; the answer is kept
    if wait < 0 and store.is_being_made(c):
        print(f"Another process makes run {c.id}; waiting for it.", file=sys.stderr)
    with store.lock(c).acquire(timeout=wait), one_thread():
        if record := store.get(c, extras, remake):
            return record
        run, trainer, extras = open_run(c, store, extras, remake)
        _train(run, trainer, each_step)
        return store.finish(c, collect(run, trainer, extras))


def refuse_extras(c: Configuration, extras: Iterable[str]) -> None:
    """Raise UserError for an extra that a task without a plane lacks."""
    refused = [extra for extra in (*EXTRA_TABLES, "patching") if extra in extras]
    if refused and not task_of(c).has_plane:
        raise UserError(
            f"axes is {c.axes!r}, it must be 'xy' for {refused[0]}: without y there is no plane."
        )


def open_run(
    c: Configuration, store: Store, extras: Iterable[str], remake: bool
) -> tuple[Partial, Trainer, set[str]]:
    """The run that is under way, or a new one, with the extras that its record must hold."""
    if record := store.get(c, remake=remake):
        extras = {*extras, *record.extras}  # what it has, its successor must not lack
    run, trainer = Partial(store, c, extras), Trainer(c, pick_device())
    try:
        run.load(trainer)
    except UserError:
        if not remake:
            raise
        discard(run.folder)
        run, trainer = Partial(store, c, extras), Trainer(c, pick_device())
    return run, trainer, set(extras)


def _train(run: Partial, trainer: Trainer, each_step: Callable[[], None] | None) -> None:
    c = trainer.c
    networks = {"trained": trainer.average.module, "untrained": build_model(c, trainer.device)}
    kept = steps_kept(c)
    about = f"{c.id} {c.conditioning} seed {c.seed}"
    with count_steps(c, step=trainer.step, about=about, silent=each_step is not None) as bar:
        while True:
            step = trainer.step
            if step in c.evaluation_steps:
                refuse_divergence(trainer)
                if not run.has_evaluation(step):
                    evaluate_step(run, c, networks, step)
                    run.save(trainer)
                accuracy = _evaluate_between(run, c, networks, step, partial(run.save, trainer))
                run.drop_weights(kept & set(range(step)), trainer)
                bar.set_postfix(correct=f"{accuracy:.0%}")
            elif step in kept:
                run.save_weights(step, networks["trained"])
            if step == c.steps:
                return
            trainer.train_step()
            bar.update()
            if each_step is not None:
                each_step()
            if time.monotonic() - run.saved > CHECKPOINT_SECONDS:
                run.save(trainer)


def count_steps(c: Configuration, step: int, about: str, silent: bool) -> tqdm:
    """A progress bar of the steps of a run, or of several at once, from `step` on."""
    style = {"unit": "step", "mininterval": 1, "disable": silent}
    return tqdm(total=c.steps, initial=step, desc=about, **style)


def steps_kept(c: Configuration) -> set[int]:
    """Steps whose weights are kept until it is known whether they are to be evaluated."""
    pairs = itertools.pairwise(c.evaluation_steps)
    return {step for first, last in pairs for step in steps_between(first, last)}


def _evaluate_between(
    run: Partial, c: Configuration, networks: Networks, last: int, save: Callable[[], None]
) -> float:
    """Evaluate steps up to `last` from weights that were kept: those that an interruption left out,
    and between the evaluated ones what `schedule.next_to_evaluate` says.

    `save` is called after each. Returns the last accuracy.
    """
    accuracy, network = run.accuracies(), copy.deepcopy(networks["trained"])

    def evaluate_kept(step: int) -> None:
        network.load_state_dict(run.weights_at(step))
        evaluation = evaluate_step(run, c, {**networks, "trained": network}, step)
        accuracy[step] = evaluation.metrics["accuracy"]
        save()

    behind = [step for step in c.evaluation_steps if step <= last]
    for step in behind:
        if step not in accuracy:
            evaluate_kept(step)
    for first, end in itertools.pairwise(behind):
        while (step := next_to_evaluate(accuracy, first, end)) is not None:
            evaluate_kept(step)
    return accuracy[last]


def evaluate_step(run: Partial, c: Configuration, networks: Networks, step: int) -> Evaluation:
    """Evaluate a step of a run, with what its extras need of the network, and store the result."""
    start = time.monotonic()
    evaluation = evaluate(c, networks, step, umap="umap" in run.extras)
    if "patching" in run.extras and step:
        patched = locate_patched(c, networks["trained"], step == c.steps)
        evaluation.tables["places"] = patched
    if "trajectory" in run.extras and str(step) not in run.weights:
        run.save_weights(step, networks["trained"])
    run.save_evaluation(step, evaluation, time.monotonic() - start)
    return evaluation


def refuse_divergence(trainer: Trainer) -> None:
    """Raise UserError if a loss or an averaged weight is not finite."""
    # The loss at a step is that before its update.
    values = [trainer.losses[: trainer.step], *trainer.average.module.parameters()]
    if not nn.utils.get_total_norm(values).isfinite():
        raise UserError(
            f"Run {trainer.c.id} diverged before step {trainer.step}: its loss or its weights are "
            f"not finite; learning_rate is {trainer.c.learning_rate}, it must be lower for this "
            "run."
        )


def collect(run: Partial, trainer: Trainer, extras: Iterable[str]) -> dict[str, bytes]:
    """The files of the finished record."""
    c = trainer.c
    rows, arrays = [], []
    tables: dict[str, list[pd.DataFrame]] = {}
    losses = trainer.losses.cpu().numpy()
    for step in run.accuracies():
        evaluation = run.evaluation(step)
        loss = float(losses[max(0, step - 100) : step].mean()) if step else float("nan")
        row = {"step": step, "images_seen": step * c.batch_size, "loss": loss}
        rows.append({**row, **evaluation.metrics})
        for name, table in evaluation.tables.items():
            tables.setdefault(name, []).append(table.assign(step=step))
        arrays.append(evaluation.arrays)
    stacked = {name: np.stack([a[name] for a in arrays]) for name in arrays[0]}
    embeddings = {name: stacked.pop(name) for name in list(stacked) if name.startswith("umap_")}
    stacked |= {"labels": evaluation_labels(c).numpy(), "losses": losses}
    files = {
        "provenance.json": to_json(provenance(trainer.device, run.seconds)),
        "checkpoints.parquet": to_parquet(pd.DataFrame(rows)),
        "arrays.npz": to_npz(stacked),
    }
    for name, parts in tables.items():
        files[f"{name}.parquet"] = to_parquet(pd.concat(parts, ignore_index=True))
    networks = {"trained": trainer.average.module, "untrained": build_model(c, trainer.device)}
    for extra in EXTRA_TABLES.keys() & set(extras):
        for name, tabulate in EXTRA_TABLES[extra].items():
            files[f"{name}.parquet"] = to_parquet(tabulate(c, networks))
    if "umap" in run.extras:
        files["umap.npz"] = to_npz(embeddings)
    if "trajectory" in run.extras:
        files["trajectory.safetensors"] = _trajectory(run)
    if "weights" in extras:
        state = networks["trained"].state_dict()
        half = {k: v.half().cpu().contiguous() for k, v in state.items()}
        files["weights.safetensors"] = safetensors.torch.save(half)
    return files


def _trajectory(run: Partial) -> bytes:
    """Weights in eight bits, at `TRAJECTORY` of the evaluated checkpoints, the last among them.

    Evenly spread over the evaluated ones, which are dense where the network learns. Tensors are
    named STEP.NAME, with their scales beside them (`quantize.quantize_state`).
    """
    steps = list(run.accuracies())
    chosen = np.linspace(0, len(steps) - 1, min(TRAJECTORY, len(steps))).round().astype(int)
    tensors = {}
    for step in [steps[i] for i in chosen]:
        state = quantize_state(run.weights_at(step))
        tensors |= {f"{step}.{name}": weights for name, weights in state.items()}
    return safetensors.torch.save(tensors)
