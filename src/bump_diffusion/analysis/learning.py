"""Learning times, and what explains them."""

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd

from bump_diffusion.analysis.phases import checkpoints_with_order
from bump_diffusion.runs.record import Record

ONE_CURVE = 0.9
"""Least share of the variance of learning times that sigma / d explains (`explained_by_overlap`)
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
    trained = checkpoints.query("step > 0")
    seen, values = trained["images_seen"].to_numpy(), trained[measure].to_numpy()
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return float("nan")
    after = reached[0]
    if after == 0 or np.isnan(values[after - 1]):
        return float(seen[after])
    share = (level - values[after - 1]) / (values[after] - values[after - 1])
    return float(np.exp(np.log(seen[after - 1]) * (1 - share) + np.log(seen[after]) * share))


def learning_times(
    table: pd.DataFrame, measure: str, level: float, or_end: bool = False
) -> pd.Series:
    """Compute `learning_time` of each run of a `frame`, by record, in its order.

    With `or_end` a run that never reaches the level has all examples seen, a lower bound.
    """
    runs = table.groupby("record", sort=False)
    times = pd.Series({id: learning_time(own, measure, level) for id, own in runs}, dtype=float)
    return times.fillna(runs["images_seen"].last()) if or_end else times


def learning_time_or_end(checkpoints: pd.DataFrame, measure: str, level: float) -> float:
    """`learning_time`, or all examples seen, a lower bound, if the level is never reached."""
    time = learning_time(checkpoints, measure, level)
    return float(checkpoints["images_seen"].iloc[-1]) if np.isnan(time) else time


class Overlap(NamedTuple):
    """How far learning times are a matter of sigma / d (`explained_by_overlap`)."""

    explained: list[float]
    "The share of their variance that it explains, for each seed."
    chance: float
    "What it would explain, on average, of data sets paired at random."
    noise_ceiling: float
    "What it would explain if it were all that matters, but for the noise between seeds."
    runs: int
    never: int
    "Those of the `runs` that never get there."


def overlap_times(records: list[Record], measure: str) -> pd.DataFrame:
    """Training images to one half of a measure, a row per run.

    Columns seed, sigma, d, overlap (sigma / d), time (`learning_time_or_end`) and never, whether
    the run does not get there.
    """
    rows = []
    for record in records:
        c, checkpoints = record.configuration, checkpoints_with_order(record)
        time = learning_time_or_end(checkpoints, measure, 0.5)
        never = np.isnan(learning_time(checkpoints, measure, 0.5))
        rows.append((c.seed, c.sigma, c.d_x, round(c.sigma / c.d_x, 6), time, never))
    return pd.DataFrame(rows, columns=["seed", "sigma", "d", "overlap", "time", "never"])


def explained_by_overlap(records: list[Record], measure: str) -> Overlap:
    """The share of the variance of learning times, between data sets, that sigma / d explains.

    Eta squared, of the logarithms of the training images to one half (`learning_time_or_end`), over
    the data sets whose sigma / d one of another spread shares; left out are those of which no run
    gets there. NaN for fewer than two values of sigma / d, or if all times are equal.
    """
    table = overlap_times(records, measure)
    table["log"] = np.log(table["time"])
    by = table.groupby("overlap")
    table = table[(by["sigma"].transform("nunique") > 1) & ~by["never"].transform("all")]
    groups, seeds = table["overlap"].nunique(), sorted({r.configuration.seed for r in records})
    never = int(table["never"].sum())
    if groups < 2:
        return Overlap([np.nan] * len(seeds), np.nan, np.nan, len(table), never)
    explained, totals = [], []
    for _, own in table.groupby("seed"):
        totals.append(_squares(own["log"]))
        within = own.groupby("overlap")["log"].apply(_squares).sum()
        explained.append(1 - within / totals[-1] if np.ptp(own["log"]) > 0 else np.nan)
    settings = len(table[["sigma", "d"]].drop_duplicates())
    noise = (settings - groups) * _left_by_seeds(
        table.pivot(index=["sigma", "d"], columns="seed", values="log")
    )
    noise_ceiling = 1 - noise / np.mean(totals) if np.ptp(table["log"]) > 0 else np.nan
    chance = (groups - 1) / (settings - 1)
    return Overlap(explained, chance, float(noise_ceiling), len(table), never)


def explained_on_grid(records: list[Record], measure: str) -> pd.DataFrame:
    """The share of the variance of learning times that spread, spacing and their ratio explain.

    Eta squared, as in `explained_by_overlap`, over the data sets that make a full grid: those
    spreads and spacings of which each was run with each other. Columns sigma, d and overlap, a row
    a seed; empty unless there are two of each.
    """
    table = overlap_times(records, measure)
    table["log"] = np.log(table["time"])
    sets = table[["sigma", "d"]].drop_duplicates()
    sigmas = [s for s, own in sets.groupby("sigma") if len(own) > 1]
    spacings = [d for d, own in sets.groupby("d") if len(own) > 1]
    full = set(itertools.product(sigmas, spacings))
    if min(len(sigmas), len(spacings)) < 2 or not full <= set(sets.itertuples(index=False)):
        return pd.DataFrame(columns=["sigma", "d", "overlap"])
    rows = []
    for _, own in table[table["sigma"].isin(sigmas) & table["d"].isin(spacings)].groupby("seed"):
        total = _squares(own["log"]) or np.nan
        rows.append(
            {
                by: 1 - own.groupby(by)["log"].apply(_squares).sum() / total
                for by in ("sigma", "d", "overlap")
            }
        )
    return pd.DataFrame(rows)


def _left_by_seeds(values: pd.DataFrame) -> float:
    """The variance that neither the setting (row) nor the seed (column) explains.

    A seed has the same weights and noise in every setting: what is common to its times is no noise
    between settings.
    """
    left = values.sub(values.mean(axis=1), axis=0).sub(values.mean(axis=0) - values.stack().mean())
    freedom = (len(values) - 1) * (values.shape[1] - 1)
    return float((left**2).to_numpy().sum() / freedom) if freedom else np.nan


def _squares(values: pd.Series) -> float:
    return float(((values - values.mean()) ** 2).sum())
