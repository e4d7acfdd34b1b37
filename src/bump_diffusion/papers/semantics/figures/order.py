"""The chapter *Is the order learned or put in?*: probes with controls, and interventions."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import Markdown
from matplotlib.axes import Axes

from bump_diffusion.analysis.frame import frame, gather, split
from bump_diffusion.analysis.phases import ORDER
from bump_diffusion.config import LAYERS
from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.colours import GROUND, QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.words import with_range
from bump_diffusion.papers.semantics.palette import AT_OTHER, OUTCOME_COLOURS, scheme_colours
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
    "at_other": ("at the other's place", AT_OTHER),
    "elsewhere": ("at a third place", OUTCOME_COLOURS["misplaced"]),
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
def order_against_accuracy(records: list[Record]) -> Drawn:
    """Draw accuracy against order, label ablated, of every trained checkpoint, by conditioning."""
    table = frame(records).query("step > 0")
    ordered, accurate = table["order"] >= ORDER, table["accuracy"] >= 0.5
    schemes = table.groupby("conditioning", sort=False)
    colours = scheme_colours(schemes.groups)
    figure, axes = panels(schemes.groups, 2.9)
    # The height of the count in each quarter: beside the diagonal, along which the points lie.
    heights = {(False, False): 0.43, (False, True): 0.93, (True, False): 0.08, (True, True): 0.57}
    box = {"facecolor": GROUND, "alpha": 0.8, "edgecolor": "none", "pad": 1}
    style = {"va": "center", "fontweight": "bold", "bbox": box}
    for ax, (scheme, part) in zip(axes, schemes, strict=True):
        colour = colours[scheme]
        ax.scatter(part["order"], part["accuracy"], s=14, color=colour, alpha=0.7, lw=0)
        ax.axvline(ORDER, color=QUIET, lw=0.8)
        ax.axhline(0.5, color=QUIET, lw=0.8)
        ax.set(xlabel="", ylim=(-0.04, 1.04))
        for (right, upper), y in heights.items():
            count = ((ordered == right) & (accurate == upper))[part.index].sum()
            x, ha = (0.97, "right") if right else (0.03, "left")
            ax.text(x, y, count, transform=ax.transAxes, ha=ha, **style)
    axes[0].set_ylabel("accuracy (share of images)")
    about = r"order: $R^2$ of the requested position, label ablated. Each point a checkpoint, "
    about += f"{table['seed'].nunique()} seeds;\nthe numbers count those in each quarter"
    figure.supxlabel(about)
    alone = [(accurate & ~ordered).sum(), (ordered & ~accurate).sum()]
    return figure, (
        f"Accuracy against order by conditioning. Of {len(table)} checkpoints {alone[0]} have "
        f"accuracy without order, {alone[1]} order without accuracy."
    )


@drawn
def controls_by_scheme(records: list[Record]) -> Drawn:
    """Draw R^2 of position at layer 4 at the end, as published and with each control."""
    probes = gather(records, "probes").query("step == step.max()")
    names = {read: name for name, read in CONTROLS.items()}
    reads = zip(probes["features"], probes["target"], strict=True)
    probes["control"] = [names.get(read, "") for read in reads]
    schemes = scheme_colours(probes["conditioning"].unique())
    figure, axes = panels(["from the\nUMAP embedding", "from all\nfeatures"], 3.4)
    style = {"hue": "conditioning", "palette": schemes, "size": 3, "dodge": True, "jitter": False}
    for ax, reduction in zip(axes, ("umap", "direct"), strict=True):
        part = probes[probes["reduction"] == reduction]
        sns.stripplot(part, x="r2", y="control", order=CONTROLS, **style, legend=False, ax=ax)
        ax.set(xlim=(-0.3, 1.05), xlabel=r"$R^2$", ylabel="")
    dots = {s: {"marker": "o", "ls": "", "color": colour} for s, colour in schemes.items()}
    legend_above(figure, dots, ncols=3)
    mean = part.groupby("control")["r2"].mean()
    means = ", ".join(f"{name} {mean[name]:.2f}" for name in CONTROLS)
    return figure, f"Probes of layer 4 at the end, by conditioning; means, all features: {means}."


def tabulate_learned_order(records: list[Record]) -> pd.DataFrame:
    """Tabulate what training adds to the order at the end, from all features and from UMAP's.

    R^2 of the requested position, label ablated, the worse axis, below 0 counted as 0: trained,
    untrained on the same images, and the difference. Means over seeds with their range.
    """
    last = frame(records).groupby("record", sort=False).tail(1)
    tables = []
    for source, suffix in {"all features": "", "UMAP embedding": "_umap"}.items():
        order = last[[f"order{suffix}", f"order_untrained{suffix}"]].clip(lower=0)
        order = order.set_axis(["trained", "untrained"], axis=1).assign(source=source)
        tables.append(last[["setting", "accuracy"]].join(order))
    table = pd.concat(tables).sort_index(kind="stable").rename(columns={"source": "read from"})
    table["difference"] = table["trained"] - table["untrained"]
    titles = {name: name for name in ("trained", "untrained", "difference")}
    titles["accuracy"] = "final accuracy"
    ranges = table.groupby(["setting", "read from"], sort=False)[list(titles)].agg(with_range)
    return ranges.rename(columns=titles).reset_index()


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
def layers_and_inputs(records: list[Record]) -> Drawn:
    """Draw R^2 of position at each layer, noise level and input, with all controls, by scheme."""
    table = gather(records, "layers").sort_values("timestep", kind="stable")
    schemes = table["conditioning"].unique()
    table["seen"] = table["input"] + ", t = " + table["timestep"].astype(str)
    inputs = table.groupby("input")["seen"].unique()
    columns = [seen for name in ("sample", "bump", "noise") for seen in inputs.get(name, [])]
    r2 = table.groupby(["features", "target", "conditioning", "layer", "seen"])["r2"].mean()
    shape = (len(CONTROLS), len(schemes))
    figure, axes = plt.subplots(
        *shape, figsize=(WIDTH, 11.5), sharex=True, sharey=True, squeeze=False
    )
    for row, (control, read) in zip(axes, CONTROLS.items(), strict=True):
        for ax, scheme in zip(row, schemes, strict=True):
            mean = r2[*read, scheme].unstack().reindex(index=LAYERS, columns=columns)
            image = ax.imshow(mean, vmin=0, vmax=1, cmap="viridis", aspect="auto")
            ax.grid(False)
            ax.set_xticks(range(len(columns)), columns, rotation=90)
            ax.set_yticks(range(len(LAYERS)), LAYERS)
        row[0].set_ylabel(control.replace(", ", ",\n"))
    for ax, scheme in zip(axes[0], schemes, strict=True):
        ax.set_title(scheme)
    figure.colorbar(image, ax=axes, label=r"$R^2$ (below 0 drawn as 0)", shrink=0.5)
    figure.supxlabel("input and timestep; blank: not defined")
    noise = table.query("layer == 'layer4' and input == 'noise' and target == 'requested'")
    means = noise.groupby("features")["r2"].mean()
    return figure, (
        "R squared by layer, input and timestep; mean over seeds and axes. At layer 4 with pure "
        f"noise as input: {means['trained']:.2f} as published, {means['ablated']:.2f} ablated."
    )


def gather_fates(records: list[Record]) -> pd.DataFrame:
    """Stack the records' interventions, with the shares of all `FATES`."""
    table = gather(records, "interventions")
    # What is misplaced by one's own request but lies at the other's is a fate of its own.
    return table.assign(elsewhere=(table["misplaced"] - table["at_other"]).clip(lower=0))


def draw_fates(ax: Axes, heights: Sequence[float], shares: pd.DataFrame) -> None:
    """Draw the shares of images of each of `FATES`, a bar a row, at these heights."""
    starts = shares.cumsum(axis=1).shift(axis=1, fill_value=0)
    for fate, (_, colour) in FATES.items():
        ax.barh(heights, shares[fate], left=starts[fate], color=colour, height=0.85)
    ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.grid(False)


@drawn
def interventions(records: list[Record]) -> Drawn:
    """Draw the images when a block's label, or a layer's features, are exchanged or taken away."""
    table = gather_fates(records)
    table["intervention"] = pd.Categorical(table["intervention"], table["intervention"].unique())
    table = table.sort_values("intervention", kind="stable")
    groups = table.groupby(["conditioning", "intervention", "layer"], sort=False, observed=True)
    mean = groups[list(FATES)].mean()
    schemes, rows = mean.index.unique("conditioning"), mean.index.droplevel("conditioning").unique()
    heights = -np.arange(len(rows)) - 0.6 * rows.get_level_values("intervention").codes
    figure, axes = panels(schemes, 0.2 * len(rows) + 1.6)
    for ax, scheme in zip(axes, schemes, strict=True):
        draw_fates(ax, heights, mean.loc[scheme].reindex(rows))
    names = [f"{intervention} {layer}".strip() for intervention, layer in rows]
    axes[0].set_yticks(heights, names)
    legend_above(figure, dict(FATES.values()), ncols=3)
    figure.supxlabel(f"share of images, mean over {table['seed'].nunique()} seeds")
    stay = [f"{s} {mean.loc[(s, 'other features', 'layer4'), 'correct']:.0%}" for s in schemes]
    return figure, f"Fates of images. At their own place with layer 4 exchanged: {', '.join(stay)}."


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
