"""Learning times, and what explains them."""

from typing import NamedTuple

import numpy as np
import pandas as pd

ONE_CURVE = 0.9
"""Least share of the variance of learning times that sigma / d explains (`explain_by_overlap`)
for data sets of different spreads and spacings to lie on one curve. One half would not do: four
pairs of data sets, paired at random, give 3/7 on average. Written before a run with a spread other
than 1, or with d_x = d_y other than 1, was made. Amended when four such runs of seed 0 had ended:
pairs of which no run gets there are left out, as their ends would count as agreement; and what the
seeds' noise allows stands beside. Amended again when all had ended: that allows less than the
threshold, so that not even one curve could pass; "no" therefore needs to lie below both. Data sets
in which spread and spacing both differ from 1 (0.5 and 2, all four pairs, three seeds) are to be
judged with the others, by the same: written before one of them was made. From then on what the
noise allows leaves out what is common to the runs of one seed, which does not part data sets."""


def learning_time(checkpoints: pd.DataFrame, measure: str, level: float) -> float:
    """Training examples seen when a measure first reaches a level.

    Interpolated, linearly in the logarithm of the examples, between the checkpoint that reaches it
    and the one before; where the measure is undefined (NaN) at that one, or there is none, the
    examples seen by the checkpoint itself, an upper bound. NaN if none reaches the level.
    """
    # Not by `query`, which parses the names of all columns first: a frame has hundreds.
    trained = checkpoints.loc[checkpoints["step"] > 0, ["images_seen", measure]]
    seen, values = trained["images_seen"].to_numpy(), trained[measure].to_numpy()
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return float("nan")
    after = reached[0]
    if after == 0 or np.isnan(values[after - 1]):
        return float(seen[after])
    around = slice(after - 1, after + 1)
    return float(np.exp(np.interp(level, values[around], np.log(seen[around]))))


def learning_times(
    table: pd.DataFrame, measure: str, level: float, or_end: bool = False
) -> pd.Series:
    """Compute `learning_time` of each run of a `frame`, by record, in its order.

    With `or_end` a run that never reaches the level has all examples seen, a lower bound.
    """
    runs = table.groupby("record", sort=False)
    times = pd.Series({id: learning_time(run, measure, level) for id, run in runs}, dtype=float)
    return times.fillna(runs["images_seen"].last()) if or_end else times


class Overlap(NamedTuple):
    """How far learning times are a matter of sigma / d (`explain_by_overlap`)."""

    explained: list[float]
    "The share of their variance that it explains, for each seed."
    chance: float
    "What it would explain, on average, of data sets paired at random."
    noise_ceiling: float
    "What it would explain if it were all that matters, but for the noise between seeds."
    runs: int
    never: int
    "Those of the `runs` that never reach one half."


def overlap_times(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Compute the training images to one half of a measure, a row per run of a `frame`.

    Columns seed, sigma, d, overlap (sigma / d), time (all images seen where one half is never
    reached), log (of time) and never, whether it is not reached. Indexed by record.
    """
    runs = table.drop_duplicates("record").set_index("record").rename(columns={"d_x": "d"})
    times = learning_times(table, measure, 0.5, or_end=True)
    return runs[["seed", "sigma", "d"]].assign(
        overlap=(runs["sigma"] / runs["d"]).round(6),
        time=times,
        log=np.log(times),
        never=learning_times(table, measure, 0.5).isna(),
    )


def explain_by_overlap(table: pd.DataFrame, measure: str) -> Overlap:
    """Compute the share of the variance of learning times, between data sets, that sigma / d has.

    Eta squared, of the logarithms of `overlap_times`, over the data sets of a `frame` whose sigma /
    d one of another spread shares; left out are those of which no run reaches one half. NaN for
    fewer than two values of sigma / d, or if all times are equal.
    """
    times = overlap_times(table, measure)
    by = times.groupby("overlap")
    times = times[(by["sigma"].transform("nunique") > 1) & ~by["never"].transform("all")]
    groups, counts = times["overlap"].nunique(), (len(times), int(times["never"].sum()))
    if groups < 2 or np.ptp(times["log"]) == 0:
        return Overlap([np.nan] * table["seed"].nunique(), np.nan, np.nan, *counts)
    logs = times.pivot(index=["sigma", "d"], columns="seed", values="log")
    # Noise is what neither the data set nor the seed explains: a seed has the same weights and
    # noise in every data set.
    noise = logs.sub(logs.mean(axis=1), axis=0)
    noise = ((noise - noise.mean()) ** 2).to_numpy().sum()
    freedom = (len(logs) - 1) * (logs.shape[1] - 1) or np.nan
    explained = [_eta_squared(runs["log"], runs["overlap"]) for _, runs in times.groupby("seed")]
    noise_share = (len(logs) - groups) * noise / freedom / (len(logs) * logs.var(ddof=0).mean())
    return Overlap(explained, (groups - 1) / (len(logs) - 1), float(1 - noise_share), *counts)


def explain_on_grid(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Compute the share of the variance of learning times of spread, spacing and their ratio.

    Eta squared, as in `explain_by_overlap`, over the data sets that make a full grid: those
    spreads and spacings of which each was run with each other. Columns sigma, d and overlap, a row
    a seed; empty unless there are two of each.
    """
    times, factors = overlap_times(table, measure), ["sigma", "d", "overlap"]
    sets = pd.crosstab(times["sigma"], times["d"]) > 0
    grid = sets.loc[sets.sum(axis=1) > 1, sets.sum(axis=0) > 1]
    if min(grid.shape) < 2 or not grid.all(axis=None):
        return pd.DataFrame(columns=factors)
    full = times[times["sigma"].isin(grid.index) & times["d"].isin(grid.columns)]
    return pd.DataFrame(
        {factor: _eta_squared(runs["log"], runs[factor]) for factor in factors}
        for _, runs in full.groupby("seed")
    )


def _eta_squared(values: pd.Series, groups: pd.Series) -> float:
    """The share of the variance of the values that lies between groups; NaN if all are equal."""
    within = values - values.groupby(groups).transform("mean")
    return 1 - within.var(ddof=0) / values.var(ddof=0) if np.ptp(values) > 0 else np.nan
