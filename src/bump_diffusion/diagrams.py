"""The figures that compare runs: phase diagrams, controls and interventions, coupling, verdicts.

As in `figures`, one function each, decorated with `drawn`. Here the runs differ in more than their
seed: in a field of the configuration that is on an axis, or in the conditioning scheme.
"""

import itertools
import math
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from scipy.linalg import orthogonal_procrustes

from .claims import (
    CLAIMS,
    LIMITS,
    VERDICT_COLOURS,
    Judged,
    by_claim,
    in_words,
    interval,
    order_at_end,
)
from .config import Configuration
from .data import bump_height, data_labels, render_bumps
from .dissection import LAYERS, PLACED, half_a_frame_on
from .evaluation import evaluation_labels, shown
from .figures import (
    FEATURE_STYLES,
    IMAGES_SEEN,
    KIND_COLOURS,
    PHASE_COLOURS,
    WIDTH,
    _over_training,
    _pixels,
    _tables,
    _thousands,
    band,
    curve,
    drawn,
    images_axis,
    position_colours,
)
from .generation import KINDS, TOLERANCE, find_bumps, sort_images
from .model import CONDITIONINGS
from .phases import (
    ONE_CURVE,
    ORDER,
    PHASES,
    THRESHOLDS,
    by_setting,
    checkpoints_with_order,
    explained_by_overlap,
    explained_on_grid,
    learning_time,
    overlap_times,
    phases_over_training,
    short,
    with_range,
)
from .reference import composed, coupling, coupling_by_balanced, farthest_apart
from .representation import FEWEST
from .seeds import generator
from .store import Record

SCHEME_COLOURS = dict(
    zip(CONDITIONINGS, ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"), strict=False)
)


# Claims


@drawn
def verdicts(judged: Sequence[Judged], records: list[Record]) -> tuple[Figure, str]:
    """The effect behind each verdict, with its interval and the threshold that it must pass."""
    names, rows = zip(*by_claim(judged).items(), strict=True)
    heights = [0.35 + 0.22 * len(own) for own in rows]
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(WIDTH, sum(heights) + 2.2), height_ratios=heights, squeeze=False
    )
    for ax, name, own in zip(axes[:, 0], names, rows, strict=True):
        claim = CLAIMS[name]
        for place, one in enumerate(reversed(own)):
            colour = VERDICT_COLOURS[one.outcome]
            ax.plot(
                [one.low, one.high], [place, place], color=colour, lw=2.5, solid_capstyle="butt"
            )
            ax.plot(
                one.values, [place] * len(one.values), "|", color=colour, markersize=7, alpha=0.6
            )
            ax.plot(one.estimate, place, "o", color=colour, markersize=5)
            ax.plot(one.control, place, "o", color="black", mfc="none", markersize=7, alpha=0.7)
            if one.verdict == "not judged":
                ax.text(
                    0.02,
                    place,
                    f"undefined in {np.isnan(one.values).sum()} of {len(one.values)} runs",
                    transform=ax.get_yaxis_transform(),
                    va="center",
                    fontsize=8,
                )
        ax.axvline(claim.threshold, color="black", lw=1, ls="--")
        left, right = ax.get_xlim()
        if np.isfinite(claim.limits).all():
            left, right = claim.limits[0] - 0.03, claim.limits[1] + 0.03
        beyond = (claim.threshold, right) if claim.above is not None else (left, claim.threshold)
        ax.axvspan(*beyond, color="#009E73", alpha=0.08, lw=0)
        ax.set(xlim=(left, right), ylim=(-0.7, len(own) - 0.3))
        if all(one.verdict == "not judged" for one in own):
            ax.set_xticks([claim.threshold])
        ax.set_yticks(range(len(own)), [one.condition for one in reversed(own)])
        ax.set_title(
            f"{claim.number}. {name.replace('-', ' ')} ({claim.unit})", loc="left", fontsize=9
        )
        ax.grid(False, axis="y")
    handles = [Line2D([], [], color=c, lw=2.5, label=v) for v, c in VERDICT_COLOURS.items()]
    handles.append(Line2D([], [], color="black", ls="--", label="threshold"))
    ring = {"marker": "o", "mfc": "none", "ls": "", "markersize": 7, "alpha": 0.7}
    controls = dict.fromkeys(CLAIMS[name].control for name in names if CLAIMS[name].control)
    handles.append(Line2D([], [], color="black", label="\n".join(controls) or "control", **ring))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    said = "; ".join(
        f"{one.name} ({one.condition}) {one.estimate:.2f}, {one.low:.2f} to {one.high:.2f}: "
        f"{one.outcome}"
        for one in judged
    )
    return figure, f"Effects with 95 % intervals; the claims need the shaded side. {said}."


# Order: learned or put in, needed or not


@drawn
def order_against_accuracy(records: list[Record]) -> tuple[Figure, str]:
    """Accuracy against order, label ablated, of every trained checkpoint, by conditioning."""
    table = _trained_checkpoints(records)
    schemes = list(dict.fromkeys(table["conditioning"]))
    figure, axes = plt.subplots(
        1, len(schemes), figsize=(WIDTH, 2.9), sharex=True, sharey=True, squeeze=False
    )
    said = []
    for ax, scheme in zip(axes[0], schemes, strict=True):
        part = table[table["conditioning"] == scheme]
        colour = SCHEME_COLOURS[scheme]
        ax.scatter(part["order"], part["accuracy"], s=14, color=colour, alpha=0.7, lw=0)
        ax.axvline(ORDER, color="#555555", lw=0.8)
        ax.axhline(0.5, color="#555555", lw=0.8)
        ax.set(title=scheme, xlabel="", ylim=(-0.04, 1.04))
        counts = pd.crosstab(part["order"] >= ORDER, part["accuracy"] >= 0.5)
        counts = counts.reindex(index=[False, True], columns=[False, True], fill_value=0)
        for row, column in itertools.product((0, 1), repeat=2):
            ax.text(
                (0.03, 0.97)[row],
                # Beside the diagonal, along which the points lie.
                ((0.43, 0.93), (0.08, 0.57))[row][column],
                counts.iloc[row, column],
                transform=ax.transAxes,
                ha="left" if row == 0 else "right",
                va="center",
                fontsize=9,
                fontweight="bold",
                bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1},
            )
        said.append(
            f"{scheme}: accurate and ordered {counts.iloc[1, 1]}, accurate without order "
            f"{counts.iloc[0, 1]}, ordered without accuracy {counts.iloc[1, 0]}, neither "
            f"{counts.iloc[0, 0]}"
        )
    axes[0, 0].set_ylabel("accuracy (share of images)")
    seeds = len({r.configuration.seed for r in records})
    figure.supxlabel(
        rf"order: $R^2$ of the requested position, label ablated. Each point a checkpoint, {seeds} "
        "seeds;\nthe numbers count those in each quarter",
        fontsize=8,
    )
    return figure, f"Accuracy against order of every checkpoint. {'; '.join(said)}."


def _trained_checkpoints(records: list[Record], features: str = "ablated") -> pd.DataFrame:
    """The trained checkpoints of all runs, with their order parameters and conditioning."""
    tables = [
        checkpoints_with_order(r, features).assign(conditioning=r.configuration.conditioning)
        for r in records
    ]
    return pd.concat(tables, ignore_index=True).query("step > 0")


CONTROLS = {
    "as published": ("trained", "requested"),
    "label ablated": ("ablated", "requested"),
    "label ablated, generated position": ("ablated", "generated"),
    "untrained network": ("untrained", "requested"),
    "untrained, label ablated": ("untrained, ablated", "requested"),
    "shuffled labels": ("trained", "shuffled"),
}
"""The features and the target of the published probe and of each of its controls."""


@drawn
def controls_by_scheme(records: list[Record]) -> tuple[Figure, str]:
    """R squared of position at layer 4 at the end, as published and with each control."""
    table = pd.concat([r.probes.assign(scheme=r.configuration.conditioning) for r in records])
    table = table[table["step"] == table["step"].max()]
    schemes = list(dict.fromkeys(r.configuration.conditioning for r in records))
    figure, axes = plt.subplots(1, 2, figsize=(WIDTH, 3.4), sharey=True, sharex=True)
    said = []
    for ax, (reduction, title) in zip(
        axes,
        {"umap": "from the\nUMAP embedding", "direct": "from all\nfeatures"}.items(),
        strict=True,
    ):
        for offset, scheme in enumerate(schemes):
            for place, (features, target) in enumerate(reversed(CONTROLS.values())):
                part = table[
                    (table["scheme"] == scheme)
                    & (table["features"] == features)
                    & (table["target"] == target)
                    & (table["reduction"] == reduction)
                ]["r2"].dropna()
                y = place + 0.22 * (len(schemes) // 2 - offset)
                ax.plot(part, [y] * len(part), "o", markersize=3, color=SCHEME_COLOURS[scheme])
                if reduction == "direct":
                    name = list(CONTROLS)[len(CONTROLS) - 1 - place]
                    said.append(f"{scheme}, {name} {part.mean():.2f}")
        ax.set(title=title, xlim=(-0.3, 1.05), xlabel=r"$R^2$")
        ax.set_yticks(range(len(CONTROLS)), list(reversed(CONTROLS)))
    handles = [Line2D([], [], marker="o", ls="", color=SCHEME_COLOURS[s], label=s) for s in schemes]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure, f"Probes of layer 4 at the end, means from all features: {'; '.join(said)}."


def order_learned_table(records: list[Record]) -> pd.DataFrame:
    """What training adds to the order at the end, from all features and from the UMAP embedding.

    R^2 of the requested position, label ablated, the worse axis, as `claims.order_at_end`: trained,
    untrained on the same images, and the difference. Means over seeds with their range.
    """
    rows = []
    for where, own in by_setting(records, "condition").items():
        for reduction, name in {"direct": "all features", "umap": "UMAP embedding"}.items():
            trained, untrained = np.array([order_at_end(r, reduction) for r in own]).T
            rows.append(
                {
                    "condition": where,
                    "read from": name,
                    "trained": with_range(trained),
                    "untrained": with_range(untrained),
                    "difference": with_range(trained - untrained),
                    "final accuracy": with_range(r.checkpoints["accuracy"].iloc[-1] for r in own),
                }
            )
    return pd.DataFrame(rows)


def order_by_timestep(records: list[Record]) -> pd.DataFrame:
    """The order of the probed layer in less and in more noise, beside the untrained network's.

    R^2 of the requested position, label ablated, from all features, along the worse axis, at the
    end of training (`dissection.probe_layers`): of samples under way and of noised bumps, by
    timestep. Means over seeds with their range; below 0, where nothing is read, counts as 0.
    """
    features = {"ablated": "trained", "untrained, ablated": "untrained"}
    rows = []
    for where, own in by_setting(records, "condition").items():
        tables = [
            r.layers.query(f"layer == {r.configuration.probe_layer!r} and target == 'requested'")
            for r in own
        ]
        runs = pd.concat(tables, keys=range(len(own)), names=["run"])
        worse = runs.groupby(["timestep", "input", "features", "run"])["r2"].min().clip(lower=0)
        for timestep in sorted(runs.query("input == 'sample'")["timestep"].unique()):
            columns = {
                f"{image}, {name}": with_range(worse[timestep, image, network])
                for image in ("sample", "bump")
                for network, name in features.items()
            }
            rows.append({"condition": where, "timestep": f"{timestep}"} | columns)
    return pd.DataFrame(rows)


@drawn
def layers_and_inputs(records: list[Record]) -> tuple[Figure, str]:
    """R squared of position at each layer, noise level and input, with all controls, by scheme."""
    table = pd.concat([r.layers.assign(scheme=r.configuration.conditioning) for r in records])
    schemes = list(dict.fromkeys(r.configuration.conditioning for r in records))
    table["seen"] = table["input"] + ", t = " + table["timestep"].astype(str)
    order = list(dict.fromkeys(zip(table["input"], table["timestep"], strict=True)))
    order = sorted(order, key=lambda seen: (["sample", "bump", "noise"].index(seen[0]), seen[1]))
    columns = [f"{name}, t = {t}" for name, t in order]
    figure, axes = plt.subplots(
        len(CONTROLS), len(schemes), figsize=(WIDTH, 11.5), sharex=True, sharey=True, squeeze=False
    )
    for row, (title, (features, target)) in zip(axes, CONTROLS.items(), strict=True):
        own = table[(table["features"] == features) & (table["target"] == target)]
        for ax, scheme in zip(row, schemes, strict=True):
            part = own[own["scheme"] == scheme]
            mean = part.pivot_table(index="layer", columns="seen", values="r2")
            mean = mean.reindex(index=LAYERS, columns=columns)
            image = ax.imshow(mean, vmin=0, vmax=1, cmap="viridis", aspect="auto")
            ax.grid(False)
            ax.set_xticks(range(len(columns)), columns)
            ax.tick_params(axis="x", rotation=90)
            ax.set_yticks(range(len(LAYERS)), LAYERS)
        row[0].set_ylabel(title.replace(", ", ",\n"))
    for ax, scheme in zip(axes[0], schemes, strict=True):
        ax.set_title(scheme)
    figure.colorbar(image, ax=axes, label=r"$R^2$ (below 0 drawn as 0)", shrink=0.5)
    figure.supxlabel("input and timestep; blank: not defined", fontsize=8)
    at = table.query("layer == 'layer4' and input == 'noise' and target == 'requested'")
    at = at.groupby(["scheme", "features"])["r2"]
    said = "; ".join(f"{s}, {FEATURE_STYLES[f][0]} {v:.2f}" for (s, f), v in at.mean().items())
    return figure, (
        "R squared by layer, input and timestep; mean over seeds and axes. At layer 4 with pure "
        f"noise as input: {said}."
    )


@drawn
def interventions(records: list[Record]) -> tuple[Figure, str]:
    """What is drawn when a block's label, or a layer's features, are exchanged or taken away."""
    table = pd.concat(
        [r.interventions.assign(scheme=r.configuration.conditioning) for r in records]
    )
    # What is misplaced by one's own request but lies at the other's is told apart.
    table["elsewhere"] = (table["misplaced"] - table["at_other"]).clip(lower=0)
    schemes = list(dict.fromkeys(r.configuration.conditioning for r in records))
    kinds = {
        "correct": ("at its own place", KIND_COLOURS["correct"]),
        "at_other": ("at the other's place", "#D55E00"),
        "elsewhere": ("elsewhere", KIND_COLOURS["misplaced"]),
        "several": ("several bumps", KIND_COLOURS["several"]),
        "none": ("no bump", KIND_COLOURS["none"]),
    }
    mean = table.groupby(["scheme", "intervention", "layer"], sort=False)[list(kinds)].mean()
    rows = list(dict.fromkeys(mean.index.droplevel("scheme")))
    groups = list(dict.fromkeys(intervention for intervention, _ in rows))
    rows.sort(key=lambda row: groups.index(row[0]))
    figure, axes = plt.subplots(
        1, len(schemes), figsize=(WIDTH, 0.2 * len(rows) + 1.6), sharey=True, squeeze=False
    )
    places = []
    for place, (intervention, _) in enumerate(rows):
        new_group = place and intervention != rows[place - 1][0]
        places.append((places[-1] if places else 0) - 1 - 0.6 * bool(new_group))
    for ax, scheme in zip(axes[0], schemes, strict=True):
        left = np.zeros(len(rows))
        for kind, (_, colour) in kinds.items():
            width = mean.loc[scheme].reindex(rows)[kind].to_numpy()
            ax.barh(places, width, left=left, color=colour, height=0.85)
            left += width
        ax.set(title=scheme, xlim=(0, 1), xticks=[0, 0.5, 1])
        ax.grid(False)
    names = [f"{intervention} {layer}".strip() for intervention, layer in rows]
    axes[0, 0].set_yticks(places, names, fontsize=7)
    handles = [Patch(color=colour, label=label) for label, colour in kinds.values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    seeds = len({r.configuration.seed for r in records})
    figure.supxlabel(f"share of images, mean over {seeds} seeds", fontsize=8)
    said = "; ".join(
        f"{scheme}: {mean.loc[(scheme, 'other features', 'layer4'), 'correct']:.0%} stay at their "
        f"own place, {mean.loc[(scheme, 'other features', 'layer4'), 'at_other']:.0%} go to the "
        "other's"
        for scheme in schemes
    )
    return figure, f"Images under interventions. With the output of layer 4 exchanged, {said}."


def interventions_in_words(records: list[Record]) -> Markdown:
    """What exchanging layer 4 does to the images, and which label matters, by scheme."""
    lines = []
    for scheme, own in by_setting(records, "conditioning").items():
        table = pd.concat([record.interventions for record in own])
        mean = table.groupby(["intervention", "layer"])[["correct", "at_other"]].mean()
        labels = mean.loc["other label", "correct"].sort_values()
        fewest = ", then ".join(
            f"{block} ({share:.0%} still right)" for block, share in labels.iloc[:2].items()
        )
        exchanged = mean.loc["other features"]
        across = exchanged["at_other"].idxmax()
        lines.append(
            f"- {scheme.capitalize()}: {mean.loc[('nothing', ''), 'correct']:.0%} of the images "
            "are right if nothing is changed, and if outputs are exchanged, of layer 4 "
            f"{exchanged.loc['layer4', 'correct']:.0%}, of the bottleneck "
            f"{exchanged.loc['bottleneck', 'correct']:.0%}. Exchanging the label of one block does "
            f"most harm at {fewest}. The largest share at the other's place, "
            f"{exchanged.loc[across, 'at_other']:.0%}, comes with the output of {across} exchanged."
        )
    return Markdown("\n".join(lines))


def ways(record: Record) -> pd.DataFrame:
    """`Record.places`, and how far each bump lies on its way from one request to the other.

    `way_x` and `way_y` are 0 where its own request is and 1 where the other's is, which lies half a
    frame away along each axis; NaN for images that have not exactly one bump.
    """
    N = record.configuration.N
    table = record.places.copy()
    for axis in "xy":
        own = table[f"mu_{axis}"]
        table[f"way_{axis}"] = (table[axis] - own) / (half_a_frame_on(own, N) - own)
    return table


@drawn
def exchanged_places(records: list[Record]) -> tuple[Figure, str]:
    """Where bumps lie between the requests of their pair, if a layer is exchanged, in every run."""
    exchanged = ("", *PLACED)
    figure, axes = plt.subplots(
        len(records),
        len(exchanged),
        figsize=(WIDTH, 1.25 * len(records) + 0.7),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, record in zip(axes, records, strict=True):
        c = record.configuration
        table = ways(record)
        reach = TOLERANCE / (c.N / 2)
        for ax, layer in zip(row, exchanged, strict=True):
            for x, y in itertools.product((0, 1), repeat=2):
                corner = (x - reach, y - reach)
                box = Rectangle(corner, 2 * reach, 2 * reach, fill=False, ec="#555555", zorder=3)
                ax.add_patch(box)
            part = table[table["layer"] == layer]
            ax.plot(part["way_x"], part["way_y"], "o", ms=2.5, mew=0, alpha=0.5, color="#0072B2")
            single = part["way_x"].notna().mean()
            ax.set_title(f"one bump: {single:.0%}", fontsize=7)
            ax.set(xlim=(-0.6, 1.6), ylim=(-0.6, 1.6), xticks=[0, 1], yticks=[0, 1], aspect="equal")
            ax.tick_params(labelsize=7)
        row[0].set_ylabel(f"seed {c.seed}", fontsize=8)
    for ax, layer in zip(axes[0], exchanged, strict=True):
        ax.set_title(f"{layer or 'nothing'} exchanged\n{ax.get_title()}", fontsize=7)
    figure.supxlabel("way along x, from the own request (0) to the other's (1)", fontsize=8)
    figure.supylabel("way along y", fontsize=8)
    said = "; ".join(
        f"seed {row['seed']}, {row['exchanged']}: {row['along x']} and {row['along y']}"
        for row in places_table(records).to_dict("records")
    )
    return figure, (
        "Each image's bump on the way from its own request to the other's along x and y. Median "
        f"ways (quartiles) along x and y: {said}."
    )


def places_table(records: list[Record]) -> pd.DataFrame:
    """For every run, layer 3 and layer 4: how far bumps go to the other's place if it is exchanged.

    The median way (`ways`) along each axis with its quartiles, over images that have one bump, and
    the axes that follow the layer: along which most bumps go more than half of the way.
    """
    rows = []
    for record in records:
        table = ways(record)
        for layer in ("layer3", "layer4"):
            part = table[table["layer"] == layer]
            quarters = part[["way_x", "way_y"]].quantile([0.25, 0.5, 0.75]).round(2) + 0.0  # not -0
            follow = [axis for axis in "xy" if quarters.loc[0.5, f"way_{axis}"] > 0.5]
            rows.append(
                {
                    "seed": record.configuration.seed,
                    "exchanged": layer,
                    "one bump": f"{part['way_x'].notna().mean():.0%}",
                }
                | {
                    f"along {axis}": "{1:.2f} ({0:.2f} to {2:.2f})".format(*quarters[f"way_{axis}"])
                    for axis in "xy"
                }
                | {"follow it": ", ".join(follow) or "neither"}
            )
    return pd.DataFrame(rows)


def signal_table(records: list[Record], share: str) -> pd.DataFrame:
    """A share of `dissection.measure_signals`, in per cent, by layer, for each kind of network.

    Means over the runs, which hold the signals, and over timesteps, with their range; first the
    networks before training.
    """
    columns = {"untrained": _by_layer(records, share, "untrained")}
    for condition, own in by_setting(records, "condition").items():
        columns[condition] = _by_layer(own, share, "trained")
    return pd.DataFrame({"layer": LAYERS, **columns})


def _by_layer(records: list[Record], share: str, network: str) -> list[str]:
    found = pd.concat([record.signals for record in records])
    found = found[found["network"] == network].set_index("layer")[share]
    return [with_range(100 * found[layer], " %") for layer in LAYERS]


# Settings on an axis


FIELD_NAMES = {
    "d_x": "spacing d (pixels)",
    "sigma": r"spread $\sigma$ (pixels)",
    "conditioning": "conditioning",
    "N": "image size N (pixels)",
    "warmup": "warm-up (steps)",
    "condition": "condition",
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
    _over_training(axes, records)
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
    figure.supxlabel(f"{IMAGES_SEEN}; {band(records)}", fontsize=8)
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
        sizes[value] = len(data_labels(own[0].configuration))
    lacking = f" Left out: runs never get there ({', '.join(never)})." if never else ""
    if not means:
        return Markdown(f"At no {symbol} do all runs place half of their images right.{lacking}")
    by_time = sorted(means, key=means.get)
    fastest, slowest = by_time[0], by_time[-1]
    text = (
        "Images to half of all correct, means over seeds, lie between "
        f"{_thousands(means[fastest])} ({symbol} = {fastest}) and {_thousands(means[slowest])} "
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
            unit = c.batch_size if by == "images" else c.batch_size / len(data_labels(c))
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
            images_axis(ax.xaxis, records)
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
        images_axis(ax.xaxis, records)
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


def finder_by_spread(records: list[Record]) -> pd.DataFrame:
    """How the metrics sort true bumps up to half a pixel, in x and in y, from what is requested.

    All are within the tolerance; what is not "correct" is the bump finder's doing.
    """
    rows = []
    for c in {r.configuration.sigma: r.configuration for r in records}.values():
        labels = evaluation_labels(c)
        apart = torch.rand(labels.shape, generator=generator("cpu", "displaced")) - 0.5
        drawn = bump_height(render_bumps(labels + apart, c.N, c.sigma))
        metrics = sort_images(drawn, labels, c.sigma).metrics()
        shares = {kind: f"{metrics[kind]:.1%}" for kind in KINDS}
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
            phase = PHASES[_median_phase(_votes(own, side))[-1]]
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
    handles = [Patch(color=PHASE_COLOURS[p], label=f"phase {p}") for p in PHASES]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
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
        images_axis(row[0].yaxis, records)
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
        attainable = min(ONE_CURVE, found.at_best)
        decided = {np.isnan(mean): "undefined", low > ONE_CURVE: "yes", high < attainable: "no"}
        rows.append(
            {
                "images to": title,
                "explained by sigma / d (95 % interval)": in_words(mean, low, high),
                "by chance": in_words(found.chance, np.nan, np.nan),
                "if noise were all else": in_words(found.at_best, np.nan, np.nan),
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


# Imbalance


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
    _over_training(axes, [*records, *lines])
    styles = {"accuracy_x": ("x", "#D55E00"), "accuracy_y": ("y", "#0072B2")}
    for ax, ((d_x, d_y), own) in zip(axes, data_sets.items(), strict=True):
        for (measure, (_, colour)), d in zip(styles.items(), (d_x, d_y), strict=True):
            alone = [r for r in lines if r.configuration.d_x == d]
            for source, of, line in ((own, measure, "-"), (alone, "accuracy_x", ":")):
                curve(
                    ax,
                    _tables(source, "checkpoints").query("step > 0"),
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
    figure.supxlabel(f"training examples seen; {band(records)}", fontsize=8)
    figure.supylabel("accuracy (share of images, of lines)", fontsize=9)
    gaps = [
        f"{with_range(farthest_apart(r.checkpoints) for r in own)} at ({d_x:g}, {d_y:g})"
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

    A row for each trained checkpoint with at least `representation.FEWEST` of them.
    """
    table = record.checkpoints.query("step > 0")
    single = table["misplaced"] + table["correct"]
    enough = single * len(evaluation_labels(record.configuration)) >= FEWEST
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
        for side, phase in itertools.product(("generation", "representation"), (0, 2)):
            (row[f"{phase} {side}"],) = _boundary({"": own}, side, phase, {})
            row[f"no {phase} {side}"] = f"ends in {PHASES[_median_phase(_votes(own, side))[-1]]}"
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
        format=lambda images, _: _thousands(images),
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
    return row[f"no {name}"] if np.isnan(row[name]) else _thousands(row[name])


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
    figure, ax = plt.subplots(figsize=(WIDTH, 3))
    _over_training([ax], [*along_x, *along_y])
    for records, colour, name in ((along_x, "#D55E00", "x"), (along_y, "#0072B2", "y")):
        own = _tables(records, "checkpoints").query("step > 0")
        label = f"lines along {name}, d = {records[0].configuration.d_x:g}"
        curve(ax, own, "accuracy_x", color=colour, linestyle=":", label=label)
    curve(ax, table, "accuracy", color="black", label="images composed")
    ax.set(
        xlabel=f"lines seen of each axis; {band(along_x)}",
        ylabel="accuracy (share of lines, of images)",
        ylim=(-0.02, 1.02),
    )
    ax.legend()
    last = table[table["step"] == table["step"].max()]
    return figure, (
        f"Accuracy of lines and of composed images; composed at the end "
        f"{last['accuracy'].mean():.0%}, {last['several'].mean():.0%} with several bumps."
    )


# Failures


@drawn
def failures(records: list[Record]) -> tuple[Figure, str]:
    """Samples of each kind of failure from each phase of generation, found by the metrics.

    The request is marked by a cross, every bump that is found by a ring.
    """
    kinds = [kind for kind in KINDS if kind != "correct"]
    each = 8
    # A low empty row parts the phases.
    ratios = ([1] * len(kinds) + [0.45]) * len(PHASES)
    figure, axes = plt.subplots(
        len(ratios), each, figsize=(WIDTH, WIDTH * 1.15), height_ratios=ratios, squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
        ax.set_box_aspect(1)
    counts = []
    for start, phase in enumerate(PHASES):
        rows = axes[start * len(ratios) // len(PHASES) :]
        for row, kind in zip(rows, kinds, strict=False):
            found = _of_kind(records, phase, KINDS.index(kind))
            counts.append(f"{len(found)} of kind {kind} in {phase}")
            for ax, (image, request, bumps) in zip(row, found[:each], strict=False):
                ax.axis("on")
                _pixels(ax, image, 0, 255)
                ax.plot(*request, "+", color="#D55E00", markersize=7)
                ax.plot(*bumps.T, "o", mfc="none", color="#0072B2", markersize=9)
                side = len(image)  # a mark at the edge must not widen the image
                ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
            row[0].text(-0.15, 0.5, kind, transform=row[0].transAxes, ha="right", va="center")
        rows[0, 0].set_title(f"phase {phase}", loc="left")
    figure.supxlabel("+ requested, o found; blank where no more were kept", fontsize=8)
    return figure, f"Failures by phase of generation. Among the images kept: {', '.join(counts)}."


def _bumps_in(image: np.ndarray, c: Configuration) -> np.ndarray:
    """Positions (bumps, 2) of all bumps in an image as a record keeps it, in 256 levels."""
    height = bump_height(torch.from_numpy(image)[None, None].float() / 127.5 - 1, c.polarity)
    return find_bumps(height, c.sigma).position.numpy()


def _of_kind(
    records: list[Record], phase: str, kind: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Kept images of a kind from checkpoints in a phase: image, request, bumps found (n, 2).

    One from each run in turn, so that no single one fills the row.
    """
    waiting = []
    for record in records:
        own = []
        phases = phases_over_training(record)["generation"]
        kept = shown(len(record.arrays["labels"])).numpy()
        for place, step in enumerate(record.checkpoints["step"]):
            if step == 0 or phases[step] != phase:
                continue
            images, labels = record.arrays["images"][place], record.arrays["labels"][kept]
            single = record.arrays["position"][place][kept]
            for i in np.flatnonzero(record.arrays["kind"][place][kept] == kind):
                bumps = single[i : i + 1][~np.isnan(single[i : i + 1]).any(axis=1)]
                if KINDS[kind] == "several":  # a record keeps positions of single bumps alone
                    bumps = _bumps_in(images[i], record.configuration)
                own.append((images[i], labels[i], bumps))
        waiting.append(own)
    longest = max((len(own) for own in waiting), default=0)
    return [own[i] for i in range(longest) for own in waiting if i < len(own)]


# Movement

SECONDS_A_CHECKPOINT = 1.0

COLOUR_KEY = "Colour: the request, blue to orange along x, dark to light along y"


@drawn
def embedding_moving(record: Record) -> tuple[Figure, str, str]:
    """The UMAP embedding of the probed layer over training, moving: as published, and ablated.

    Each checkpoint's embedding is rotated onto the one before it (orthogonal Procrustes), as UMAP
    turns and mirrors at will. Coloured by the requested position; the still has the middle
    checkpoint of each phase of the representation.
    """
    c = record.configuration
    colours = position_colours(record.arrays["labels"], c.N)
    features = {"trained": "as published", "ablated": "label ablated"}
    paths = {name: _aligned(record.arrays[f"umap_{name}"][1:]) for name in features}
    checkpoints = record.checkpoints.query("step > 0")
    phases = phases_over_training(record)
    labels = [
        f"{_thousands(images)} images seen: generation {phases.loc[step, 'generation']}, "
        f"representation {phases.loc[step, 'representation']}"
        for step, images in zip(checkpoints["step"], checkpoints["images_seen"], strict=True)
    ]
    passed = phases["representation"].to_numpy()
    stills = [
        places[(len(places) - 1) // 2] for p in PHASES if len(places := np.flatnonzero(passed == p))
    ]
    figure, axes = plt.subplots(
        2, len(stills), figsize=(WIDTH, 4.6), sharex=True, sharey=True, squeeze=False
    )
    for row, (name, title) in zip(axes, features.items(), strict=True):
        for ax, place in zip(row, stills, strict=True):
            ax.scatter(*paths[name][place].T, c=colours, s=6, lw=0)
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.grid(False)
        row[0].set_ylabel(title)
    for ax, place in zip(axes[0], stills, strict=True):
        ax.set_title(
            f"{_thousands(checkpoints['images_seen'].iloc[place])}: generation "
            f"{phases['generation'].iloc[place]},\nrepresentation {passed[place]}",
            fontsize=9,
        )
    figure.supxlabel(f"{IMAGES_SEEN} (top). {COLOUR_KEY}", fontsize=8)
    alt = (
        f"UMAP embedding of {c.probe_layer} moving through {len(labels)} checkpoints, as published "
        f"and with the label ablated. From {labels[0]}, to {labels[-1]}."
    )
    return figure, alt, _svg(list(features.values()), list(paths.values()), colours, labels)


def _aligned(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (checkpoints, n, 3) centred, of one size, rotated onto each other; two axes."""
    points = embeddings.astype(float)
    points -= points.mean(axis=1, keepdims=True)
    size = np.sqrt((points**2).sum(axis=(1, 2), keepdims=True) / points.shape[1])
    points /= np.where(size > 0, size, 1)
    for before, now in itertools.pairwise(range(len(points))):
        rotation, _ = orthogonal_procrustes(points[now], points[before])
        points[now] = points[now] @ rotation
    axes = np.linalg.svd(points[-1], full_matrices=False)[2][:2]
    return points @ axes.T


def _svg(titles: list[str], paths: list[np.ndarray], colours: np.ndarray, labels: list[str]) -> str:
    """Panels of moving points, (checkpoints, n, 2) each, as an SVG document that loops."""
    side, top, bottom = 300, 50, 24
    seconds = SECONDS_A_CHECKPOINT * len(labels)
    timing = f'dur="{seconds:g}s" repeatCount="indefinite"'
    reach = max(float(np.abs(path).max()) for path in paths)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side * len(paths)} '
        f'{side + top + bottom}" '
        'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>'
    ]
    for panel, (title, path) in enumerate(zip(titles, paths, strict=True)):
        places = (path / reach * 0.47 + 0.5) * side + [panel * side, top]
        middle = panel * side + side / 2
        parts.append(
            f'<text x="{middle}" y="44" font-size="13" text-anchor="middle">{title}</text>'
        )
        for i, colour in enumerate(colours):
            moves = "".join(
                f'<animate attributeName="c{axis}" {timing} '
                f'values="{";".join(f"{v:.0f}" for v in places[:, i, k])}"/>'
                for k, axis in enumerate("xy")
            )
            x, y = places[-1, i]
            fill = mpl.colors.to_hex(colour)
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{fill}">{moves}</circle>')
    parts.append(
        f'<text x="{side * len(paths) / 2}" y="{side + top + 16}" font-size="12" '
        f'text-anchor="middle">{COLOUR_KEY}</text>'
    )
    for place, label in enumerate(labels):
        shows = ";".join("1" if p == place else "0" for p in range(len(labels)))
        parts.append(
            f'<text x="{side * len(paths) / 2}" y="20" font-size="15" text-anchor="middle" '
            f'opacity="{int(place == len(labels) - 1)}">{label}<animate attributeName="opacity" '
            f'calcMode="discrete" {timing} values="{shows}"/></text>'
        )
    return "".join([*parts, "</svg>"])
