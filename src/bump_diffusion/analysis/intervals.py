"""Confidence intervals of what is measured over seeds."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
"""Of every interval."""


def interval(
    values: Sequence[float], kind: str, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float, float]:
    """The mean of the values and its confidence interval; NaN where it is undefined.

    Student's for a "mean", which needs two values, cut off at the `limits` of what can be; Wilson's
    (1927) for a "share", of values 0 or 1. Values that are NaN are left out.
    """
    known = np.array([v for v in values if not math.isnan(v)])
    if not len(known):
        return math.nan, math.nan, math.nan
    mean = float(known.mean())
    if kind == "share":
        found = stats.binomtest(int(known.sum()), len(known)).proportion_ci(
            CONFIDENCE, method="wilson"
        )
        return mean, float(found.low), float(found.high)
    if len(known) < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) * stats.sem(known)
    low, high = np.clip([mean - half, mean + half], *limits)
    return mean, float(low), float(high)


def index_interval(found: pd.DataFrame) -> tuple[float, float, float]:
    """The coupling index over seeds and its confidence interval; NaN where it is undefined.

    `found` is a table of `reference.coupling`. The index has a denominator that is estimated from
    the same seeds, so the interval is Fieller's (1954): it holds those ratios r for which
    Student's test does not tell the mean of together - r * apart from 0.
    """
    known = found.dropna(subset="index")
    if known.empty:
        return math.nan, math.nan, math.nan
    together, apart = known["together"].mean(), known["apart"].mean()
    if len(known) < 2:
        return 1 - together / apart, math.nan, math.nan
    spread = known[["together", "apart"]].cov().to_numpy() / len(known)
    spread *= stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) ** 2
    square, product = apart**2 - spread[1, 1], together * apart - spread[0, 1]
    if square <= 0:  # the axes apart cannot be told from each other by these seeds
        return 1 - together / apart, -math.inf, math.inf
    half = math.sqrt(max(product**2 - square * (together**2 - spread[0, 0]), 0.0))
    low, high = (1 - (product + sign * half) / square for sign in (1, -1))
    return 1 - together / apart, low, high
