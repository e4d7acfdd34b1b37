"""One checkpoint, measured from both sides: what it generates and what its features hold."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

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
from bump_diffusion.metrics.probes import Points, probe_targets
from bump_diffusion.metrics.sampling import (
    BATCH,
    choose_shown,
    compare_samplers,
    device_of,
    evaluation_labels,
    generate,
    requested_labels,
    search,
)
from bump_diffusion.models.conditioning import Embeddings
from bump_diffusion.models.hooks import read_layers
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import add_noise, signal_shares

PROBED_LAYERS = ("layer3", "layer4", "up3", "up2")
"""Layers that are probed at every checkpoint, beside the configuration's `probe_layer`."""

NOISED_SHARES = (0.25, 0.5)
"""Shares of the last timestep at which noised bumps are probed."""

PROBE_COLUMNS = ("input", "timestep", "layer", "points", "features", "reduction", "target", "axis")

Networks = Mapping[str, nn.Module]
"""The network to be measured, "trained", and the one it was at first, "untrained"."""


@dataclass(frozen=True)
class Evaluation:
    """What is kept of one evaluated checkpoint."""

    metrics: dict[str, float]
    "Shares of outcomes and accuracies of trained labels; dimensions and neighbourhoods."
    tables: dict[str, pd.DataFrame]
    """A row per image (`images`) and per bump (`bumps`), see `sampling.search`, with the `set` of
    an image; per probe (`probes`: `PROBE_COLUMNS` and r2); per compared sampler (`samplers`)."""
    arrays: dict[str, np.ndarray]
    "Images that are kept to be shown, and with UMAP the embeddings of the probe layer."


@torch.inference_mode()
def evaluate(c: Configuration, networks: Networks, step: int, umap: bool = False) -> Evaluation:
    """Measure a checkpoint after `step` training steps, beside the untrained network it was.

    Images are generated for each set of `requested_labels`, and every bump of every image is kept.
    Linear probes read positions from the features of several layers (`_read_inputs`): those that
    were requested, those generated, and the requested ones shuffled, which nothing can predict; the
    latter two of samples alone. They are fitted to as many points as every checkpoint has, and
    again to all where there are more (column `points`). With `umap`, the probe layer is read after
    UMAP as well, as the paper does (arXiv 2402.03305, section 3).
    """
    model = networks["trained"]
    requested = requested_labels(c, step == c.steps)
    of_images, of_bumps = [], []
    for name, labels in requested.items():
        images, *under_way = generate(c, model, labels.to(device_of(model)), (step, name))
        images = images.cpu()
        table, bumps, outcomes = search(c, images, labels)
        if name == "trained":
            trained, samples, sampled = outcomes, images, under_way
        of_bumps.append(bumps.assign(image=bumps["image"] + sum(map(len, of_images))))
        of_images.append(table.assign(set=name))
    tables = {
        "images": pd.concat(of_images, ignore_index=True),
        "bumps": pd.concat(of_bumps, ignore_index=True),
        "probes": pd.DataFrame(),
        "samplers": compare_samplers(c, model) if step else pd.DataFrame(),
    }
    metrics = trained.metrics()
    if not task_of(c).has_plane:
        return Evaluation(metrics, tables, {"lines": to_bytes(samples)[:, 0]})

    every = requested_labels(c, final=True)["trained"]
    few = len(evaluation_labels(c))
    arrays = {
        "images": to_bytes(samples[choose_shown(few)]),
        "kind": trained.kind[:few].numpy().astype(np.uint8),
        "position": trained.position[:few].numpy(),
    }
    rows: list[tuple] = []
    labels = requested["trained"]
    inputs = _read_inputs(c, networks, labels, every if step == 0 else labels, *sampled)
    for source, timestep, layer, name, read in inputs:
        for n in dict.fromkeys([few, len(read)]):
            points, groups = read[:n], group_by_label(every[:n])
            generated = trained.position[:n] if source == "sample" else None
            targets = position_targets(c, every[:n], generated)
            about = (source, timestep, layer, n, name)
            rows += [(*about, "direct", *r) for r in probe_targets(points, targets, groups)]
            if (source, layer) != ("sample", c.probe_layer):
                continue
            if n == len(read):
                metrics[f"intrinsic_dimension_of_all_{name}"] = intrinsic_dimension(points)
            if n > few:
                continue
            if umap:
                reduced = umap_embedding(points, seed=c.seed % 2**31)
                arrays[f"umap_{name}"] = reduced.astype(np.float16)
                rows += [(*about, "umap", *r) for r in probe_targets(reduced, targets, groups)]
            if not name.startswith("untrained"):
                metrics[f"intrinsic_dimension_{name}"] = intrinsic_dimension(points)
                metrics[f"effective_dimension_{name}"] = effective_dimension(points)
                for target in ("requested", "generated"):
                    order = neighbourhood_order(points, targets[target])
                    metrics[f"neighbourhood_{target}_{name}"] = order
    tables["probes"] = pd.DataFrame(rows, columns=[*PROBE_COLUMNS, "r2"])
    return Evaluation(metrics, tables, arrays)


def _read_inputs(
    c: Configuration,
    networks: Networks,
    requested: Labels,
    others: Float[Tensor, "m 2"],
    samples: Images,
    sampled_at: int,
) -> Iterator[tuple[str, int, str, str, Points]]:
    """Read several layers, for inputs of which a linear probe is to tell the bump's position.

    Inputs are `samples` of `requested` under way ("sample", at timestep `sampled_at`); and of
    `others`, true bumps, noised to each of `NOISED_SHARES` of the last timestep ("bump"), and pure
    noise at the last ("noise"). On samples the untrained network is read too. The other inputs are
    the same at every checkpoint, so that what the untrained network holds there is what step 0
    says, where they are as many as at the last. Yields input, timestep, layer, of which network and
    with or without the label (`label_inputs`), and the layer's outputs.
    """
    requested, others = requested.to(samples.device), others.to(samples.device)
    trained = {"trained": networks["trained"]}
    inputs = [(networks, requested, ("sample", samples, sampled_at))]
    inputs += [(trained, others, one) for one in noised_inputs(c, others, NOISED_SHARES, "probe")]
    layers = list(dict.fromkeys([*PROBED_LAYERS, c.probe_layer]))
    for read, labels, (source, seen, timestep) in inputs:
        for name, network, embedding in label_inputs(c, read, labels):
            of_layers = read_features(network, layers, seen, timestep, embedding)
            for layer, points in of_layers.items():
                yield source, timestep, layer, name, points


def noised_inputs(
    c: Configuration, labels: Labels, shares: Sequence[float], key: str
) -> Iterator[tuple[str, Images, int]]:
    """Inputs that are the same for every network: name, images and timestep of each.

    True bumps ("bump"), noised to each of the `shares` of the last timestep, and pure noise
    ("noise") at the last, where nothing but the label tells one image from another.
    """
    alpha_bar = signal_shares(c, labels.device)
    bumps = task_of(c).render(labels)
    draws = generator(labels.device, c.seed, key)
    noise = torch.randn(bumps.shape, generator=draws, device=labels.device)
    for share in shares:
        t = round(share * (c.timesteps - 1))
        yield "bump", add_noise(bumps, alpha_bar[t].expand(len(bumps)), noise), t
    yield "noise", noise, c.timesteps - 1


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


def position_targets(
    c: Configuration, labels: Labels, generated: Labels | None
) -> dict[str, Float[np.ndarray, "n 2"]]:
    """What probes predict: the requested positions and, of samples, the generated and shuffled."""
    requested = labels.cpu().numpy()
    if generated is None:
        return {"requested": requested}
    order = torch.randperm(len(labels), generator=generator("cpu", c.seed, "shuffle")).numpy()
    shuffled = requested[order]
    return {"requested": requested, "generated": generated.cpu().numpy(), "shuffled": shuffled}


def group_by_label(labels: Labels) -> Int[np.ndarray, " n"]:
    """A number for each label, the same where the same is requested: a probe that is fitted to some
    images of a label must not be tested on the others.
    """
    return labels.cpu().unique(dim=0, return_inverse=True)[1].numpy()


def to_bytes(images: Images) -> UInt8[np.ndarray, "n height N"]:
    return ((images[:, 0].clamp(-1, 1) + 1) * 127.5).round().byte().cpu().numpy()
