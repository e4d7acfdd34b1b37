"""The chapter *Imbalanced data*: accuracy by axis, coupling, and the factorized baseline."""

import itertools
import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bump_diffusion.analysis.boundaries import boundary, median_phases
from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_time
from bump_diffusion.metrics.evaluation import evaluation_labels
from bump_diffusion.metrics.probes import MINIMUM_POINTS
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    band,
    curve,
    images_axis,
    panels_over_training,
    thousands,
)
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.words import with_range
from bump_diffusion.papers.semantics.factorized import (
    composed,
    coupling,
    coupling_by_balanced,
    max_axis_gap,
)
from bump_diffusion.runs.record import Record


@drawn
def accuracy_by_axis(records: list[Record], lines: list[Record]) -> tuple[Figure, str]:
    """Accuracy in x and in y over training for each data set, and those of the lines alone."""
    data_sets = _by_pair(records, "d_x", "d_y")
    columns = min(3, math.ceil(len(data_sets) / 5))
    rows = math.ceil(len(data_sets) / columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(WIDTH, 2.1 * rows + 0.8), sharex=True, sharey=True, squeeze=False
    )
    for ax in axes.flat[len(data_sets) :]:
        ax.remove()
    axes = axes.flat[: len(data_sets)]
    table = frame([*records, *lines])
    for ax in axes:
        images_axis(ax.xaxis, table)
    styles = {"accuracy_x": ("x", "#D55E00"), "accuracy_y": ("y", "#0072B2")}
    for ax, ((d_x, d_y), own) in zip(axes, data_sets.items(), strict=True):
        for (measure, (_, colour)), d in zip(styles.items(), (d_x, d_y), strict=True):
            alone = [r for r in lines if r.configuration.d_x == d]
            for source, of, line in ((own, measure, "-"), (alone, "accuracy_x", ":")):
                curve(
                    ax,
                    frame(source).query("step > 0"),
                    of,
                    color=colour,
                    linestyle=line,
                )
        ax.set(title=f"$d_x$ = {d_x:g}, $d_y$ = {d_y:g}", xlabel="", ylabel="")
        ax.set_ylim(-0.02, 1.02)
    handles = [
        Line2D([], [], color=colour, ls=line, label=f"{axis}, {how}")
        for axis, colour in styles.values()
        for how, line in (("in images", "-"), ("learned alone", ":"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    figure.supxlabel(f"training examples seen; {band(table)}", fontsize=8)
    figure.supylabel("accuracy (share of images, of lines)", fontsize=9)
    gaps = [
        f"{with_range(max_axis_gap(r.checkpoints) for r in own)} at ({d_x:g}, {d_y:g})"
        for (d_x, d_y), own in data_sets.items()
    ]
    return figure, (
        "Accuracy in x and y against examples seen, in images and learned alone as lines. Largest "
        f"difference between the axes, mean and range of runs: {'; '.join(gaps)}."
    )


@drawn
def given_one_bump(records: list[Record]) -> tuple[Figure, str]:
    """Among images with one bump: how many are right in both axes, by what the axes alone predict.

    A point a checkpoint. Below, the axes are right independently of each other, the product of
    their shares; above, whenever one is right the other is, as far as both can be.
    """
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6))
    said = []
    kinds = {True: ("$d_x = d_y$", "#0072B2"), False: ("$d_x < d_y$", "#D55E00")}
    shares = np.linspace(0, 1, 101)
    ax.plot(shares**2, shares**2, color="black", lw=1, label="x and y right independently")
    ax.plot(
        shares**2, shares, color="black", lw=1, ls="--", label="right together (x as often as y)"
    )
    for balanced, (label, colour) in kinds.items():
        own = [r for r in records if (r.configuration.d_x == r.configuration.d_y) == balanced]
        if not own:
            continue
        tables = [placed_given_one_bump(r) for r in own]
        table = pd.concat(tables)
        ax.plot(table["product"], table["both"], "o", ms=3.5, alpha=0.6, color=colour, label=label)
        excess = [placement_coupling(t) for t in tables]
        said.append(f"{label.replace('$', '')}: {with_range(excess, missing='undefined')}")
    ax.set(xlabel="share right in x times share right in y", ylabel="share right in both")
    ax.legend()
    return figure, (
        "Among images with one bump, the share right in both axes against the product of the "
        f"shares right in each. How far from independent (0) to together (1), {'; '.join(said)}."
    )


def placed_given_one_bump(record: Record) -> pd.DataFrame:
    """Of the images with one bump: the shares right in x, in y, in both, and the `product`.

    A row for each trained checkpoint with at least `representation.MINIMUM_POINTS` of them.
    """
    table = record.checkpoints.query("step > 0")
    single = table["misplaced"] + table["correct"]
    enough = single * len(evaluation_labels(record.configuration)) >= MINIMUM_POINTS
    counted = {"x": "accuracy_x", "y": "accuracy_y", "both": "correct"}
    shares = pd.DataFrame({name: table[of] / single for name, of in counted.items()})[enough]
    return shares.assign(product=shares["x"] * shares["y"])


def placement_coupling(table: pd.DataFrame) -> float:
    """Where the share right in both axes lies between independent (0) and together (1).

    Independent is the product of the axes' shares, together the lesser of them. Over all rows of
    `placed_given_one_bump`; NaN where the two do not differ.
    """
    together = table[["x", "y"]].min(axis=1)
    room = (together - table["product"]).sum()
    return float((table["both"] - table["product"]).sum() / room) if room > 0 else math.nan


def coupling_in_words(records: list[Record]) -> Markdown:
    """`placement_coupling`, over all runs and for the least balanced data set, in a sentence."""
    widest = max(r.configuration.d_y / r.configuration.d_x for r in records)
    most = [r for r in records if r.configuration.d_y / r.configuration.d_x == widest]
    every, own = (
        with_range((placement_coupling(placed_given_one_bump(r)) for r in of), missing="undefined")
        for of in (records, most)
    )
    c = most[0].configuration
    return Markdown(
        f"From 0, independent, to 1, together, the points lie at {every} over all runs (mean and "
        f"range), at d_x = {c.d_x:g} and d_y = {c.d_y:g} at {own}."
    )


def couplings(
    records: list[Record], lines: list[Record]
) -> dict[tuple[float, float], pd.DataFrame]:
    """`reference.coupling` of each data set, by its d_x and d_y."""
    return {pair: coupling(own, lines) for pair, own in _by_pair(records, "d_x", "d_y").items()}


def coupling_table(found: dict[tuple[float, float], pd.DataFrame]) -> pd.DataFrame:
    """Coupling index; cost; learning times in both axes, in images and alone, of `couplings`.

    A row for each data set: means over seeds with their range. Different images and
    lines are those in the data sets, repeats not counted.
    """
    titles = {
        "T_x": "images to 50 % in x",
        "T_y": "in y",
        "T_x_1d": "lines to 50 %, x alone",
        "T_y_1d": "y alone",
    }
    return pd.DataFrame(
        _coupling_index(*pair, own)
        | {"examples to 90 %, images over lines": with_range(own["cost"])}
        | {
            "different images": f"{own['images'].iloc[0]:,}",
            "different lines, x + y": f"{own['lines'].iloc[0]:,}",
        }
        | _times_in_words(own, titles)
        for pair, own in found.items()
    )


def cost_in_words(found: dict[tuple[float, float], pd.DataFrame]) -> Markdown:
    """What the 2D models take over the factorized reference, of all `couplings`, in a sentence."""
    costs = [own["cost"].mean() for own in found.values()]
    return Markdown(
        f"Over the {len(costs)} data sets, the 2D models take {with_range(costs)} times "
        "the examples of the reference (means over seeds, and the range of data sets)."
    )


SPACING_PANELS = {
    "0 generation": "A ends, generation",
    "0 representation": "A ends, representation",
    "2 generation": "C begins, generation",
    "2 representation": "C begins, representation",
    "50_x": "half placed right in x",
    "50_y": "half placed right in y",
    "90_x": "90 % placed right in x",
    "90_y": "90 % placed right in y",
}
"""What is shown over (d_x, d_y): a boundary of phases, or a share of images by axis."""


def times_of_data_sets(records: list[Record]) -> pd.DataFrame:
    """Images seen to each of `SPACING_PANELS` for each data set, and with its axes exchanged.

    Boundaries are those of `boundaries`, times to a share the mean over seeds. Where a boundary, or
    the share by some seed, is never reached it is NaN; why, says the column "no" and the panel's
    name: the median phase at the end, or how many seeds never get there.
    """
    rows = []
    for (d_x, d_y), own in _by_pair(records, "d_x", "d_y").items():
        row = {"d_x": d_x, "d_y": d_y}
        for side in ("generation", "representation"):
            phases = median_phases(frame(own).query("step > 0"), side)
            for name, phase in {"0": "B", "2": "C"}.items():
                row[f"{name} {side}"] = boundary(phases, phase)
                row[f"no {name} {side}"] = f"ends in {phases['phase'].iloc[-1]}"
        for axis, percent in itertools.product("xy", (50, 90)):
            times = np.array(
                [learning_time(r.checkpoints, f"accuracy_{axis}", percent / 100) for r in own]
            )
            row[f"{percent}_{axis}"] = times.mean()
            row[f"no {percent}_{axis}"] = f"never in\n{np.isnan(times).sum()} of {len(own)}"
        rows.append(row)
        if d_x != d_y:
            exchange = {"x": "y", "y": "x"}
            rows.append(
                {(k[:-1] + exchange[k[-1]] if k[-2:] in ("_x", "_y") else k): row[k] for k in row}
            )
    return pd.DataFrame(rows)


@drawn
def times_by_spacings(records: list[Record]) -> tuple[Figure, str]:
    """Over (d_x, d_y): images to where A ends and C begins, and to placing bumps right by axis."""
    table = times_of_data_sets(records)
    figure, axes = plt.subplots(4, 2, figsize=(WIDTH, 1.9 * WIDTH), sharex=True, sharey=True)
    times = table[list(SPACING_PANELS)].to_numpy()
    known = times[~np.isnan(times)]
    least = known.min() if len(known) else 1
    # Colours span a factor of two at least: differences of less must not look like more.
    norm = mpl.colors.LogNorm(least, max([2 * least, *known]))
    for ax, (name, title) in zip(axes.flat, SPACING_PANELS.items(), strict=True):
        grid = table.pivot(index="d_y", columns="d_x", values=name)
        ax.pcolormesh(grid, norm=norm, cmap="viridis_r")
        for row in table.to_dict("records"):
            ax.text(
                grid.columns.get_loc(row["d_x"]) + 0.5,
                grid.index.get_loc(row["d_y"]) + 0.5,
                _thousands_or_why_not(row, name),
                ha="center",
                va="center",
                fontsize=7,
                color="white" if norm(row[name]) > 0.5 else "black",
            )
        ticks = np.arange(len(grid)) + 0.5
        ax.set_xticks(ticks, [f"{d:g}" for d in grid.columns])
        ax.set_yticks(ticks, [f"{d:g}" for d in grid.index])
        ax.set(title=title, aspect="equal")
        ax.grid(False)
    figure.colorbar(
        mpl.cm.ScalarMappable(norm, "viridis_r"),
        ax=axes,
        label=f"{IMAGES_SEEN} (in the cells too)",
        location="top",
        shrink=0.6,
        ticks=mpl.ticker.MaxNLocator(5),
        format=lambda images, _: thousands(images),
    ).ax.minorticks_off()
    figure.supxlabel("$d_x$ (pixels)", fontsize=9)
    figure.supylabel("$d_y$ (pixels)", fontsize=9)
    said = "; ".join(
        f"({row['d_x']:g}, {row['d_y']:g}): "
        + ", ".join(f"{t} {_thousands_or_why_not(row, n)}" for n, t in SPACING_PANELS.items())
        for row in table.query("d_x <= d_y").to_dict("records")
    )
    return figure, f"Images seen, by spacing along x and y. {said}."


def _thousands_or_why_not(row: dict, name: str) -> str:
    return row[f"no {name}"] if np.isnan(row[name]) else thousands(row[name])


def balanced_table(records: list[Record]) -> pd.DataFrame:
    """For each imbalanced data set the learning times of its axes beside those in balanced ones.

    Means over seeds with their range. Data sets whose balanced ones are not among the records are
    left out.
    """
    rows = []
    for d_x, d_y in _by_pair(records, "d_x", "d_y"):
        found = coupling_by_balanced(records, d_x, d_y)
        if d_x == d_y or found.empty:
            continue
        titles = {
            "T_x": "images to 50 % in x",
            "T_y": "in y",
            "T_x_2d": "x, both axes as x",
            "T_y_2d": "y, both axes as y",
        }
        rows.append(_coupling_index(d_x, d_y, found) | _times_in_words(found, titles))
    return pd.DataFrame(rows)


def _coupling_index(d_x: float, d_y: float, found: pd.DataFrame) -> dict[str, str]:
    """A data set's row: its spacings, and its coupling index over the seeds `found`."""
    return {
        "d_x": f"{d_x:g}",
        "d_y": f"{d_y:g}",
        "seeds": str(len(found)),
        "coupling index": with_range(found["index"], missing="undefined"),
    }


def _times_in_words(found: pd.DataFrame, titles: dict[str, str]) -> dict[str, str]:
    """Learning times over the seeds `found`, columns of it, by their titles."""
    return {title: with_range(found[c] / 1000, "k") for c, title in titles.items()}


def _by_pair(
    records: list[Record], first: str, second: str
) -> dict[tuple[float, float], list[Record]]:
    groups: dict[tuple[float, float], list[Record]] = {}
    for record in records:
        c = record.configuration
        groups.setdefault((getattr(c, first), getattr(c, second)), []).append(record)
    return groups


@drawn
def composed_images(along_x: list[Record], along_y: list[Record]) -> tuple[Figure, str]:
    """Accuracy of each axis' lines and of the images composed of them, over training.

    `along_x` and `along_y` hold a run for each seed, in the same order.
    """
    table = pd.concat(composed(*pair) for pair in zip(along_x, along_y, strict=True))
    table = table.query("step > 0").assign(images_seen=lambda t: t["images_seen"] / 2)
    runs = frame([*along_x, *along_y])
    figure, ((ax,),) = panels_over_training(runs, height=3)
    for records, colour, name in ((along_x, "#D55E00", "x"), (along_y, "#0072B2", "y")):
        own = frame(records).query("step > 0")
        label = f"lines along {name}, d = {records[0].configuration.d_x:g}"
        curve(ax, own, "accuracy_x", color=colour, linestyle=":", label=label)
    curve(ax, table, "accuracy", color="black", label="images composed")
    ax.set(
        xlabel=f"lines seen of each axis; {band(runs)}",
        ylabel="accuracy (share of lines, of images)",
        ylim=(-0.02, 1.02),
    )
    ax.legend()
    last = table[table["step"] == table["step"].max()]
    return figure, (
        f"Accuracy of lines and of composed images; composed at the end "
        f"{last['accuracy'].mean():.0%}, {last['several'].mean():.0%} with several bumps."
    )
