"""One checkpoint, measured from both sides: what it generates and what its features hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.geometry import (
    effective_dimension,
    intrinsic_dimension,
    neighbourhood_order,
    umap_embedding,
)
from bump_diffusion.metrics.outcomes import Classification, classify_images
from bump_diffusion.metrics.probes import probe_r2
from bump_diffusion.models.hooks import layer_output
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import NoiseSchedule, add_noise, sample

SHOWN = 32
"""Sample images kept of each evaluation."""

BATCH = 256
"""Images in one pass through the network."""


@dataclass(frozen=True)
class Evaluation:
    """What is kept of one evaluated checkpoint."""

    metrics: dict[str, float]
    probes: pd.DataFrame
    "Columns features, reduction, target, axis, r2."
    samplers: pd.DataFrame
    "Columns sampler, sampler_steps and the generation metrics; empty for the untrained network."
    arrays: dict[str, np.ndarray]


def evaluation_labels(c: Configuration) -> Float[Tensor, "n 2"]:
    """The labels that are requested: the whole grid, as often as there is room for all of it, or a
    random choice if it has more than there is room for.
    """
    grid = task_of(c).labels()
    if len(grid) <= c.evaluation_images:
        return grid.repeat(c.evaluation_images // len(grid), 1)
    chosen = torch.randperm(len(grid), generator=generator("cpu", c.seed, "evaluation labels"))
    return grid[chosen[: c.evaluation_images].sort().values]


def generate(
    c: Configuration,
    model: nn.Module,
    labels: Float[Tensor, "n 2"],
    key: tuple[int | str, ...],
) -> tuple[Float[Tensor, "n 1 height N"], Float[Tensor, "n 1 height N"], int]:
    """Sample an image per label; also returns the probed input and its timestep (see `sample`).

    The draws are those of the configuration's seed and `key`.
    """
    ((images, seen, t),) = generate_together([c], model, [labels], key)
    return images, seen, t


def generate_together(
    runs: Sequence[Configuration],
    model: nn.Module,
    labels: Sequence[Float[Tensor, "n 2"]],
    key: tuple[int | str, ...],
) -> list[tuple[Float[Tensor, "n 1 height N"], Float[Tensor, "n 1 height N"], int]]:
    """`generate` for each of several runs with equal samplers, by the stack of their networks."""
    c, device = runs[0], labels[0].device
    schedule = NoiseSchedule.of(c)
    draws = [generator(device, run.seed, "sample", *key) for run in runs]

    def draw(shape: Sequence[int]) -> Tensor:
        each = (shape[0] // len(runs), *shape[1:])
        return torch.cat([torch.randn(each, generator=g, device=device) for g in draws])

    images, seen = [], []
    for batches in zip(*(requested.split(BATCH) for requested in labels), strict=True):
        batch = torch.cat(batches)
        with torch.inference_mode():
            denoise = partial(_denoise, model, model.conditioning(batch))
        image, probed, t = sample(
            denoise,
            draw((len(batch), 1, task_of(c).height, c.N)),
            schedule.sampler_timesteps(c.sampler_steps),
            schedule.alpha_bar(device),
            c.sampler,
            draw,
            c.probe_timestep,
            c.clip_sample,
        )
        images.append(image.unflatten(0, (len(runs), -1)))
        seen.append(probed.unflatten(0, (len(runs), -1)))
    return [(*both, t) for both in zip(torch.cat(images, 1), torch.cat(seen, 1), strict=True)]


def _denoise(model: nn.Module, embedding: Tensor, x: Tensor, t: Tensor) -> Tensor:
    return model(x.contiguous(memory_format=torch.channels_last), t, embedding)


@torch.inference_mode()
def read_features(
    model: nn.Module,
    layer: str,
    x: Float[Tensor, "n 1 N N"],
    t: int,
    embedding: Float[Tensor, "n e"],
) -> Float[np.ndarray, "n features"]:
    """The named layer's output, flattened, for images `x` at timestep `t`."""
    features = []
    for images, labels in zip(x.split(BATCH), embedding.split(BATCH), strict=True):
        timesteps = torch.full((len(images),), t, device=x.device)
        output = layer_output(model, layer, images, timesteps, labels)
        features.append(output.flatten(1).float().cpu())
    return torch.cat(features).numpy()


@dataclass(frozen=True)
class Observation:
    """What a checkpoint's network makes and holds: all of an evaluation that needs the network."""

    images: Float[Tensor, "n 1 height N"]
    "On the CPU, one per label of `evaluation_labels`."
    features: dict[str, Float[np.ndarray, "n features"]]
    "By the network that they are read from; none without a plane of positions."
    samplers: pd.DataFrame
    "As in `Evaluation`."


def evaluate(c: Configuration, model: nn.Module, untrained: nn.Module, step: int) -> Evaluation:
    """Measure a checkpoint: `model` after `step` steps, beside the `untrained` network it was."""
    return measure(c, observe(c, model, untrained, step))


@torch.inference_mode()
def observe(
    c: Configuration,
    model: nn.Module,
    untrained: nn.Module,
    step: int,
    generated: tuple[Tensor, Tensor, int] | None = None,
) -> Observation:
    """Generate images, if `generate` has not, and read the probed layer's features.

    All features are read on the same inputs: by the network as published ("trained"), with the
    label's part replaced by its mean over the data ("ablated"), and both for the untrained network.
    """
    device = next(model.parameters()).device
    labels = evaluation_labels(c).to(device)
    images, x, t = generated or generate(c, model, labels, (step,))
    if not task_of(c).has_plane:
        return Observation(images.cpu(), {}, pd.DataFrame())
    if c.probe_input != "sample":
        noise = torch.randn(x.shape, generator=generator(device, c.seed, "probe"), device=device)
        level = NoiseSchedule.of(c).alpha_bar(device)[t]
        bumps = task_of(c).render(labels)
        x = add_noise(bumps, level.expand(len(x)), noise) if c.probe_input == "bump" else noise

    features = {}
    for name, network in (("trained", model), ("untrained", untrained)):
        given = network.conditioning(labels)
        ablated = mean_embedding(c, network).expand_as(given)
        features[name] = read_features(network, c.probe_layer, x, t, given)
        ablated_name = "ablated" if name == "trained" else "untrained, ablated"
        features[ablated_name] = read_features(network, c.probe_layer, x, t, ablated)
    samplers = compare_samplers(c, model) if step else pd.DataFrame()
    return Observation(images.cpu(), features, samplers)


@torch.inference_mode()
def measure(c: Configuration, observed: Observation) -> Evaluation:
    """The measurements of what was observed, on the CPU.

    Every probe is repeated with the requested positions shuffled, which nothing can predict.
    """
    images, labels = observed.images, evaluation_labels(c)
    found = classify(c, images, labels)
    if not observed.features:
        lines = {"lines": _as_bytes(images)[:, 0]}
        return Evaluation(found.metrics(), pd.DataFrame(), observed.samplers, lines)
    requested, generated = labels.numpy(), found.position.numpy()
    shuffle = torch.randperm(len(labels), generator=generator("cpu", c.seed, "shuffle")).numpy()
    targets = {"requested": requested, "generated": generated, "shuffled": requested[shuffle]}

    metrics, groups = found.metrics(), fold_groups(labels)
    probes, arrays = [], {}
    for name, values in observed.features.items():
        reduced = {"umap": umap_embedding(values, seed=c.seed % 2**31), "direct": values}
        for reduction, points in reduced.items():
            for target, positions in targets.items():
                for axis, r2 in zip("xy", probe_r2(points, positions, groups), strict=True):
                    probes.append((name, reduction, target, axis, r2))
        if not name.startswith("untrained"):
            arrays[f"umap_{name}"] = reduced["umap"].astype(np.float16)
            metrics |= {
                f"intrinsic_dimension_{name}": intrinsic_dimension(values),
                f"effective_dimension_{name}": effective_dimension(values),
                f"neighbourhood_requested_{name}": neighbourhood_order(values, requested),
                f"neighbourhood_generated_{name}": neighbourhood_order(values, generated),
            }

    arrays["position"] = generated
    arrays["kind"] = found.kind.numpy().astype(np.uint8)
    arrays["images"] = _as_bytes(images[shown(len(images))])
    columns = ["features", "reduction", "target", "axis", "r2"]
    return Evaluation(metrics, pd.DataFrame(probes, columns=columns), observed.samplers, arrays)


def classify(
    c: Configuration, images: Float[Tensor, "n 1 height N"], labels: Float[Tensor, "n 2"]
) -> Classification:
    """Classify generated images of a configuration's task by their bumps."""
    heights, requested = task_of(c).to_classify(images, labels)
    return classify_images(heights, requested, c.sigma)


def mean_embedding(c: Configuration, model: nn.Module) -> Float[Tensor, " features"]:
    """The mean of a network's label embeddings over the data set: the label, ablated."""
    grid = task_of(c).labels().to(next(model.parameters()).device)
    with torch.inference_mode():
        return sum(model.conditioning(part).sum(dim=0) for part in grid.split(4096)) / len(grid)


def fold_groups(labels: Float[Tensor, "n 2"]) -> Int[np.ndarray, " n"]:
    """A number for each label, the same where the same is requested: a probe that is fitted to some
    images of a label must not be judged by the others.
    """
    return labels.cpu().unique(dim=0, return_inverse=True)[1].numpy()


def shown(images: int) -> Int[Tensor, " shown"]:
    """Indices of the images that are kept for showing, chosen before anything is generated."""
    chosen = torch.randperm(images, generator=generator("cpu", "shown"))[:SHOWN]
    return chosen.sort().values


def _as_bytes(images: Float[Tensor, "n 1 height N"]) -> UInt8[np.ndarray, "n height N"]:
    return ((images[:, 0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()


def compare_samplers(c: Configuration, model: nn.Module) -> pd.DataFrame:
    """The generation metrics of one network under both samplers, each with `compared_steps` steps.

    The sampler is part of the measurement: a deterministic one leaves specks that count as faults
    of the network if nothing sets them apart.
    """
    labels = evaluation_labels(c).to(next(model.parameters()).device)
    rows = []
    for sampler in ("ddim", "ancestral"):
        for steps in c.compared_steps:
            sampled = c.model_copy(update={"sampler": sampler, "sampler_steps": steps})
            images, _, _ = generate(sampled, model, labels, (sampler, steps))
            found = classify(c, images, labels)
            rows.append({"sampler": sampler, "sampler_steps": steps, **found.metrics()})
    return pd.DataFrame(rows)
