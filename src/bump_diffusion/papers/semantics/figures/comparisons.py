"""Figures and tables that several chapters share: phases and learning times by a setting."""

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_time
from bump_diffusion.analysis.phases import (
    MANIFOLD,
    ORDER,
    PHASES,
    PLACED,
    SINGLE,
    THRESHOLDS,
    checkpoints_with_order,
    in_order,
    phases_over_training,
)
from bump_diffusion.analysis.settings import by_setting
from bump_diffusion.data.tasks import task_of
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    band,
    curve,
    images_axis,
    thousands,
)
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.words import short, with_range
from bump_diffusion.papers.semantics.figures.order import _trained_checkpoints
from bump_diffusion.papers.semantics.palette import PHASE_COLOURS
from bump_diffusion.runs.record import Record


def times(records: list[Record], by: str) -> pd.DataFrame:
    """When each order parameter passes its threshold, in images seen, by a field of the runs.

    Means over seeds with their range, in thousands; a run in which one never does is counted apart.
    """
    passed = {
        "one bump": ("single", SINGLE),
        "at the right place": ("placed", PLACED),
        "half of all correct": ("accuracy", 0.5),
        "manifold": ("manifold", MANIFOLD),
        "order": ("order", ORDER),
    }
    rows = []
    for value, own in by_setting(records, by).items():
        tables = [checkpoints_with_order(record) for record in own]
        row = {by: value}
        for name, (measure, least) in passed.items():
            row[name] = with_range((learning_time(t, measure, least) / 1000 for t in tables), "k")
        rows.append(row)
    return pd.DataFrame(rows)


def passed(records: list[Record], by: str) -> pd.DataFrame:
    """How many runs show A, B and C, first in this order, and B at all, by a field of the runs."""
    rows = []
    for value, own in by_setting(records, by).items():
        row = {by: value, "runs": len(own)}
        runs = [phases_over_training(record) for record in own]
        for side in ("generation", "representation"):
            row[f"{side}: A, B, C"] = sum(in_order(phases[side]) for phases in runs)
            row[f"{side}: B"] = sum((phases[side] == "B").any() for phases in runs)
        rows.append(row)
    return pd.DataFrame(rows)


FIELD_NAMES = {
    "d_x": "spacing d (pixels)",
    "sigma": r"spread $\sigma$ (pixels)",
    "conditioning": "conditioning",
    "N": "image size N (pixels)",
    "warmup": "warm-up (steps)",
    "setting": "setting",
}
"""What a field that is on an axis is called there."""


@drawn
def learning_by_setting(records: list[Record], field: str) -> tuple[Figure, str]:
    """Accuracy and order, label ablated, over training, a line for each value of the field.

    Below the order of the untrained network on the same images, the control.
    """
    groups = by_setting(records, field)
    colours = dict(zip(groups, sns.color_palette("viridis", len(groups)), strict=True))
    panels = {
        "accuracy (share of images)": ("accuracy", "ablated"),
        r"order ($R^2$)": ("order", "ablated"),
        r"control: untrained ($R^2$)": ("order", "untrained, ablated"),
    }
    figure, axes = plt.subplots(3, 1, figsize=(WIDTH, 6.6), sharex=True)
    for ax in axes:
        images_axis(ax.xaxis, frame(records))
    ends = {value: [] for value in groups}
    tables = {
        (value, features): _trained_checkpoints(own, features)
        for value, own in groups.items()
        for features in ("ablated", "untrained, ablated")
    }
    for ax, (title, (measure, features)) in zip(axes, panels.items(), strict=True):
        for value in groups:
            table = tables[value, features]
            curve(ax, table, measure, color=colours[value])
            last = table.loc[table["step"] == table["step"].max(), measure].mean()
            ends[value].append(f"{last:.2f}")
        ax.set(ylabel=title, xlabel="", ylim=(-0.02 if measure == "accuracy" else -0.4, 1.02))
    for ax in axes[1:]:
        ax.axhline(ORDER, color="#555555", lw=0.8)
    handles = [Line2D([], [], color=colour, label=value) for value, colour in colours.items()]
    figure.legend(
        handles=handles, title=FIELD_NAMES[field], loc="outside upper center", ncols=len(handles)
    )
    figure.supxlabel(f"{IMAGES_SEEN}; {band(frame(records))}", fontsize=8)
    said = "; ".join(f"{value}: {', '.join(own)}" for value, own in ends.items())
    return figure, f"{field} and, at the end, accuracy, order, and order of the control: {said}."


SYMBOLS = {"d_x": "d", "sigma": "σ"}
"""What a field is called in a sentence."""


def learning_in_words(records: list[Record], field: str) -> Markdown:
    """By how much the images to half of all correct differ between data sets, and within one.

    `field` is that in which the data sets differ; where they differ in size too, the same is said
    in epochs.
    """
    symbol = SYMBOLS[field]
    means, within, sizes, never = {}, [], {}, []
    for value, own in by_setting(records, field).items():
        times = [learning_time(r.checkpoints, "accuracy", 0.5) for r in own]
        if np.isnan(times).any():
            never.append(f"{np.isnan(times).sum()} of {len(own)} at {symbol} = {value}")
            continue
        means[value] = np.mean(times)
        within.append(max(times) / min(times))
        sizes[value] = len(task_of(own[0].configuration).labels())
    lacking = f" Left out: runs never get there ({', '.join(never)})." if never else ""
    if not means:
        return Markdown(f"At no {symbol} do all runs place half of their images right.{lacking}")
    by_time = sorted(means, key=means.get)
    fastest, slowest = by_time[0], by_time[-1]
    text = (
        "Images to half of all correct, means over seeds, lie between "
        f"{thousands(means[fastest])} ({symbol} = {fastest}) and {thousands(means[slowest])} "
        f"({symbol} = {slowest}), a factor of {means[slowest] / means[fastest]:.1f}"
    )
    if len(means) > 2:
        without = {
            left_out: means[rest[-1]] / means[rest[0]]
            for left_out, rest in ((fastest, by_time[1:]), (slowest, by_time[:-1]))
        }
        left_out = min(without, key=without.get)
        text += f" ({without[left_out]:.1f} without {symbol} = {left_out})"
    text += f"; between the seeds of one {symbol} by factors of up to {max(within):.1f}."
    if max(sizes.values()) > min(sizes.values()):
        epochs = {value: means[value] / sizes[value] for value in means}
        few, many = min(epochs, key=epochs.get), max(epochs, key=epochs.get)
        text += (
            f" In epochs these are {short(epochs[few])} ({symbol} = {few}) to "
            f"{short(epochs[many])} ({symbol} = {many}), a factor of "
            f"{short(epochs[many] / epochs[few])}, where the data sets differ in size by one of "
            f"{short(max(sizes.values()) / min(sizes.values()))}."
        )
    return Markdown(text + lacking)


@drawn
def phase_diagram(records: list[Record], field: str, by: str = "images") -> tuple[Figure, str]:
    """The phase from each side over training (along x) and a field of the runs (along y).

    A cell is the median phase of the seeds, paler where they differ; lines are the boundaries of
    `boundaries`. `by` is "images" (equal training steps) or "epochs" (images over those in the data
    set).
    """
    groups = by_setting(records, field)
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 2.2 + 0.5 * len(groups)), sharex=True)
    colours = np.array([mpl.colors.to_rgb(PHASE_COLOURS[p]) for p in PHASES])
    said = []
    for ax, side in zip(axes, ("generation", "representation"), strict=True):
        for height, (value, own) in enumerate(groups.items()):
            votes = _votes(own, side)
            median = _median_phase(votes)
            share = votes.to_numpy()[range(len(votes)), median] / len(own)
            c = own[0].configuration
            unit = c.batch_size if by == "images" else c.batch_size / len(task_of(c).labels())
            edges = _edges(votes) * unit
            shade = 1 - (1 - colours[median]) * (0.2 + 0.8 * share[:, None])
            ax.pcolormesh(edges, [height - 0.5, height + 0.5], shade[None])
            for phase in (0, 2):
                at = _boundary_step(votes, phase) * unit
                ax.plot([at, at], [height - 0.5, height + 0.5], color="black", lw=1.2)
            passed = "".join(PHASES[m] for i, m in enumerate(median) if not i or m != median[i - 1])
            said.append(f"{field} {value} {side} {passed}")
        ax.set_yticks(range(len(groups)), list(groups))
        ax.set(title=side, xscale="log")
        ax.grid(False)
        if by == "images":
            images_axis(ax.xaxis, frame(records))
        else:
            ax.xaxis.set_major_formatter("{x:g}")
    figure.supylabel(FIELD_NAMES[field], fontsize=9)
    axes[-1].set_xlabel(IMAGES_SEEN if by == "images" else "epochs (images seen / data set)")
    handles = [Patch(color=PHASE_COLOURS[p], label=f"phase {p}") for p in PHASES]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    seeds = len({r.configuration.seed for r in records})
    median = f"median phase of {seeds} seeds, paler where they differ"
    figure.supxlabel(
        f"{'one seed' if seeds == 1 else median}; lines: A ends, C begins;\n"
        "white: before the first checkpoint, or after the last",
        fontsize=8,
    )
    return figure, f"Phases over training: {'; '.join(said)}."


def _votes(records: list[Record], side: str, **thresholds: float) -> pd.DataFrame:
    """How many runs are in each phase at each trained checkpoint; columns 0, 1, 2 are A, B, C."""
    phases = pd.concat([phases_over_training(r, **thresholds)[side] for r in records], axis=1)
    return pd.DataFrame({i: (phases == p).sum(axis=1) for i, p in enumerate(PHASES)})


def _median_phase(votes: pd.DataFrame) -> np.ndarray:
    """The phase that most seeds have reached, at each checkpoint: 0, 1 or 2 for A, B or C.

    Phases have an order, so where three seeds are in three of them it is B that most have reached.
    """
    most = votes.sum(axis=1) / 2
    return ((votes[1] + votes[2] > most).astype(int) + (votes[2] > most)).to_numpy()


def _edges(votes: pd.DataFrame) -> np.ndarray:
    """Steps between which each checkpoint is shown, half way to its neighbours in the logarithm."""
    steps = votes.index.to_numpy()
    return np.concatenate([[steps[0]], np.sqrt(steps[1:] * steps[:-1]), [steps[-1]]])


def _boundary_step(votes: pd.DataFrame, phase: int) -> float:
    """The edge at which most seeds have left A (phase 0) or are in C (phase 2); NaN if never."""
    there = _median_phase(votes) > (0 if phase == 0 else 1)
    return float(_edges(votes)[there.argmax()]) if there.any() else math.nan


@drawn
def boundaries(records: list[Record], field: str) -> tuple[Figure, str]:
    """Where phase A ends, and C begins, with a bar over what moving a threshold by a fifth makes
    of it.

    A boundary lies half way, in the logarithm, between the checkpoints on its sides.
    """
    groups = by_setting(records, field)
    figure, axes = plt.subplots(
        1, 2, figsize=(WIDTH, 1.9 + 0.38 * len(groups)), sharey=True, sharex=True
    )
    factors, vanished = [], 0
    for ax, (side, names) in zip(axes, THRESHOLDS.items(), strict=True):
        first, _ = names
        for bound, phase, colour, above in (
            ("A ends", 0, "#E69F00", -0.13),
            ("C begins", 2, "#009E73", 0.13),
        ):
            base = np.array(_boundary(groups, side, phase, {}))
            # The end of A hangs on the first threshold alone.
            moved = np.array(
                [
                    _boundary(groups, side, phase, {name: names[name] * factor})
                    for name in ([first] if phase == 0 else names)
                    for factor in (0.8, 1.2)
                ]
            )
            places = np.arange(len(groups)) + above
            known = ~np.isnan([base, *moved]).all(axis=0)
            low, high = (f([base, *moved], axis=0)[known] for f in (np.fmin.reduce, np.fmax.reduce))
            ax.hlines(places[known], low, high, color=colour, lw=2, clip_on=False)
            ax.plot(base, places, "o", color=colour, label=bound, markersize=5, clip_on=False)
            both = ~np.isnan(moved) & ~np.isnan(base)
            factors += np.exp(np.abs(np.log(moved / base)))[both].tolist()
            vanished += int((np.isnan(moved) != np.isnan(base)).sum())
        ax.set(title=side, xlabel=IMAGES_SEEN, ylim=(-0.5, len(groups) - 0.5))
        images_axis(ax.xaxis, frame(records))
    axes[0].set_yticks(range(len(groups)), list(groups))
    axes[0].set_ylabel(FIELD_NAMES[field])
    handles = axes[0].get_legend_handles_labels()[0]
    handles.append(Line2D([], [], color="#555555", lw=2, label="one threshold moved by 20 %"))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    figure.supxlabel(
        "no dot: most seeds never get there with the thresholds as they are", fontsize=8
    )
    most, half = (max(factors), np.median(factors)) if factors else (1, 1)
    return figure, (
        "Where most seeds have left A and where most are in C, with each threshold moved by 20 % "
        f"in turn: the farthest boundary moves by a factor of {most:.2f} in images seen, half of "
        f"them by at most {half:.2f}; {vanished} vanish or appear."
    )


def _boundary(
    groups: dict[str, list[Record]], side: str, phase: int, thresholds: dict[str, float]
) -> list[float]:
    """Images at which most seeds have left A (phase 0) or are in C (phase 2), by setting; NaN if
    never.
    """
    return [
        _boundary_step(_votes(own, side, **thresholds), phase) * own[0].configuration.batch_size
        for own in groups.values()
    ]
