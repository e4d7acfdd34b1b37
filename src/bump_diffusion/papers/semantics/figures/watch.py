"""The chapter *Watch it learn*: loss, samples and outcomes over training."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.figure import Figure

from bump_diffusion.metrics.evaluation import shown
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    _few_checkpoints,
    _last,
    _over_training,
    _pixels,
    _tables,
    _thousands,
    band,
    curve,
)
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.papers.semantics.palette import OUTCOME_COLOURS
from bump_diffusion.runs.record import Record


@drawn
def loss_curve(records: list[Record]) -> tuple[Figure, str]:
    """The training loss: mean of each stretch of steps, one line a seed."""
    figure, ax = plt.subplots()
    for record in records:
        losses = record.arrays["losses"]
        edges = np.unique([0, *np.geomspace(1, len(losses), 60).astype(int)])
        means = [losses[a:b].mean() for a, b in itertools.pairwise(edges)]
        ax.plot(edges[1:], means, label=f"seed {record.configuration.seed}", lw=1.2)
    ax.set(xscale="log", yscale="log", xlabel="training step", ylabel="noise prediction loss")
    ax.legend(ncols=2)
    ends = ", ".join(
        f"{r.arrays['losses'][0]:.2f} to {r.checkpoints['loss'].iloc[-1]:.4f}" for r in records
    )
    return figure, f"Loss against training step, one line a seed: from {ends}."


@drawn
def samples_over_training(record: Record) -> tuple[Figure, str]:
    """Samples of one run for the same requests at several checkpoints, requests marked."""
    c = record.configuration
    columns = _few_checkpoints(record, 7)
    images = record.arrays["images"]
    labels = record.arrays["labels"][shown(len(record.arrays["labels"])).numpy()]
    rows = np.linspace(0, len(labels) - 1, 6).round().astype(int)
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(WIDTH, WIDTH * len(rows) / len(columns) + 0.5)
    )
    for line, row in zip(axes, rows, strict=True):
        for ax, column in zip(line, columns, strict=True):
            _pixels(ax, images[column, row], 0, 255)
            ax.plot(*labels[row], "+", color="#D55E00", markersize=6)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(_thousands(int(record.checkpoints["images_seen"].iloc[column])))
    figure.supxlabel(f"{IMAGES_SEEN} (top); + the requested position", fontsize=9)
    alt = (
        f"Samples for {len(rows)} requested positions (rows) at {len(columns)} checkpoints "
        f"(columns) of the run with seed {c.seed}; in the end "
        f"{record.checkpoints['correct'].iloc[-1]:.0%} of all its samples are one bump at the "
        "requested place."
    )
    return figure, alt


@drawn
def outcomes_over_training(records: list[Record]) -> tuple[Figure, str]:
    """The share of each kind of image at each checkpoint."""
    long = _tables(records, "checkpoints").query("step > 0")
    long = long.melt(["images_seen", "seed"], list(OUTCOMES), "kind", "share")
    figure, ax = plt.subplots()
    _over_training([ax], records)
    curve(
        ax,
        long,
        "share",
        hue="kind",
        style="kind",
        palette=OUTCOME_COLOURS,
    )
    ax.set(xlabel=IMAGES_SEEN, ylabel="share of images", ylim=(-0.02, 1.02))
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.5, 1), ncols=4, title=None)
    figure.supxlabel(band(records), fontsize=8)
    alt = (
        "Shares of images with no bump, several, one misplaced and one correct, against images "
        f"seen. At the end correct: {_last(records, 'correct')}, misplaced: "
        f"{_last(records, 'misplaced')}, several: {_last(records, 'several')}, none: "
        f"{_last(records, 'none')} (mean and range over {len(records)} seeds)."
    )
    return figure, alt
