"""The chapter *Phases, from samples and from features*: what changes over training."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from sklearn.decomposition import PCA

from bump_diffusion.analysis.boundaries import log_edges
from bump_diffusion.analysis.frame import frame, split
from bump_diffusion.analysis.phases import (
    PHASES,
    THRESHOLDS,
    assign_phases,
    first_phases,
    moved_thresholds,
    pass_in_order,
)
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    curve,
    hide_ticks,
    legend_above,
    means_at_end,
    panels_over_training,
    spaced_indices,
    thousands,
)
from bump_diffusion.page.colours import INK, QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.words import short, with_range
from bump_diffusion.papers.semantics.figures.comparisons import draw_phase_bars
from bump_diffusion.papers.semantics.figures.watch import KINDS
from bump_diffusion.papers.semantics.palette import (
    FEATURE_STYLES,
    ON_PHASE,
    PHASE_COLOURS,
    position_colours,
)
from bump_diffusion.runs.record import Record

BLUES = mpl.colors.LinearSegmentedColormap.from_list("blues", ("#3377cc00", "#3377cc99"))
"""From no colour, to be seen on both grounds under words in ink."""


def count_phases_by_threshold(records: list[Record], by: str) -> pd.DataFrame:
    """Count the runs that show A, B and C, first in this order, with each threshold a fifth off.

    A row for each side, threshold and value of it, a column for each value of a field of the runs.
    """
    table, rows = frame(records), []
    for side in THRESHOLDS:
        for threshold, change in {"all as stated": {}, **moved_thresholds(side)}.items():
            moved = table.assign(**{f"phase_{side}": assign_phases(table, **change)[side]})
            row = {"side": side, "threshold": threshold}
            for value, runs in split(moved, by).items():
                passed = pass_in_order(first_phases(runs, side))
                row[value] = f"{passed.sum()} of {len(passed)}"
            rows.append(row)
    return pd.DataFrame(rows)


def tabulate_dimensions(records: list[Record]) -> pd.DataFrame:
    """Tabulate the dimensions of the features, label ablated, by phase of the representation.

    By how the label enters; means over checkpoints with their range. The claim is of a
    two-dimensional manifold in B and C.
    """
    names = {"phase_representation": "phase of the representation"}
    table = frame(records).query("step > 0").rename(columns=names)
    by = ["conditioning", *names.values()]
    titles = {
        f"{name}_dimension_ablated": f"{name} dimension" for name in ("intrinsic", "effective")
    }
    groups = table.groupby(by, sort=False)
    ranges = groups[list(titles)].agg(with_range).rename(columns=titles)
    ranges.insert(0, "checkpoints", groups.size())
    return ranges.reset_index()


def summarize(records: list[Record]) -> pd.DataFrame:
    """Tabulate each run's final accuracy, phases as they first occur, and how often sides agree.

    "A 6.4k, B 25k, C 32k" gives the images seen at the first checkpoint of each phase.
    """
    rows = []
    for _, run in frame(records).query("step > 0").groupby("record", sort=False):
        row = run.iloc[-1][["conditioning", "seed"]].to_dict()
        row["accuracy"] = f"{run['accuracy'].iloc[-1]:.1%}"
        for side in THRESHOLDS:
            first = first_phases(run, side).iloc[0].dropna().sort_values()
            row[side] = ", ".join(f"{p} {short(images / 1000)}k" for p, images in first.items())
        row["agree"] = f"{(run['phase_generation'] == run['phase_representation']).mean():.0%}"
        rows.append(row)
    return pd.DataFrame(rows).set_index(["conditioning", "seed"])


def tabulate_without_b(records: list[Record]) -> pd.DataFrame:
    """Tabulate the runs whose generation goes from A to C past B, each when it is nearest to B.

    That is the checkpoint before C with the largest share of images with one misplaced bump.
    """
    rows = []
    for _, run in frame(records).query("step > 0").groupby("record", sort=False):
        first = first_phases(run, "generation").iloc[0]
        before_c = run[run["images_seen"] < first["C"]]
        if np.isnan(first["B"]) and len(before_c):
            nearest = before_c.loc[before_c["misplaced"].idxmax()]
            shares = {title: f"{nearest[kind]:.0%}" for kind, title in KINDS.items()}
            seen = {"images seen": f"{nearest['images_seen']:,}"}
            rows.append({**nearest[["conditioning", "seed"]], **seen, **shares})
    return pd.DataFrame(rows, columns=["conditioning", "seed", "images seen", *KINDS.values()])


@drawn
def embedding_over_training(record: Record) -> Drawn:
    """Draw the probed layer's UMAP embedding at several checkpoints, coloured by position.

    Of the three UMAP dimensions the two main axes are drawn. Rows: features as published and with
    the label ablated, each coloured by the requested position and by the generated one.
    """
    run, N = frame([record]), record.configuration.N
    columns = spaced_indices(len(run), 5)
    rows = list(itertools.product(("trained", "ablated"), ("request", "bump found")))
    size = (WIDTH, WIDTH * len(rows) / (len(columns) + 0.4) + 1.0)
    figure, axes = plt.subplots(len(rows), len(columns), figsize=size)
    for row, (features, target) in zip(axes, rows, strict=True):
        for ax, column in zip(row, columns, strict=True):
            embedding = record.arrays[f"umap_{features}"][column].astype(float)
            requested, found = record.arrays["labels"], record.arrays["position"][column]
            colours = position_colours(requested if target == "request" else found, N)
            ax.scatter(*PCA(2).fit_transform(embedding).T, c=colours, s=5, lw=0)
            hide_ticks(ax)
        row[0].set_ylabel(f"{FEATURE_STYLES[features][0]},\nby {target}")
    for ax, images in zip(axes[0], run["images_seen"].iloc[columns], strict=True):
        ax.set_title(thousands(images))
    figure.supxlabel(
        f"{IMAGES_SEEN} (top). Colour: blue to orange along x, dark to light along y;\n"
        "grey where not exactly one bump was found"
    )
    names = {f"r2_{f}_umap_requested_x": FEATURE_STYLES[f][0] for f in ("trained", "ablated")}
    return figure, (
        f"UMAP embedding of {record.configuration.probe_layer} at {len(columns)} checkpoints of a "
        f"run. R squared of reading the requested x at the end: {means_at_end(run, names)}."
    )


@drawn
def probes_over_training(records: list[Record]) -> Drawn:
    """Draw R squared of the published probe and of all its controls over training."""
    table = frame(records).query("step > 0")
    seeds = f"line: mean, band: range, over seeds ({len(records)}) and both axes"
    figure, axes = panels_over_training(table, 2, 2, 5.6, f"{IMAGES_SEEN}; {seeds}", sharey=True)
    sources = {"umap": "from the UMAP embedding", "direct": "from all features"}
    panels = itertools.product(("requested", "generated"), sources.items())
    for ax, (target, (reduction, source)) in zip(axes.flat, panels, strict=True):
        for name, (_, colour, line) in FEATURE_STYLES.items():
            features, of = ("trained", name) if name == "shuffled" else (name, target)
            if target == "requested" or of == target:  # only requested positions are shuffled
                columns = [f"r2_{features}_{reduction}_{of}_{axis}" for axis in "xy"]
                both = table.melt(["record", "images_seen"], columns, value_name="r2")
                curve(ax, both, "r2", color=colour, linestyle=line)
        ax.set(title=f"{target} position\n{source}", ylim=(-0.15, 1.03), ylabel=r"$R^2$")
    styles = {label: {"color": c, "linestyle": line} for label, c, line in FEATURE_STYLES.values()}
    legend_above(figure, styles, ncols=2)
    names = {f"r2_{f}_direct_requested_x": f for f in ("trained", "ablated", "untrained")}
    return figure, (
        "R squared of reading position from the features, over training. At the end, x of the "
        f"request from all features: {means_at_end(table, names)}."
    )


@drawn
def order_parameters_over_training(records: list[Record]) -> Drawn:
    """Draw the four quantities that the phases are assigned from, with their thresholds."""
    names = {
        "single": "one bump",
        "placed": "of these, right",
        "manifold": "$R^2$ generated",
        "order": "$R^2$ requested",
    }
    table = frame(records).query("step > 0")
    figure, axes = panels_over_training(table, rows=2, height=4.8)
    for (ax,), (side, levels) in zip(axes, THRESHOLDS.items(), strict=True):
        styles = (("not A", PHASE_COLOURS["B"], "--"), ("C", PHASE_COLOURS["C"], "-"))
        for (measure, level), (phase, colour, line) in zip(levels.items(), styles, strict=True):
            label = f"{measure}: {names[measure]} (≥ {level:g}: {phase})"
            curve(ax, table, measure, color=colour, linestyle=line, label=label)
        ax.axhline(0.5, color=QUIET, lw=0.8)
        share = "share of images" if side == "generation" else r"$R^2$, label ablated"
        ax.set(title=side, ylim=(-0.15, 1.03), ylabel=share)
        ax.legend(loc="best")
    ends = means_at_end(table, {name: name for name in names})
    return figure, f"Order parameters against images seen. At the end, {ends}."


@drawn
def phase_bars(records: list[Record]) -> Drawn:
    """Draw the phase of each checkpoint from each side, a pair of bars a run."""
    table = frame(records).query("step > 0")
    name = "seed " + table["seed"].astype(str)
    if table["conditioning"].nunique() > 1:
        name = table["conditioning"] + ", " + name
    runs = dict(list(table.groupby(name, sort=False)))
    figure, bars = draw_phase_bars(runs, 1.6 + 0.44 * len(runs), 0.4)
    for ax, y, phases in bars:
        edges = log_edges(phases.index)
        starts = np.flatnonzero(phases["phase"] != phases["phase"].shift())
        for start, stop in itertools.pairwise([*starts, len(phases)]):
            centre, phase = np.sqrt(edges[start] * edges[stop]), phases["phase"].iloc[start]
            ax.text(centre, y, phase, ha="center", va="center", color=ON_PHASE[phase])
    for ax in figure.axes:
        ax.invert_yaxis()  # as the rows of a table
    passed = [pass_in_order(first_phases(table, side)).sum() for side in THRESHOLDS]
    return figure, (
        f"Phases of {len(runs)} runs over training. A, B and C first occur in this order in "
        f"{passed[0]} from generation, and in {passed[1]} from the representation."
    )


@drawn
def phase_agreement(records: list[Record]) -> Drawn:
    """Count the checkpoints that have each pair of phases from the two sides, by conditioning."""
    schemes = list(frame(records).query("step > 0").groupby("conditioning", sort=False))
    size = (max(2.6, WIDTH * len(schemes) / 3), 2.5)
    figure, axes = plt.subplots(1, len(schemes), figsize=size, sharey=True, squeeze=False)
    shares = []
    for ax, (scheme, runs) in zip(axes[0], schemes, strict=True):
        counts = pd.crosstab(runs["phase_generation"], runs["phase_representation"])
        counts = counts.reindex(index=PHASES, columns=PHASES, fill_value=0)
        style = {"cmap": BLUES, "annot_kws": {"color": INK}, "cbar": False}
        sns.heatmap(counts, annot=True, fmt="d", vmin=0, ax=ax, **style)
        ax.set(xlabel="", ylabel="", title=scheme)
        ax.grid(False)
        ax.tick_params(rotation=0, length=0)
        shares.append(f"{scheme} {np.trace(counts) / len(runs):.0%}")
    axes[0, 0].set_ylabel("phase of generation")
    figure.supxlabel("phase of the representation")
    return figure, f"Checkpoints by phase from each side. The two agree in: {', '.join(shares)}."


@drawn
def geometry_over_training(records: list[Record]) -> Drawn:
    """Draw the features' dimensions, and whether neighbours there are neighbours in the plane."""
    panels = {
        "intrinsic_dimension": "intrinsic dimension (TwoNN)",
        "effective_dimension": "effective dimension\n(participation ratio)",
        "neighbourhood_requested": "trustworthiness,\nrequested plane",
        "neighbourhood_generated": "trustworthiness,\ngenerated plane",
    }
    table = frame(records).query("step > 0")
    figure, axes = panels_over_training(table, 2, 2, height=4.8)
    for ax, (measure, title) in zip(axes.flat, panels.items(), strict=True):
        for features, line in {"trained": "-", "ablated": "--"}.items():
            label, colour, _ = FEATURE_STYLES[features]
            style = {"color": colour, "linestyle": line, "label": label}
            curve(ax, table, f"{measure}_{features}", legend=ax is axes[0, 0], **style)
        ax.set(title=title, ylim=(0, None))
        if measure.startswith("neighbourhood"):
            ax.axhline(0.5, color=QUIET, lw=0.8)
            ax.set_ylim(0.4, 1.02)
    names = {f"{measure}_ablated": measure.replace("_", " ") for measure in panels}
    return figure, (
        "Geometry of the features against images seen. At the end, label ablated: "
        f"{means_at_end(table, names)}."
    )
