"""One checkpoint, measured from both sides: what it generates and what its features hold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Images, Labels
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.geometry import (
    effective_dimension,
    intrinsic_dimension,
    neighbourhood_order,
    umap_embedding,
)
from bump_diffusion.metrics.outcomes import Classification, classify_images
from bump_diffusion.metrics.probes import probe_targets
from bump_diffusion.models.conditioning import Embeddings
from bump_diffusion.models.hooks import read_layers
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import add_noise, sample, signal_shares

SHOWN = 32
"""Sample images kept of each evaluation."""

BATCH = 256
"""Images in one pass through the network."""

Networks = Mapping[str, nn.Module]
"""The network to be measured, "trained", and the one it was at first, "untrained"."""


@dataclass(frozen=True)
class Evaluation:
    """What is kept of one evaluated checkpoint."""

    metrics: dict[str, float]
    probes: pd.DataFrame
    "Columns features, reduction, target, axis, r2; empty for a task without a plane."
    samplers: pd.DataFrame
    "Columns sampler, sampler_steps and the generation metrics; empty for the untrained network."
    arrays: dict[str, np.ndarray]


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def evaluation_labels(c: Configuration) -> Labels:
    """The labels that are requested: the whole grid, as often as there is room for all of it, or a
    random choice if it has more than there is room for.
    """
    grid = task_of(c).labels()
    if len(grid) <= c.evaluation_images:
        return grid.repeat(c.evaluation_images // len(grid), 1)
    chosen = torch.randperm(len(grid), generator=generator("cpu", c.seed, "evaluation labels"))
    return grid[chosen[: c.evaluation_images].sort().values]


def generate(
    c: Configuration, model: nn.Module, labels: Labels, key: tuple[int | str, ...]
) -> tuple[Images, Images, int]:
    """Sample an image per label; also returns the probed input and its timestep (see `sample`).

    The draws are those of the configuration's seed and `key`.
    """
    return generate_together([c], model, [labels], key)[0]


@torch.inference_mode()
def generate_together(
    runs: Sequence[Configuration],
    model: nn.Module,
    labels: Sequence[Labels],
    key: tuple[int | str, ...],
) -> list[tuple[Images, Images, int]]:
    """`generate` for each of several runs with equal samplers, by the stack of their networks."""
    c, device = runs[0], labels[0].device
    shape = 1, task_of(c).height, c.N
    draws = [generator(device, run.seed, "sample", *key) for run in runs]

    def draw(shape: Sequence[int]) -> Tensor:
        each = (shape[0] // len(runs), *shape[1:])
        return torch.cat([torch.randn(each, generator=g, device=device) for g in draws])

    images, seen = [], []
    for batches in zip(*(requested.split(BATCH) for requested in labels), strict=True):
        batch = torch.cat(batches)
        denoise = partial(model, label_embedding=model.conditioning(batch))
        noise = draw((len(batch), *shape))
        finished, probed, t = sample(c, denoise, noise, draw, c.probe_timestep)
        images.append(finished.unflatten(0, (len(runs), -1)))
        seen.append(probed.unflatten(0, (len(runs), -1)))
    return [(*both, t) for both in zip(torch.cat(images, 1), torch.cat(seen, 1), strict=True)]


@torch.inference_mode()
def read_features(
    model: nn.Module, layers: Iterable[str], x: Images, t: int, embedding: Embeddings
) -> dict[str, Float[np.ndarray, "n _"]]:
    """The output of each layer, flattened, for images `x` at timestep `t`."""
    parts: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for images, labels in zip(x.split(BATCH), embedding.split(BATCH), strict=True):
        timesteps = torch.full((len(images),), t, device=x.device)
        outputs = read_layers(model, parts, images, timesteps, labels)
        for layer in parts:
            parts[layer].append(outputs[layer].flatten(1).float().cpu())
    return {layer: torch.cat(outputs).numpy() for layer, outputs in parts.items()}


def label_inputs(
    c: Configuration, networks: Networks, labels: Labels
) -> Iterator[tuple[str, nn.Module, Embeddings]]:
    """Each network with the embeddings of the labels, and "ablated": with their mean instead."""
    for name, network in networks.items():
        embedding = network.conditioning(labels)
        yield name, network, embedding
        ablated = mean_embedding(c, network).expand_as(embedding)
        yield "ablated" if name == "trained" else f"{name}, ablated", network, ablated


def mean_embedding(c: Configuration, model: nn.Module) -> Float[Tensor, " embedding"]:
    """The mean of a network's label embeddings over the data set: the label, ablated."""
    grid = task_of(c).labels().to(device_of(model))
    with torch.inference_mode():
        return sum(model.conditioning(part).sum(dim=0) for part in grid.split(4096)) / len(grid)


@dataclass(frozen=True)
class Observation:
    """What a checkpoint's network makes and holds: all of an evaluation that needs the network."""

    images: Float[np.ndarray, "n 1 height N"]
    "One per label of `evaluation_labels`."
    features: dict[str, Float[np.ndarray, "n features"]]
    "By the network that they are read from; none for a task without a plane."
    samplers: pd.DataFrame
    "As in `Evaluation`."


def evaluate(c: Configuration, networks: Networks, step: int) -> Evaluation:
    """Measure a checkpoint after `step` training steps, beside the untrained network it was."""
    return measure(c, observe(c, networks, step))


@torch.inference_mode()
def observe(
    c: Configuration,
    networks: Networks,
    step: int,
    generated: tuple[Images, Images, int] | None = None,
) -> Observation:
    """Generate images, if `generate` has not, and read the probed layer's features.

    All features are read on the same inputs: by the network as published ("trained"), with the
    label's part replaced by its mean over the data ("ablated"), and both for the untrained network.
    """
    model, task = networks["trained"], task_of(c)
    device = device_of(model)
    labels = evaluation_labels(c).to(device)
    images, x, t = generated or generate(c, model, labels, (step,))
    if not task.has_plane:
        return Observation(images.cpu().numpy(), {}, pd.DataFrame())
    if c.probe_input != "sample":
        x = torch.randn(x.shape, generator=generator(device, c.seed, "probe"), device=device)
    if c.probe_input == "bump":
        alpha_bar = signal_shares(c, device)[t]
        x = add_noise(task.render(labels), alpha_bar.expand(len(x)), x)
    features = {
        name: read_features(network, [c.probe_layer], x, t, embedding)[c.probe_layer]
        for name, network, embedding in label_inputs(c, networks, labels)
    }
    samplers = compare_samplers(c, model) if step else pd.DataFrame()
    return Observation(images.cpu().numpy(), features, samplers)


@torch.inference_mode()
def measure(c: Configuration, observed: Observation) -> Evaluation:
    """The measurements of what was observed, on the CPU.

    Every probe is repeated with the requested positions shuffled, which nothing can predict.
    """
    images, labels = torch.from_numpy(observed.images), evaluation_labels(c)
    outcomes = classify(c, images, labels)
    metrics = outcomes.metrics()
    if not observed.features:
        lines = {"lines": to_bytes(images)[:, 0]}
        return Evaluation(metrics, pd.DataFrame(), observed.samplers, lines)
    targets, groups = position_targets(c, labels, outcomes), group_by_label(labels)
    probes, arrays = [], {}
    for name, features in observed.features.items():
        reduced = umap_embedding(features, seed=c.seed % 2**31)
        for reduction, points in {"umap": reduced, "direct": features}.items():
            probes += [(name, reduction, *r) for r in probe_targets(points, targets, groups)]
        if not name.startswith("untrained"):
            arrays[f"umap_{name}"] = reduced.astype(np.float16)
            metrics[f"intrinsic_dimension_{name}"] = intrinsic_dimension(features)
            metrics[f"effective_dimension_{name}"] = effective_dimension(features)
            for target in ("requested", "generated"):
                order = neighbourhood_order(features, targets[target])
                metrics[f"neighbourhood_{target}_{name}"] = order
    arrays["position"] = targets["generated"]
    arrays["kind"] = outcomes.kind.numpy().astype(np.uint8)
    arrays["images"] = to_bytes(images[choose_shown(len(images))])
    columns = ["features", "reduction", "target", "axis", "r2"]
    return Evaluation(metrics, pd.DataFrame(probes, columns=columns), observed.samplers, arrays)


def classify(c: Configuration, images: Images, labels: Labels) -> Classification:
    """Classify generated images of a configuration's task by their bumps."""
    heights, requested = task_of(c).to_classify(images, labels)
    return classify_images(heights, requested, c.sigma)


def position_targets(
    c: Configuration, labels: Labels, outcomes: Classification
) -> dict[str, Float[np.ndarray, "n 2"]]:
    """What probes predict: the requested positions, the generated and, as a control, shuffled."""
    requested = labels.cpu().numpy()
    order = torch.randperm(len(labels), generator=generator("cpu", c.seed, "shuffle")).numpy()
    generated = outcomes.position.cpu().numpy()
    return {"requested": requested, "generated": generated, "shuffled": requested[order]}


def group_by_label(labels: Labels) -> Int[np.ndarray, " n"]:
    """A number for each label, the same where the same is requested: a probe that is fitted to some
    images of a label must not be tested on the others.
    """
    return labels.cpu().unique(dim=0, return_inverse=True)[1].numpy()


def choose_shown(images: int) -> Int[Tensor, " shown"]:
    """Indices of the images that are kept for showing, chosen before anything is generated."""
    chosen = torch.randperm(images, generator=generator("cpu", "shown"))[:SHOWN]
    return chosen.sort().values


def to_bytes(images: Images) -> UInt8[np.ndarray, "n height N"]:
    return ((images[:, 0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()


def compare_samplers(c: Configuration, model: nn.Module) -> pd.DataFrame:
    """The generation metrics of one network under both samplers, each with `compared_steps` steps.

    The sampler is part of the measurement: a deterministic one leaves specks that count as faults
    of the network if nothing sets them apart.
    """
    labels = evaluation_labels(c).to(device_of(model))
    rows = []
    for sampler in ("ddim", "ancestral"):
        for steps in c.compared_steps:
            how = {"sampler": sampler, "sampler_steps": steps}
            images, _, _ = generate(c.model_copy(update=how), model, labels, (sampler, steps))
            rows.append({**how, **classify(c, images, labels).metrics()})
    return pd.DataFrame(rows)
