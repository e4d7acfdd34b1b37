"""The page *Which way do x and y take?*: the layers that hold them, what decides it, and when."""

import itertools
import math
import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.axes import Axes

from bump_diffusion.errors import UserError
from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.colours import GROUND, INK, QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Answer, Lead, Table
from bump_diffusion.page.words import spell_layer
from bump_diffusion.papers.semantics.confirm import find_time, held_out_gap
from bump_diffusion.papers.semantics.confirmed import find_runs
from bump_diffusion.papers.semantics.criteria import CONFIRMATORY_FROM, FROZEN, ROUTING
from bump_diffusion.papers.semantics.figures.confirmed import list_missing
from bump_diffusion.papers.semantics.figures.sentences import count_of
from bump_diffusion.papers.semantics.palette import AXIS_COLOURS, setting_colours
from bump_diffusion.papers.semantics.routing import (
    ROUTES,
    find_settled,
    follow,
    is_split,
    last_route,
    settled_first,
    unevenness,
)
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import default_store

SIZES = {16: "s", 32: "o"}
"""Pixels along an axis, and the mark of networks for images of this size."""

SAME = {"same-weights": "the same initial weights", "same-data": "the same data"}
"""Conditions of the frozen file, and what their runs share with a known network."""

FIELDS = {
    "N": "pixels",
    "conditioning": "label",
    "held_out": "held out",
    "seed": "seed",
    "weights_seed": "of the weights",
}
"""Of a network's configuration, and what the table calls them."""

SEEN = "larger-patching"
"""The experiment of edition 1 that says where bumps go."""


def load(sizes: Sequence[int]) -> list[Record]:
    """Find the finished runs of which it is known where bumps go; nothing is trained.

    Those with images of these `sizes` (N) of edition 1, of edition 2 and of routing's criteria, in
    this order, each once. Raises UserError for sizes other than 16 and 32.
    """
    if not sizes or not SIZES.keys() >= set(sizes):
        raise UserError(f"sizes is {list(sizes)}, it must be [16], [32] or [16, 32].")
    store = default_store()
    found = [store.get(c, extras) for c, extras in experiment(SEEN).items()]
    for frozen, name in ((f, name) for f in (FROZEN, ROUTING) for name in f.conditions):
        for run, beside in find_runs(name, store, frozen):
            found += [run, *beside.values()]
    records = {r.id: r for r in found if r is not None and "patching" in r.extras}
    return [r for r in records.values() if r.configuration.N in sizes]


def measure_networks(records: Sequence[Record]) -> pd.DataFrame:
    """Measure each network at the end of training, a row per record.

    Columns: N, conditioning, held_out, seed and weights_seed; x and y, the place of each coordinate
    (`find_places`); `route`, the layers that hold x and y; `split`, whether those are two;
    `settled`, the doublings of images from when the route was settled to when half of the images
    were right; `unevenness` (`routing.unevenness`); and `gap`, between trained and held-out labels.
    Of format 2 the latter three are NaN.
    """
    rows = []
    for record in records:
        c, route = record.configuration, last_route(record)
        recent = record.format > 2
        rows.append(
            {
                **{field: getattr(c, field) for field in FIELDS},
                **find_places(record).loc[c.steps].to_dict(),
                "route": ", ".join(route),
                "split": is_split(route),
                "settled": settled_first(record, {}).effect if recent else math.nan,
                "unevenness": unevenness(record),
                "gap": held_out_gap(record, {}).effect if c.held_out != "none" else math.nan,
            }
        )
    return pd.DataFrame(rows, index=[record.id for record in records])


def find_places(record: Record) -> pd.DataFrame:
    """Find where x and y are, by step: -1 if all bumps go with layer 3, 1 if with layer 4."""
    shares = follow(record)
    return pd.DataFrame({a: shares[a]["layer4"] - shares[a]["layer3"] for a in AXIS_COLOURS})


def select_plain(networks: pd.DataFrame, N: int = 32) -> pd.DataFrame:
    """Select the networks of a size that were trained on all labels, each seed of its own."""
    of_one_seed = networks["seed"] == networks["weights_seed"]
    return networks[(networks["N"] == N) & (networks["held_out"] == "none") & of_one_seed]


def compare_relatives() -> pd.DataFrame:
    """Compare the networks that share a seed with a known one with it, a row for each.

    Columns: `known`, its seed; `shared`, a name of `SAME`; `alike`, whether both take the same
    route; x and y, the places of the coordinates.
    """
    rows = []
    for name in SAME:
        for run, beside in find_runs(name, frozen=ROUTING):
            (known,) = beside.values()
            alike = last_route(run) == last_route(known)
            about = {"known": known.configuration.seed, "shared": name, "alike": alike}
            rows.append({**about, **find_places(run).loc[run.configuration.steps]})
    return pd.DataFrame(rows, columns=["known", "shared", "alike", "x", "y"])


def describe_routes(
    networks: pd.DataFrame, relatives: pd.DataFrame, records: list[Record]
) -> Answer:
    """Say in how many networks x and y go apart, and what networks share that share a seed."""
    verdict, text = "None of the networks that this page is about has been trained yet.", ""
    if records and len(plain := select_plain(networks)):
        split, both = int(plain["split"].sum()), plain["route"].eq("layer4, layer4").sum()
        verdict = (
            f"In {count_of(split, len(plain))} networks for 32 × 32 pixels one layer passes x on "
            "and another one y."
            + ("" if len(relatives) else " What decides which is not known yet.")
        )
        text = f"In {count_of(int(both), len(plain))} layer 4 passes on both."
        new = plain[plain["seed"] >= CONFIRMATORY_FROM]
        if 0 < len(new) < len(plain):
            count = count_of(int(new["split"].sum()), len(new))
            text += f" Of those made after this had been seen, {count} have two such layers."
        parts = [
            f"{count_of(int(alike.sum()), len(alike))} networks with {SAME[name]}"
            for name, alike in relatives.groupby("shared", sort=False)["alike"]
        ]
        text += (
            f" The same layers as in one of the former hold them in {' and in '.join(parts)}."
            if parts
            else " Runs that tell the initial weights from the order of the data are still to come."
        )
    seen = (c.id for c in experiment(SEEN) if default_store().folder(c.id) is None)
    return Answer(Lead(verdict, text), records, [*list_missing(FROZEN, ROUTING), *seen])


@drawn
def places(records: list[Record], networks: pd.DataFrame) -> Drawn:
    """Draw where each network holds x and where y, a mark for each, by the size of its images."""
    colours = setting_colours(SIZES)
    figure, ax = plt.subplots(figsize=(WIDTH, 4.2))
    for N, mark in SIZES.items():
        of_size = networks[networks["N"] == N]
        ax.plot(of_size["x"], of_size["y"], mark, color=colours[N], ms=8, alpha=0.5, mew=0)
    split = select_plain(networks).query("split")
    for is_right, corner in split.groupby(split["x"] > 0):
        seeds = ", ".join(map(str, corner["seed"]))
        words = textwrap.fill(f"seed{'s' * (len(corner) > 1)} {seeds}", 18)
        x, y = (0.55, -0.35) if is_right else (-0.55, 0.35)  # a corner's marks are further out
        ax.text(x, y, words, ha="center", va="center", bbox={"fc": GROUND, "ec": "none", "pad": 1})
        for network in corner.itertuples():
            ax.plot([x, network.x], [y, network.y], color=QUIET, lw=0.8, zorder=0.5)
    _corner_axes(ax)
    ax.set(xlabel="x goes with", ylabel="y goes with")
    styles = {
        f"{N} × {N} pixels": {"color": colours[N], "marker": mark, "ls": "", "ms": 8}
        for N, mark in SIZES.items()
    }
    legend_above(figure, styles, ncols=2)
    plain = select_plain(networks)
    at = ", ".join(f"seed {n.seed}: {n.x:.1f} and {n.y:.1f}" for n in plain.itertuples())
    return figure, (
        "Places of x and y, from -1 (layer 3) to 1 (layer 4), of networks for 32 × 32 pixels: "
        f"{at[:200]}."
    )


def _corner_axes(ax: Axes) -> None:
    names = ["layer 3", "", "layer 4"]
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
    ax.set_xticks([-1, 0, 1], names)
    ax.set_yticks([-1, 0, 1], names)
    ax.axvline(0, color=QUIET, lw=0.8)
    ax.axhline(0, color=QUIET, lw=0.8)
    ax.grid(False)


def describe_places(networks: pd.DataFrame) -> Markdown:
    """Say what to see in `places`."""
    small = networks[networks["N"] == 16]
    clear = (networks[["x", "y"]].abs() > 0.5).all(axis=1).sum()
    text = (
        "Each mark is a network. Right: x goes with layer 4 when layers are exchanged; left: with "
        "layer 3. Up and down: the same for y. In the middle neither layer takes it along. "
        f"{count_of(int(clear), len(networks)).capitalize()} are near a corner, where each "
        "coordinate goes with one layer rather than the other; those whose coordinates go with two "
        "layers are named by their seeds."
    )
    if len(small):
        layer4 = (small[["x", "y"]] > 0.5).any(axis=1).sum()
        text += (
            f" For 16 × 16 pixels layer 4 holds a coordinate in {count_of(int(layer4), len(small))}"
            " networks: layer 3 has as many pixels there as layer 4 has for 32 × 32."
        )
    return Markdown(text)


@drawn
def relatives_of_split(
    records: list[Record], networks: pd.DataFrame, relatives: pd.DataFrame
) -> Drawn:
    """Draw the places of x and y in networks that share a seed with one whose route is split."""
    known = sorted(relatives["known"].unique())
    figure, axes = panels([f"seed {seed}" for seed in known], 2.6)
    of_one = select_plain(networks).set_index("seed")
    marks = dict(zip(SAME, "o^", strict=True))
    colours = dict(zip(SAME, setting_colours(SAME).values(), strict=True))
    for ax, seed in zip(axes, known, strict=True):
        ax.plot(*of_one.loc[seed, ["x", "y"]], "*", color=INK, ms=13)
        for name, part in relatives[relatives["known"] == seed].groupby("shared"):
            style = {"color": colours[name], "ms": 7, "alpha": 0.7, "mew": 0}
            ax.plot(part["x"], part["y"], marks[name], **style)
        _corner_axes(ax)
    axes[0].set_ylabel("y goes with")
    figure.supxlabel("x goes with")
    styles = {"the network itself": {"color": INK, "marker": "*", "ls": ""}}
    for name, label in SAME.items():
        styles[label] = {"color": colours[name], "marker": marks[name], "ls": ""}
    legend_above(figure, styles, ncols=3)
    counts = relatives.groupby("shared", sort=False)["alike"].agg(["sum", "size"])
    alike = ", ".join(f"{SAME[n]}: {row['sum']} of {row['size']}" for n, row in counts.iterrows())
    return figure, f"Networks with x and y in the same layers as one with whom they share {alike}."


def describe_relatives(relatives: pd.DataFrame) -> Markdown:
    """Say what to see in `relatives_of_split`."""
    return Markdown(
        f"The star is a network whose x and y go apart. The {len(relatives)} other marks are "
        "networks that begin with its weights and see data in another order, or see its data in "
        "its order and begin with other weights. If the weights decided, all circles would be in "
        "the corner of the star; if the data did, all triangles."
    )


def select_watched(records: Sequence[Record]) -> list[Record]:
    """Select the networks for 32 × 32 pixels of which it is known where bumps go in training."""
    return [r for r in records if r.format > 2 and r.configuration.N == 32]


@drawn
def settling(watched: list[Record]) -> Drawn:
    """Draw the places of x and of y over training, by the doublings since half were right."""
    figure, axes = panels([f"where {axis} is" for axis in AXIS_COLOURS], 2.8)
    for record in watched:
        table, batch = find_places(record), record.configuration.batch_size
        half = find_time(record.checkpoints, "accuracy", 0.5)
        for ax, (axis, colour) in zip(axes, AXIS_COLOURS.items(), strict=True):
            ax.plot(np.log2(batch * table.index / half), table[axis], color=colour, alpha=0.8)
    for ax in axes:
        ax.axvline(0, color=QUIET, ls="--", lw=1)
        ax.set_yticks([-1, 0, 1], ["layer 3", "", "layer 4"])
        ax.set(ylim=(-1.1, 1.1), xlim=(-2.5, None))
    figure.supxlabel("doublings of training images, from when half of the drawings are right")
    settled = measure_networks(watched)["settled"].dropna()
    return figure, (
        f"Where x and y are during training, in {len(watched)} networks. Their layers were settled "
        f"{', '.join(f'{s:.1f}' for s in settled)} doublings before half of the images were right."
    )


def describe_settling(watched: list[Record]) -> Markdown:
    """Say what to see in `settling`, and how many images were right when a route was settled."""
    doublings = measure_networks(watched)["settled"].dropna()
    early = count_of(int((doublings > 0).sum()), len(doublings))
    steps = [find_settled(record) / record.configuration.batch_size for record in watched]
    right = [
        record.checkpoints.set_index("step").loc[step, "accuracy"]
        for record, step in zip(watched, steps, strict=True)
        if not math.isnan(step)
    ]
    return Markdown(
        "Each line is a network; the dashed line is when half of its images are right. In "
        f"{early} networks for 32 × 32 pixels the layers that hold x and y at the end hold them "
        f"before that, from when {min(right, default=0):.0%} to {max(right, default=0):.0%} of the "
        f"images were right ({doublings.mean():.1f} doublings of training before, on average). "
        "That the layers have their share before images are right is what the paper's third claim "
        "would lead one to expect; it does not show that one brings about the other."
    )


def tabulate_networks(networks: pd.DataFrame, records: list[Record]) -> Table:
    """Tabulate the networks: shares of bumps by layer and axis, both exchanged and one alone."""
    table = networks[[*FIELDS, "settled", "unevenness", "gap"]].rename(columns=FIELDS)
    table = table.rename(columns={"settled": "settled before"}).round(2)
    table["pixels"] = [f"{N} × {N}" for N in networks["N"]]
    exchanged = {"xy": "both", "x": "x alone", "y": "y alone"}
    for record, (differ, name) in itertools.product(records, exchanged.items()):
        if differ == "xy" or record.format > 2:
            shares = follow(record, differ).loc[record.configuration.steps]
            for layer in ROUTES:
                text = ", ".join(f"{shares[axis, layer]:.2f}" for axis in differ)
                table.loc[record.id, f"{name}, {spell_layer(layer)}"] = text
    return Table(
        table.fillna(""),
        records,
        "Doublings from when the layers were settled to when half of the images were right; the "
        "largest difference of the shares of x and y; accuracy of trained minus that of held-out "
        "combinations; shares of bumps that go with a layer, along x and y, if requests differ in "
        "both or in one.",
    )
