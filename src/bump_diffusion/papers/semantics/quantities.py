"""The quantities that decide the claims, and the table of criteria.

A claim of `claims.yml` is decided by the quantity of the same name, which is computed for each run.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from bump_diffusion.analysis.learning import learning_time
from bump_diffusion.analysis.phases import ORDER, PHASES, cohen_kappa

Quantity = Callable[[pd.DataFrame], float]
"""Computed from the rows of one run, those of its trained checkpoints, in a table that the claim's
experiment gives (`verdicts`); NaN where it is undefined."""


def passes_phases(side: str) -> Quantity:
    """Make the quantity that is 1 for a run with all phases of a side, in order, else 0."""
    return lambda run: float(run[f"phase_{side}"].drop_duplicates().tolist() == list(PHASES))


def reads(column: str) -> Quantity:
    """Make the quantity of a column that has one value for all checkpoints of a run."""
    return lambda run: float(run[column].iloc[0])


def order_learned(run: pd.DataFrame) -> float:
    # Below 0 nothing is read, and how far below is not more of nothing: it counts as 0.
    trained, untrained = run[["order", "order_untrained"]].iloc[-1].clip(lower=0)
    return float(trained - untrained)


def sides_agree(run: pd.DataFrame) -> float:
    return cohen_kappa(run["phase_generation"], run["phase_representation"])


def order_necessary(run: pd.DataFrame) -> float:
    return float((run["phase_representation"] == "C")[run["accuracy"] >= 0.5].mean())


def order_sufficient(run: pd.DataFrame) -> float:
    return float((run["accuracy"] >= 0.5)[run["phase_representation"] == "C"].mean())


def order_first(run: pd.DataFrame) -> float:
    times = learning_time(run, "order", ORDER), learning_time(run, "accuracy", 0.5)
    if all(map(math.isnan, times)):
        return math.nan
    # What is never reached comes after the end at the earliest.
    end = run["images_seen"].iloc[-1]
    order, accuracy = (end if math.isnan(time) else time for time in times)
    return math.log2(order / accuracy)


def order_used(run: pd.DataFrame) -> float:
    exchanged = (run["intervention"] == "other features") & (run["layer"] == "layer4")
    return float(run["at_other"][exchanged].item())


def rise_together(run: pd.DataFrame) -> float:
    if run[["accuracy_x", "accuracy_y"]].max(axis=None) < 0.5:
        return math.nan  # neither rose
    return float((run["accuracy_x"] - run["accuracy_y"]).abs().max())


class Criterion(NamedTuple):
    """How a claim is decided."""

    quantity: Quantity
    limits: tuple[float, float] = (-math.inf, math.inf)
    "The least and the greatest value that the quantity can have."
    control: Quantity | None = None
    "The quantity where what the claim says cannot be, in the words of the claim's `control`."
    sides: tuple[str, ...] = ()
    "The sides of the phase rule whose thresholds the quantity rests on."
    coupling: tuple[str, str, str] | None = None
    "Where the quantity is a coupling index: the columns joint, separate and index."


SHARE = (0.0, 1.0)


def beside_untrained(
    quantity: Quantity, *sides: str, limits: tuple[float, float] = SHARE
) -> Criterion:
    """Make the criterion whose control is the quantity of the untrained network, same images."""
    names = ["manifold", "order", "phase_representation"]

    def control(run: pd.DataFrame) -> float:
        return quantity(run.assign(**{name: run[f"{name}_untrained"] for name in names}))

    return Criterion(quantity, limits, control, sides)


CRITERIA = {
    "representation-phases": beside_untrained(passes_phases("representation"), "representation"),
    "order-learned": Criterion(order_learned),
    "generation-phases": Criterion(passes_phases("generation"), SHARE, sides=("generation",)),
    "sides-agree": beside_untrained(sides_agree, "generation", "representation", limits=(-1, 1)),
    "order-necessary": beside_untrained(order_necessary, "representation"),
    "order-sufficient": beside_untrained(order_sufficient, "representation"),
    "order-first": beside_untrained(order_first, limits=(-math.inf, math.inf)),
    "order-used": Criterion(order_used, SHARE),
    "rise-together": Criterion(rise_together, SHARE, reads("max_axis_gap_1d")),
    "coupled": Criterion(reads("index"), coupling=("joint", "separate", "index")),
    "coupled-in-images": Criterion(
        reads("index_2d"), coupling=("joint", "separate_2d", "index_2d")
    ),
    "costly": Criterion(lambda run: math.log2(run["cost"].iloc[0])),
}
"""By the claims' names, as in `claims.yml`."""
