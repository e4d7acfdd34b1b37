"""The page *Is the order learned?*: order in a nearly clean image, and in noise."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame, gather
from bump_diffusion.metrics.evaluation import PROBED_LAYERS
from bump_diffusion.page.axes import IMAGES_SEEN, curve, legend_above, panels_over_training
from bump_diffusion.page.colours import QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Lead
from bump_diffusion.page.words import spell_layer
from bump_diffusion.papers.semantics.confirmed import find_runs, judge_cell
from bump_diffusion.papers.semantics.criteria import FROZEN
from bump_diffusion.papers.semantics.figures.confirmed import describe_interval, spell_verdict
from bump_diffusion.papers.semantics.figures.rules import average_dimensions
from bump_diffusion.papers.semantics.figures.sentences import name_runs
from bump_diffusion.papers.semantics.palette import FEATURE_STYLES, SCHEME_COLOURS
from bump_diffusion.runs.record import Record

LAYERS_SHOWN = ("layer4", "up3")

LEGEND = {
    "trained": "trained",
    "untrained": "not trained",
    "ablated": "trained, label ablated",
    "untrained, ablated": "not trained, label ablated",
}

NOISE = "noise in the image (share of timesteps)"


def read_order(records: list[Record], inputs: tuple[str, ...] = ("bump", "noise")) -> pd.DataFrame:
    """Read the order of requested positions in true bumps under growing noise, at the end.

    Or in other `inputs`: "sample" is for the images that the network itself generated.

    A row per run, layer, amount of noise (0 to 1, a share of the timesteps) and features: `order`
    is the cross-validated R^2, the lower of the two axes', at least 0.
    """
    table = gather(records, "layers")
    chosen = table["input"].isin(inputs) & (table["target"] == "requested")
    table = table[chosen & table["layer"].isin(LAYERS_SHOWN)]
    table["noise"] = table["timestep"] / (table["timesteps"] - 1)
    by = ["conditioning", "record", "layer", "noise", "features"]
    return table.groupby(by, sort=False)["r2"].min().clip(lower=0).rename("order").reset_index()


@drawn
def order_by_noise(records: list[Record]) -> Drawn:
    """Draw the order in layer 4 and in up3 against noise, trained and not, with the label and not.

    A row of panels for each conditioning; lines are means over seeds, points are runs: dots if
    trained, rings if not.
    """
    table = read_order(records)
    schemes = list(table["conditioning"].unique())
    size = (WIDTH, 1.1 + 2.0 * len(schemes))
    figure, axes = plt.subplots(
        len(schemes), 2, figsize=size, sharex=True, sharey=True, squeeze=False
    )
    styles = {name: _style(name) for name in table["features"].unique()}
    for row, scheme in zip(axes, schemes, strict=True):
        for ax, layer in zip(row, LAYERS_SHOWN, strict=True):
            part = table[(table["conditioning"] == scheme) & (table["layer"] == layer)]
            for name, style in styles.items():
                order = part[part["features"] == name]
                mean = order.groupby("noise")["order"].mean()
                ax.plot(mean.index, mean, **style | {"marker": ""})
                ax.plot(order["noise"], order["order"], **style | {"ls": "", "clip_on": False})
            title = f"{spell_layer(layer)}, {scheme}"
            ax.set(title=title, ylim=(-0.05, 1.05), xticks=[0, 0.25, 0.5, 1])
            ax.xaxis.set_major_formatter("{x:g}")
        row[0].set_ylabel("order ($R^2$)")
    figure.supxlabel(NOISE)
    legend_above(figure, {LEGEND[name]: style for name, style in styles.items()}, ncols=2)
    clean = average_order(table, schemes[0], "layer4", 0)
    return figure, (
        f"Order in layer 4 and up 3 against the noise in the image, for {', '.join(schemes)} "
        f"conditioning. In a clean image, label ablated, layer 4, {schemes[0]}: "
        f"{clean['ablated']:.2f} trained, {clean['untrained, ablated']:.2f} untrained."
    )


def _style(features: str) -> dict[str, object]:
    """Lines and points; those of untrained networks are open, to be seen around the others."""
    _, colour, line = FEATURE_STYLES[features]
    is_open = features.startswith("untrained")
    marker = {"marker": "o", "ms": 6, "mfc": "none"} if is_open else {"marker": "o", "ms": 3}
    return {"color": colour, "ls": line, **marker}


def conclude(drawn: pd.DataFrame, order: pd.DataFrame) -> str:
    """Say if training adds order, from `read_drawn`; and if it makes one, from `read_order`."""
    last, matters = drawn.loc["direct"], FROZEN.criteria["order-added"].smallest
    added = last["ablated"] - last["untrained, ablated"]
    noise = average_order(order, _without_order(order), "up3", 1)
    own = noise["trained"] - noise["untrained"] > matters
    return (
        "In layer 4, where the paper looks, much order comes with the label and the image; "
        f"training adds {'some' if added > matters else 'little'}. In pure noise, with labels "
        "that bring no order, a later layer (up 3) has "
        f"{'a map of its own' if own else 'none either'}."
    )


def describe_learned(larger: list[Record], records: list[Record]) -> Lead:
    """Say how much order training adds where the paper looks, and where all order was learned."""
    read, order = read_drawn(larger), read_order(records)
    cell = judge_cell("order-added", "larger")
    adds = "adds" if cell.verdict == "shown" else "seems to add"
    last, as_read = read.loc["direct"], ""
    if "umap" in read.index:
        umap = read.loc["umap"]
        as_read = (
            f"; after UMAP, a map that may bend, as the paper reads it, {umap['trained']:.2f} and "
            f"{umap['untrained']:.2f}"
        )
    scheme = _without_order(order)
    noise, layer4 = (average_order(order, scheme, layer, 1) for layer in ("up3", "layer4"))
    N, small = (group[0].configuration.N for group in (larger, records))
    return Lead(
        conclude(read, order),
        f"Training {adds} order, and much is there without it. With the label taken away, the "
        f"position can be read from layer 4 with an R² of {last['ablated']:.2f}, and of "
        f"{last['untrained, ablated']:.2f} from that of an untrained network that is shown the "
        f"same images of {N} × {N} pixels.{_describe_test(cell)} With the label left in it is "
        f"{last['trained']:.2f} and {last['untrained']:.2f}{as_read}.{_describe_sheet()} Give each "
        f"label a random code ({scheme}) and the network pure noise, and any order must be "
        f"learned: there, in images of {small} × {small} pixels, the first decoder layer (up 3) "
        f"goes from R² {noise['untrained']:.2f} to {noise['trained']:.2f}, layer 4 to "
        f"{layer4['trained']:.2f} ({name_runs(records)}).",
    )


def _describe_sheet() -> str:
    """What is known of the two dimensions, as a sentence; empty if no network has been judged."""
    runs = [run for run, _ in find_runs("larger")]
    if not runs:
        return ""
    estimated = average_dimensions(runs)
    return (
        " Is what layer 4 holds a sheet, with two dimensions? Estimated from nearest neighbours, "
        f"it has {estimated['layer 4']:.1f} in {len(runs)} newer networks and "
        f"{estimated['layer 4, untrained']:.1f} in untrained ones; a perfect sheet of bumps at the "
        f"same places, near a grid, has {estimated['perfect sheet']:.1f}."
    )


def _describe_test(cell: Any) -> str:
    """What the frozen test of the same says so far, as a sentence; empty if it has no run."""
    if not cell.seeds:
        return ""
    return (
        f" The frozen test of this difference, in {cell.seeds} newer networks, is "
        f"{spell_verdict(cell)}: {describe_interval(cell)}."
    )


def read_drawn(records: list[Record]) -> pd.DataFrame:
    """Read the order in layer 4 in the images drawn at the end of training, the mean over runs.

    A column for each of the features, a row for "direct" (linearly) and one for "umap".
    """
    last = frame(records).groupby("record").tail(1)

    def average(features: str, reduction: str) -> float:
        columns = [f"r2_{features}_{reduction}_requested_{axis}" for axis in "xy"]
        return last[columns].min(axis=1).clip(lower=0).mean()

    reductions = [r for r in ("direct", "umap") if f"r2_trained_{r}_requested_x" in last]
    return pd.DataFrame({f: {r: average(f, r) for r in reductions} for f in LEGEND})


def tabulate_readings(*groups: list[Record]) -> pd.DataFrame:
    """Tabulate R^2 of the requested position in layer 4 in all ways in which pages give it.

    Means over each group of runs, at the end of training: trained and not, with the label and
    without, in images that the networks draw and in true bumps, read linearly or after UMAP.
    """
    rows = []
    for runs in groups:
        c = runs[0].configuration
        about = {"pixels": f"{c.N} × {c.N}", "networks": name_runs(runs)}
        names = {"direct": "drawn images", "umap": "drawn images, after UMAP"}
        readings = dict(read_drawn(runs).rename(names).iterrows())
        if "interventions" in runs[0].extras:
            clean = average_order(read_order(runs, ("bump",)), c.conditioning, "layer4", 0)
            readings["true bumps"] = clean
        rows += [{**about, "read from": of} | dict(r) for of, r in readings.items()]
    columns = ["pixels", "networks", "read from", *LEGEND]
    return pd.DataFrame(rows)[columns].round(2).rename(columns=LEGEND)


READ = (
    "R² of the worse axis, after training. The paper reads drawn images after UMAP, with the label "
    "left in; an untrained network is shown what the trained one draws."
)
"""What a number of `tabulate_readings` is."""


def describe_readings(readings: pd.DataFrame) -> Markdown:
    """Say what `tabulate_readings` gives, and in how many of its rows training has added order."""
    more, left_in = (
        (readings[LEGEND[trained]] - readings[LEGEND[control]]).round(2)
        for trained, control in (("ablated", "untrained, ablated"), ("trained", "untrained"))
    )
    return Markdown(
        "How much of the position layer 4 holds depends on how one reads it, and from which "
        "images. With the label ablated, trained networks hold more than untrained ones in "
        f"{(more > 0).sum()} of {len(readings)} ways to read it that we tried. With the label left "
        f"in, both hold as much in {(left_in == 0).sum()}, and the trained ones more in "
        f"{(left_in > 0).sum() or 'none'}."
    )


def describe_order_by_noise(records: list[Record]) -> Markdown:
    """Say what to see in `order_by_noise`."""
    table, N = read_order(records), records[0].configuration.N
    scheme = _without_order(table)
    other = table["conditioning"].iloc[0]
    amounts = sorted(table["noise"].unique())[:2]  # none, and the least
    clean, some, noise = (average_order(table, other, "layer4", n) for n in (*amounts, 1))
    up3 = average_order(table, scheme, "up3", 1)
    layer4 = average_order(table, scheme, "layer4", 1)
    return Markdown(
        f"How well a position can be read in networks for {N} × {N} pixels, from a true, clean "
        "image (left in each panel) to pure noise (right). Points are networks, lines their means "
        f"({table.groupby('conditioning')['record'].nunique().max()} networks). Upper row "
        f"({other}), layer 4: with the label, even an untrained network has "
        f"order in pure noise (R² {noise['untrained']:.2f}), which is the label's own; without it, "
        f"a clean image gives R² {clean['untrained, ablated']:.2f} to an untrained network and "
        f"{clean['ablated']:.2f} to a trained one, some noise {some['untrained, ablated']:.2f} and "
        f"{some['ablated']:.2f}, and pure noise nothing to either. Lower row "
        f"({scheme}): labels bring no order, and in pure noise all that is read was learned: "
        f"R² {up3['trained']:.2f} in up 3, {layer4['trained']:.2f} in layer 4, and untrained "
        f"{up3['untrained']:.2f} in up 3."
    )


def load_watched() -> list[Record]:
    """Find the judged runs that differ in how the label enters; nothing is trained."""
    return [run for name in SCHEME_COLOURS for run, _ in find_runs(name)]


def load_confirmed() -> list[list[Record]]:
    """Find the judged runs with the usual label, on larger images and on smaller ones."""
    groups = ([run for run, _ in find_runs(name)] for name in ("larger", "sinusoidal"))
    return [runs for runs in groups if runs]


def read_order_added(records: list[Record]) -> pd.DataFrame:
    """Read how much order training has added by each checkpoint, by layer and noise.

    A row per run, trained checkpoint, layer of `PROBED_LAYERS` and timestep of the input (generated
    images at 0, noised true bumps, pure noise at the last): `added` is R^2 of the requested
    position, the lower of the two axes', at least 0, with the label present; minus the same of the
    untrained network on the same images, which has all that label and image bring.
    """
    table = gather(records, "probes")
    table = table[
        (table["points"] == table.groupby("record")["points"].transform("max"))
        & (table["reduction"] == "direct")
        & (table["target"] == "requested")
        & table["layer"].isin(PROBED_LAYERS)
    ]
    keys = ["record", "conditioning", "seed", "layer", "timestep"]
    by = table.groupby([*keys, "step", "features"])["r2"].min().clip(lower=0).unstack()
    # Bumps and noise are the same at each step, so that there step 0 is the untrained network.
    at_first = by["trained"].xs(0, level="step").reindex(by.index.droplevel("step")).to_numpy()
    added = by["trained"] - by["untrained"].fillna(pd.Series(at_first, by.index))
    added = added.rename("added").reset_index().query("step > 0")
    batches = {record.id: record.configuration.batch_size for record in records}
    return added.assign(images_seen=added["step"] * added["record"].map(batches))


@drawn
def order_added_in_training(records: list[Record]) -> Drawn:
    """Draw the order that training adds against images seen, by layer and by noise in the image."""
    table = read_order_added(records)
    timesteps = sorted(table["timestep"].unique())
    shape = len(PROBED_LAYERS), len(timesteps)
    caption = f"{IMAGES_SEEN}; order beyond the untrained network's ($R^2$)"
    figure, axes = panels_over_training(table, *shape, 6.2, caption, sharey=True)
    for row, layer in zip(axes, PROBED_LAYERS, strict=True):
        for ax, timestep in zip(row, timesteps, strict=True):
            part = table[(table["layer"] == layer) & (table["timestep"] == timestep)]
            for scheme, colour in SCHEME_COLOURS.items():
                curve(ax, part[part["conditioning"] == scheme], "added", color=colour)
            ax.axhline(0, color=QUIET, lw=0.8)
        row[0].set_ylabel(spell_layer(layer))
    for ax, timestep in zip(axes[0], timesteps, strict=True):
        ax.set_title(f"t = {timestep}")
    styles = {f"{scheme} label": {"color": colour} for scheme, colour in SCHEME_COLOURS.items()}
    legend_above(figure, styles, ncols=3)
    last = table[table["step"] == table.groupby("record")["step"].transform("max")]
    noise = last[(last["timestep"] == timesteps[-1]) & (last["conditioning"] == "table")]
    means = noise.groupby("layer")["added"].mean().reindex(PROBED_LAYERS)
    return figure, (
        "Order that training adds, over training, in four layers at four amounts of noise. At the "
        "end, in pure noise with a table: "
        f"{', '.join(f'{spell_layer(layer)} {value:.2f}' for layer, value in means.items())}."
    )


def average_order(table: pd.DataFrame, scheme: str, layer: str, noise: float) -> pd.Series:
    """Average what `read_order` gives over runs, by features."""
    chosen = (table["conditioning"] == scheme) & (table["layer"] == layer)
    return table[chosen & (table["noise"] == noise)].groupby("features")["order"].mean()


def _without_order(table: pd.DataFrame) -> str:
    """The conditioning whose labels bring least order to an untrained network."""
    noise = table[(table["noise"] == 1) & (table["features"] == "untrained")]
    return noise.groupby("conditioning")["order"].mean().idxmin()
