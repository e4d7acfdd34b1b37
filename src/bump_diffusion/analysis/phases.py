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

PHASES = ("A", "B", "C")

ORDER = 0.5

THRESHOLDS = {
    "generation": {"single": 0.5, "placed": 0.5},
    "representation": {"manifold": 0.5, "order": ORDER},
}
"""By side: the order parameter that ends phase A with its threshold, then that which begins C.

`single` is the share of images with exactly one bump, `placed` that of these at the right place;
`manifold` and `order` are R^2 of the generated and of the requested position, read from features
with the label ablated (`frame`).
"""


def assign_phases(table: pd.DataFrame, suffix: str = "", **thresholds: float) -> pd.DataFrame:
    """Name the phase ("A", "B" or "C") of each checkpoint from each side.

    `table` has the columns of `THRESHOLDS` as a `frame`, those of the representation with the
    `suffix`, as "_untrained"; `thresholds` take the place of these by their names. An undefined
    order parameter counts as below its threshold: a position that too few images have is not read.
    Returns the columns generation and representation, on the table's index.
    """
    phases = {}
    for side, stated in THRESHOLDS.items():
        beyond_a, in_c = (
            table[f"{name}{suffix if side == 'representation' else ''}"]
            >= thresholds.get(name, threshold)
            for name, threshold in stated.items()
        )
        phases[side] = np.select([beyond_a & in_c, beyond_a], ["C", "B"], "A")
    return pd.DataFrame(phases, index=table.index)


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


def cohen_kappa(one: pd.Series, other: pd.Series) -> float:
    """Compute Cohen's kappa of two series of phases; NaN where both are one phase throughout."""
    agreeing = float((one.to_numpy() == other.to_numpy()).mean())
    by_chance = sum(float((one == phase).mean() * (other == phase).mean()) for phase in PHASES)
    return (agreeing - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def moved_thresholds(*sides: str) -> dict[str, dict[str, float]]:
    """Move each threshold of the sides a fifth down and up: its value by what it is then called."""
    return {
        f"{name} {value * factor:.2g}": {name: value * factor}
        for side in sides
        for name, value in THRESHOLDS[side].items()
        for factor in (0.8, 1.2)
    }
