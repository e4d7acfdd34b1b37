"""The chapter *Watch it learn*: loss, samples and outcomes over training."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.sampling import choose_shown
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    band,
    curve,
    means_at_end,
    panels_over_training,
    show_pixels,
    spaced_indices,
    thousands,
)
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Lead
from bump_diffusion.papers.semantics.palette import OUTCOME_COLOURS, REQUESTED
from bump_diffusion.runs.record import Record

KINDS = {
    "none": "no bump",
    "several": "several bumps",
    "misplaced": "one bump at a wrong place",
    "correct": "one bump at the right place",
}

COLUMNS = 7
"""Checkpoints at which samples are shown."""


@drawn
def loss_curve(records: list[Record]) -> Drawn:
    """Draw the training loss: the mean of each stretch of steps, a line a seed."""
    figure, ax = plt.subplots()
    for record in records:
        losses = record.arrays["losses"]
        edges = np.unique([0, *np.geomspace(1, len(losses), 60).astype(int)])
        means = [losses[a:b].mean() for a, b in itertools.pairwise(edges)]
        ax.plot(edges[1:], means, label=f"seed {record.configuration.seed}", lw=1.2)
    ax.set(xscale="log", yscale="log", xlabel="training step", ylabel="noise prediction loss")
    ax.legend(ncols=2)
    first, last = records[0].arrays["losses"][0], records[0].checkpoints["loss"].iloc[-1]
    return figure, (
        f"Loss against training step, one line a seed; that of seed {records[0].configuration.seed}"
        f" falls from {first:.2f} to {last:.4f}."
    )


@drawn
def samples_over_training(record: Record) -> Drawn:
    """Show samples of one run for the same requests at several checkpoints, requests marked."""
    seen, correct = (record.checkpoints[name].to_numpy() for name in ("images_seen", "correct"))
    columns = spaced_indices(len(seen), COLUMNS)
    labels = record.arrays["labels"][choose_shown(len(record.arrays["labels"])).numpy()]
    rows = spaced_indices(len(labels), 6)
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(WIDTH, WIDTH * len(rows) / len(columns) + 0.5)
    )
    for ax, (row, column) in zip(axes.flat, itertools.product(rows, columns), strict=True):
        show_pixels(ax, record.arrays["images"][column, row], 0, 255)
        ax.plot(*labels[row], "+", color=REQUESTED, markersize=6)
    for ax, images in zip(axes[0], seen[columns], strict=True):
        ax.set_title(thousands(images))
    figure.supxlabel(f"{IMAGES_SEEN} (top); + the requested position")
    return figure, (
        f"Samples for {len(rows)} requested positions (rows) at {len(columns)} checkpoints "
        f"(columns) of one run; at the end {correct[-1]:.0%} of all its samples are one bump at "
        "the requested position."
    )


def describe_learning_run(record: Record) -> Lead:
    """Say in a sentence what a run looks like from its first to its last checkpoint."""
    run = record.checkpoints.query("step > 0")
    (begun, first), (ended, last) = (
        (run["images_seen"].iloc[i], run.iloc[i][list(OUTCOMES)].astype(float)) for i in (0, -1)
    )
    return Lead(
        f"After {begun:,} training images the largest share of what this network draws shows "
        f"{KINDS[first.idxmax()]}; after {ended:,}, {last.max():.0%} of its images show "
        f"{KINDS[last.idxmax()]}."
    )


def describe_samples(record: Record) -> Markdown:
    """Say what to see in `samples_over_training`."""
    run, N = record.checkpoints, record.configuration.N
    shown = run.iloc[spaced_indices(len(run), COLUMNS)]
    most = shown[list(OUTCOMES)].astype(float).idxmax(axis=1).map(KINDS)
    stretches = (most != most.shift()).cumsum()
    told = [
        f"{kind.iloc[0]} (from {thousands(shown.loc[kind.index[0], 'images_seen'])})"
        for _, kind in most.groupby(stretches)
    ]
    return Markdown(
        f"One network learns to draw images of {N} × {N} pixels. A row is one request: the cross "
        "marks where the bump should be. A column is a time in training, under the number of "
        "images that the network had seen by then, from the untrained network (left) to the end "
        "(right). To see is how noise gives way to grey patches, and these to one bump under the "
        "cross. Of all images drawn at these times, the largest share shows "
        f"{', then '.join(told)}; at the end "
        f"{run['correct'].iloc[-1]:.0%} are right."
    )


@drawn
def outcomes_over_training(records: list[Record]) -> Drawn:
    """Draw the share of each kind of image at each checkpoint."""
    table = frame(records).query("step > 0")
    long = table.melt(["record", "images_seen"], list(OUTCOMES), "kind", "share")
    figure, ((ax,),) = panels_over_training(table, caption=band(table))
    curve(ax, long, "share", hue="kind", style="kind", palette=OUTCOME_COLOURS)
    ax.set(xlabel=IMAGES_SEEN, ylabel="share of images", ylim=(-0.02, 1.02))
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.5, 1), ncols=4, title=None)
    ends = means_at_end(table, dict(zip(OUTCOMES, OUTCOMES, strict=True)))
    return figure, f"Shares of images of each kind against images seen. At the end, {ends}."


def describe_outcomes(record: Record) -> Markdown:
    """Say what to see in `outcomes_over_training` of one run."""
    run = record.checkpoints.query("step > 0")
    peak, end = run.loc[run["misplaced"].idxmax()], run.iloc[-1]
    return Markdown(
        "The same training in numbers: of all images drawn at a checkpoint, the share of each "
        f"kind. Single bumps at wrong places come and go: their share is highest, "
        f"{peak['misplaced']:.0%}, after {thousands(peak['images_seen'])} images, when "
        f"{peak['correct']:.0%} are right. At the end {end['misplaced']:.0%} are misplaced and "
        f"{end['correct']:.0%} right."
    )
