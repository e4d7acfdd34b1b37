"""Inductive biases, on the page *The answer to the paper's call*: what each hands to a network, and
what networks with it draw.
"""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Labels
from bump_diffusion.data.stripes import OUTSIDE
from bump_diffusion.data.tasks import task_of
from bump_diffusion.models.biases import draw_beside
from bump_diffusion.models.unet import build_model
from bump_diffusion.page.axes import hide_ticks, legend_above, show_pixels
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.papers.semantics.criteria import CURE
from bump_diffusion.papers.semantics.cure import DRAWS
from bump_diffusion.papers.semantics.gaps import (
    EVERY_GAP,
    describe_condition,
    is_trained,
    score_biases,
)
from bump_diffusion.papers.semantics.palette import FOUND, REQUESTED
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.record import Record

PANELS = ("baseline", "lines", "profiles", "axes", "low-rank", "axis-dropout", "stripes")
"""The biases that are shown, by their conditions with two quarters left out."""

GROUPS = ("told where pixels lie", "told of two axes", "told nothing")
"""Names of biases that are drawn together, by how what they are told begins."""

TICK = {"marker": "|", "markersize": 7, "markeredgewidth": 1.5, "linestyle": ""}
"""The style of a network's mark for what it was trained on."""

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
    figure, axes = plt.subplots(2, 4, figsize=(WIDTH, 4.3))
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
        f"is {build_model(c).conditioning(_example(c)).shape[1]} numbers, a vector, here as grey "
        "values, that are added in every block. Lines and profiles are drawn beside the noisy "
        "image, where the network sees at which pixel they cross. The other four are told only "
        "that there are two axes: they add a number for each column, from x, and one for each row, "
        "from y; take the product of two vectors; hide x or y in some training steps; or replace "
        "half of the training images by stripes, of whose label one coordinate counts."
    )


def _example(c: Configuration) -> Labels:
    """A request off the middle, on the grid."""
    return torch.tensor([[c.N * 5 // 8, c.N // 4]], dtype=torch.float32)


@drawn
def accuracy_by_bias(records: list[Record], classified: pd.DataFrame) -> Drawn:
    """Draw what each network draws of what was left out: a row for each bias, a column for each
    gap, whose trained combinations are shown above. They are of `gaps.load_gaps`.
    """
    scores = score_biases(classified)
    examples = {r.configuration.held_out: r.configuration for r in records}
    gaps = {gap: name for gap, name in EVERY_GAP.items() if gap in examples}
    rows = _order_biases(scores)
    shape, size = (2, len(gaps)), (WIDTH, 1.5 + 0.26 * len(rows))
    heights = {"height_ratios": [0.8, 0.26 * len(rows)]}
    figure, axes = plt.subplots(*shape, figsize=size, sharey="row", gridspec_kw=heights)
    for gap, (above, ax) in zip(gaps, axes.T, strict=True):
        above.imshow(is_trained(examples[gap]), cmap="gray", vmin=-0.4, vmax=1)
        hide_ticks(above)
        name = textwrap.fill(gaps[gap], 8, break_long_words=False)
        if len(name) > 8 and "\n" not in name:  # above its neighbours' last lines
            above.set_title(f"{name}\n", loc="right")
        else:
            above.set_title(name)
        of_gap = scores.xs(gap, level="held_out")
        for y, bias in enumerate(rows):
            of_bias = of_gap[of_gap.index.get_level_values("bias") == bias]
            trained = np.full(len(of_bias), y - 0.2)
            ax.plot(of_bias["trained"], trained, color=FOUND, **TICK)
            beside = y + 0.15 + np.linspace(-0.15, 0.15, len(of_bias))  # equal dots are seen
            ax.plot(of_bias["core"], beside, "o", color=REQUESTED, ms=3.5, alpha=0.7, mew=0)
        ax.set(xlim=(-0.08, 1.08), xticks=[0, 1], ylim=(len(rows) - 0.4, -0.6))
    axes[1, 0].set_yticks(range(len(rows)), rows)
    for label, name in zip(axes[1, 0].get_yticklabels(), rows, strict=True):
        label.set(weight="bold" if name in GROUPS else "normal")
    figure.supxlabel("share of right images")
    styles = {
        "trained": {"color": FOUND, **TICK},
        "never trained": {"color": REQUESTED, "marker": "o", "ls": ""},
    }
    legend_above(figure, styles, ncols=2)
    means = scores["core"].groupby(["bias", "held_out"], sort=False).mean()
    shares = (f"{bias}, {gaps[gap]} {share:.2f}" for (bias, gap), share in means.items())
    return figure, f"Right images of what was left out, by bias and gap: {'; '.join(shares)}."


def _order_biases(scores: pd.DataFrame) -> list[str]:
    """`GROUPS`, each before its biases, of which the best on average is first."""
    told = scores.reset_index().groupby("bias", sort=False)["told"].first()
    best_first = scores["core"].groupby("bias").mean().sort_values(ascending=False).index
    order = []
    for group in GROUPS:
        biases = [bias for bias in best_first if f"told {told[bias]}".startswith(group)]
        order += [group, *biases] if biases else []
    return order


def describe_accuracy(classified: pd.DataFrame) -> Markdown:
    """Say what to see in `accuracy_by_bias`, and which networks learn little at all."""
    trained = score_biases(classified)["trained"].groupby("bias", sort=False).mean()
    weak = [f"“{bias}” ({share:.0%})" for bias, share in trained.items() if share < DRAWS]
    text = (
        "Each mark is one network: the share right of what was never trained (orange), at least "
        "two pixels from what was, and of trained combinations (blue). Above each column, white is "
        "trained and dark is left out; scattered ones, each seed draws anew. Where there is no "
        "mark, no network has been trained. The best of each group is first."
    )
    if weak:
        text += f" Of what they are trained on, few are right with {' and '.join(weak)}."
    return Markdown(text)
