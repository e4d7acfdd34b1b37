"""Confidence intervals of what is measured over seeds."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
"""The level of all intervals."""


def estimate(
    values: Sequence[float], kind: str, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float, float]:
    """Estimate the mean of the values, with its confidence interval; NaN where it is undefined.

    Student's for a "mean", which needs two values, cut off at the `limits` of what can be; Wilson's
    (1927) for a "share", of values 0 or 1. Values that are NaN are left out.
    """
    known = np.array([value for value in values if not math.isnan(value)])
    n, mean = len(known), float(known.mean()) if len(known) else math.nan
    if kind == "share" and n:
        ends = stats.binomtest(int(known.sum()), n).proportion_ci(CONFIDENCE, method="wilson")
        return mean, float(ends.low), float(ends.high)
    if n < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * stats.sem(known)
    low, high = np.clip([mean - half, mean + half], *limits)
    return mean, float(low), float(high)


def estimate_index(
    joint: np.ndarray, separate: np.ndarray, index: np.ndarray
) -> tuple[float, float, float]:
    """Estimate the coupling index, with its confidence interval; NaN where it is undefined.

    The arguments have a value per seed (`factorized.couple_to_lines`), those of an `index` that is
    NaN are left out. It has a denominator that is estimated from the same seeds, so the interval is
    Fieller's (1954): it holds those ratios r for which Student's test does not tell the mean of
    joint - r * separate from 0.
    """
    known = ~np.isnan(index)
    if not known.any():
        return math.nan, math.nan, math.nan
    n, both = known.sum(), np.stack([joint, separate])[:, known]
    x, y = both.mean(axis=1)
    if n < 2:
        return 1 - x / y, math.nan, math.nan
    (xx, xy), (_, yy) = np.cov(both) / n * stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) ** 2
    square, product = y**2 - yy, x * y - xy
    if square <= 0:  # these seeds do not tell the separate axes from each other
        return 1 - x / y, -math.inf, math.inf
    half = math.sqrt(max(product**2 - square * (x**2 - xx), 0.0))
    return 1 - x / y, 1 - (product + half) / square, 1 - (product - half) / square
