"""Routing: the layer by which a network passes on x, and the one by which it passes on y.

`frozen/routing.yml` names the quantities, one value per run; `figures/routing.py` draws them.
"""

import itertools
import math

import pandas as pd

from bump_diffusion.metrics.interventions import shift_half_frame
from bump_diffusion.papers.semantics.confirm import (
    Baseline,
    Quantity,
    Value,
    find_time,
    held_out_gap,
)
from bump_diffusion.runs.record import Record

ROUTES = ("layer3", "layer4")
"""The layers between which networks differ."""

HOLDS = 0.5
"""The share of bumps from which on a layer holds a coordinate."""

FEWEST_BUMPS = 8
"""Images with one bump, below which the shares of a checkpoint are not computed."""


LEAST_DIFFERENCE = 0.1
"""In unevenness, below which the networks of a pair are not compared."""


def follow(run: Record, differ: str = "xy") -> pd.DataFrame:
    """Compute how many bumps go with an exchanged layer along each axis, during training.

    A row per step; columns (axis, layer), for the axes of `differ`, in which the requests of a pair
    differ, and for `ROUTES`. Of the images with one bump, the share that is nearer to the other's
    request than to its own along the axis, less that share when nothing is exchanged, and at least
    0. NaN with fewer than `FEWEST_BUMPS`.
    """
    c, table = run.configuration, run.patching
    if "differ" not in table:  # format 2
        table = table.assign(differ="xy", step=c.steps)
    table = table[table["differ"] == differ]
    nearer = pd.DataFrame(
        {
            axis: (table[axis] - shift_half_frame(table[f"mu_{axis}"], c.N)).abs()
            < (table[axis] - table[f"mu_{axis}"]).abs()
            for axis in differ
        }
    )
    groups = nearer[table["x"].notna()].groupby([table["step"], table["layer"]])
    shares = groups.mean()[groups.size() >= FEWEST_BUMPS].unstack("layer")
    every = pd.MultiIndex.from_product([list(differ), ["", *ROUTES]], names=["axis", "layer"])
    shares = shares.reindex(index=sorted(table["step"].unique()), columns=every)
    added = {
        axis: shares[axis][list(ROUTES)].sub(shares[axis, ""], axis=0).clip(lower=0)
        for axis in differ
    }
    return pd.concat(added, axis=1)


def find_routes(shares: pd.DataFrame) -> pd.DataFrame:
    """Find, by step, the layer that holds each axis: of `follow`'s, the one that most bumps follow.

    It is "neither" where no layer holds the axis, and "unknown" where a share is.
    """
    routes = {}
    for axis in shares.columns.unique(0):
        by_layer = shares[axis].fillna(0)
        holder = by_layer.idxmax(axis=1).where(by_layer.max(axis=1) >= HOLDS, "neither")
        routes[axis] = holder.where(shares[axis].notna().all(axis=1), "unknown")
    return pd.DataFrame(routes)


def last_route(run: Record) -> tuple[str, ...]:
    """Return the layers that hold x and y at the end of training, as `find_routes` finds them."""
    return tuple(find_routes(follow(run)).loc[run.configuration.steps])


def is_split(route: tuple[str, ...]) -> bool:
    """Whether one layer holds x and another y."""
    return set(route) == set(ROUTES)


def held_apart(run: Record, baseline: Baseline) -> Value:
    route = last_route(run)
    return Value(math.nan if "unknown" in route else float(is_split(route)))


def routes_alike(run: Record, baseline: Baseline) -> Value:
    (other,) = baseline.values()
    route = last_route(run)
    return Value(math.nan if "unknown" in route else float(route == last_route(other)))


def settled_first(run: Record, baseline: Baseline) -> Value:
    half = find_time(run.checkpoints, "accuracy", 0.5)
    return Value(math.log2(half / find_settled(run)))


def find_settled(run: Record) -> float:
    """Find the images seen at the checkpoint from which on the route is the one at the end.

    NaN where at the end no layer holds one of the axes.
    """
    routes, last = find_routes(follow(run)), last_route(run)
    if not set(last) <= set(ROUTES):
        return math.nan
    *_, first = itertools.takewhile(
        lambda step: tuple(routes.loc[step]) == last, routes.index[::-1]
    )
    return float(first * run.configuration.batch_size)


def apart_composes(run: Record, baseline: Baseline) -> Value:
    (other,) = baseline.values()
    more = unevenness(run) - unevenness(other)
    if not abs(more) >= LEAST_DIFFERENCE:
        return Value(math.nan)
    gap, gap_of_other = (held_out_gap(r, {}).effect for r in (run, other))
    return Value(math.copysign(1, more) * (gap_of_other - gap))


def unevenness(run: Record) -> float:
    """How much more one axis than the other follows a layer of `ROUTES`, at most, at the end."""
    shares = follow(run).loc[run.configuration.steps]
    return float((shares["x"] - shares["y"]).abs().max(skipna=False))


QUANTITIES: dict[str, Quantity] = {
    "routes-alike": routes_alike,
    "settled-first": settled_first,
    "held-apart": held_apart,
    "apart-composes": apart_composes,
}
"""By the criteria's names in the frozen file."""
