"""The chapter *Imbalanced data*: accuracy by axis, coupling, and the factorized baseline."""

import math

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.boundaries import boundary, median_phases
from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_times
from bump_diffusion.metrics.probes import MINIMUM_POINTS
from bump_diffusion.metrics.sampling import evaluation_labels
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    band,
    cell_axes,
    curve,
    legend_above,
    panels_over_training,
    thousands,
)
from bump_diffusion.page.colours import INK
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.words import with_range
from bump_diffusion.papers.semantics.confirm import placement_coupling
from bump_diffusion.papers.semantics.factorized import measure_composed
from bump_diffusion.papers.semantics.palette import AXIS_COLOURS
from bump_diffusion.runs.record import Record

DATA_SET = ["d_x", "d_y"]

LEARNING_TIMES = {
    "T_x": "images to 50 % in x",
    "T_y": "images to 50 % in y",
    "T_x_1d": "lines to 50 %, x alone",
    "T_y_1d": "lines to 50 %, y alone",
    "T_x_2d": "x, both axes as x",
    "T_y_2d": "y, both axes as y",
}
"""The titles of what the columns of couplings hold (`factorized.couple_to_lines`)."""


@drawn
def accuracy_by_axis(records: list[Record], lines: list[Record]) -> Drawn:
    """Draw accuracy in x and y over training for each data set, and that of the lines alone."""
    both = frame([*records, *lines]).query("step > 0")
    alone, images = both[both["axes"] == "x"], both[both["axes"] == "xy"]
    data_sets = images.groupby(DATA_SET, sort=False)
    columns = min(3, math.ceil(len(data_sets) / 5))
    rows = math.ceil(len(data_sets) / columns)
    caption = f"training examples seen; {band(both)}"
    height = 2.1 * rows + 0.8
    figure, axes = panels_over_training(both, rows, columns, height, caption, sharey=True)
    for ax in axes.flat[len(data_sets) :]:
        ax.remove()
    for ax, (spacings, part) in zip(axes.flat, data_sets, strict=False):
        for (axis, colour), d in zip(AXIS_COLOURS.items(), spacings, strict=True):
            curve(ax, part, f"accuracy_{axis}", color=colour)
            curve(ax, alone[alone["d_x"] == d], "accuracy_x", color=colour, linestyle=":")
        ax.set(title="$d_x$ = {:g}, $d_y$ = {:g}".format(*spacings), ylim=(-0.02, 1.02))
    styles = {
        f"{axis}, {how}": {"color": colour, "ls": line}
        for axis, colour in AXIS_COLOURS.items()
        for how, line in (("in images", "-"), ("learned alone", ":"))
    }
    legend_above(figure, styles, ncols=2)
    figure.supylabel("accuracy (share of images, of lines)")
    gap = (images["accuracy_x"] - images["accuracy_y"]).abs().max()
    return figure, (
        f"Accuracy in x and y against examples seen, in images of {len(data_sets)} data sets and "
        f"learned alone as lines. The axes of a run differ by at most {gap:.2f}."
    )


def placed_given_one_bump(record: Record) -> pd.DataFrame:
    """Compute, of the images with one bump, the shares right in `x`, in `y` and in `both`.

    A row for each trained checkpoint with at least `probes.MINIMUM_POINTS` of them; `product` is
    that of the shares in x and y.
    """
    table = record.checkpoints.query("step > 0")
    single = table["misplaced"] + table["correct"]
    enough = single * len(evaluation_labels(record.configuration)) >= MINIMUM_POINTS
    measures = {"x": "accuracy_x", "y": "accuracy_y", "both": "correct"}
    shares = pd.DataFrame({name: table[of] / single for name, of in measures.items()})[enough]
    return shares.assign(product=shares["x"] * shares["y"])


@drawn
def given_one_bump(records: list[Record]) -> Drawn:
    """Draw, among images with one bump, how many are right in both axes, by what each axis is.

    A point a checkpoint. Below, the axes are right independently of each other, the product of
    their shares; above, whenever one is right the other is, as far as both can be.
    """
    data_sets = [(r, r.configuration) for r in records]
    tables = [placed_given_one_bump(r).assign(balanced=c.d_x == c.d_y) for r, c in data_sets]
    table = pd.concat(tables)
    figure, ax = plt.subplots(figsize=(WIDTH, 3.6))
    x = np.linspace(0, 1, 101)
    ax.plot(x**2, x**2, color=INK, lw=1, label="x and y right independently")
    ax.plot(x**2, x, color=INK, lw=1, ls="--", label="right together (x as often as y)")
    kinds = {True: ("$d_x = d_y$", "C0"), False: ("$d_x < d_y$", "C1")}
    for balanced, (label, colour) in kinds.items():
        if len(part := table[table["balanced"] == balanced]):
            style = {"ms": 3.5, "alpha": 0.6, "color": colour, "label": label}
            ax.plot(part["product"], part["both"], "o", **style)
    ax.set(xlabel="share right in x times share right in y", ylabel="share right in both")
    ax.legend()
    above = (table["both"] > table["product"]).sum()
    return figure, (
        "Among images with one bump, the share right in both axes against the product of the "
        f"shares right in each: {above} of {len(table)} checkpoints lie above the product."
    )


def describe_placement(records: list[Record]) -> Markdown:
    """Say the `placement_coupling`, over all runs and for the least balanced data set."""
    c = max((r.configuration for r in records), key=lambda c: c.d_y / c.d_x)
    least_balanced = [
        r for r in records if (r.configuration.d_x, r.configuration.d_y) == (c.d_x, c.d_y)
    ]
    every, least = (
        with_range(map(placement_coupling, map(placed_given_one_bump, runs)), missing="undefined")
        for runs in (records, least_balanced)
    )
    return Markdown(
        f"From 0, independent, to 1, together, the points lie at {every} over all runs (mean and "
        f"range), at d_x = {c.d_x:g} and d_y = {c.d_y:g} at {least}."
    )


def tabulate_couplings(couplings: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the coupling index and the learning times of each data set; beside lines the cost.

    `couplings` come from `factorized.couple_to_lines` or `couple_to_balanced`. A row for each data
    set. Means over seeds with their range; different images and lines are those in the data
    sets, repeats not counted.
    """
    rows = []
    for (d_x, d_y), runs in couplings.groupby(DATA_SET, sort=False):
        data_set = f"d_x = {d_x:g}, d_y = {d_y:g}"
        row = {"mean (range of seeds)": data_set, "seeds": f"{len(runs)}"}
        row["coupling index"] = with_range(
            runs["index"], missing="undefined", write="{:.2f}".format
        )
        if "cost" in runs:
            row["examples to 90 %, images over lines"] = with_range(runs["cost"])
            row["different images"] = f"{runs['images'].iloc[0]:,}"
            row["different lines, x + y"] = f"{runs['lines'].iloc[0]:,}"
        for column, title in LEARNING_TIMES.items():
            if column in runs:
                row[title] = with_range(runs[column] / 1000, "k")
        rows.append(row)
    return pd.DataFrame(rows)


def average_costs(couplings: pd.DataFrame) -> pd.Series:
    """Average the `cost` of `factorized.couple_to_lines` over seeds, by data set."""
    return couplings.groupby(DATA_SET)["cost"].mean()


def describe_cost(couplings: pd.DataFrame) -> Markdown:
    """Say what the 2D models take over the factorized baseline (`factorized.couple_to_lines`)."""
    costs = average_costs(couplings)
    return Markdown(
        f"Over the {len(costs)} data sets, the 2D models take {with_range(costs)} times "
        "the examples of the reference (means over seeds, and the range of data sets)."
    )


def times_by_data_set(records: list[Record]) -> pd.DataFrame:
    """Compute the images seen to where phases change, and to placing bumps right in each axis.

    A row for each milestone and data set, and for that with its axes exchanged: d_x, d_y,
    `milestone`, `images` and `otherwise`. Phases change by `boundaries.boundary`, times to a share
    of images are means over seeds. Where most runs do not reach a phase, or a seed not the share,
    `images` is NaN and `otherwise` says which phase they end in, or in how many seeds.
    """
    rows = []
    for spacings, part in frame(records).query("step > 0").groupby(DATA_SET, sort=False):
        phases = {side: median_phases(part, side) for side in ("generation", "representation")}
        for phase, change in {"B": "A ends", "C": "C begins"}.items():
            for side, median in phases.items():
                last = f"ends in {median['phase'].iloc[-1]}"
                rows.append((*spacings, f"{change}, {side}", boundary(median, phase), last))
        for level, share in {0.5: "half", 0.9: "90 %"}.items():
            for axis in "xy":
                times = learning_times(part, f"accuracy_{axis}", level)
                never = f"never in\n{times.isna().sum()} of {len(times)}"
                milestone = f"{share} placed right in {axis}"
                rows.append((*spacings, milestone, times.mean(skipna=False), never))
    table = pd.DataFrame(rows, columns=[*DATA_SET, "milestone", "images", "otherwise"])
    exchanged = table[table["d_x"] != table["d_y"]].rename(columns={"d_x": "d_y", "d_y": "d_x"})
    # No x or y stands in a milestone but as the name of an axis.
    exchanged["milestone"] = exchanged["milestone"].str.translate(str.maketrans("xy", "yx"))
    return pd.concat([table, exchanged], ignore_index=True)


@drawn
def times_by_spacings(records: list[Record]) -> Drawn:
    """Draw, over d_x and d_y, the images to the milestones of `times_by_data_set`."""
    table = times_by_data_set(records)
    known = table["images"].dropna()
    least = known.min() if len(known) else 1
    # Colours span a factor of two at least: differences of less must not look like more.
    norm = mpl.colors.LogNorm(least, max([2 * least, *known]))
    figure, axes = plt.subplots(4, 2, figsize=(WIDTH, 1.9 * WIDTH), sharex=True, sharey=True)
    for ax, (milestone, part) in zip(
        axes.flat, table.groupby("milestone", sort=False), strict=True
    ):
        grid = part.pivot(index="d_y", columns="d_x", values="images")
        ax.pcolormesh(grid, norm=norm, cmap="viridis_r")
        for row in part.itertuples():
            x, y = grid.columns.get_loc(row.d_x) + 0.5, grid.index.get_loc(row.d_y) + 0.5
            text = row.otherwise if np.isnan(row.images) else f"{row.images / 1000:.0f}"
            colour = "white" if norm(row.images) > 0.5 else "black"
            ax.text(x, y, text, ha="center", va="center", color=colour)
        cell_axes(ax, grid.columns, grid.index)
        ax.set_title(milestone)
    figure.colorbar(
        mpl.cm.ScalarMappable(norm, "viridis_r"),
        ax=axes,
        label=f"{IMAGES_SEEN} (in the cells: thousands)",
        location="top",
        shrink=0.6,
        ticks=mpl.ticker.MaxNLocator(5),
        format=lambda images, _: thousands(images),
    ).ax.minorticks_off()
    figure.supxlabel("$d_x$ (pixels)")
    figure.supylabel("$d_y$ (pixels)")
    return figure, (
        "Images seen until phases A end and C begin, and until half and 90 % of the bumps are "
        "placed right in each axis, by spacing along x and y; reached in "
        f"{len(known)} of {len(table)} cells."
    )


@drawn
def composed_images(along_x: list[Record], along_y: list[Record]) -> Drawn:
    """Draw the accuracy of each axis' lines and of the images composed of them, over training.

    `along_x` and `along_y` hold a run for each seed, in the same order.
    """
    pairs = {pair[0].id: measure_composed(*pair) for pair in zip(along_x, along_y, strict=True)}
    table = pd.concat(pairs, names=["record"]).reset_index("record").query("step > 0")
    table = table.assign(images_seen=table["images_seen"] / 2)
    lines = frame([*along_x, *along_y]).query("step > 0")
    figure, ((ax,),) = panels_over_training(lines, height=3.4, caption="")
    for (record, *_), (axis, colour) in zip((along_x, along_y), AXIS_COLOURS.items(), strict=True):
        d = record.configuration.d_x
        style = {"color": colour, "linestyle": ":", "label": f"lines along {axis}, d = {d:g}"}
        curve(ax, lines[lines["d_x"] == d], "accuracy_x", **style)
    curve(ax, table, "accuracy", color=INK, label="images composed")
    ax.set(xlabel=f"lines seen of each axis;\n{band(lines)}", ylim=(-0.02, 1.02))
    ax.set_ylabel("accuracy (share of lines, of images)")
    ax.legend()
    end = table.loc[table["step"] == table["step"].max(), "accuracy"].mean()
    return figure, f"Accuracy of lines and of images composed of them, which end at {end:.0%}."
