"""What each layer of a trained network holds, read with all controls.

A probe of one layer leaves open whether the order of bump positions there is learned, or put in
with the label, or carried by the image. So every layer is read at several noise levels and inputs.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from bump_diffusion.config import LAYERS, Configuration
from bump_diffusion.data.bumps import Images, Labels
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.evaluation import (
    Networks,
    classify,
    device_of,
    evaluation_labels,
    generate,
    group_by_label,
    label_inputs,
    position_targets,
    read_features,
)
from bump_diffusion.metrics.probes import probe_targets
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import add_noise, signal_shares

NOISE_LEVELS = (0.0, 0.25, 0.5)
"""Shares of the timesteps T at which samples and noised bumps are given to the network."""


@torch.inference_mode()
def probe_layers(c: Configuration, networks: Networks) -> pd.DataFrame:
    """R^2 of bump position read directly from every layer.

    Inputs are the samples under way and true bumps, noised, at each of `NOISE_LEVELS`, and pure
    noise at the last timestep, where nothing but the label tells one image from another. Features
    and targets are those of `evaluation.evaluate`; the generated position is a target only for
    samples, the shuffled one only for the trained features. Returns a row per probe: input,
    timestep, layer, features, target, axis, r2.
    """
    labels = evaluation_labels(c).to(device_of(networks["trained"]))
    groups = group_by_label(labels)
    rows = []
    for source, x, t, targets in _inputs(c, networks, labels):
        for name, network, embedding in label_inputs(c, networks, labels):
            wanted = {k: v for k, v in targets.items() if name == "trained" or k != "shuffled"}
            for layer, points in read_features(network, LAYERS, x, t, embedding).items():
                probed = probe_targets(points, wanted, groups)
                rows += [(source, t, layer, name, *result) for result in probed]
    columns = ["input", "timestep", "layer", "features", "target", "axis", "r2"]
    return pd.DataFrame(rows, columns=columns)


def _inputs(
    c: Configuration, networks: Networks, labels: Labels
) -> Iterator[tuple[str, Images, int, dict[str, Float[np.ndarray, "n 2"]]]]:
    """Each probed input: its name, the images, the timestep and what is to be read from it."""
    alpha_bar = signal_shares(c, labels.device)
    bumps = task_of(c).render(labels)
    draws = generator(labels.device, c.seed, "dissection")
    noise = torch.randn(bumps.shape, generator=draws, device=labels.device)
    for level in NOISE_LEVELS:
        stopped = c.model_copy(update={"probe_timestep": round(level * (c.timesteps - 1))})
        images, x, t = generate(stopped, networks["trained"], labels, ("dissection",))
        targets = position_targets(c, labels, classify(c, images, labels))
        yield "sample", x, t, targets
        requested = {name: targets[name] for name in ("requested", "shuffled")}
        yield "bump", add_noise(bumps, alpha_bar[t].expand(len(x)), noise), t, requested
    yield "noise", noise, c.timesteps - 1, requested
