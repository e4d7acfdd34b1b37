"""Held-out combinations: which labels of a grid a run never trains on.

Every x and every y of the grid is trained, each with some of the other's values; only `band`
leaves out values themselves. The regions are those by which the follow-up (arXiv 2408.13256,
figures 4 and 12) and its successor (arXiv 2501.18797) ask whether a model composes; their sizes, in
shares of N, are ours where the papers' are not known.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bump_diffusion.seeds import generator

CORE_DISTANCE = 2.0
"""A held-out label at least this far (pixels) from every trained one belongs to the core: a copy of
the nearest trained bump lies outside the tolerance there."""


def _is_inside_rim(values: Tensor, N: int) -> Tensor:
    rim = -(-3 * N // 16)
    return (values >= rim) & (values <= N - 1 - rim)


def _is_in_middle(values: Tensor, N: int) -> Tensor:
    return (values >= 13 * N // 32) & (values <= 19 * N // 32)


REGIONS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "quadrants": lambda x, y, N: (x < N / 2) == (y < N / 2),
    "donut": lambda x, y, N: _is_inside_rim(x, N) & _is_inside_rim(y, N),
    "corner": lambda x, y, N: (x >= N / 2) & (y >= N / 2),
    "band": lambda x, y, N: _is_in_middle(x, N) | _is_in_middle(y, N),
}
"""By name: whether a label (x, y) in pixels is held out. Two opposite quadrants, where both
coordinates lie in the same half; a central square that leaves a rim of 3/16 N; the square of the
upper halves; and all labels of which a coordinate lies in the middle (13/32 N to 19/32 N)."""


def held_out(grid: Float[Tensor, "n 2"], N: int, name: str, seed: int) -> Bool[Tensor, " n"]:
    """Which labels of `grid` (pixels) are held out in images of `N` pixels a side.

    `name` is "none", one of `REGIONS`, or "latin-K": all but K combinations, chosen by `seed` so
    that every x and every y is trained K / n times, n being the number of values of each axis.
    """
    if name == "none":
        return torch.zeros(len(grid), dtype=torch.bool)
    if name in REGIONS:
        return REGIONS[name](grid[:, 0], grid[:, 1], N)
    axes = [grid[:, axis].unique() for axis in (0, 1)]
    trained = latin_subset(len(axes[0]), int(name.removeprefix("latin-")), seed)
    column, row = (torch.bucketize(grid[:, i].contiguous(), axes[i]) for i in (0, 1))
    return ~trained[column, row]


def latin_subset(n: int, K: int, seed: int) -> Bool[Tensor, "n n"]:
    """K of n * n combinations, K / n in every row and column: K / n disjoint permutation matrices.

    They are cyclic shifts of each other, with rows, columns and shifts in an order drawn from
    `seed`.
    """
    draws = generator("cpu", seed, "latin", n, K)
    rows, columns, shifts = (torch.randperm(n, generator=draws) for _ in range(3))
    chosen = torch.zeros(n, n, dtype=torch.bool)
    for shift in shifts[: K // n].tolist():
        chosen[rows, columns.roll(shift)] = True
    return chosen


def in_core(held: Float[Tensor, "m 2"], trained: Float[Tensor, "n 2"]) -> Bool[Tensor, " m"]:
    """Which held-out labels lie at least `CORE_DISTANCE` (pixels) from every trained one."""
    return torch.cdist(held, trained).amin(dim=1) >= CORE_DISTANCE
