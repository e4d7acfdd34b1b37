"""Figures and tables that several chapters share: phases and learning times by a setting."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bump_diffusion.analysis.boundaries import boundary, log_edges, median_phases
from bump_diffusion.analysis.frame import frame, split
from bump_diffusion.analysis.learning import learning_times
from bump_diffusion.analysis.phases import (
    ORDER,
    THRESHOLDS,
    first_phases,
    moved_thresholds,
    pass_in_order,
)
from bump_diffusion.data.tasks import task_of
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    curve,
    images_axis,
    legend_above,
    means_at_end,
    panels,
    panels_over_training,
    thousands,
)
from bump_diffusion.page.colours import INK, QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.words import short, with_range
from bump_diffusion.papers.semantics.palette import (
    PHASE_COLOURS,
    phase_legend,
    scheme_colours,
    setting_colours,
)
from bump_diffusion.runs.record import Record

FIELD_NAMES = {
    "d_x": "spacing d (pixels)",
    "sigma": r"spread $\sigma$ (pixels)",
    "conditioning": "conditioning",
    "N": "image size N (pixels)",
    "warmup": "warm-up (steps)",
    "setting": "setting",
}
"""What a field that is on an axis is called there."""

SYMBOLS = {"d_x": "d", "sigma": "σ"}
"""What a field is called in a sentence."""


def tabulate_learning_times(records: list[Record], by: str) -> pd.DataFrame:
    """Tabulate when each order parameter passes its threshold, by a field of the runs.

    In thousands of images seen, means over seeds with their range; a run in which it never does is
    counted apart.
    """
    levels = {**THRESHOLDS["generation"], "accuracy": 0.5, **THRESHOLDS["representation"]}
    titles = ("one bump", "at the right place", "half of all correct", "manifold", "order")
    rows = []
    for value, runs in split(frame(records), by).items():
        times = (learning_times(runs, measure, level) for measure, level in levels.items())
        ranges = (with_range(images / 1000, "k") for images in times)
        rows.append({by: value, **dict(zip(titles, ranges, strict=True))})
    return pd.DataFrame(rows)


def count_phases(records: list[Record], by: str) -> pd.DataFrame:
    """Count the runs that show A, B and C, first in this order, and B at all, by a field."""
    rows = []
    for value, runs in split(frame(records), by).items():
        row = {by: value, "runs": runs["record"].nunique()}
        for side in THRESHOLDS:
            first = first_phases(runs, side)
            row[f"{side}: A, B, C"] = pass_in_order(first).sum()
            row[f"{side}: B"] = first["B"].notna().sum()
        rows.append(row)
    return pd.DataFrame(rows)


@drawn
def learning_by_setting(records: list[Record], field: str) -> Drawn:
    """Draw accuracy and order, label ablated, over training, a line for each value of the field.

    Below, the order of the untrained network on the same images: the control.
    """
    table = frame(records).query("step > 0")
    groups = split(table, field)
    colours = (scheme_colours if field == "conditioning" else setting_colours)(groups)
    labels = {
        "accuracy": "accuracy (share of images)",
        "order": r"order ($R^2$)",
        "order_untrained": r"control: untrained ($R^2$)",
    }
    figure, axes = panels_over_training(table, rows=3, height=6.6)
    for (ax,), (measure, label) in zip(axes, labels.items(), strict=True):
        for value, runs in groups.items():
            curve(ax, runs, measure, color=colours[value])
        ax.set(ylabel=label, ylim=(-0.02 if measure == "accuracy" else -0.4, 1.02))
        if measure != "accuracy":
            ax.axhline(ORDER, color=QUIET, lw=0.8)
    styles = {value: {"color": colour} for value, colour in colours.items()}
    legend_above(figure, styles, title=FIELD_NAMES[field], ncols=len(styles))
    ends = "; ".join(
        f"{value}: {means_at_end(runs, {'accuracy': 'accuracy', 'order': 'order'})}"
        for value, runs in groups.items()
    )
    return figure, f"Accuracy and order against images seen, by {field}. At the end, {ends}."


def describe_learning(records: list[Record], field: str) -> Markdown:
    """Say by how much the images to half of all correct differ between data sets, and within one.

    `field` is that in which the data sets differ; where they differ in size too, the same is said
    in epochs.
    """
    symbol, table = SYMBOLS[field], _with_epochs(records)
    runs = table.drop_duplicates("record").set_index("record")
    times = learning_times(table, "accuracy", 0.5).groupby(runs[field])
    lacking = [
        f"{own.isna().sum()} of {len(own)} at {symbol} = {value:g}"
        for value, own in times
        if own.isna().any()
    ]
    lacking = f" Left out: runs never get there ({', '.join(lacking)})." if lacking else ""
    groups = times.agg(["mean", "min", "max"]).join(runs.groupby(field)["data_set"].first())
    groups = groups[times.count() == times.size()].sort_values("mean")
    if groups.empty:
        return Markdown(f"At no {symbol} do all runs place half of their images right.{lacking}")
    names = [f"{symbol} = {value:g}" for value in groups.index]
    mean, images = groups["mean"].to_numpy(), groups["data_set"].to_numpy()
    text = (
        f"Images to half of all correct, means over seeds, lie between {thousands(mean[0])} "
        f"({names[0]}) and {thousands(mean[-1])} ({names[-1]}), a factor of "
        f"{mean[-1] / mean[0]:.1f}"
    )
    if len(groups) > 2:
        factor, name = min((mean[-1] / mean[1], names[0]), (mean[-2] / mean[0], names[-1]))
        text += f" ({factor:.1f} without {name})"
    within = (groups["max"] / groups["min"]).max()
    text += f"; between the seeds of one {symbol} by factors of up to {within:.1f}."
    if images.max() > images.min():
        epochs = mean / images
        few, many = epochs.argmin(), epochs.argmax()
        text += (
            f" In epochs these are {short(epochs[few])} ({names[few]}) to "
            f"{short(epochs[many])} ({names[many]}), a factor of "
            f"{short(epochs[many] / epochs[few])}, where the data sets differ in size by one of "
            f"{short(images.max() / images.min())}."
        )
    return Markdown(text + lacking)


def _with_epochs(records: list[Record]) -> pd.DataFrame:
    """The trained checkpoints, with the images in the `data_set`, and the `epochs` seen of it."""
    table = frame(records).query("step > 0")
    sizes = table["record"].map({r.id: len(task_of(r.configuration).labels()) for r in records})
    return table.assign(data_set=sizes, epochs=table["images_seen"] / sizes)


@drawn
def phase_diagram(records: list[Record], field: str, over: str = "images_seen") -> Drawn:
    """Draw the phase from each side over training (along x) and a field of the runs (along y).

    A cell is the median phase of the seeds, fainter where they differ; lines are the boundaries of
    `boundaries`. `over` is "images_seen" (equal training steps) or "epochs" (images over those in
    the data set).
    """
    table = _with_epochs(records)
    groups = split(table, field)
    figure, bars = draw_phase_bars(groups, 2.2 + 0.5 * len(groups), 0.5, over)
    for ax, height, phases in bars:
        for phase in "BC":
            x = boundary(phases, phase)
            ax.plot([x, x], [height - 0.5, height + 0.5], color=INK, lw=1.2)
    figure.supylabel(FIELD_NAMES[field])
    seeds = table["seed"].nunique()
    median = f"median phase of {seeds} seeds, fainter where they differ"
    figure.supxlabel(
        f"{'one seed' if seeds == 1 else median}; lines: A ends, C begins;\n"
        "blank: before the first checkpoint, or after the last",
    )
    in_c = sum(phases["phase"].iloc[-1] == "C" for *_, phases in bars)
    return figure, (
        f"Median phase over training from each side, by {field}; {in_c} of {len(bars)} bars end in "
        "phase C."
    )


def draw_phase_bars(
    groups: dict[str, pd.DataFrame], height: float, half: float, over: str = "images_seen"
) -> tuple[Figure, list[tuple[Axes, int, pd.DataFrame]]]:
    """Draw a bar of phases over training for each group of runs, in a panel for each side.

    `height` is the figure's, in inches, `half` half of a bar's; phases are faint where runs differ.
    Also returns the panel, the position along y and the `median_phases` of each bar.
    """
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, height), sharex=True)
    bars = []
    for ax, side in zip(axes, THRESHOLDS, strict=True):
        for y, runs in enumerate(groups.values()):
            phases = median_phases(runs, side, over)
            shades = mpl.colors.to_rgba_array(
                [PHASE_COLOURS[phase] for phase in phases["phase"]], 0.2 + 0.8 * phases["share"]
            )
            ax.pcolormesh(
                log_edges(phases.index), [y - half, y + half], shades[None], rasterized=True
            )
            bars.append((ax, y, phases))
        ax.set_yticks(range(len(groups)), list(groups))
        ax.set(title=side, xscale="log")
        ax.grid(False)
        if over == "images_seen":
            images_axis(ax.xaxis, pd.concat(groups))
        else:
            ax.xaxis.set_major_formatter("{x:g}")
    axes[-1].set_xlabel(IMAGES_SEEN if over == "images_seen" else "epochs (images seen / data set)")
    phase_legend(figure)
    return figure, bars


@drawn
def boundaries(records: list[Record], field: str) -> Drawn:
    """Draw where phase A ends, and C begins, by a field of the runs.

    A bar spans what moving a threshold by a fifth makes of it.
    """
    table = frame(records).query("step > 0")
    groups = split(table, field)
    figure, axes = panels(THRESHOLDS, 1.9 + 0.38 * len(groups))
    colours, farthest = {"A ends": PHASE_COLOURS["A"], "C begins": PHASE_COLOURS["C"]}, 1.0
    for ax, side in zip(axes, THRESHOLDS, strict=True):
        by_change = [
            [median_phases(runs, side, **change) for runs in groups.values()]
            for change in ({}, *moved_thresholds(side).values())
        ]
        for phase, colour, offset in zip("BC", colours.values(), (-0.13, 0.13), strict=True):
            images = np.array([[boundary(phases, phase) for phases in row] for row in by_change])
            y, known = np.arange(len(groups)) + offset, ~np.isnan(images).all(axis=0)
            low, high = np.fmin.reduce(images)[known], np.fmax.reduce(images)[known]
            ax.hlines(y[known], low, high, color=colour, lw=2, clip_on=False)
            ax.plot(images[0], y, "o", color=colour, markersize=5, clip_on=False)
            ratios = images / images[0]
            farthest = np.fmax.reduce([ratios, 1 / ratios], axis=None, initial=farthest)
        ax.set(xlabel=IMAGES_SEEN, ylim=(-0.5, len(groups) - 0.5))
        images_axis(ax.xaxis, table)
    axes[0].set_yticks(range(len(groups)), list(groups))
    axes[0].set_ylabel(FIELD_NAMES[field])
    dots = {change: {"color": c, "marker": "o", "ms": 5, "ls": ""} for change, c in colours.items()}
    moved = {"one threshold moved by 20 %": {"color": QUIET, "lw": 2}}
    legend_above(figure, dots | moved, ncols=3)
    figure.supxlabel("no dot: most seeds never get there with the thresholds as they are")
    return figure, (
        "Images seen at which most seeds have left A, and at which most are in C. A threshold "
        f"moved by 20 % moves a boundary by a factor of at most {farthest:.2f}."
    )
