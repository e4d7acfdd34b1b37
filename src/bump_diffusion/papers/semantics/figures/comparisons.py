"""Figures and tables that several chapters share: phases and learning times by a setting."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bump_diffusion.analysis.boundaries import boundary, log_edges, median_phases
from bump_diffusion.analysis.frame import frame, split
from bump_diffusion.analysis.learning import learning_times
from bump_diffusion.analysis.phases import (
    MANIFOLD,
    ORDER,
    PLACED,
    SINGLE,
    THRESHOLDS,
    first_phases,
    moved_thresholds,
    pass_in_order,
)
from bump_diffusion.data.tasks import task_of
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    band,
    curve,
    images_axis,
    legend_above,
    panels_over_training,
    thousands,
)
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.words import short, with_range
from bump_diffusion.papers.semantics.palette import PHASE_COLOURS, phase_legend
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
    milestones = {
        "one bump": ("single", SINGLE),
        "at the right place": ("placed", PLACED),
        "half of all correct": ("accuracy", 0.5),
        "manifold": ("manifold", MANIFOLD),
        "order": ("order", ORDER),
    }
    return pd.DataFrame(
        {by: value}
        | {
            name: with_range(learning_times(runs, measure, level) / 1000, "k")
            for name, (measure, level) in milestones.items()
        }
        for value, runs in split(frame(records), by).items()
    )


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
def learning_by_setting(records: list[Record], field: str) -> tuple[Figure, str]:
    """Draw accuracy and order, label ablated, over training, a line for each value of the field.

    Below, the order of the untrained network on the same images: the control.
    """
    table = frame(records).query("step > 0")
    groups = split(table, field)
    colours = dict(zip(groups, sns.color_palette("viridis", len(groups)), strict=True))
    panels = {
        "accuracy": "accuracy (share of images)",
        "order": r"order ($R^2$)",
        "order_untrained": r"control: untrained ($R^2$)",
    }
    figure, axes = panels_over_training(table, rows=3, height=6.6)
    for (ax,), (measure, label) in zip(axes, panels.items(), strict=True):
        for value, runs in groups.items():
            curve(ax, runs, measure, color=colours[value])
        ax.set(ylabel=label, xlabel="", ylim=(-0.02 if measure == "accuracy" else -0.4, 1.02))
        if measure != "accuracy":
            ax.axhline(ORDER, color="#555555", lw=0.8)
    styles = {value: {"color": colour} for value, colour in colours.items()}
    legend_above(figure, styles, title=FIELD_NAMES[field], ncols=len(styles))
    figure.supxlabel(f"{IMAGES_SEEN}; {band(table)}", fontsize=8)
    means = table[table["step"] == table["step"].max()].groupby(field)[["accuracy", "order"]].mean()
    ends = ", ".join(
        f"{v}: {row['accuracy']:.0%}, {row['order']:.2f}" for v, row in means.iterrows()
    )
    return figure, (
        f"Accuracy, order and the control against images seen, by {field}. Accuracy and order at "
        f"the end, {ends}."
    )


def describe_learning(records: list[Record], field: str) -> Markdown:
    """Say by how much the images to half of all correct differ between data sets, and within one.

    `field` is that in which the data sets differ; where they differ in size too, the same is said
    in epochs.
    """
    symbol, table = SYMBOLS[field], _with_epochs(records)
    runs = table.drop_duplicates("record").set_index("record")
    runs["time"] = learning_times(table, "accuracy", 0.5)
    groups = runs.groupby(field).agg(
        mean=("time", "mean"),
        low=("time", "min"),
        high=("time", "max"),
        never=("time", lambda times: times.isna().sum()),
        runs=("time", "size"),
        images=("data_set", "first"),
    )
    never = [
        f"{g.never} of {g.runs} at {symbol} = {g.Index:g}" for g in groups.itertuples() if g.never
    ]
    lacking = f" Left out: runs never get there ({', '.join(never)})." if never else ""
    groups = groups[groups["never"] == 0].sort_values("mean")
    if groups.empty:
        return Markdown(f"At no {symbol} do all runs place half of their images right.{lacking}")
    names = [f"{symbol} = {value:g}" for value in groups.index]
    mean, images = groups["mean"].to_numpy(), groups["images"].to_numpy()
    text = (
        f"Images to half of all correct, means over seeds, lie between {thousands(mean[0])} "
        f"({names[0]}) and {thousands(mean[-1])} ({names[-1]}), a factor of "
        f"{mean[-1] / mean[0]:.1f}"
    )
    if len(groups) > 2:
        factor, name = min((mean[-1] / mean[1], names[0]), (mean[-2] / mean[0], names[-1]))
        text += f" ({factor:.1f} without {name})"
    within = (groups["high"] / groups["low"]).max()
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
def phase_diagram(
    records: list[Record], field: str, over: str = "images_seen"
) -> tuple[Figure, str]:
    """Draw the phase from each side over training (along x) and a field of the runs (along y).

    A cell is the median phase of the seeds, paler where they differ; lines are the boundaries of
    `boundaries`. `over` is "images_seen" (equal training steps) or "epochs" (images over those in
    the data set).
    """
    table = _with_epochs(records)
    groups = split(table, field)
    figure, bars = draw_phase_bars(groups, 2.2 + 0.5 * len(groups), 0.5, over)
    for ax, height, phases in bars:
        for phase in "BC":
            x = boundary(phases, phase)
            ax.plot([x, x], [height - 0.5, height + 0.5], color="black", lw=1.2)
    figure.supylabel(FIELD_NAMES[field], fontsize=9)
    seeds = table["seed"].nunique()
    median = f"median phase of {seeds} seeds, paler where they differ"
    figure.supxlabel(
        f"{'one seed' if seeds == 1 else median}; lines: A ends, C begins;\n"
        "white: before the first checkpoint, or after the last",
        fontsize=8,
    )
    ends = [phases["phase"].iloc[-1] for _, _, phases in bars]
    sides = zip(groups, ends, ends[len(groups) :], strict=False)
    return figure, (
        f"Median phase over training by {field}. At the end, from generation and from the "
        f"representation: {', '.join(f'{value} {one} and {other}' for value, one, other in sides)}."
    )


def draw_phase_bars(
    groups: dict[str, pd.DataFrame], height: float, half: float, over: str = "images_seen"
) -> tuple[Figure, list[tuple[Axes, int, pd.DataFrame]]]:
    """Draw a bar of phases over training for each group of runs, in a panel for each side.

    `height` is the figure's, in inches, `half` half of a bar's; phases are paler where runs differ.
    Also returns the panel, the position along y and the `median_phases` of each bar.
    """
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, height), sharex=True)
    bars = []
    for ax, side in zip(axes, THRESHOLDS, strict=True):
        for y, runs in enumerate(groups.values()):
            phases = median_phases(runs, side, over)
            colours = np.array([mpl.colors.to_rgb(PHASE_COLOURS[p]) for p in phases["phase"]])
            shades = 1 - (1 - colours) * (0.2 + 0.8 * phases["share"].to_numpy()[:, None])
            ax.pcolormesh(log_edges(phases.index), [y - half, y + half], shades[None])
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
def boundaries(records: list[Record], field: str) -> tuple[Figure, str]:
    """Draw where phase A ends, and C begins, by a field of the runs.

    A bar spans what moving a threshold by a fifth makes of it.
    """
    table = frame(records).query("step > 0")
    groups = split(table, field)
    figure, axes = plt.subplots(
        1, 2, figsize=(WIDTH, 1.9 + 0.38 * len(groups)), sharey=True, sharex=True
    )
    factors, vanished = [1.0], 0
    for ax, side in zip(axes, THRESHOLDS, strict=True):
        for label, phase, colour, offset in (
            ("A ends", "B", "#E69F00", -0.13),
            ("C begins", "C", "#009E73", 0.13),
        ):
            base, *moved = images = np.array(
                [
                    [
                        boundary(median_phases(runs, side, **change), phase)
                        for runs in groups.values()
                    ]
                    for change in ({}, *moved_thresholds(side).values())
                ]
            )
            heights = np.arange(len(groups)) + offset
            known = ~np.isnan(images).all(axis=0)
            low, high = np.fmin.reduce(images)[known], np.fmax.reduce(images)[known]
            ax.hlines(heights[known], low, high, color=colour, lw=2, clip_on=False)
            ax.plot(base, heights, "o", color=colour, label=label, markersize=5, clip_on=False)
            ratios = np.exp(np.abs(np.log(moved / base)))
            factors += ratios[~np.isnan(ratios)].tolist()
            vanished += int((np.isnan(moved) != np.isnan(base)).sum())
        ax.set(title=side, xlabel=IMAGES_SEEN, ylim=(-0.5, len(groups) - 0.5))
        images_axis(ax.xaxis, table)
    axes[0].set_yticks(range(len(groups)), list(groups))
    axes[0].set_ylabel(FIELD_NAMES[field])
    handles = axes[0].get_legend_handles_labels()[0]
    handles.append(Line2D([], [], color="#555555", lw=2, label="one threshold moved by 20 %"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    figure.supxlabel(
        "no dot: most seeds never get there with the thresholds as they are", fontsize=8
    )
    return figure, (
        "Images seen at which most seeds have left A and at which most are in C. With each "
        f"threshold moved by 20 % in turn, a boundary moves by a factor of at most "
        f"{max(factors):.2f}; {vanished} vanish or appear."
    )
