"""What each inductive bias hands to the network, on the page *The answer to the paper's call*."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Labels
from bump_diffusion.data.stripes import OUTSIDE
from bump_diffusion.data.tasks import task_of
from bump_diffusion.models.biases import draw_beside
from bump_diffusion.models.unet import build_model
from bump_diffusion.page.axes import show_pixels
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.papers.semantics.confirmed import CURE
from bump_diffusion.papers.semantics.figures.compose import describe_condition
from bump_diffusion.runs.experiments import experiment

PANELS = ("baseline", "lines", "profiles", "axes", "low-rank", "axis-dropout", "stripes")
"""The biases that are shown, by their conditions with two quarters left out."""

ROWS = 8
"""In which a vector's numbers are shown; those of x, where it has such, in the upper half."""


def configure_biases(profile: str | None) -> dict[str, Configuration]:
    """Return a configuration for each of `PANELS`, by its condition."""
    names = [f"quadrants-{bias}" for bias in PANELS]
    experiments = [CURE.conditions[name].experiment for name in names]
    plans = [experiment(name, profile, held_out="quadrants") for name in experiments]
    return dict(zip(names, map(next, map(iter, plans)), strict=True))


def hand_over(c: Configuration, label: Labels) -> torch.Tensor:
    """Compute what an untrained network of a configuration gets of one label, (height, width).

    Of two channels, the brighter; of profiles by axis, what is added to one channel of the last
    block; a vector's numbers in `ROWS`, its half of y dropped where halves are; of stripes, the
    training image that has the label's x.
    """
    model = build_model(c).eval()
    if c.stripes:
        return task_of(c).render(torch.tensor([[label[0, 0], OUTSIDE]]))[0, 0]
    kept = {"kept": torch.tensor([[1.0, 0.0]])} if c.injection == "axis-dropout" else {}
    with torch.inference_mode():
        embedding = model.conditioning(label, **kept)
        if c.rendering != "none":
            return draw_beside(torch.zeros(1, 1, c.N, c.N), embedding)[0, 1:].amax(0)
        if c.injection == "axes":
            return model.up1.along_axes(embedding)[0, 0]
        return embedding[0].unflatten(0, (ROWS, -1))


@drawn
def handed_over(biases: Mapping[str, Configuration]) -> Drawn:
    """Draw an image and, for its label, what each bias hands to the network, a panel for each."""
    c = next(iter(biases.values()))
    label = _example(c)
    figure, axes = plt.subplots(2, 4, figsize=(WIDTH, 5.0))
    shown = [("the image", "", task_of(c).render(label)[0, 0])]
    shown += [
        (bias, f"told {told}", hand_over(biases[name], label))
        for name in biases
        for bias, told in [describe_condition(name)]
    ]
    for ax, (title, told, values) in zip(axes.flat, shown, strict=True):
        show_pixels(ax, values.numpy(), values.min(), values.max())
        ax.set(title=textwrap.fill(title, 15), xlabel=textwrap.fill(told, 15))
        ax.set_box_aspect(1)
        ax.set_aspect("auto")
    return figure, (
        f"What {len(biases)} biases hand to a network for one request, beside the image: "
        f"{', '.join(title for title, *_ in shown[1:])}."
    )


def describe_handed_over(biases: Mapping[str, Configuration]) -> Markdown:
    """Say what to see in `handed_over`."""
    c = next(iter(biases.values()))
    x, y = _example(c)[0].tolist()
    return Markdown(
        f"One request, x = {x:g} and y = {y:g}, and what each bias makes of it. With “no bias” it "
        f"is {build_model(c).conditioning(_example(c)).shape[1]} numbers, here as grey values, "
        "that are added in every block. Lines and profiles are drawn beside the noisy image, "
        "where the network sees at which pixel they cross. The other four are told only that there "
        "are two axes. Profiles by axis add a number for each column, from x, and one for each "
        "row, from y. The table multiplies a vector of x with one of y. If each axis is dropped at "
        "random, the numbers of y, of x or of both are hidden in some training steps. Stripes "
        "replace half of the training images; of a stripe's label one coordinate counts."
    )


def _example(c: Configuration) -> Labels:
    """A request off the middle, on the grid."""
    return torch.tensor([[c.N * 5 // 8, c.N // 4]], dtype=torch.float32)
