"""Edition 2 of the criteria: the quantities that the frozen file names, one value per run.

`frozen/edition-2.yml` says what each is, why, and what decides; `confirmed.py` judges by it.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd

from bump_diffusion.analysis.composition import classify_kept
from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_time
from bump_diffusion.analysis.phases import ORDER, cohen_kappa
from bump_diffusion.metrics.interventions import shift_half_frame
from bump_diffusion.metrics.outcomes import TOLERANCE
from bump_diffusion.runs.record import Record

FEWEST_BUMPS = 16
"""Images with one bump, below which what they share is not computed."""

LEAST_ROOM = 0.05
"""Between independent and dependent axes, below which `placed_together` is not computed."""


class Value(NamedTuple):
    """A quantity for one run, and what its control has, where there is one."""

    effect: float
    control: float = math.nan


Baseline = dict[float, Record]
"""The lines of a run's seed, by their spacing."""

Quantity = Callable[[Record, Baseline], Value]


def order_added(run: Record, baseline: Baseline, *networks: str) -> Value:
    return _less(*(_order(run, "sample", "layer4", features) for features in networks))


def order_in_noise(run: Record, baseline: Baseline) -> Value:
    last = run.configuration.steps
    return _less(*(_order(run, "noise", "up3", "trained", step) for step in (last, 0)))


def two_dimensional(run: Record, baseline: Baseline) -> Value:
    last, name = run.checkpoints.iloc[-1], "intrinsic_dimension_of_all"
    return Value(abs(last[f"{name}_ablated"] - 2), abs(last[f"{name}_untrained, ablated"] - 2))


def disordered_phase(run: Record, baseline: Baseline) -> Value:
    table = _trained(run)
    return _less(
        *(_doublings(table, f"manifold{of}", f"order{of}", ORDER) for of in ("", "_untrained"))
    )


def sides_agree(run: Record, baseline: Baseline) -> Value:
    table = _trained(run)
    sides = ("phase_representation", "phase_representation_untrained")
    return _less(*(kappa(table["phase_generation"], table[side]) for side in sides))


def order_first(run: Record, baseline: Baseline) -> Value:
    table = _trained(run)
    accuracy = find_time(table, "accuracy", 0.5)
    return _less(
        *(math.log2(accuracy / find_time(table, o, ORDER)) for o in ("order", "order_untrained"))
    )


def routed_apart(run: Record, baseline: Baseline) -> Value:
    in_4, in_3 = (
        [_moved(run, layer, axis).effect for axis in "xy"] for layer in ("layer4", "layer3")
    )
    if np.isnan([*in_4, *in_3]).any():
        return Value(math.nan)
    holds_4, holds_3 = ([share >= 0.5 for share in shares] for shares in (in_4, in_3))
    return Value(float(sum(holds_4) == 1 and holds_3 == [not held for held in holds_4]))


def placed_together(run: Record, baseline: Baseline) -> Value:
    return Value(placement_coupling(_given_one_bump(run).dropna(), LEAST_ROOM))


def axes_apart_alone(run: Record, baseline: Baseline) -> Value:
    d_x, d_y = run.configuration.d_x, run.configuration.d_y
    x, y = (find_time(_given_one_bump(baseline[d]), "x", 0.5) for d in (d_x, d_y))
    return Value(math.log2(x / y))


def axes_still_apart(run: Record, baseline: Baseline) -> Value:
    shares = _given_one_bump(run)
    x, y = (find_time(shares, axis, 0.5) for axis in "xy")
    return Value(math.log2(x / y), axes_apart_alone(run, baseline).effect)


def axes_pulled_together(run: Record, baseline: Baseline) -> Value:
    apart, alone = axes_still_apart(run, baseline)
    return Value(alone - apart, alone)


def held_out_gap(run: Record, baseline: Baseline) -> Value:
    images = run.images[run.images["step"] == run.configuration.steps]
    bumps = run.bumps[run.bumps["step"] == run.configuration.steps]
    correct = classify_kept(images, bumps).groupby("set")["correct"].mean()
    return Value(max(correct["trained"] - correct["held-out"], 0.0), correct["trained"])


QUANTITIES: dict[str, Quantity] = {
    "order-added": lambda *run: order_added(*run, "ablated", "untrained, ablated"),
    "published-order-added": lambda *run: order_added(*run, "trained", "untrained"),
    "order-in-noise": order_in_noise,
    "two-dimensional": two_dimensional,
    "disordered-phase": disordered_phase,
    "misplaced-phase": lambda run, _: Value(_doublings(_trained(run), "single", "accuracy", 0.5)),
    "sides-agree": sides_agree,
    "order-first": order_first,
    "order-used-x": lambda run, _: _moved(run, "layer4", "x"),
    "order-used-y": lambda run, _: _moved(run, "layer4", "y"),
    "routed-apart": routed_apart,
    "placed-together": placed_together,
    "axes-apart-alone": axes_apart_alone,
    "axes-pulled-together": axes_pulled_together,
    "axes-still-apart": axes_still_apart,
    "held-out-gap": held_out_gap,
}
"""By the criteria's names in the frozen file."""


def _less(value: float, control: float) -> Value:
    return Value(value - control, control)


def _order(run: Record, source: str, layer: str, features: str, step: int | None = None) -> float:
    """R^2 of the requested position, the lower axis', from the most points; at least 0."""
    step = run.configuration.steps if step is None else step
    probes = run.probes
    latest = probes["timestep"].min() if source == "sample" else probes["timestep"].max()
    probes = probes[
        (probes["step"] == step)
        & (probes["input"] == source)
        & (probes["timestep"] == latest)
        & (probes["layer"] == layer)
        & (probes["features"] == features)
        & (probes["reduction"] == "direct")
        & (probes["target"] == "requested")
    ]
    r2 = probes.loc[probes["points"] == probes["points"].max(), "r2"]
    return max(float(r2.min(skipna=False)), 0.0)


@lru_cache(maxsize=1024)  # several criteria read it, each in all runs
def _trained(run: Record) -> pd.DataFrame:
    return frame([run]).query("step > 0")


def find_time(table: pd.DataFrame, measure: str, level: float) -> float:
    """Training images until a measure reaches a level; all of them if it never does."""
    time = learning_time(table, measure, level)
    return float(table["images_seen"].max()) if math.isnan(time) else time


def _doublings(table: pd.DataFrame, first: str, then: str, level: float) -> float:
    """Doublings of training images from where one measure reaches a level to where another does."""
    if not (table[first] >= level).any():
        return 0.0
    return max(math.log2(find_time(table, then, level) / find_time(table, first, level)), 0.0)


def kappa(one: pd.Series, other: pd.Series) -> float:
    """Compute Cohen's kappa of two series of phases; 0 where both are one phase."""
    value = cohen_kappa(one, other)
    return 0.0 if math.isnan(value) else value


def _moved(run: Record, layer: str, axis: str) -> Value:
    """The share of bumps at the other's place along an axis, with a layer exchanged."""
    table = run.patching
    table = table[(table["step"] == run.configuration.steps) & (table["differ"] == "xy")]
    table = table.dropna(subset=["x", "y"])
    other = shift_half_frame(table[f"mu_{axis}"], run.configuration.N)
    at_other = (table[axis] - other).abs() <= TOLERANCE
    shares, counts = (getattr(at_other.groupby(table["layer"]), f)() for f in ("mean", "size"))
    if min(counts.get(layer, 0), counts.get("", 0)) < FEWEST_BUMPS:
        return Value(math.nan)
    return Value(max(shares[layer] - shares[""], 0.0), shares[""])


def placement_coupling(shares: pd.DataFrame, least_room: float = 0.0) -> float:
    """Compute where the share right in both axes lies between independent (0) and joint (1).

    Independent is the product of the axes' shares, joint the lesser of them. Over all rows of
    `shares` (x, y, both); NaN where the two differ by less than `least_room`, or not at all.
    """
    independent = shares["x"] * shares["y"]
    room = (shares[["x", "y"]].min(axis=1) - independent).sum()
    if room < least_room or room <= 0:
        return math.nan
    return float((shares["both"] - independent).sum() / room)


def _given_one_bump(run: Record) -> pd.DataFrame:
    """Of the images with one bump, the shares right in x, in y and in both; by trained checkpoint.

    With step and images_seen; NaN where fewer than `FEWEST_BUMPS` show one.
    """
    images = classify_kept(run.images, run.bumps)
    single = images[(images["set"] == "trained") & (images["step"] > 0) & images["x"].notna()]
    by_step = single.groupby("step")[["correct_x", "correct_y", "correct"]]
    shares = by_step.mean().set_axis(["x", "y", "both"], axis=1)[by_step.size() >= FEWEST_BUMPS]
    seen = run.checkpoints.query("step > 0").set_index("step")["images_seen"]
    return shares.reindex(seen.index).assign(images_seen=seen).reset_index()
