"""Interventions in a trained network: whether generation uses what a layer holds.

Requests come in `PAIRS` pairs half a frame apart in x and in y. Something of the network (the label
that a block is given, or, by activation patching, a layer's output) is exchanged between the two
images of each pair; where their bumps are drawn then tells who needed it.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from bump_diffusion.config import BLOCKS, LAYERS, Configuration
from bump_diffusion.data.bumps import Images, Labels
from bump_diffusion.metrics.evaluation import Networks, mean_embedding, noised_inputs
from bump_diffusion.metrics.layers import NOISE_LEVELS
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.sampling import (
    FINAL_IMAGES,
    classify,
    device_of,
    evaluation_labels,
    generate,
)
from bump_diffusion.models.hooks import patch_layers, read_layers
from bump_diffusion.models.unet import TIME_FEATURES
from bump_diffusion.seeds import generator

PAIRS = 64
"""Pairs of requests."""

PATCHED_LAYERS = ("layer3", "layer4", "up3")
"""Layers of which it is recorded where bumps go if they are patched. `up3` is given the outputs of
the others, and patched in trained networks alone."""

PAIRS_ON_THE_WAY = 32
"""Pairs of requests of which bumps are located before training ends."""


@torch.inference_mode()
def intervene(c: Configuration, networks: Networks) -> pd.DataFrame:
    """What is drawn when a block's label, or a layer's output, is exchanged or taken away.

    At every denoising step, at one point of the network:

    - "other label": a block is given the label of the other request of the pair;
    - "no label": it is given the mean label of the data set;
    - "label here alone": all other blocks are given the mean label;
    - "other features", activation patching: a layer's output is that of the other image.

    Returns a row for each, and one for "nothing": intervention, layer, the share of images of each
    outcome by what was requested, and `at_other`, that with one bump where the other of the pair
    was requested. An image whose `correct` stays high did not need what was changed; one at the
    other's position used it.
    """
    model = networks["trained"]
    labels = pair_requests(c).to(device_of(model))
    others = swap_pairs(labels)
    mean, other = mean_embedding(c, model), model.conditioning(others)
    plan = [("nothing", "", {}, {})]
    for block in BLOCKS:
        elsewhere = {b: set_label(mean) for b in BLOCKS if b != block}
        plan.append(("other label", block, {block: set_label(other)}, {}))
        plan.append(("no label", block, {block: set_label(mean)}, {}))
        plan.append(("label here alone", block, elsewhere, {}))
    plan += [("other features", layer, {}, {layer: swap_output}) for layer in LAYERS]
    rows = []
    for intervention, layer, inputs, outputs in plan:
        with patch_layers(model, inputs, outputs):
            images = draw_pairs(c, model, labels)
        shares, at_other = (classify(c, images, at).metrics() for at in (labels, others))
        outcomes = [shares[outcome] for outcome in OUTCOMES]
        rows.append((intervention, layer, *outcomes, at_other["correct"]))
    return pd.DataFrame(rows, columns=["intervention", "layer", *OUTCOMES, "at_other"])


@torch.inference_mode()
def locate_patched(c: Configuration, model: nn.Module, final: bool) -> pd.DataFrame:
    """Where the bumps are that are drawn with a layer's output patched, as in `intervene`.

    Layer "" is for "nothing". At the `final` checkpoint the requests of a pair `differ` in "xy", or
    in "x" or "y" alone; before, in "xy", for fewer pairs and layers. Returns a row per image:
    differ, layer, the requested mu_x and mu_y, and x and y of its bump (NaN if it has not exactly
    one); pixels.
    """
    pairs, layers = (PAIRS, PATCHED_LAYERS) if final else (PAIRS_ON_THE_WAY, PATCHED_LAYERS[:2])
    tables = []
    for differ in ("xy", "x", "y") if final else ("xy",):
        labels = pair_requests(c, pairs, differ).to(device_of(model))
        for layer in ("", *layers):
            with patch_layers(model, outputs={layer: swap_output} if layer else {}):
                position = classify(c, draw_pairs(c, model, labels), labels).position
            rows = pd.DataFrame(torch.cat([labels, position], dim=1).cpu())
            rows.columns = ["mu_x", "mu_y", "x", "y"]
            tables.append(rows.assign(differ=differ, layer=layer))
    return pd.concat(tables, ignore_index=True)


@torch.inference_mode()
def compare_variation(c: Configuration, networks: Networks) -> pd.DataFrame:
    """How much each layer's output differs between images, and how much the prediction needs it.

    On the pairs of requests, as true bumps, noised to each of `NOISE_LEVELS`. Returns a row for
    each network, layer and timestep, with two shares. `variation` is the root mean square of the
    output about its mean over images, over that of the output: 0 where a layer's output is the same
    for every image. `change` is that of what is added to the predicted noise when the output is
    exchanged within pairs, over that of the prediction: above 0 where the layer matters at all, if
    not for the image in the end.
    """
    labels = pair_requests(c).to(device_of(networks["trained"]))
    *inputs, _ = noised_inputs(c, labels, NOISE_LEVELS, "changed")  # the last is noise alone
    rows = []
    for name, model in networks.items():
        embedding = model.conditioning(labels)
        for _, x, timestep in inputs:
            t = torch.full((len(x),), timestep, device=x.device)
            outputs = read_layers(model, [*LAYERS, "output"], x, t, embedding)
            predicted = outputs["output"].float()
            for layer in LAYERS:
                with patch_layers(model, outputs={layer: swap_output}):
                    added = model(x, t, embedding) - predicted
                about_mean = outputs[layer] - outputs[layer].mean(dim=0)
                variation = _relative_size(about_mean, outputs[layer])
                rows.append((layer, timestep, variation, _relative_size(added, predicted), name))
    return pd.DataFrame(rows, columns=["layer", "timestep", "variation", "change", "network"])


def _relative_size(part: Tensor, whole: Tensor) -> float:
    """The root mean square of one over that of the other, 0 where both are 0."""
    size = float(whole.square().mean().sqrt())
    return float(part.square().mean().sqrt()) / size if size > 0 else 0.0


def pair_requests(c: Configuration, pairs: int = PAIRS, differ: str = "xy") -> Labels:
    """Requests, and after them the others of their pairs, which differ in the axes of `differ`."""
    known = evaluation_labels(c, FINAL_IMAGES)
    chosen = torch.randperm(len(known), generator=generator("cpu", c.seed, "pairs"))[:pairs]
    moved = torch.tensor([axis in differ for axis in "xy"])
    others = torch.where(moved, shift_half_frame(known[chosen], c.N), known[chosen])
    return torch.cat([known[chosen], others])


def shift_half_frame(position: Any, N: Any) -> Any:
    """Where the other of a pair is requested, half a frame further; numbers or arrays alike."""
    return (position + N / 2) % N


def swap_pairs(values: Float[Tensor, "n *features"]) -> Float[Tensor, "n *features"]:
    """What belongs to the other of each pair."""
    return values.roll(len(values) // 2, dims=0)


def swap_output(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    return swap_pairs(output)


def set_label(embedding: Float[Tensor, "*n features"]) -> Callable[[nn.Module, tuple], tuple]:
    """A hook that replaces the label's part of what is injected into a block."""

    def hook(module: nn.Module, inputs: tuple) -> tuple:
        x, injected = inputs
        label = embedding.expand(len(x), -1).to(injected.dtype)
        return x, torch.cat([injected[:, :TIME_FEATURES], label], dim=1)

    return hook


def draw_pairs(c: Configuration, model: nn.Module, labels: Labels) -> Images:
    """Generated images, from the same noise for every intervention."""
    return generate(c, model, labels, ("intervention",))[0]
