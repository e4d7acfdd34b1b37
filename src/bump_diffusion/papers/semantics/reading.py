"""What a decided test, a row of `confirmed.judge`, says of the paper's claim."""

from collections.abc import Iterable

from bump_diffusion.papers.semantics.confirmed import find_unreachable
from bump_diffusion.papers.semantics.criteria import EDITIONS, Frozen

OPEN = "open"
FOR = "for the paper"
AGAINST = "against the paper"
ALIKE = "no more than in an untrained network"
BESIDE = "not a claim of the paper"
EMPTY = "cannot tell"

CRITERIA = {name: c for frozen in EDITIONS.values() for name, c in frozen.criteria.items()}
"""By name; what two frozen files have has the same limits in both."""

SET_ASIDE = {
    "placed-together",  # the paper speaks of learning times, not of dependence within an image
    "held-out-gap",  # the paper holds no combination out
    "axes-apart-alone",  # of lines alone: without it nothing can be told of images
}
"""Criteria that the frozen file counts for the paper, and that we do not (`deviations.md`)."""

NOT_CLAIMED = SET_ASIDE | {
    name for name, criterion in CRITERIA.items() if criterion.paper.startswith("(not claimed)")
}
"""Criteria of what the paper does not claim."""

FLAWED = {
    "two-dimensional": "a perfect sheet would be judged alike, or nearly",
    "disordered-phase": "an untrained network shows the phase too if the paper is right",
}
"""Criteria that cannot tell, as was seen after they were frozen, and why (`deviations.md`)."""


def read_side(cell) -> str:
    """What a test says of the paper: one of the constants above."""
    if cell.criterion in FLAWED:
        return EMPTY
    if cell.verdict == "not yet":
        return OPEN
    if cell.criterion in NOT_CLAIMED:
        return BESIDE
    if cell.verdict == "negligible" and lacks_room(cell):
        return EMPTY
    if cell.supports:
        return FOR
    has_control = CRITERIA[cell.criterion].control.startswith("the untrained network")
    return ALIKE if has_control and cell.verdict == "negligible" else AGAINST


def lacks_room(cell) -> bool:
    """Whether the control is so near to its limit that no effect of interest fits above it.

    Effects with limits that are equal but for their sign are a share, R² or kappa of a network, at
    most 1, less that of the control.
    """
    low, high = CRITERIA[cell.criterion].limits
    return low == -high and high < float("inf") and cell.control + cell.smallest > 1


def count_possible(cells: Iterable, side: str, frozen: Frozen) -> int:
    """Count the tests that could come out on a side of `read_side`, whatever their runs give."""
    return sum(side in _list_possible(cell, frozen) for cell in cells)


def _list_possible(cell, frozen: Frozen) -> set[str]:
    criterion, cap = frozen.criteria[cell.criterion], frozen.conditions[cell.condition].cap
    barred = find_unreachable([], criterion, cap, frozen.alpha) + ["shown"] * lacks_room(cell)
    return {
        read_side(cell._replace(verdict=verdict, supports=verdict == criterion.supports))
        for verdict in ("shown", "negligible")
        if verdict not in barred
    }


def count_sides(cells: Iterable) -> str:
    """Count tests by what they say of the paper; those for it and against it even if none is."""
    sides = [read_side(cell) for cell in cells]
    named = (FOR, AGAINST, ALIKE, BESIDE, EMPTY, OPEN)
    return ", ".join(
        f"{sides.count(side)} {side}" for side in named if side in sides or side in (FOR, AGAINST)
    )
