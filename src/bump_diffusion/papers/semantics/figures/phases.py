"""The chapter *Three phases*: accuracy, embeddings, probes and phases over training."""

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
from bump_diffusion.analysis.phases import (
    MANIFOLD,
    ORDER,
    PHASES,
    PLACED,
    SINGLE,
    THRESHOLDS,
    agreement,
    first_steps,
    in_order,
    moved_thresholds,
    order_parameters,
    phases_over_training,
)
from bump_diffusion.analysis.settings import by_setting
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    band,
    curve,
    images_axis,
    spaced_indices,
    thousands,
)
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.words import short, with_range
from bump_diffusion.papers.semantics.palette import (
    FEATURE_STYLES,
    PHASE_COLOURS,
    position_colours,
)
from bump_diffusion.runs.record import Record


def passed_by_threshold(records: list[Record], by: str) -> pd.DataFrame:
    """How many runs show A, B and C, first in this order, with each threshold a fifth off in turn.

    A row for each side, threshold and value of it, a column for each value of a field of the runs.
    """
    rows = []
    for side in THRESHOLDS:
        for moved, change in {"all as stated": {}, **moved_thresholds(side)}.items():
            row = {"side": side, "threshold": moved}
            for value, own in by_setting(records, by).items():
                runs = [in_order(phases_over_training(r, **change)[side]) for r in own]
                row[value] = f"{sum(runs)} of {len(runs)}"
            rows.append(row)
    return pd.DataFrame(rows)


def dimensions_by_phase(records: list[Record]) -> pd.DataFrame:
    """Dimensions of the features, label ablated, at the checkpoints of each representation phase.

    By how the label enters; means over checkpoints with their range. The claim is of a
    two-dimensional manifold in B and C.
    """
    tables = []
    for record in records:
        phase = phases_over_training(record)["representation"].rename("phase")
        table = record.checkpoints.merge(phase.reset_index(), on="step")
        tables.append(table.assign(conditioning=record.configuration.conditioning))
    rows = []
    for (scheme, phase), own in pd.concat(tables).groupby(["conditioning", "phase"], sort=False):
        row = {"conditioning": scheme, "phase of the representation": phase}
        row["checkpoints"] = len(own)
        for name in ("intrinsic", "effective"):
            row[f"{name} dimension"] = with_range(own[f"{name}_dimension_ablated"])
        rows.append(row)
    return pd.DataFrame(rows)


def summarize(records: list[Record]) -> pd.DataFrame:
    """Per run: final accuracy, both sides' phases as they first occur, and how often they agree.

    "A 6.4k, B 25k, C 32k" gives the images seen at the first checkpoint of each phase.
    """
    rows = []
    for record in records:
        phases = phases_over_training(record)
        c = record.configuration
        row = {"conditioning": c.conditioning, "seed": c.seed}
        row["accuracy"] = f"{record.checkpoints['accuracy'].iloc[-1]:.1%}"
        for side in phases:
            first = {p: s for p, s in first_steps(phases[side]).items() if s is not None}
            row[side] = ", ".join(
                f"{phase} {short(first[phase] * c.batch_size / 1000)}k"
                for phase in sorted(first, key=first.get)
            )
        same = (phases["generation"] == phases["representation"]).mean()
        row["agree"] = f"{same:.0%}"
        rows.append(row)
    return pd.DataFrame(rows).set_index(["conditioning", "seed"])


def explain(records: list[Record]) -> Markdown:
    """A sentence per run: the generation side's phases as they passed, and why one is missing.

    For a run without phase B it says how close it came: the largest share of misplaced single bumps
    before phase C, and what the other images showed then. Computed from the records alone.
    """
    lines = []
    for record in records:
        phases = phases_over_training(record)["generation"]
        first = {phase: step for phase, step in first_steps(phases).items() if step is not None}
        c = record.configuration
        text = f"- {c.conditioning.capitalize()}, seed {c.seed}: "
        before = record.checkpoints.query("step > 0")
        if "C" in first:
            before = before[before["step"] < first["C"]]
        if in_order(phases):
            text += "A, B and C first occur in this order."
        elif "B" not in first and "C" in first and len(before):
            peak = before.loc[before["misplaced"].idxmax()]
            text += (
                f"phases {', '.join(sorted(first, key=first.get))}; no checkpoint is in B. Images "
                f"with one misplaced bump are at most {peak['misplaced']:.0%} before C (at "
                f"{int(peak['images_seen']):,} images seen), when {peak['none']:.0%} show no bump "
                f"and {peak['several']:.0%} several: at no evaluated checkpoint did most images "
                "show one bump while most of these were misplaced."
            )
        else:
            text += f"phases {', '.join(sorted(first, key=first.get))}."
        lines.append(text)
    return Markdown("\n".join(lines))


@drawn
def accuracy_over_training(records: list[Record]) -> tuple[Figure, str]:
    """Accuracy, and accuracy in x and in y apart."""
    names = {"accuracy": "x and y", "accuracy_x": "x alone", "accuracy_y": "y alone"}
    long = frame(records).query("step > 0")
    long = long.melt(["images_seen", "seed"], list(names), "measure", "share")
    long["measure"] = long["measure"].map(names)
    figure, ax = plt.subplots(figsize=(WIDTH, 3))
    images_axis(ax.xaxis, frame(records))
    curve(
        ax,
        long,
        "share",
        hue="measure",
        style="measure",
    )
    ax.set(xlabel=IMAGES_SEEN, ylabel="accuracy (share of images)", ylim=(-0.02, 1.02))
    ax.legend(title=None)
    figure.supxlabel(band(frame(records)), fontsize=8)
    ends = long[long["images_seen"] == long["images_seen"].max()].groupby("measure")["share"].mean()
    shares = ", ".join(f"{name} {share:.0%}" for name, share in ends.items())
    return figure, f"Accuracy against images seen; means at the end: {shares}."


@drawn
def embedding_over_training(record: Record) -> tuple[Figure, str]:
    """The probed layer's UMAP embedding at several checkpoints, coloured by position.

    Of the three UMAP dimensions the two main axes are drawn. Rows: features as published and with
    the label ablated, each coloured by the requested position and by the generated one.
    """
    c = record.configuration
    columns = spaced_indices(len(record.checkpoints), 5)
    rows = [
        ("trained", "requested", "as published,\nby request"),
        ("trained", "generated", "as published,\nby bump found"),
        ("ablated", "requested", "label ablated,\nby request"),
        ("ablated", "generated", "label ablated,\nby bump found"),
    ]
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(WIDTH, WIDTH * len(rows) / (len(columns) + 0.4) + 1.0)
    )
    for line, (features, target, name) in zip(axes, rows, strict=True):
        for ax, column in zip(line, columns, strict=True):
            points = record.arrays[f"umap_{features}"][column].astype(float)
            points = points - points.mean(axis=0)
            axis = np.linalg.svd(points, full_matrices=False)[2][:2]
            position = record.arrays["labels"]
            if target == "generated":
                position = record.arrays["position"][column]
            ax.scatter(*(points @ axis.T).T, c=position_colours(position, c.N), s=5, lw=0)
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        line[0].set_ylabel(name, fontsize=8)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(thousands(int(record.checkpoints["images_seen"].iloc[column])))
    figure.supxlabel(
        f"{IMAGES_SEEN} (top). Colour: blue to orange along x, dark to light along y;\n"
        "grey where not exactly one bump was found",
        fontsize=8,
    )
    last = record.probes[record.probes["step"] == c.steps].query("reduction == 'umap'")

    def r2(features: str, target: str) -> str:
        rows = last.query("features == @features and target == @target")
        return " and ".join(f"{v:.2f}" for v in rows["r2"])

    alt = (
        f"UMAP embedding of {c.probe_layer} at {len(columns)} checkpoints of the run with seed "
        f"{c.seed}. At the end x and y of the request are read from it with R squared "
        f"{r2('trained', 'requested')} as published, {r2('ablated', 'requested')} with the label "
        f"ablated; of the generated bump with {r2('ablated', 'generated')} (ablated)."
    )
    return figure, alt


@drawn
def probes_over_training(records: list[Record]) -> tuple[Figure, str]:
    """R squared of the published probe and all its controls."""
    table = pd.concat(r.probes.assign(record=r.id) for r in records).query("step > 0")
    batch = {r.id: r.configuration.batch_size for r in records}
    table["images_seen"] = table["step"] * table["record"].map(batch)
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), sharex=True, sharey=True)
    for ax in axes.flat:
        images_axis(ax.xaxis, frame(records))
    for row, target in zip(axes, ("requested", "generated"), strict=True):
        for ax, reduction in zip(row, ("umap", "direct"), strict=True):
            for name, (_, colour, line) in FEATURE_STYLES.items():
                if (target, name) == ("generated", "shuffled"):
                    continue  # it is the requested labels that are shuffled
                features, wanted = (name, target) if name != "shuffled" else ("trained", name)
                part = table[
                    (table["features"] == features)
                    & (table["target"] == wanted)
                    & (table["reduction"] == reduction)
                ]
                curve(
                    ax,
                    part,
                    "r2",
                    color=colour,
                    linestyle=line,
                )
            through = "from the UMAP embedding" if reduction == "umap" else "from all features"
            ax.set(title=f"{target} position\n{through}", ylim=(-0.15, 1.03))
            ax.set(xlabel="", ylabel=r"$R^2$")
    handles = [
        Line2D([], [], color=colour, linestyle=line, label=label)
        for label, colour, line in FEATURE_STYLES.values()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    figure.supxlabel(
        f"{IMAGES_SEEN}; line: mean, band: range, over seeds ({len(records)}) and both axes",
        fontsize=8,
    )
    last = table[table["step"] == table["step"].max()].query("target == 'requested'")
    ends = ", ".join(
        f"{label} {last.query('features == @name and reduction == @reduction')['r2'].mean():.2f}"
        f" ({reduction})"
        for name, (label, _, _) in list(FEATURE_STYLES.items())[:4]
        for reduction in ("umap", "direct")
    )
    alt = (
        f"R squared of reading position from the features. Requested position, at the end: {ends}."
    )
    return figure, alt


@drawn
def order_parameters_over_training(records: list[Record]) -> tuple[Figure, str]:
    """The four quantities that the phases are assigned from, with their thresholds."""
    sides = {
        "generation": {
            "single": (f"single: one bump (≥ {SINGLE:g}: not A)", "#56B4E9"),
            "placed": (f"placed: of these, right (≥ {PLACED:g}: C)", "#009E73"),
        },
        "representation": {
            "manifold": (rf"manifold: $R^2$ generated (≥ {MANIFOLD:g}: not A)", "#56B4E9"),
            "order": (rf"order: $R^2$ requested (≥ {ORDER:g}: C)", "#009E73"),
        },
    }
    tables = []
    for record in records:
        parameters = order_parameters(record.checkpoints, record.probes)
        seen = parameters.index * record.configuration.batch_size
        tables.append(parameters.assign(images_seen=seen, seed=record.configuration.seed))
    table = pd.concat(tables).query("images_seen > 0")
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 4.8), sharex=True)
    for ax in axes:
        images_axis(ax.xaxis, frame(records))
    for ax, (side, names) in zip(axes, sides.items(), strict=True):
        for name, (label, colour) in names.items():
            curve(
                ax,
                table,
                name,
                color=colour,
                linestyle="--" if name in ("single", "manifold") else "-",
                label=label,
            )
        ax.axhline(0.5, color="#555555", lw=0.8)
        of = "share of images" if side == "generation" else r"$R^2$, label ablated"
        ax.set(title=side, ylim=(-0.15, 1.03), ylabel=of, xlabel="")
        ax.legend(loc="best")
    figure.supxlabel(f"{IMAGES_SEEN}; {band(frame(records))}", fontsize=8)
    means = table[table["images_seen"] == table["images_seen"].max()].mean()
    ends = ", ".join(f"{n} {means[n]:.2f}" for n in ("single", "placed", "manifold", "order"))
    return figure, f"Order parameters against images seen; means at the end: {ends}."


@drawn
def phase_bars(records: list[Record]) -> tuple[Figure, str]:
    """The phase of each checkpoint from each side, one pair of bars a run."""
    figure, axes = plt.subplots(
        2, 1, figsize=(WIDTH, 1.6 + 0.44 * len(records)), sharex=True, squeeze=False
    )
    schemes = len({r.configuration.conditioning for r in records})
    axes = axes[:, 0]
    for ax in axes:
        images_axis(ax.xaxis, frame(records))
    colours = mpl.colors.ListedColormap([PHASE_COLOURS[p] for p in PHASES])
    said = []
    for ax, side in zip(axes, ("generation", "representation"), strict=True):
        for height, record in enumerate(records):
            phases = phases_over_training(record)[side]
            seen = phases.index.to_numpy() * record.configuration.batch_size
            # A checkpoint's colour reaches, in log, half way to its neighbours.
            middle = np.sqrt(seen[1:] * seen[:-1])
            edges = np.concatenate([[seen[0]], middle, [seen[-1]]])
            numbers = phases.map(PHASES.index).to_numpy()[None]
            ax.pcolormesh(
                edges, [height - 0.4, height + 0.4], numbers, cmap=colours, vmin=0, vmax=2
            )
            changes = np.flatnonzero(np.r_[True, np.diff(numbers[0]) != 0])
            for start, stop in zip(changes, [*changes[1:], len(seen)], strict=True):
                centre = np.sqrt(edges[start] * edges[stop])
                ax.text(centre, height, PHASES[numbers[0, start]], ha="center", va="center")
            said.append(f"{_run_name(record, schemes)} {side} {''.join(_runs(phases))}")
        names = [_run_name(r, schemes) for r in records]
        ax.set_yticks(range(len(records)), names)
        ax.set(title=side, xlabel="")
        ax.grid(False)
    axes[-1].set_xlabel(IMAGES_SEEN)
    handles = [Patch(color=PHASE_COLOURS[p], label=f"phase {p}") for p in PHASES]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure, f"Sequence of phases over training: {'; '.join(said)}."


def _run_name(record: Record, schemes: int) -> str:
    c = record.configuration
    return f"{c.conditioning}, seed {c.seed}" if schemes > 1 else f"seed {c.seed}"


def _runs(phases: pd.Series) -> list[str]:
    return [p for p, before in zip(phases, [None, *phases[:-1]], strict=True) if p != before]


@drawn
def phase_agreement(records: list[Record]) -> tuple[Figure, str]:
    """How many checkpoints have each pair of phases from the two sides, by conditioning scheme."""
    tables: dict[str, pd.DataFrame] = {}
    for record in records:
        scheme = record.configuration.conditioning
        counts = agreement(phases_over_training(record))
        tables[scheme] = tables[scheme] + counts if scheme in tables else counts
    figure, axes = plt.subplots(
        1, len(tables), figsize=(max(2.6, WIDTH * len(tables) / 3), 2.5), sharey=True, squeeze=False
    )
    said = []
    for ax, (scheme, table) in zip(axes[0], tables.items(), strict=True):
        sns.heatmap(table, annot=True, fmt="d", cmap="Blues", cbar=False, ax=ax, linewidths=1)
        ax.set(xlabel="", ylabel="", title=scheme)
        ax.tick_params(rotation=0)
        agree = np.trace(table.to_numpy())
        said.append(
            f"{scheme}, {agree} of {table.to_numpy().sum()} agree, rows (generation A, B, C) by "
            f"columns (representation A, B, C) {table.to_numpy().tolist()}"
        )
    axes[0, 0].set_ylabel("phase of generation")
    figure.supxlabel("phase of the representation", fontsize=9)
    return figure, f"Checkpoints by phase from each side: {'; '.join(said)}."


@drawn
def geometry_over_training(records: list[Record]) -> tuple[Figure, str]:
    """Dimensions of the features, and whether neighbours there are neighbours in the plane."""
    panels = {
        "intrinsic_dimension": "intrinsic dimension (TwoNN)",
        "effective_dimension": "effective dimension\n(participation ratio)",
        "neighbourhood_requested": "trustworthiness,\nrequested plane",
        "neighbourhood_generated": "trustworthiness,\ngenerated plane",
    }
    table = frame(records).query("step > 0")
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.8), sharex=True)
    for ax in axes.flat:
        images_axis(ax.xaxis, frame(records))
    for ax, (measure, title) in zip(axes.flat, panels.items(), strict=True):
        for features in ("trained", "ablated"):
            label, colour, _ = FEATURE_STYLES[features]
            curve(
                ax,
                table,
                f"{measure}_{features}",
                color=colour,
                linestyle="-" if features == "trained" else "--",
                label=label,
                legend=measure == "intrinsic_dimension",
            )
        if measure.startswith("neighbourhood"):
            ax.axhline(0.5, color="#555555", lw=0.8)
            ax.set_ylim(0.4, 1.02)
        else:
            ax.set_ylim(bottom=0)
        ax.set(title=title, xlabel="", ylabel="")
    figure.supxlabel(f"{IMAGES_SEEN}; {band(frame(records))}", fontsize=8)
    last = table[table["step"] == table["step"].max()].mean(numeric_only=True)
    ends = ", ".join(
        f"{m.replace('_', ' ')} {last[f'{m}_trained']:.2f}, ablated {last[f'{m}_ablated']:.2f}"
        for m in panels
    )
    return figure, f"Geometry of the features against images seen; means at the end: {ends}."
