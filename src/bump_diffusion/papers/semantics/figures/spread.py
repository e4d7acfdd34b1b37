"""The chapter *Spread*: the finder by spread, and what spread and spacing explain."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.patches import Rectangle

from bump_diffusion.analysis.boundaries import median_phases
from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.intervals import estimate
from bump_diffusion.analysis.learning import (
    ONE_CURVE,
    explain_by_overlap,
    explain_on_grid,
    overlap_times,
)
from bump_diffusion.data.bumps import bump_height, render_bumps
from bump_diffusion.metrics.outcomes import OUTCOMES, classify_images
from bump_diffusion.metrics.sampling import evaluation_labels
from bump_diffusion.page.axes import IMAGES_SEEN, cell_axes, images_axis, legend_above, panels
from bump_diffusion.page.colours import GROUND, INK, QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.papers.semantics.figures.claims import describe_interval
from bump_diffusion.papers.semantics.figures.comparisons import FIELD_NAMES
from bump_diffusion.papers.semantics.palette import ON_PHASE, PHASE_COLOURS, phase_legend
from bump_diffusion.papers.semantics.quantities import SHARE
from bump_diffusion.runs.record import Record
from bump_diffusion.seeds import generator

MILESTONES = {
    "accuracy": "half of all correct",
    "order": "order (C begins, representation)",
    "single": "one bump (A ends, generation)",
    "manifold": "manifold (A ends, representation)",
}
"""What a time is taken to; `single` and `manifold` were added when all but the runs in which spread
and spacing both differ from 1 had been judged by the others."""


def tabulate_finder(records: list[Record]) -> pd.DataFrame:
    """Tabulate how the metrics sort true bumps up to half a pixel, in x and in y, from the request.

    All are within the tolerance; what is not "correct" is the bump finder's doing.
    """
    rows = []
    for c in {r.configuration.sigma: r.configuration for r in records}.values():
        labels = evaluation_labels(c)
        displaced = labels + torch.rand(labels.shape, generator=generator("cpu", "displaced")) - 0.5
        heights = bump_height(render_bumps(displaced, c.N, c.sigma))
        metrics = classify_images(heights, labels, c.sigma).metrics()
        shares = {outcome: f"{metrics[outcome]:.1%}" for outcome in OUTCOMES}
        rows.append({"spread (pixels)": f"{c.sigma:g}", **shares})
    return pd.DataFrame(rows)


@drawn
def phases_at_the_end(records: list[Record]) -> Drawn:
    """Draw, over spacing and spread, the median phase of the seeds at the end, from each side.

    Below it the mean over seeds of what the phase rests on in the end: the share of images that are
    correct, and R^2 of the requested position. Combinations without records stay blank.
    """
    last = frame(records).groupby("record", sort=False).tail(1)
    spacings, spreads = (sorted(last[field].unique()) for field in ("d_x", "sigma"))
    measures = {"generation": "{correct:.2f}", "representation": "{order:.2f}"}
    phases: list[str] = []
    figure, axes = panels(measures, WIDTH * 0.55)
    for ax, (side, measure) in zip(axes, measures.items(), strict=True):
        for (spacing, spread), part in last.groupby(["d_x", "sigma"], sort=False):
            phase = median_phases(part, side)["phase"].item()
            corner = np.array([spacings.index(spacing), spreads.index(spread)])
            ax.add_patch(Rectangle(corner, 1, 1, fc=PHASE_COLOURS[phase], ec=GROUND))
            text = f"{phase}\n{measure.format(**part[['correct', 'order']].mean())}"
            ax.annotate(text, corner + 0.5, ha="center", va="center", color=ON_PHASE[phase])
            phases.append(phase)
        cell_axes(ax, spacings, spreads)
    axes[0].set_ylabel(FIELD_NAMES["sigma"])
    figure.supxlabel(FIELD_NAMES["d_x"])
    phase_legend(figure)
    return figure, (
        "Phase at the end of training over spacing and spread, with the share of correct images "
        f"and R squared of the requested position; {phases.count('C')} of {len(phases)} are C."
    )


@drawn
def learning_by_overlap(records: list[Record]) -> Drawn:
    """Draw the images to each of `MILESTONES` against sigma / d and sigma, by what was varied.

    A cross is a run that never reaches it, placed at its end.
    """
    styles = {  # by whether spacing and spread differ from 1
        (True, False): ("spacing d varied", {"color": "C0", "marker": "o", "ls": ""}),
        (False, True): (r"spread $\sigma$ varied", {"color": "C1", "marker": "s", "ls": ""}),
        (True, True): ("both varied", {"color": "C2", "marker": "^", "ls": ""}),
        (False, False): ("neither varied", {"color": INK, "marker": "D", "ls": ""}),
    }
    against = {"overlap": r"$\sigma$ / d", "sigma": r"$\sigma$ (pixels)"}
    checkpoints = frame(records)
    tables = {measure: overlap_times(checkpoints, measure) for measure in MILESTONES}
    figure, axes = plt.subplots(len(tables), 2, figsize=(WIDTH, 9.5), sharex="col", sharey=True)
    for row, (measure, table) in zip(axes, tables.items(), strict=True):
        for run in table.to_dict("records"):
            _, style = styles[run["d"] != 1, run["sigma"] != 1]
            style = style | {"marker": "x"} if run["never"] else style
            for ax, x in zip(row, against, strict=True):
                ax.plot(run[x], run["time"], **style, markersize=5, alpha=0.7, clip_on=False)
        row[0].set_title(MILESTONES[measure], loc="left")
        images_axis(row[0].yaxis, checkpoints)
    for ax, (x, label) in zip(axes[-1], against.items(), strict=True):
        ticks = sorted(table[x].unique())
        ax.set(xscale="log", xlabel=label)
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.xaxis.set_minor_formatter("")
    figure.supylabel(IMAGES_SEEN)
    varied = set(zip(table["d"] != 1, table["sigma"] != 1, strict=True))
    shown = dict(style for which, style in styles.items() if which in varied)
    legend_above(figure, shown | {"never": {"marker": "x", "ls": "", "color": QUIET}}, ncols=3)
    never = sum(table["never"].sum() for table in tables.values())
    return figure, (
        f"Images seen by {len(records)} runs to {len(tables)} milestones against sigma over d and "
        f"against sigma; {never} are never reached."
    )


def tabulate_overlap(records: list[Record]) -> pd.DataFrame:
    """Tabulate whether learning times lie on one curve of sigma / d, by `learning.ONE_CURVE`."""
    rows, table = [], frame(records)
    for measure, title in MILESTONES.items():
        found = explain_by_overlap(table, measure)
        mean, low, high = estimate(found.explained, "mean", SHARE)
        # What the noise does not allow cannot speak against one curve.
        attainable = min(ONE_CURVE, found.noise_ceiling)
        decided = {np.isnan(mean): "undefined", low > ONE_CURVE: "yes", high < attainable: "no"}
        rows.append(
            {
                "images to": title,
                "explained by sigma / d (95 % interval)": describe_interval(mean, low, high),
                "by chance": describe_interval(found.chance),
                "if noise were all else": describe_interval(found.noise_ceiling),
                "runs that never get there": f"{found.never} of {found.runs}",
                f"one curve (above {ONE_CURVE:g})": decided.get(True, "undecided"),
            }
        )
    return pd.DataFrame(rows)


def tabulate_grid(records: list[Record]) -> pd.DataFrame:
    """Tabulate what spread, spacing and their ratio each explain (`explain_on_grid`)."""
    table = frame(records)
    explained = [explain_on_grid(table, measure) for measure in MILESTONES]
    columns = {
        f"explained by {name} (95 % interval)": [
            describe_interval(*estimate(shares[by], "mean", SHARE)) for shares in explained
        ]
        for by, name in {"sigma": "spread σ", "d": "spacing d", "overlap": "σ / d"}.items()
    }
    return pd.DataFrame({"images to": MILESTONES.values(), **columns})
