"""The chapter *Is the order learned or put in?*: probes with controls, and interventions."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from bump_diffusion.analysis.frame import frame, gather, split
from bump_diffusion.analysis.phases import ORDER
from bump_diffusion.metrics.interventions import LAYERS
from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.words import tabulate_ranges, with_range
from bump_diffusion.papers.semantics.palette import OUTCOME_COLOURS, SCHEME_COLOURS
from bump_diffusion.runs.record import Record

CONTROLS = {
    "as published": ("trained", "requested"),
    "label ablated": ("ablated", "requested"),
    "label ablated, generated position": ("ablated", "generated"),
    "untrained network": ("untrained", "requested"),
    "untrained, label ablated": ("untrained, ablated", "requested"),
    "shuffled labels": ("trained", "shuffled"),
}
"""The features and the target of the published probe and of each of its controls."""

FATES = {
    "correct": ("at its own place", OUTCOME_COLOURS["correct"]),
    "at_other": ("at the other's place", "#D55E00"),
    "elsewhere": ("elsewhere", OUTCOME_COLOURS["misplaced"]),
    "several": ("several bumps", OUTCOME_COLOURS["several"]),
    "none": ("no bump", OUTCOME_COLOURS["none"]),
}
"""What an intervention makes of an image: its name and colour."""


def describe_which_is_first(records: list[Record]) -> Markdown:
    """Say how well the checkpoints can tell whether order or accuracy comes first."""
    table = frame(records).query("step > 0")
    gaps = np.log2(table["images_seen"]).groupby(table["record"]).diff()
    reached = table[["order", "accuracy"]].ge([ORDER, 0.5]).groupby(table["record"])
    both = reached.any().all(axis=1)
    first = reached.idxmax()[both]
    return Markdown(
        f"Checkpoints lie {gaps.median():.2f} doublings of the images apart. In "
        f"{(first['order'] == first['accuracy']).sum()} of the {both.sum()} runs that get to both, "
        "order and accuracy pass one half between the same two checkpoints: there, which comes "
        "first is a matter of how the values between are filled in."
    )


@drawn
def order_against_accuracy(records: list[Record]) -> tuple[Figure, str]:
    """Draw accuracy against order, label ablated, of every trained checkpoint, by conditioning."""
    table = frame(records).query("step > 0")
    ordered, accurate = table["order"] >= ORDER, table["accuracy"] >= 0.5
    schemes = table.groupby("conditioning", sort=False)
    figure, axes = panels(schemes.groups, 2.9)
    # The height of the count in each quarter: beside the diagonal, along which the points lie.
    heights = {(False, False): 0.43, (False, True): 0.93, (True, False): 0.08, (True, True): 0.57}
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
    style = {"va": "center", "fontsize": 9, "fontweight": "bold", "bbox": box}
    for ax, (scheme, part) in zip(axes, schemes, strict=True):
        colour = SCHEME_COLOURS[scheme]
        ax.scatter(part["order"], part["accuracy"], s=14, color=colour, alpha=0.7, lw=0)
        ax.axvline(ORDER, color="#555555", lw=0.8)
        ax.axhline(0.5, color="#555555", lw=0.8)
        ax.set(xlabel="", ylim=(-0.04, 1.04))
        for (right, upper), y in heights.items():
            count = ((ordered == right) & (accurate == upper))[part.index].sum()
            x, ha = (0.97, "right") if right else (0.03, "left")
            ax.text(x, y, count, transform=ax.transAxes, ha=ha, **style)
    axes[0].set_ylabel("accuracy (share of images)")
    about = r"order: $R^2$ of the requested position, label ablated. Each point a checkpoint, "
    about += f"{table['seed'].nunique()} seeds;\nthe numbers count those in each quarter"
    figure.supxlabel(about, fontsize=8)
    return figure, (
        f"Accuracy against order of {len(table)} checkpoints, by conditioning: "
        f"{(ordered & accurate).sum()} have both, {(accurate & ~ordered).sum()} accuracy alone, "
        f"{(ordered & ~accurate).sum()} order alone."
    )


@drawn
def controls_by_scheme(records: list[Record]) -> tuple[Figure, str]:
    """Draw R^2 of position at layer 4 at the end, as published and with each control."""
    table = gather(records, "probes")
    table = table[table["step"] == table["step"].max()]
    schemes = table["conditioning"].unique()
    names = list(reversed(CONTROLS))
    figure, axes = panels(["from the\nUMAP embedding", "from all\nfeatures"], 3.4)
    for ax, reduction in zip(axes, ("umap", "direct"), strict=True):
        for (i, scheme), (j, name) in itertools.product(enumerate(schemes), enumerate(names)):
            part = _select(table[table["reduction"] == reduction], name, scheme)["r2"].dropna()
            y = j + 0.22 * (len(schemes) // 2 - i)
            ax.plot(part, [y] * len(part), "o", markersize=3, color=SCHEME_COLOURS[scheme])
        ax.set(xlim=(-0.3, 1.05), xlabel=r"$R^2$")
        ax.set_yticks(range(len(names)), names)
    dots = {s: {"marker": "o", "ls": "", "color": SCHEME_COLOURS[s]} for s in schemes}
    legend_above(figure, dots, ncols=3)
    direct = table[table["reduction"] == "direct"]
    means = ", ".join(f"{name} {_select(direct, name)['r2'].mean():.2f}" for name in CONTROLS)
    return figure, f"Probes of layer 4 at the end, by conditioning; means, all features: {means}."


def _select(table: pd.DataFrame, control: str, scheme: str | None = None) -> pd.DataFrame:
    """Select the probes of one of `CONTROLS`, of runs with one conditioning or with any."""
    features, target = CONTROLS[control]
    chosen = (table["features"] == features) & (table["target"] == target)
    return table[chosen & (table["conditioning"] == scheme if scheme else True)]


def tabulate_learned_order(records: list[Record]) -> pd.DataFrame:
    """Tabulate what training adds to the order at the end, from all features and from UMAP's.

    R^2 of the requested position, label ablated, the worse axis, as `quantities.order_at_end`:
    trained, untrained on the same images, and the difference. Means over seeds with their range.
    """
    last = frame(records).groupby("record", sort=False).tail(1)
    tables = []
    for suffix, source in {"": "all features", "_umap": "UMAP embedding"}.items():
        trained, untrained = (
            last[f"order{network}{suffix}"].clip(lower=0) for network in ("", "_untrained")
        )
        order = {"trained": trained, "untrained": untrained, "difference": trained - untrained}
        tables.append(last[["setting", "accuracy"]].assign(**{"read from": source}, **order))
    titles = {name: name for name in order} | {"accuracy": "final accuracy"}
    table = pd.concat(tables).sort_index(kind="stable")
    return tabulate_ranges(table, ["setting", "read from"], titles)


def tabulate_order_by_timestep(records: list[Record]) -> pd.DataFrame:
    """Tabulate the order of the probed layer by timestep, beside the untrained network's.

    R^2 of the requested position, label ablated, from all features, along the worse axis, at the
    end of training (`interventions.probe_layers`): of samples under way and of noised bumps, by
    timestep. Means over seeds with their range; below 0, where nothing is read, counts as 0.
    """
    networks = {"ablated": "trained", "untrained, ablated": "untrained"}
    table = gather(records, "layers").query("layer == probe_layer and target == 'requested'")
    table = table[table["features"].isin(networks) & (table["input"] != "noise")]
    table["read"] = table["input"] + ", " + table["features"].map(networks)
    worse = table.groupby(["setting", "timestep", "read", "record"], sort=False)["r2"].min()
    ranges = worse.clip(lower=0).groupby(["setting", "timestep", "read"], sort=False)
    return (
        ranges.agg(with_range).unstack("read", sort=False).rename_axis(columns=None).reset_index()
    )


@drawn
def layers_and_inputs(records: list[Record]) -> tuple[Figure, str]:
    """Draw R^2 of position at each layer, noise level and input, with all controls, by scheme."""
    table = gather(records, "layers")
    schemes = table["conditioning"].unique()
    table["seen"] = table["input"] + ", t = " + table["timestep"].astype(str)
    by_input = table.sort_values("timestep").groupby("input")["seen"].unique()
    columns = [seen for name in ("sample", "bump", "noise") for seen in by_input.get(name, [])]
    figure, axes = plt.subplots(
        len(CONTROLS), len(schemes), figsize=(WIDTH, 11.5), sharex=True, sharey=True, squeeze=False
    )
    for row, control in zip(axes, CONTROLS, strict=True):
        for ax, scheme in zip(row, schemes, strict=True):
            part = _select(table, control, scheme)
            mean = part.pivot_table(index="layer", columns="seen", values="r2")
            mean = mean.reindex(index=LAYERS, columns=columns)
            image = ax.imshow(mean, vmin=0, vmax=1, cmap="viridis", aspect="auto")
            ax.grid(False)
            ax.set_xticks(range(len(columns)), columns)
            ax.tick_params(axis="x", rotation=90)
            ax.set_yticks(range(len(LAYERS)), LAYERS)
        row[0].set_ylabel(control.replace(", ", ",\n"))
    for ax, scheme in zip(axes[0], schemes, strict=True):
        ax.set_title(scheme)
    figure.colorbar(image, ax=axes, label=r"$R^2$ (below 0 drawn as 0)", shrink=0.5)
    figure.supxlabel("input and timestep; blank: not defined", fontsize=8)
    noise = table.query("layer == 'layer4' and input == 'noise'")
    means = [f"{_select(noise, name)['r2'].mean():.2f}" for name in list(CONTROLS)[:2]]
    return figure, (
        "R squared by layer, input and timestep; mean over seeds and axes. At layer 4 with pure "
        f"noise as input: {means[0]} as published, {means[1]} with the label ablated."
    )


@drawn
def interventions(records: list[Record]) -> tuple[Figure, str]:
    """Draw the images when a block's label, or a layer's features, are exchanged or taken away."""
    table = gather(records, "interventions")
    # What is misplaced by one's own request but lies at the other's is a fate of its own.
    table["elsewhere"] = (table["misplaced"] - table["at_other"]).clip(lower=0)
    table["intervention"] = pd.Categorical(table["intervention"], table["intervention"].unique())
    table = table.sort_values("intervention", kind="stable")
    groups = table.groupby(["conditioning", "intervention", "layer"], sort=False, observed=True)
    mean = groups[list(FATES)].mean()
    rows = mean.index.droplevel("conditioning").unique()
    heights = -np.arange(len(rows)) - 0.6 * rows.get_level_values("intervention").codes
    schemes = mean.index.unique("conditioning")
    figure, axes = panels(schemes, 0.2 * len(rows) + 1.6)
    for ax, scheme in zip(axes, schemes, strict=True):
        widths = mean.loc[scheme].reindex(rows)
        starts = widths.cumsum(axis=1).shift(axis=1, fill_value=0)
        for fate, (_, colour) in FATES.items():
            ax.barh(heights, widths[fate], left=starts[fate], color=colour, height=0.85)
        ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
        ax.grid(False)
    names = [f"{intervention} {layer}".strip() for intervention, layer in rows]
    axes[0].set_yticks(heights, names, fontsize=7)
    legend_above(figure, dict(FATES.values()), ncols=3)
    seeds = table["seed"].nunique()
    figure.supxlabel(f"share of images, mean over {seeds} seeds", fontsize=8)
    exchanged = mean.xs(("other features", "layer4"), level=("intervention", "layer"))
    shares = ", ".join(f"{scheme} {share:.0%}" for scheme, share in exchanged["correct"].items())
    return figure, (
        "Fate of the images, a bar an intervention. With the output of layer 4 exchanged, at their "
        f"own place: {shares}."
    )


def describe_interventions(records: list[Record]) -> Markdown:
    """Say what exchanging layer 4 does to the images, and which label matters, by scheme."""
    lines = []
    for scheme, part in split(gather(records, "interventions"), "conditioning").items():
        mean = part.groupby(["intervention", "layer"])[["correct", "at_other"]].mean()
        labels = mean.loc["other label", "correct"].sort_values()
        fewest = ", then ".join(
            f"{block} ({share:.0%} still right)" for block, share in labels[:2].items()
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
