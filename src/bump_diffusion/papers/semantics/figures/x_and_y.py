"""The page *x and y*: which layer each coordinate takes, and whether the two are coupled."""

import numpy as np
import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.intervals import estimate_index
from bump_diffusion.metrics.outcomes import TOLERANCE
from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.drawing import Drawn, drawn
from bump_diffusion.page.words import percent_range, spell_layer, with_range
from bump_diffusion.papers.semantics.confirm import (
    Baseline,
    axes_pulled_together,
    placement_coupling,
)
from bump_diffusion.papers.semantics.confirmed import find_runs
from bump_diffusion.papers.semantics.figures.imbalance import (
    DATA_SET,
    average_costs,
    placed_given_one_bump,
)
from bump_diffusion.papers.semantics.figures.larger import transfer_fractions
from bump_diffusion.papers.semantics.figures.sentences import choose_quantity, count_of, name_runs
from bump_diffusion.papers.semantics.palette import AXIS_COLOURS
from bump_diffusion.papers.semantics.routing import ROUTES, follow, is_split, last_route
from bump_diffusion.runs.record import Record

NEAR = 2
"""Pixels along each axis within which a bump has nearly reached a place."""

LITTLE = 0.1
"""A share of the way to learning together that is nearer to 0, or to 1, is not between them."""

INDEPENDENT = 0.1
"""A `placement_coupling` nearer to 0 is told as no dependence seen."""


def follow_layers(records: list[Record]) -> pd.DataFrame:
    """Compute how many bumps follow an exchanged layer at the end of training, along each axis.

    A row per seed and layer of `ROUTES`, columns x and y: the shares of `routing.follow`.
    """
    last = {r.configuration.seed: follow(r).loc[r.configuration.steps] for r in records}
    return pd.concat(last, names=["seed", "axis", "layer"]).unstack("axis")


def count_together(shares: pd.DataFrame) -> int:
    """Count the networks of `follow_layers` in which layer 4 takes both coordinates along."""
    return int((shares.xs("layer4", level="layer") >= 0.5).all(axis=1).sum())


def find_third_places(records: list[Record]) -> tuple[float, float]:
    """Compute where bumps go that end neither at their own place nor at the other's.

    Layer 4 is exchanged. Of the single bumps further than `TOLERANCE` from both requests: the share
    within `NEAR` pixels of the other's along both axes, and the share nearer to the other's
    request along one axis alone.
    """
    table = transfer_fractions(records).query("layer == 'layer4'")
    way = table[["fraction_x", "fraction_y"]].dropna()
    pixels = table.loc[way.index, "N"] / 2
    own, other = ((way - end).abs().max(axis=1) * pixels for end in (0, 1))
    third = (own > TOLERANCE) & (other > TOLERANCE)
    one_axis = (way > 0.5).sum(axis=1) == 1
    return float((other <= NEAR)[third].mean()), float(one_axis[third].mean())


@drawn
def routes(records: list[Record]) -> Drawn:
    """Draw the share of bumps that follow layer 3, and layer 4, along x and along y, by seed."""
    shares = follow_layers(records)
    seeds = shares.index.unique("seed")
    titles = [f"{spell_layer(layer)} exchanged" for layer in ROUTES]
    figure, axes = panels(titles, 1.3 + 0.4 * len(seeds))
    for ax, layer in zip(axes, ROUTES, strict=True):
        part = shares.xs(layer, level="layer").reindex(seeds)
        for (axis, colour), up in zip(AXIS_COLOURS.items(), (-0.2, 0.2), strict=True):
            ax.barh(np.arange(len(seeds)) + up, part[axis], 0.36, color=colour)
        ax.set(xlim=(0, 1), xticks=[0, 0.5, 1])
        ax.xaxis.set_major_formatter("{x:g}")
        ax.grid(False, axis="y")
    axes[0].set_yticks(range(len(seeds)), [f"seed {seed}" for seed in seeds])
    axes[0].invert_yaxis()
    figure.supxlabel("share of bumps nearer to the other's request")
    legend_above(
        figure, {f"along {axis}": colour for axis, colour in AXIS_COLOURS.items()}, ncols=2
    )
    of_4 = shares.xs("layer4", level="layer")
    rows = ", ".join(f"{seed}: {row['x']:.2f} and {row['y']:.2f}" for seed, row in of_4.iterrows())
    return figure, (
        "Share of bumps nearer to the other's request when layer 3 or layer 4 is exchanged. "
        f"Along x and y, layer 4, by seed {rows}."
    )


def describe_routes(records: list[Record]) -> str:
    """Say in how many networks layer 4 takes both coordinates along, and in how many only one."""
    N, total = records[0].configuration.N, len(records)
    together = count_together(follow_layers(records))
    both, one = count_of(together, total), count_of(len(_list_split(records)), total)
    return (
        f"In {both} networks for {N} × {N} pixels layer 4 takes both "
        f"coordinates along when it is exchanged; in {one} it takes "
        f"one, and layer 3, the layer before, takes the other ({name_runs(records)})."
    )


def _list_split(records: list[Record]) -> list[int]:
    """List the seeds of the networks whose coordinates take different layers."""
    return [r.configuration.seed for r in records if is_split(last_route(r))]


def conclude(records: list[Record], couplings: pd.DataFrame) -> str:
    """Say if networks hold x and y in one layer, and if they learn them together."""
    split = choose_quantity(len(_list_split(records)), len(records))
    told = couplings["index"].mean()
    learned = "Whether x and y are learned together cannot be told."
    if not np.isnan(told):
        how = "apart" if told < LITTLE else "together" if told > 1 - LITTLE else "partly together"
        learned = f"Where one can tell, x and y are learned {how}."
    return f"{learned} In {split} networks they are in layers of their own."


def describe_shares(records: list[Record]) -> Markdown:
    """Say what to see in `routes`, with one network as an example."""
    shares = follow_layers(records)
    split = _list_split(records)
    text = (
        "How many bumps come nearer to the other's request than to their own, along x and along y, "
        "when layer 3 (left) or layer 4 (right) is exchanged: a weaker test than the page before, "
        "which asks for a pixel. Each pair of bars is a network. One "
        "that holds both coordinates in one layer has two long bars on one side and two short ones "
        "on the other."
    )
    if split:
        of_4, of_3 = (shares.loc[(split[0], layer)] for layer in ("layer4", "layer3"))
        axis, other = ("x", "y") if of_4["x"] > of_4["y"] else ("y", "x")
        text += (
            f" In seed {split[0]} {axis} follows layer 4 in {of_4[axis]:.0%} of the bumps and "
            f"{other} in {of_4[other]:.0%}; with layer 3 it is {of_3[axis]:.0%} and "
            f"{of_3[other]:.0%}."
        )
    return Markdown(text)


def describe_coupling(couplings: pd.DataFrame, records: list[Record]) -> Markdown:
    """Say how far the axes of imbalanced data are apart, alone and in images, and what that costs.

    `couplings` come from `factorized.couple_to_lines`, of `records`.
    """
    told = couplings["index"].mean()  # of the data sets in which the axes can be told apart
    verdict = " They seem to be pulled together, though not wholly."
    if np.isnan(told) or not LITTLE < told < 1 - LITTLE:
        verdict = ""
    tellable, others, N = [], [], records[0].configuration.N
    judged = find_runs("imbalanced-wide")
    uneven = couplings[couplings["d_x"] != couplings["d_y"]]
    for (d_x, d_y), runs in uneven.groupby(DATA_SET):
        alone, together = np.exp(runs[["separate", "joint"]].mean())
        where = (
            f"- **At spacings of {d_x:g} pixels along x and {d_y:g} along y**, {N} × {N} pixels:"
        )
        if runs["index"].isna().all():
            others.append(
                f"{where} in images x and y are learned at about the same time (x takes "
                f"{together:.2f} times as long as y), as the paper finds. But trained alone they "
                f"take about equally long too ({alone:.2f} times), so that one cannot tell if they "
                "are learned together."
            )
        else:
            tellable.append(
                f"{where} trained alone, x takes {alone:.2f} times as long as y; in images "
                f"{together:.2f} times.{verdict} On a log scale {_describe_index(runs)} of the "
                f"difference is gone ({len(runs)} networks{_describe_judged(judged, d_x, d_y)})."
            )
    cost = (
        "- **Is that inefficient?** An image needs as many training images as its two lines need "
        f"together, times {with_range(average_costs(couplings))}. Whether fewer *different* images "
        "would do, if x and y were learned apart, other pages ask."
    )
    return Markdown("\n".join([*tellable, *others, cost]))


def describe_placing(records: list[Record]) -> Markdown:
    """Say what to see in `imbalance.given_one_bump`, and how far x and y depend in an image."""
    cohere = [placement_coupling(placed_given_one_bump(record)) for record in records]
    known = np.array(cohere)[~np.isnan(cohere)]
    found = "x and y depend"
    if len(known) and abs(known.mean()) < INDEPENDENT:
        found = "little or no dependence was seen"
    return Markdown(
        "A point is a checkpoint: of its single bumps, the share that is right in both axes, "
        "against what chance gives if x and y are right independently of each other (solid line). "
        "Were both held in one memory, points would lie towards the dashed line, on which a bump "
        f"that is right in x is right in y. Here {found}: "
        f"{with_range(cohere, missing='unknown', write='{:.2f}'.format)}, where 0 is none and 1 "
        f"full dependence ({name_runs(records)})."
    )


def _describe_index(runs: pd.DataFrame) -> str:
    """The coupling index of one data set in percent, with its interval where it has one."""
    columns = (runs[name].to_numpy() for name in ("joint", "separate", "index"))
    index, low, high = estimate_index(*columns)
    if not np.isfinite([low, high]).all():
        return f"{index:.0%}"
    return f"{index:.0%} (95 % interval {low:.0%} to {high:.0%})"


def _describe_judged(judged: list[tuple[Record, Baseline]], d_x: float, d_y: float) -> str:
    """Say how far the judged networks of a data set are on the way; empty if there are none."""
    values = (
        axes_pulled_together(*run)
        for run in judged
        if (run[0].configuration.d_x, run[0].configuration.d_y) == (d_x, d_y)
    )
    shares = [value.effect / value.control for value in values if value.control > 0]
    if not shares:
        return ""
    return (
        f"; {np.mean(shares):.0%} in {len(shares)} networks that the frozen criteria judge by "
        f"images with one bump only, {percent_range(shares)}"
    )
