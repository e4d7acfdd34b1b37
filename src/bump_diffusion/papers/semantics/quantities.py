"""The quantities that decide the claims, each from one run."""

import math

import pandas as pd
from sklearn.metrics import cohen_kappa_score

from bump_diffusion.analysis.learning import learning_time, learning_time_or_end
from bump_diffusion.analysis.phases import (
    ORDER,
    PHASES,
    assign_phases,
    checkpoints_with_order,
    in_order,
    phases_over_training,
)
from bump_diffusion.papers.semantics.factorized import max_axis_gap
from bump_diffusion.runs.record import Record


def representation_phases(record: Record, features: str = "ablated", **thresholds: float) -> float:
    phases = phases_over_training(record, features, **thresholds)
    return float(in_order(phases["representation"]))


def generation_phases(record: Record, **thresholds: float) -> float:
    return float(in_order(phases_over_training(record, **thresholds)["generation"]))


def sides_agree(record: Record, features: str = "ablated", **thresholds: float) -> float:
    phases = phases_over_training(record, features, **thresholds)
    if phases.stack().nunique() == 1:
        return float("nan")  # one phase for all, on both sides: kappa is undefined
    sides = phases["generation"], phases["representation"]
    return float(cohen_kappa_score(*sides, labels=list(PHASES)))


def order_at_end(record: Record, reduction: str = "direct") -> tuple[float, float]:
    """The order at the end, label ablated, of the trained and of the untrained network.

    Below 0 nothing is read, and how far below is not more of nothing: it counts as 0.
    """
    trained, untrained = (
        max(checkpoints_with_order(record, features, reduction)["order"].iloc[-1], 0.0)
        for features in ("ablated", "untrained, ablated")
    )
    return float(trained), float(untrained)


def order_learned(record: Record) -> float:
    trained, untrained = order_at_end(record)
    return trained - untrained


def order_necessary(record: Record, features: str = "ablated", **thresholds: float) -> float:
    accurate, ordered = _accurate_and_ordered(record, features, **thresholds)
    return float(ordered[accurate].mean())


def order_sufficient(record: Record, features: str = "ablated", **thresholds: float) -> float:
    accurate, ordered = _accurate_and_ordered(record, features, **thresholds)
    return float(accurate[ordered].mean())


def _accurate_and_ordered(
    record: Record, features: str, **thresholds: float
) -> tuple[pd.Series, pd.Series]:
    """Whether accuracy is at least one half, and the representation in C, at each checkpoint."""
    table = checkpoints_with_order(record, features)
    ordered = assign_phases(table, **thresholds)["representation"] == "C"
    return table["accuracy"] >= 0.5, ordered


def order_first(record: Record, features: str = "ablated") -> float:
    table = checkpoints_with_order(record, features)
    levels = {"order": ORDER, "accuracy": 0.5}
    if all(math.isnan(learning_time(table, *level)) for level in levels.items()):
        return float("nan")
    # What is never reached comes after the end at the earliest.
    order_at, accuracy_at = (learning_time_or_end(table, *level) for level in levels.items())
    return math.log2(order_at / accuracy_at)


def order_used(record: Record) -> float:
    rows = record.interventions.query("intervention == 'other features' and layer == 'layer4'")
    return float(rows["at_other"].iloc[0])


def rise_together(record: Record) -> float:
    trained = record.checkpoints.query("step > 0")
    if trained[["accuracy_x", "accuracy_y"]].max(axis=None) < 0.5:
        return float("nan")  # neither rose
    return max_axis_gap(trained)


QUANTITIES = {
    "representation-phases": representation_phases,
    "order-learned": order_learned,
    "generation-phases": generation_phases,
    "sides-agree": sides_agree,
    "order-necessary": order_necessary,
    "order-sufficient": order_sufficient,
    "order-first": order_first,
    "order-used": order_used,
    "rise-together": rise_together,
}
"""What judges a claim, from one run."""


OF_UNTRAINED = (
    *("representation-phases", "sides-agree"),
    *("order-necessary", "order-sufficient", "order-first"),
)
"""Those that are also taken of the untrained network on the same images."""


BY_RULE = {
    "representation-phases": ("representation",),
    "generation-phases": ("generation",),
    "sides-agree": ("generation", "representation"),
    "order-necessary": ("representation",),
    "order-sufficient": ("representation",),
}
"""Those that rest on the rule that names phases, and whose sides' thresholds they hang on."""
