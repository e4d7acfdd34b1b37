"""The three phases: order parameters from both sides, and the rule that names the phase.

Written down before the runs that it judges. A checkpoint gets one phase from what it generates and,
independently, one from its features; how often the two agree is a result, not an assumption.

The paper's words (arXiv 2402.03305, section 3) are turned into numbers as follows.

=====  ==============================  ==========================================================
phase  generation                      representation
=====  ==============================  ==========================================================
A      several bumps, or none          no manifold: a bump's position cannot be read from features
B      one bump, at the wrong place    a manifold of positions, but not ordered by the request
C      one bump, at the right place    a manifold of positions, ordered by the request
=====  ==============================  ==========================================================

Every threshold is one half: of the images, or of the variance. It is the one value that needs no
choice, each phase being what the greater part shows.
"""

import numpy as np
import pandas as pd

from bump_diffusion.runs.record import Record

PHASES = ("A", "B", "C")


SINGLE = 0.5
"""Least share of images with exactly one bump, beyond which generation has left phase A."""

PLACED = 0.5
"""Least share, among the images with one bump, of those at the right place: phase C."""

MANIFOLD = 0.5
"""Least R^2 of the generated position, read from label-ablated features: phase B or C."""

ORDER = 0.5
"""Least R^2 of the requested position, read from label-ablated features: phase C."""

THRESHOLDS = {
    "generation": {"single": SINGLE, "placed": PLACED},
    "representation": {"manifold": MANIFOLD, "order": ORDER},
}
"""By side: the order parameter that ends phase A with its threshold, then that which begins C."""


def order_parameters(
    checkpoints: pd.DataFrame,
    probes: pd.DataFrame,
    features: str = "ablated",
    reduction: str = "direct",
) -> pd.DataFrame:
    """The four order parameters of each checkpoint, indexed by step.

    `checkpoints` has a row per checkpoint (columns step and `outcomes.OUTCOMES`), `probes` a row
    per probe (columns step, features, reduction, target, axis, r2), as in a run record. `single`
    and `placed` are shares of images; `manifold` and `order` are cross-validated R^2, the lower of
    the two axes', of the generated and the requested position, read directly from the features with
    the label ablated; with `features` "untrained, ablated" they are those of the untrained network
    on the same images, the control, and with `reduction` "umap" read from the UMAP embedding. NaN
    where a quantity is undefined: `placed` without any single bump, `manifold` with too few of them
    to fit (`representation.MINIMUM_POINTS`).
    """
    by_step = checkpoints.set_index("step")
    single = by_step["misplaced"] + by_step["correct"]
    read = probes[(probes["features"] == features) & (probes["reduction"] == reduction)]
    # An R^2 that is undefined in one axis is undefined.
    worse = read.groupby(["step", "target"])["r2"].min(skipna=False)
    worse = worse.unstack().reindex(by_step.index)
    return pd.DataFrame(
        {
            "single": single,
            "placed": by_step["correct"] / single.where(single > 0),
            "manifold": worse["generated"],
            "order": worse["requested"],
        }
    )


def checkpoints_with_order(
    record: Record, features: str = "ablated", reduction: str = "direct"
) -> pd.DataFrame:
    """A run's table of checkpoints with their `order_parameters` beside the metrics."""
    parameters = order_parameters(record.checkpoints, record.probes, features, reduction)
    return record.checkpoints.merge(parameters.reset_index(), on="step")


def assign_phases(
    table: pd.DataFrame,
    suffix: str = "",
    *,
    single: float = SINGLE,
    placed: float = PLACED,
    manifold: float = MANIFOLD,
    order: float = ORDER,
) -> pd.DataFrame:
    """Name the phase ("A", "B" or "C") of each checkpoint from each side.

    `table` has the columns `single`, `placed`, `manifold` and `order` of a `frame`, the last two
    with the `suffix`, as "_untrained"; the other arguments are their thresholds. An undefined order
    parameter counts as below its threshold: a position that too few images have is not read.
    Returns the columns generation and representation, on the table's index.
    """
    sides = {"generation": (table["single"] >= single, table["placed"] >= placed)}
    sides["representation"] = (
        table[f"manifold{suffix}"] >= manifold,
        table[f"order{suffix}"] >= order,
    )
    return pd.DataFrame(
        {
            side: np.select([beyond_a & in_c, beyond_a], ["C", "B"], "A")
            for side, (beyond_a, in_c) in sides.items()
        },
        index=table.index,
    )


def first_phases(table: pd.DataFrame, side: str) -> pd.DataFrame:
    """Find the images seen at the first trained checkpoint of each phase, from one side.

    `table` is a `frame`, `side` "generation" or "representation". A row per record, columns A, B
    and C, NaN where a phase does not occur. Step 0 is left out: what an untrained network draws and
    holds is no result of learning.
    """
    trained = table[table["step"] > 0]
    first = trained.groupby(["record", f"phase_{side}"])["images_seen"].first().unstack()
    return first.reindex(index=table["record"].unique(), columns=list(PHASES))


def pass_in_order(first: pd.DataFrame) -> pd.Series:
    """Whether all phases occur, and first in the order A, B, C: by record, of `first_phases`."""
    return (first["A"] < first["B"]) & (first["B"] < first["C"])


def phases_over_training(
    record: Record, features: str = "ablated", **thresholds: float
) -> pd.DataFrame:
    """The phase of each trained checkpoint of a run from each side (see `assign_phases`).

    Without the untrained network, step 0: what it draws and holds is no result of learning.
    """
    parameters = order_parameters(record.checkpoints, record.probes, features)
    phases = assign_phases(parameters, **thresholds)
    return phases[phases.index > 0]


def agreement(phases: pd.DataFrame) -> pd.DataFrame:
    """How many checkpoints have each pair of phases, generation's in rows."""
    table = pd.crosstab(phases["generation"], phases["representation"])
    return table.reindex(index=PHASES, columns=PHASES, fill_value=0)


def first_steps(phases: pd.Series) -> dict[str, int | None]:
    """The first step at which each phase occurs; None for a phase that does not."""
    return {
        phase: int(phases.index[phases == phase][0]) if (phases == phase).any() else None
        for phase in PHASES
    }


def in_order(phases: pd.Series) -> bool:
    """Whether all three phases occur, and first occur in the order A, B, C."""
    first = list(first_steps(phases).values())
    return None not in first and first == sorted(first)


def through_all_phases(records: list[Record]) -> Record:
    """The first run that shows A, B and C, first in this order, from both sides; else the first."""
    for record in records:
        phases = phases_over_training(record)
        if all(in_order(phases[side]) for side in phases):
            return record
    return records[0]


def moved_thresholds(side: str) -> dict[str, dict[str, float]]:
    """Each threshold of a side a fifth lower and higher, by what it is then called."""
    return {
        f"{name} {value * factor:.2g}": {name: value * factor}
        for name, value in THRESHOLDS[side].items()
        for factor in (0.8, 1.2)
    }
