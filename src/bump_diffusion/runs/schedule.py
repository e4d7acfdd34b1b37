"""Which checkpoints are evaluated: few, and more between those where the network learns."""

import itertools
import math
from collections.abc import Mapping

import numpy as np

LARGEST_RATIO = 1.15
"""Of the steps of neighbouring checkpoints while the network learns."""

LEARNS = (0.02, 0.98)
"""It does unless two neighbouring checkpoints both have an accuracy below the first of these, or
both above the second."""


def steps_between(first: int, last: int) -> list[int]:
    """Steps that divide the way between two evaluated ones in ratios of at most `LARGEST_RATIO`.

    None after the untrained network, step 0.
    """
    if first == 0:
        return []
    parts = math.ceil(math.log(last / first) / math.log(LARGEST_RATIO) - 1e-9)
    between = np.geomspace(first, last, parts + 1)[1:-1].round().astype(int).tolist()
    return sorted(set(between) - {first, last})


def next_to_evaluate(accuracy: Mapping[int, float], first: int, last: int) -> int | None:
    """Of `steps_between` two evaluated steps, the one to be evaluated next; None if none need be.

    `accuracy` holds that of every step evaluated so far. Between two neighbouring evaluated steps
    the middle one comes next, if the network learns there.
    """
    between = steps_between(first, last)
    evaluated = [first, *(step for step in between if step in accuracy), last]
    for before, after in itertools.pairwise(evaluated):
        skipped = [step for step in between if before < step < after]
        low, high = sorted([accuracy[before], accuracy[after]])
        if skipped and high >= LEARNS[0] and low <= LEARNS[1]:
            return skipped[len(skipped) // 2]
    return None
