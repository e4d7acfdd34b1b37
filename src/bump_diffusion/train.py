"""Training: from a configuration to a record, through any number of interruptions."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache, lru_cache, partial
from importlib.metadata import version
from pathlib import Path
from threading import RLock

import numpy as np
import pandas as pd
import safetensors
import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from .config import Configuration
from .data import data_labels, render_bumps
from .diffusion import NoiseSchedule, noise_prediction_loss
from .dissection import dissect, places, signals
from .errors import UserError, choose
from .evaluation import evaluate, evaluation_labels
from .model import CONDITIONINGS, UNet
from .seeds import generator
from .store import ROOT, Partial, Record, Store, to_json, to_npz, to_parquet, write_atomically

CHECKPOINT_SECONDS = 30.0
"""Most seconds of training that an interruption costs."""

PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "scipy", "umap-learn", "numba")
"""Packages whose versions can change a result, and are stored with it."""


def pick_device() -> torch.device:
    """The GPU if there is one, else the CPU; BUMP_DIFFUSION_DEVICE (cpu, cuda) decides if set."""
    named = os.environ.get("BUMP_DIFFUSION_DEVICE")
    if named is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    choose("a device (BUMP_DIFFUSION_DEVICE)", named, ["cpu", "cuda"])
    if named == "cuda" and not torch.cuda.is_available():
        raise UserError("BUMP_DIFFUSION_DEVICE is 'cuda', but no GPU is available; allowed: cpu.")
    return torch.device(named)


def build_model(c: Configuration, device: torch.device | str = "cpu") -> UNet:
    """The untrained network of a configuration, its initial weights drawn from the seed."""
    grid = data_labels(c)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator("cpu", c.seed, "weights").initial_seed())
        conditioning = CONDITIONINGS[c.conditioning](grid, c.N, c.label_scale)
        model = UNet(c.width, conditioning, c.precision)
    return model.to(device, memory_format=torch.channels_last)


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


def training_labels(c: Configuration, step: int) -> Float[Tensor, "batch 2"]:
    """The labels of a step's batch: the grid in random order, anew in each epoch.

    Steps count from 0; an epoch's last images and the next one's first may share a batch.
    """
    positions = torch.arange(step * c.batch_size, (step + 1) * c.batch_size)
    grid = _grid(c)
    epochs, places = positions // len(grid), positions % len(grid)
    chosen = torch.empty_like(positions)
    for epoch in epochs.unique().tolist():
        here = epochs == epoch
        chosen[here] = _epoch_order(c.seed, epoch, len(grid))[places[here]]
    return grid[chosen]


@lru_cache(maxsize=2)
def _grid(c: Configuration) -> Tensor:
    return data_labels(c)


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, images: int) -> Tensor:
    return torch.randperm(images, generator=generator("cpu", seed, "epoch", epoch))


class Trainer:
    """A network in training: its weights, their moving average, the optimizer, the losses."""

    def __init__(self, c: Configuration, device: torch.device):
        self.c, self.device = c, device
        self.step = 0
        self.model = build_model(c, device)
        self.average = AveragedModel(self.model, multi_avg_fn=partial(_average, c.ema_decay))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=c.learning_rate, fused=True)
        self.losses = torch.zeros(c.steps, device=device)
        schedule = NoiseSchedule(c.timesteps, c.beta_start, c.beta_end)
        self.alpha_bar = schedule.alpha_bar(device)

    def train_step(self) -> None:
        """One optimizer step on one batch, drawn from the seed and the step's number."""
        c = self.c
        draws = generator(self.device, c.seed, "train", self.step)
        labels = training_labels(c, self.step).to(self.device)
        x = render_bumps(labels, c.N, c.sigma, c.polarity, c.height)
        t = torch.randint(c.timesteps, (c.batch_size,), generator=draws, device=self.device)
        noise = torch.randn(x.shape, generator=draws, device=self.device)
        embedding = self.model.conditioning(labels)

        def denoise(x_t: Tensor, t: Tensor) -> Tensor:
            x_t = x_t.contiguous(memory_format=torch.channels_last)
            return self.model(x_t, t, embedding)

        rise = min(1.0, (self.step + 1) / c.warmup) if c.warmup else 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = c.learning_rate * rise
        self.optimizer.zero_grad()
        loss = noise_prediction_loss(denoise, x, t, noise, self.alpha_bar)
        loss.backward()
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.losses[self.step] = loss.detach()
        self.step += 1

    def save(self, path: Path) -> None:
        """Write the checkpoint: all that the next step depends on."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        tensors["losses"] = self.losses
        tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
        metadata = {"step": str(self.step), "configuration": self.c.id}
        write_atomically(path, safetensors.torch.save(tensors, metadata))

    def load(self, path: Path) -> None:
        """Continue from a checkpoint. Raises UserError if it cannot be read."""
        try:
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata["configuration"] != self.c.id:
                raise ValueError("another run's")
            self._restore(tensors, int(metadata["step"]))
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError):
            raise UserError(
                f"The checkpoint {path} cannot be read; delete its folder to start the run anew."
            ) from None

    def _restore(self, tensors: dict[str, Tensor], step: int) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.step = step
        self.model.load_state_dict(part("model."))
        self.average.load_state_dict(part("average."))
        self.losses.copy_(tensors["losses"])
        state = {}
        for i, parameter in enumerate(self.model.parameters()):
            # The fused optimizer walks through memory: its state must lie as the weights do.
            state[i] = {
                name: torch.empty_like(parameter).copy_(value) if value.ndim else value
                for name, value in part(f"optimizer.{i}.").items()
            }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


@torch.no_grad()
def _average(decay: float, averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
    """Move the averages towards the weights, faster at first: an average over 200 steps that began
    with random weights would show a network long gone.
    """
    n = float(updates)
    torch._foreach_lerp_(averages, weights, 1 - min(decay, (1 + n) / (10 + n)))


TAKEN_APART = {"dissection": dissect, "signals": signals, "places": places}
"""The extras that are tables, and what makes them of the trained network and the untrained one."""

_LIMITED = RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for everything: networks this small gain nothing from more, several runs
    side by side lose, and sums are taken in the same order on every machine.

    The limit is the process's, so a second thread of Python that asks for it waits for the first.
    """
    with _LIMITED, threadpool_limits(1):
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


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
    once for an extra of `TAKEN_APART` of lines.
    """
    refused = [extra for extra in TAKEN_APART if extra in extras and c.axes == "x"]
    if refused:
        raise UserError(f"axes is 'x', it must be 'xy' for {refused[0]}: a line has no plane.")
    _commit()  # asked before training, in which files may change; it is kept
    if wait < 0 and store.is_being_made(c):
        print(f"Another process makes run {c.id}; waiting for it.", file=sys.stderr)
    with store.lock(c).acquire(timeout=wait):
        if record := store.get(c, extras, remake):
            return record
        if record := store.get(c, remake=remake):
            extras = {*extras, *record.extras}  # what it has, its successor must not lack
        with one_thread():
            partial_run = store.partial(c)
            trainer, seconds = _train(c, partial_run, each_step)
            return store.finish(c, _collect(c, partial_run, trainer, seconds, extras))


def _train(
    c: Configuration, run: Partial, each_step: Callable[[], None] | None
) -> tuple[Trainer, dict[str, float]]:
    device = pick_device()
    trainer = Trainer(c, device)
    untrained = build_model(c, device)
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
                trainer.save(run.checkpoint)
            if trainer.step == c.steps:
                clock.save()
                return trainer, clock.seconds
            trainer.train_step()
            bar.update()
            if each_step is not None:
                each_step()
            if clock.since_save() > CHECKPOINT_SECONDS:
                trainer.save(run.checkpoint)
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
        "provenance.json": to_json(_provenance(trainer.device, seconds)),
        "checkpoints.parquet": to_parquet(pd.DataFrame(rows)),
        "probes.parquet": to_parquet(pd.concat(probes, ignore_index=True)),
        "samplers.parquet": to_parquet(pd.concat(samplers, ignore_index=True)),
        "arrays.npz": to_npz(stacked),
    }
    network, untrained = trainer.average.module, build_model(c, trainer.device)
    for extra, take_apart in TAKEN_APART.items():
        if extra in extras:
            tables = take_apart(c, network, untrained)
            files |= {f"{name}.parquet": to_parquet(table) for name, table in tables.items()}
    if "weights" in extras:
        state = network.state_dict()
        half = {k: v.half().cpu().contiguous() for k, v in state.items()}
        files["weights.safetensors"] = safetensors.torch.save(half)
    return files


def _provenance(device: torch.device, seconds: dict[str, float]) -> dict[str, object]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: round(value, 1) for name, value in seconds.items()},
        "device": gpu or cpu_name(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "commit": _commit(),
        "versions": {name: version(name) for name in PACKAGES},
    }


def cpu_name() -> str:
    """The processor, and the instructions that torch uses on it."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


@cache
def _commit() -> str:
    """The commit of the code, with "+" behind it if files differ from it; "unknown" outside git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
