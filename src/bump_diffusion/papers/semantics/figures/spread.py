"""The chapter *Spread*: the finder by spread, and what spread and spacing explain."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from bump_diffusion.analysis.boundaries import median_phases
from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.intervals import interval
from bump_diffusion.analysis.learning import (
    ONE_CURVE,
    explained_by_overlap,
    explained_on_grid,
    overlap_times,
)
from bump_diffusion.analysis.phases import checkpoints_with_order
from bump_diffusion.data.bumps import bump_height, render_bumps
from bump_diffusion.metrics.evaluation import evaluation_labels
from bump_diffusion.metrics.outcomes import OUTCOMES, classify_images
from bump_diffusion.page.axes import IMAGES_SEEN, images_axis
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.papers.semantics.claims import LIMITS
from bump_diffusion.papers.semantics.figures.claims import in_words
from bump_diffusion.papers.semantics.figures.comparisons import FIELD_NAMES
from bump_diffusion.papers.semantics.figures.imbalance import _by_pair
from bump_diffusion.papers.semantics.palette import PHASE_COLOURS, phase_legend
from bump_diffusion.runs.record import Record
from bump_diffusion.seeds import generator


def finder_by_spread(records: list[Record]) -> pd.DataFrame:
    """How the metrics sort true bumps up to half a pixel, in x and in y, from what is requested.

    All are within the tolerance; what is not "correct" is the bump finder's doing.
    """
    rows = []
    for c in {r.configuration.sigma: r.configuration for r in records}.values():
        labels = evaluation_labels(c)
        apart = torch.rand(labels.shape, generator=generator("cpu", "displaced")) - 0.5
        drawn = bump_height(render_bumps(labels + apart, c.N, c.sigma))
        metrics = classify_images(drawn, labels, c.sigma).metrics()
        shares = {kind: f"{metrics[kind]:.1%}" for kind in OUTCOMES}
        rows.append({"spread (pixels)": f"{c.sigma:g}", **shares})
    return pd.DataFrame(rows)


OVERLAP_MEASURES = {
    "accuracy": "half of all correct",
    "order": "order (C begins, representation)",
    "single": "one bump (A ends, generation)",
    "manifold": "manifold (A ends, representation)",
}
"""What a time is taken to; `single` and `manifold` were added when all but the runs in which spread
and spacing both differ from 1 had been judged by the others."""


@drawn
def phases_at_the_end(records: list[Record]) -> tuple[Figure, str]:
    """Over spacing and spread: the median phase of the seeds at the end, from each side.

    Below it the mean over seeds of what the phase hangs on in the end: the share of images that are
    correct, and R^2 of the requested position. Combinations without records stay blank.
    """
    groups = _by_pair(records, "d_x", "sigma")
    spacings, spreads = (sorted(set(values)) for values in zip(*groups, strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, WIDTH * 0.55), sharey=True)
    said = []
    for ax, (side, measure) in zip(
        axes, {"generation": "correct", "representation": "order"}.items(), strict=True
    ):
        for (spacing, spread), own in groups.items():
            phase = median_phases(frame(own).query("step > 0"), side)["phase"].iloc[-1]
            last = np.mean([checkpoints_with_order(r)[measure].iloc[-1] for r in own])
            far = f"{last:.0%}" if measure == "correct" else f"{last:.2f}"
            corner = (spacings.index(spacing), spreads.index(spread))
            ax.add_patch(Rectangle(corner, 1, 1, fc=PHASE_COLOURS[phase], ec="white"))
            middle = (corner[0] + 0.5, corner[1] + 0.5)
            ax.annotate(f"{phase}\n{far}", middle, ha="center", va="center", fontsize=7)
            said.append(f"{side} at d {spacing:g}, sigma {spread:g}: {phase}, {far}")
        ax.set_xticks(np.arange(len(spacings)) + 0.5, [f"{d:g}" for d in spacings])
        ax.set_yticks(np.arange(len(spreads)) + 0.5, [f"{sigma:g}" for sigma in spreads])
        ax.set(title=side, xlim=(0, len(spacings)), ylim=(0, len(spreads)), aspect="equal")
        ax.grid(False)
    axes[0].set_ylabel(FIELD_NAMES["sigma"])
    figure.supxlabel(FIELD_NAMES["d_x"], fontsize=9)
    phase_legend(figure)
    return figure, (
        "Phase at the end of training over spacing and spread, with the share of correct images "
        f"and the R^2 of the requested position. {'; '.join(said)}."
    )


@drawn
def learning_by_overlap(records: list[Record]) -> tuple[Figure, str]:
    """Images to each of `OVERLAP_MEASURES`, against sigma / d and sigma alone, by what was varied.

    A cross is a run that never gets there, placed at its end.
    """
    figure, axes = plt.subplots(
        len(OVERLAP_MEASURES), 2, figsize=(WIDTH, 9.5), sharex="col", sharey=True
    )
    styles = {  # by whether spacing and spread differ from 1
        (True, False): ("spacing d", "#D55E00", "o"),
        (False, True): (r"spread $\sigma$", "#0072B2", "s"),
        (True, True): ("both", "#009E73", "^"),
        (False, False): ("neither", "black", "D"),
    }
    against = {"overlap": r"$\sigma$ / d", "sigma": r"$\sigma$ (pixels)"}
    said = []
    for row, (measure, title) in zip(axes, OVERLAP_MEASURES.items(), strict=True):
        table = overlap_times(records, measure)
        for ax, x in zip(row, against, strict=True):
            for run in table.to_dict("records"):
                _, colour, marker = styles[run["d"] != 1, run["sigma"] != 1]
                shape = "x" if run["never"] else marker
                style = {"color": colour, "markersize": 5, "alpha": 0.7, "clip_on": False}
                ax.plot(run[x], run["time"], shape, **style)
        row[0].set_title(title, loc="left")
        images_axis(row[0].yaxis, frame(records))
        said.append(f"{title}: never in {table['never'].sum()} of {len(records)} runs")
    for ax, (x, label) in zip(axes[-1], against.items(), strict=True):
        ticks = sorted(table[x].unique())
        ax.set(xscale="log", xlabel=label)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.xaxis.set_minor_formatter("")
    figure.supylabel(IMAGES_SEEN, fontsize=9)
    varied = {(d != 1, sigma != 1) for d, sigma in zip(table["d"], table["sigma"], strict=True)}
    handles = [
        Line2D([], [], marker=marker, ls="", color=colour, label=f"{name} varied")
        for which, (name, colour, marker) in styles.items()
        if which in varied
    ]
    handles.append(Line2D([], [], marker="x", ls="", color="#555555", label="never"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure, (
        f"Images seen against sigma over d and against sigma, a point a run. {'; '.join(said)}."
    )


def overlap_table(records: list[Record]) -> pd.DataFrame:
    """Whether learning times lie on one curve of sigma / d, by the criterion `phases.ONE_CURVE`."""
    rows = []
    for measure, title in OVERLAP_MEASURES.items():
        found = explained_by_overlap(records, measure)
        mean, low, high = interval(found.explained, "mean", LIMITS["share"])
        # What the noise does not allow cannot speak against one curve.
        attainable = min(ONE_CURVE, found.noise_ceiling)
        decided = {np.isnan(mean): "undefined", low > ONE_CURVE: "yes", high < attainable: "no"}
        rows.append(
            {
                "images to": title,
                "explained by sigma / d (95 % interval)": in_words(mean, low, high),
                "by chance": in_words(found.chance, np.nan, np.nan),
                "if noise were all else": in_words(found.noise_ceiling, np.nan, np.nan),
                "runs that never get there": f"{found.never} of {found.runs}",
                f"one curve (above {ONE_CURVE:g})": decided.get(True, "undecided"),
            }
        )
    return pd.DataFrame(rows)


def grid_table(records: list[Record]) -> pd.DataFrame:
    """What spread, spacing and their ratio each explain of learning times (`explained_on_grid`)."""
    names = {"sigma": "spread σ", "d": "spacing d", "overlap": "σ / d"}
    rows = []
    for measure, title in OVERLAP_MEASURES.items():
        found = explained_on_grid(records, measure)
        rows.append(
            {"images to": title}
            | {
                f"explained by {name} (95 % interval)": in_words(
                    *interval(found[by].tolist(), "mean", LIMITS["share"])
                )
                for by, name in names.items()
            }
        )
    return pd.DataFrame(rows)
