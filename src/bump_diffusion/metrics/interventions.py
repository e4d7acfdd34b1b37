"""A trained network taken apart: what each layer holds, and what it does with what it holds.

Two questions that a probe of one layer leaves open. Is the order of bump positions in a layer
learned, or put in with the label (or carried by the image)? Then every layer must be read with all
controls, at several noise levels and inputs. And does generation use what a layer holds? Then one
must change it and see what is drawn.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, get_args

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from bump_diffusion.config import Configuration, Layer
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.evaluation import (
    BATCH,
    classify,
    evaluation_labels,
    fold_groups,
    generate,
    mean_embedding,
)
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.probes import probe_r2
from bump_diffusion.models.hooks import read_layers
from bump_diffusion.models.unet import TIME_FEATURES
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import NoiseSchedule, add_noise

LAYERS = get_args(Layer)
"""The network's layers in the order in which they run."""

BLOCKS = ("layer2", "layer3", "layer4", "up3", "up2", "up1")
"""The layers into which the label is injected."""

NOISE_LEVELS = (0.0, 0.25, 0.5)
"""Shares of the timesteps T at which samples and noised bumps are probed."""

PAIRS = 64
"""Pairs of requests that interventions exchange something between."""

EXCHANGED_LAYERS = ("layer3", "layer4", "up3")
"""Layers of which it is seen where bumps go if they are exchanged. `up3` is given the outputs of
the others."""


def probe_and_intervene(
    c: Configuration, model: nn.Module, untrained: nn.Module
) -> dict[str, pd.DataFrame]:
    """The tables of the extra "interventions": `layers` and `interventions`."""
    return {"layers": probe_layers(c, model, untrained), "interventions": intervene(c, model)}


def probe_layers(c: Configuration, model: nn.Module, untrained: nn.Module) -> pd.DataFrame:
    """R^2 of bump position read directly from every layer, with all controls.

    Inputs are the samples under way and true bumps, noised, at each of `NOISE_LEVELS`, and pure
    noise at the last timestep, where nothing but the label tells one image from another. Features
    and targets are those of `evaluation.evaluate`; the generated position is a target only for
    samples, the shuffled one only for the trained features. Returns a row per probe: input,
    timestep, layer, features, target, axis, r2.
    """
    device = next(model.parameters()).device
    labels = evaluation_labels(c).to(device)
    requested, groups = labels.cpu().numpy(), fold_groups(labels)
    order = torch.randperm(len(labels), generator=generator("cpu", c.seed, "shuffle")).numpy()
    rows = []
    for name, x, t, generated in _inputs(c, model, labels):
        for network, given in (("trained", model), ("untrained", untrained)):
            embedding = given.conditioning(labels)
            ablated = mean_embedding(c, given).expand_as(embedding)
            for features, label in ((network, embedding), (_ablated(network), ablated)):
                targets = {"requested": requested}
                if generated is not None:
                    targets["generated"] = generated
                if features == "trained":
                    targets["shuffled"] = requested[order]
                for layer, values in _read_all(given, x, t, label).items():
                    for target, positions in targets.items():
                        for axis, r2 in zip("xy", probe_r2(values, positions, groups), strict=True):
                            rows.append((name, t, layer, features, target, axis, r2))
    columns = ["input", "timestep", "layer", "features", "target", "axis", "r2"]
    return pd.DataFrame(rows, columns=columns)


def _ablated(network: str) -> str:
    return "ablated" if network == "trained" else "untrained, ablated"


def _inputs(
    c: Configuration, model: nn.Module, labels: Float[Tensor, "n 2"]
) -> Iterator[tuple[str, Float[Tensor, "n 1 N N"], int, np.ndarray | None]]:
    """Each probed input: its name, the images, the timestep, the positions of samples' bumps."""
    alpha_bar = NoiseSchedule.of(c).alpha_bar(labels.device)
    bumps = task_of(c).render(labels)
    draws = generator(labels.device, c.seed, "dissection")
    noise = torch.randn(bumps.shape, generator=draws, device=labels.device)
    for share in NOISE_LEVELS:
        probed = c.model_copy(update={"probe_timestep": round(share * (c.timesteps - 1))})
        images, x, t = generate(probed, model, labels, ("dissection",))
        found = classify(c, images, labels)
        yield "sample", x, t, found.position.cpu().numpy()
        yield "bump", add_noise(bumps, alpha_bar[t].expand(len(x)), noise), t, None
    yield "noise", noise, c.timesteps - 1, None


@torch.inference_mode()
def _read_all(
    model: nn.Module, x: Float[Tensor, "n 1 N N"], t: int, embedding: Float[Tensor, "n e"]
) -> dict[str, np.ndarray]:
    """Every layer's output, flattened, for images `x` at timestep `t`."""
    parts: dict[str, list[Tensor]] = {layer: [] for layer in LAYERS}
    for images, labels in zip(x.split(BATCH), embedding.split(BATCH), strict=True):
        with read_layers(model, LAYERS) as outputs:
            model(images, torch.full((len(images),), t, device=x.device), labels)
        for layer, output in outputs.items():
            parts[layer].append(output.flatten(1).float().cpu())
    return {layer: torch.cat(outputs).numpy() for layer, outputs in parts.items()}


def intervene(c: Configuration, model: nn.Module) -> pd.DataFrame:
    """What is drawn when a block's label, or a layer's features, are exchanged or taken away.

    Requests come in `PAIRS` pairs half a frame apart in x and in y. At every denoising step, in one
    place of the network:

    - "other label": a block is given the label of the other request of the pair;
    - "no label": it is given the mean label of the data set;
    - "label here alone": all other blocks are given the mean label;
    - "other features": a layer's output is exchanged between the two images of a pair.

    Returns a row for each, and one for "nothing": intervention, layer, the share of images of each
    kind by their own request, and `at_other`, that with one bump at the other's place. An image
    whose `correct` stays high did not need what was changed; one at the other's place used it.
    """
    labels = _pairs(c).to(next(model.parameters()).device)
    others = _exchanged(labels)
    mean = mean_embedding(c, model)

    def label(value: Tensor) -> Callable[[nn.Module, tuple], tuple]:
        def hook(module: nn.Module, inputs: tuple) -> tuple:
            x, embedding = inputs
            value_here = value.expand(len(x), -1).to(embedding.dtype)
            return x, torch.cat([embedding[:, :TIME_FEATURES], value_here], dim=1)

        return hook

    with torch.inference_mode():
        other = model.conditioning(others)
    plan = [("nothing", "", {}, {})]
    for block in BLOCKS:
        elsewhere = {b: label(mean) for b in BLOCKS if b != block}
        plan.append(("other label", block, {block: label(other)}, {}))
        plan.append(("no label", block, {block: label(mean)}, {}))
        plan.append(("label here alone", block, elsewhere, {}))
    plan += [("other features", layer, {}, {layer: _exchange}) for layer in LAYERS]
    rows = []
    for intervention, layer, inputs, outputs in plan:
        with _hooked(model, inputs, outputs):
            rows.append((intervention, layer, *_drawn(c, model, labels, others)))
    columns = ["intervention", "layer", *OUTCOMES, "at_other"]
    return pd.DataFrame(rows, columns=columns)


def patch_activations(
    c: Configuration, model: nn.Module, untrained: nn.Module
) -> dict[str, pd.DataFrame]:
    """The table of the extra "patching": `find_exchanged_places` of the trained network."""
    return {"places": find_exchanged_places(c, model)}


def find_exchanged_places(c: Configuration, model: nn.Module) -> pd.DataFrame:
    """Where bumps are that are drawn with the features of a layer exchanged within pairs.

    The images are those of `intervene`, for "nothing" (layer is "") and for "other features" of
    each of `EXCHANGED_LAYERS`. Returns a row per image: layer, mu_x and mu_y (its own request), x
    and y (the place of its bump, NaN if it has not exactly one); pixels.
    """
    labels = _pairs(c).to(next(model.parameters()).device)
    parts = []
    for layer in ("", *EXCHANGED_LAYERS):
        with _hooked(model, {}, {layer: _exchange} if layer else {}):
            found = classify(c, _draw(c, model, labels), labels).position
        part = pd.DataFrame(
            torch.cat([labels, found], dim=1).cpu(), columns=["mu_x", "mu_y", "x", "y"]
        )
        parts.append(part.assign(layer=layer))
    return pd.concat(parts, ignore_index=True)


def compare_variation(
    c: Configuration, model: nn.Module, untrained: nn.Module
) -> dict[str, pd.DataFrame]:
    """The table of the extra "variation": `between_image_variation` of both networks."""
    networks = {"trained": model, "untrained": untrained}
    tables = [between_image_variation(c, m).assign(network=name) for name, m in networks.items()]
    return {"signals": pd.concat(tables, ignore_index=True)}


@torch.inference_mode()
def between_image_variation(c: Configuration, model: nn.Module) -> pd.DataFrame:
    """How much each layer's output tells images apart, and how much of the prediction hangs on it.

    On the pairs of `intervene`, as true bumps, noised to each of `NOISE_LEVELS`. Returns a row for
    each layer and timestep: layer, timestep, and two shares. `variation` is the root mean square of
    the output about its mean over images, over that of the output: 0 where a layer says the same of
    every image. `change` is that of what is added to the predicted noise when the outputs are
    exchanged within pairs, over that of the prediction: above 0 where the layer matters at all, if
    not for the image in the end.
    """
    rows = []
    for x, t, embedding in _noised_pairs(c, model):
        with read_layers(model, LAYERS) as outputs:
            predicted = model(x, t, embedding)
        for layer in LAYERS:
            with _hooked(model, {}, {layer: _exchange}):
                off = model(x, t, embedding) - predicted
            about = outputs[layer] - outputs[layer].mean(dim=0)
            shares = _share(about, outputs[layer]), _share(off, predicted)
            rows.append((layer, int(t[0]), *shares))
    return pd.DataFrame(rows, columns=["layer", "timestep", "variation", "change"])


def _share(part: Tensor, whole: Tensor) -> float:
    """The root mean square of one over that of the other, 0 where both are 0."""
    size = float(whole.square().mean().sqrt())
    return float(part.square().mean().sqrt()) / size if size > 0 else 0.0


def _noised_pairs(
    c: Configuration, model: nn.Module
) -> Iterator[tuple[Float[Tensor, "n 1 N N"], Int[Tensor, " n"], Float[Tensor, "n e"]]]:
    """True bumps at the requests of `_pairs`, noised to each of `NOISE_LEVELS`: the arguments of
    the network.
    """
    device = next(model.parameters()).device
    labels = _pairs(c).to(device)
    bumps = task_of(c).render(labels)
    noise = torch.randn(bumps.shape, generator=generator(device, c.seed, "changed"), device=device)
    alpha_bar = NoiseSchedule.of(c).alpha_bar(device)
    for share in NOISE_LEVELS:
        t = torch.full((len(labels),), round(share * (c.timesteps - 1)), device=device)
        yield add_noise(bumps, alpha_bar[t], noise), t, model.conditioning(labels)


def _pairs(c: Configuration) -> Float[Tensor, "pairs 2"]:
    """Requests, and after them those half a frame further in x and in y."""
    known = evaluation_labels(c)
    chosen = torch.randperm(len(known), generator=generator("cpu", c.seed, "pairs"))[:PAIRS]
    own = known[chosen]
    return torch.cat([own, half_a_frame_further(own, c.N)])


def half_a_frame_further(position: Any, N: Any) -> Any:
    """Where the other request of a pair of `intervene` is: numbers or arrays of any kind."""
    return (position + N / 2) % N


def _exchanged(values: Tensor) -> Tensor:
    """What belongs to the other of each pair."""
    return values.roll(len(values) // 2, dims=0)


def _exchange(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
    return _exchanged(output)


@contextmanager
def _hooked(
    model: nn.Module, inputs: dict[str, Callable], outputs: dict[str, Callable]
) -> Iterator[None]:
    """While open, hooks change the inputs of some of the network's layers and outputs of others."""
    with ExitStack() as stack:
        for layer, hook in inputs.items():
            stack.callback(model.get_submodule(layer).register_forward_pre_hook(hook).remove)
        for layer, hook in outputs.items():
            stack.callback(model.get_submodule(layer).register_forward_hook(hook).remove)
        yield


def _drawn(
    c: Configuration, model: nn.Module, labels: Float[Tensor, "n 2"], others: Float[Tensor, "n 2"]
) -> tuple[float, ...]:
    """Shares of the kinds of image by their own request, and of those at the other's place."""
    images = _draw(c, model, labels)
    by_own, by_other = (classify(c, images, by).metrics() for by in (labels, others))
    kinds = (by_own[kind] for kind in OUTCOMES)
    return *kinds, by_other["correct"]


def _draw(
    c: Configuration, model: nn.Module, labels: Float[Tensor, "n 2"]
) -> Float[Tensor, "n 1 N N"]:
    """Generated images, from the same noise for every intervention."""
    return generate(c, model, labels, ("intervention",))[0]
