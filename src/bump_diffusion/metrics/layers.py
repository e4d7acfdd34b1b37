"""What each layer of a trained network holds, read with all controls.

A probe of one layer leaves open whether the order of bump positions there is learned, or put in
with the label, or carried by the image. So every layer is read at several noise levels and inputs.
"""

import pandas as pd
import torch

from bump_diffusion.config import LAYERS, Configuration
from bump_diffusion.metrics.evaluation import (
    Networks,
    group_by_label,
    label_inputs,
    noised_inputs,
    position_targets,
    read_features,
)
from bump_diffusion.metrics.probes import probe_targets
from bump_diffusion.metrics.sampling import classify, device_of, generate, requested_labels

NOISE_LEVELS = (0.0, 0.25, 0.5)
"""Shares of the timesteps T at which samples and noised bumps are given to the network."""


@torch.inference_mode()
def probe_layers(c: Configuration, networks: Networks) -> pd.DataFrame:
    """R^2 of bump position read directly from every layer.

    Inputs are the samples under way and true bumps, noised, at each of `NOISE_LEVELS`, and pure
    noise at the last timestep, where nothing but the label tells one image from another; each of
    the labels that `evaluation.evaluate` requests at the last checkpoint. Features and targets are
    those of `evaluate`; the generated position is a target only for samples, the shuffled one only
    for the trained features of these. Returns a row per probe: input, timestep, layer, features,
    target, axis, r2.
    """
    model = networks["trained"]
    labels = requested_labels(c, final=True)["trained"].to(device_of(model))
    inputs = [(*fixed, None) for fixed in noised_inputs(c, labels, NOISE_LEVELS, "dissection")]
    for level in NOISE_LEVELS:
        keep_at = round(level * (c.timesteps - 1))
        images, x, t = generate(c, model, labels, ("dissection",), keep_at)
        inputs.append(("sample", x, t, classify(c, images, labels).position))
    groups, rows = group_by_label(labels), []
    for source, x, t, generated in inputs:
        targets = position_targets(c, labels, generated)
        for name, network, embedding in label_inputs(c, networks, labels):
            wanted = {k: v for k, v in targets.items() if name == "trained" or k != "shuffled"}
            for layer, points in read_features(network, LAYERS, x, t, embedding).items():
                probed = probe_targets(points, wanted, groups)
                rows += [(source, t, layer, name, *result) for result in probed]
    columns = ["input", "timestep", "layer", "features", "target", "axis", "r2"]
    return pd.DataFrame(rows, columns=columns)
