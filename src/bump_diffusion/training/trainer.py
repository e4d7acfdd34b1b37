"""A network in training: one optimizer step, drawn from the seed and the step's number."""

import hashlib
import json
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from jaxtyping import Int
from safetensors import SafetensorError
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Images, Labels
from bump_diffusion.data.stripes import mix_in_stripes
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.files import write_atomically
from bump_diffusion.models.biases import Kept
from bump_diffusion.models.unet import build_model
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import noise_prediction_loss, signal_shares

DROPPED = 0.3
"""Probability with which a label's vector is dropped, where it is."""

LOSSY = ("dropout", "axis-dropout", "annealed")
"""Injections of which training leaves a part (`draw_kept`)."""


def training_labels(c: Configuration, step: int, steps: int = 1) -> Labels:
    """The labels of the batches of `steps` steps from `step`: the grid in random order, anew in
    each epoch, with stripes among them if the configuration has any.

    Steps count from 0; an epoch's last images and the next one's first may share a batch.
    """
    grid = _grid(c)
    first, last, n = step * c.batch_size, (step + steps) * c.batch_size, len(grid)
    epochs = range(first // n, -(-last // n))
    parts = [_order(c.seed, e, n)[max(first - e * n, 0) : last - e * n] for e in epochs]
    labels = grid[torch.cat(parts)]
    if c.stripes:
        batches = enumerate(labels.split(c.batch_size), step)
        labels = torch.cat([mix_in_stripes(c, batch, i) for i, batch in batches])
    return labels


@lru_cache(maxsize=2)
def _grid(c: Configuration) -> Labels:
    return task_of(c).labels()


@lru_cache(maxsize=2)
def _order(seed: int, epoch: int, images: int) -> Int[Tensor, " n"]:
    return torch.randperm(images, generator=generator("cpu", seed, "epoch", epoch))


def draw_noise(c: Configuration, step: int, t: Int[Tensor, " n"], noise: Images) -> None:
    """Fill `t` with a step's timesteps and `noise` with what is added to its images."""
    draws = generator(t.device, c.seed, "train", step)
    torch.randint(c.timesteps, t.shape, generator=draws, out=t)
    torch.randn(noise.shape, generator=draws, out=noise)


def draw_kept(c: Configuration, step: int, kept: Kept) -> None:
    """Fill `kept` with what a step leaves of its labels' vectors, of x and of y.

    The vector is dropped, or either half of it, with probability `DROPPED`; or it fades out over
    the first half of training.
    """
    if c.injection == "annealed":
        kept.fill_(max(0.0, 1 - 2 * step / c.steps))
    else:
        torch.rand(kept.shape, generator=generator(kept.device, c.seed, "kept", step), out=kept)
        if c.injection == "dropout":
            kept[:, 1] = kept[:, 0]
        kept.copy_(kept >= DROPPED)


def learning_rate(c: Configuration, step: int) -> float:
    """The learning rate of a step, after or within the warm-up."""
    return c.learning_rate * (min(1.0, (step + 1) / c.warmup) if c.warmup else 1.0)


def average_rate(decay: float, updates: int) -> float:
    """How far the averages move towards the weights after so many updates: further at first, as an
    average over 200 steps that began with random weights would show a network long gone.
    """
    return 1 - min(decay, (1 + updates) / (10 + updates)) if updates else 1.0


class Trainer:
    """A network in training: its weights, their moving average, the optimizer, the losses."""

    def __init__(self, c: Configuration, device: torch.device):
        self.c, self.device = c, device
        self.step = 0
        self.model = build_model(c, device)
        self.average = AveragedModel(self.model, multi_avg_fn=partial(_average, c.ema_decay))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=c.learning_rate, fused=True)
        for weight in self.model.parameters():
            state = {name: torch.zeros_like(weight) for name in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[weight] = {"step": torch.zeros((), device=device), **state}
        self.losses = torch.zeros(c.steps, device=device)
        self.alpha_bar = signal_shares(c, device)

    def train_step(self) -> None:
        """One optimizer step on one batch, drawn from the seed and the step's number."""
        c = self.c
        labels = training_labels(c, self.step).to(self.device)
        x = task_of(c).render(labels)
        t, noise = torch.empty(len(x), dtype=torch.long, device=self.device), torch.empty_like(x)
        draw_noise(c, self.step, t, noise)
        given = [labels]
        if c.injection in LOSSY:
            given.append(torch.empty_like(labels))
            draw_kept(c, self.step, given[1])
        denoise = partial(self.model, label_embedding=self.model.conditioning(*given))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(c, self.step)
        self.optimizer.zero_grad()
        loss = noise_prediction_loss(denoise, x, t, noise, self.alpha_bar)
        loss.backward()
        self.optimizer.step()
        self.average.update_parameters(self.model)
        self.losses[self.step] = loss.detach()
        self.step += 1

    def tensors(self) -> dict[str, Tensor]:
        """All that the next step depends on, besides its number."""
        parts = {"model": self.model.state_dict(), "average": self.average.state_dict()}
        for i, weight in enumerate(self.model.parameters()):
            parts[f"optimizer.{i}"] = self.optimizer.state[weight]
        named = {f"{part}.{k}": v for part, values in parts.items() for k, v in values.items()}
        return {**named, "losses": self.losses}

    def save(self, path: Path, provenance: dict[str, Any]) -> None:
        """Write the checkpoint, with what code it was made by."""
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.tensors().items()}
        metadata = {
            "step": str(self.step),
            "configuration": self.c.id,
            "provenance": json.dumps(provenance, sort_keys=True),
        }
        metadata["digest"] = _digest(tensors, metadata)
        write_atomically(path, safetensors.torch.save(tensors, metadata))

    def load(self, path: Path) -> dict[str, Any]:
        """Continue from a checkpoint; return the provenance that it was saved with.

        Raises UserError if it is damaged or of another run.
        """
        try:
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            digest = metadata.pop("digest", None)
            if digest != _digest(tensors, metadata) or metadata["configuration"] != self.c.id:
                raise ValueError("damaged, or another run's")
            step, provenance = int(metadata["step"]), json.loads(metadata["provenance"])
            if not 0 <= step <= self.c.steps:
                raise ValueError("no step of this run")
            for name, tensor in self.tensors().items():
                tensor.copy_(tensors[name])
        except (SafetensorError, OSError, KeyError, ValueError, RuntimeError):
            raise UserError(
                f"The checkpoint {path} cannot be read; start the run anew by --remake, or by "
                "deleting its folder."
            ) from None
        self.step = step
        return provenance


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    """The SHA-256 of a checkpoint's content."""
    digest = hashlib.sha256(repr(sorted(metadata.items())).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def _average(decay: float, averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
    torch._foreach_lerp_(averages, weights, average_rate(decay, int(updates)))
