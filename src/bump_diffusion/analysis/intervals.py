"""Confidence intervals of what is measured over seeds."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
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
    known = np.array([v for v in values if not math.isnan(v)])
    if not len(known):
        return math.nan, math.nan, math.nan
    mean = float(known.mean())
    if kind == "share":
        share = stats.binomtest(int(known.sum()), len(known))
        ends = share.proportion_ci(CONFIDENCE, method="wilson")
        return mean, float(ends.low), float(ends.high)
    if len(known) < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) * stats.sem(known)
    low, high = np.clip([mean - half, mean + half], *limits)
    return mean, float(low), float(high)


def estimate_index(couplings: pd.DataFrame) -> tuple[float, float, float]:
    """Estimate the coupling index, with its confidence interval; NaN where it is undefined.

    `couplings` has a row per seed and the columns joint, separate and index
    (`factorized.couple_to_lines`). The index has a denominator that is estimated from the same
    seeds, so the interval is Fieller's (1954): it holds those ratios r for which Student's test
    does not tell the mean of joint - r * separate from 0.
    """
    known = couplings.dropna(subset="index")
    if known.empty:
        return math.nan, math.nan, math.nan
    joint, separate = known["joint"].mean(), known["separate"].mean()
    index = 1 - joint / separate
    if len(known) < 2:
        return index, math.nan, math.nan
    variance = known[["joint", "separate"]].cov().to_numpy() / len(known)
    variance *= stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) ** 2
    square, product = separate**2 - variance[1, 1], joint * separate - variance[0, 1]
    if square <= 0:  # these seeds do not tell the separate axes from each other
        return index, -math.inf, math.inf
    half = math.sqrt(max(product**2 - square * (joint**2 - variance[0, 0]), 0.0))
    return index, 1 - (product + half) / square, 1 - (product - half) / square
