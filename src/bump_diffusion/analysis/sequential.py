"""Inference over seeds that stays valid while seeds are added.

Student's interval holds its level for one number of seeds, fixed in advance. Whoever looks, and
adds seeds because the answer is not clear yet, misses the mean far more often. A confidence
sequence holds after every seed at once: with probability 1 - alpha the mean is in all of its
intervals. Seeds may thus be added for whatever reason; their order alone is fixed. An interval has
those means m whose test martingale is below 1 / alpha: a ratio of likelihoods that starts at 1 and
is not expected to grow where m is true (Ville 1939; Robbins 1970).

Two kinds of values, one per seed, in the order of the seeds on the last axis, none of them NaN
except where a function says so:

- "mean": roughly Gaussian over seeds, variance unknown. The likelihood ratio of the values,
  invariant to their scale, is averaged over standardized effects from N(0, g) (Lai 1976; Wang and
  Ramdas 2023, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
  variance"; Pérez-Ortiz et al. 2024, "E-statistics, group invariance and anytime-valid testing").
- "share": 0 or 1, averaged over a uniform prior of the share (Robbins 1970). It assumes nothing but
  independent seeds. It also holds for the mean of any other values from 0 to 1, because the
  likelihood ratio is convex in the value, so that 0 and 1 are the worst case.

How far a "mean" needs Gaussian values, by the share of simulated experiments of 40 seeds in which
a 95 % sequence ever misses the mean (`tests/test_sequential.py`; at most 5 % is promised): Gaussian
3 %, heavy tails (t with 3 degrees of freedom) 2 %, uniform 4 %, mildly skewed as accuracies are,
Beta(20, 2), 6 %, strongly skewed, Beta(2, 1/2), 13 %. It breaks where most seeds agree closely and
few fail: with one seed in ten at 0.2 and the others at 0.99 it misses in 65 %, because the first
seeds do not show that failures exist. A "share" of the same values misses in less than 1 %. It pays
with intervals that do not narrow with the spread: 8 seeds at 1 show a mean above 1/2, 29 one above
0.8.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaln, xlog1py, xlogy

EFFECT_VARIANCE = 4.0
"""The variance g of the standardized effects that the martingale of a mean is averaged over.

Fixed before any data. Of nine variances from 1/4 to 200 it needs the fewest seeds to tell an effect
from the smallest one, summed over distances of 1, 1.5, 2, 3 and 4 standard deviations (13.6, 8.1,
6.2, 4.8 and 4.3 seeds on average); from 2 to 16 the sum changes by 3 %. The first finite interval
needs four seeds.
"""


class Decision(NamedTuple):
    """What the seeds so far say of an effect.

    The verdict is "shown" where the interval from `low` to `high` lies above the smallest effect of
    interest, "negligible" where it lies below, else "not yet". `consistent` is False where the mean
    of all values is not in what the intervals of the sequence have in common, or the last interval
    decides less than that does: the values do not follow the model. The verdict is then "not yet"
    and the interval is the last one.
    """

    verdict: str
    mean: float
    low: float
    high: float
    consistent: bool


def decide(
    values: ArrayLike,
    smallest: float,
    kind: str,
    alpha: float = 0.05,
    resolution: float = 0.0,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Decision:
    """Decide whether the mean of the values, one per seed, is above the smallest of interest.

    The interval is what the intervals after each seed have in common, within the `limits` of what
    can be. For kind and resolution see `confidence_sequence`. Values that are NaN are left out.
    """
    values = _drop_nan(values)
    if not len(values):
        return Decision("not yet", math.nan, *limits, True)
    lows, highs = np.clip(confidence_sequence(values, kind, alpha, resolution), *limits)
    low, high, mean = float(lows.max()), float(highs.min()), float(values.mean())
    last = float(lows[-1]), float(highs[-1])
    verdict = _compare(low, high, smallest)
    if low <= mean <= high and verdict == _compare(*last, smallest):
        return Decision(verdict, mean, low, high, True)
    return Decision("not yet", mean, *last, False)


def confidence_sequence(
    values: np.ndarray, kind: str, alpha: float = 0.05, resolution: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the low and the high ends of the interval after each seed, in the shape of the values.

    The `resolution` is the least standard deviation over seeds that the measurement can tell from
    0, for an accuracy over 256 images for example 1/256. A smaller one is raised to it, which only
    widens an interval. Without it, values that are all equal say nothing of a mean: Gaussian
    values never are.
    """
    n, means, deviations = _summarize(values, resolution)
    if kind == "share":
        return _find_end(n, means, 0.0, alpha), _find_end(n, means, 1.0, alpha)
    # log_e of `weigh_evidence` = -log(alpha), solved for t^2 / (n - 1)
    growth = 1 + n * EFFECT_VARIANCE
    ratio = np.exp((np.log(growth) - 2 * math.log(alpha)) / n)
    square = (ratio - 1) * growth / np.where(ratio < growth, growth - ratio, 1)
    known = (ratio < growth) & (deviations > 0)
    half = np.where(known, deviations * np.sqrt((n - 1) * square / n), np.inf)
    return means - half, means + half


def weigh_evidence(
    values: np.ndarray, smallest: float, side: str, kind: str, resolution: float = 0.0
) -> np.ndarray:
    """Return the e-value after each seed for a mean "above" or "below" the smallest effect.

    It is the least of the martingales against all means on the other side, and so it reaches
    1 / alpha just when the interval of `confidence_sequence` leaves that side. If the mean is on
    the other side, the probability that this ever happens is at most alpha.

    The expectation is then at most 1 where one stops once decided or at a cap. For a mean that is
    not so for every rule: it must not depend on the scale of the values (Pérez-Ortiz et al. 2024).
    In simulations, with the mean at the edge, the expectation is 0.56 if one stops once decided or
    after 20 seeds, 0.3 to 0.6 if values that correlate with these decide when to stop, and 1.35 if
    one knows the standard deviation and picks the best number of seeds for each first value.
    """
    n, means, deviations = _summarize(values, resolution)
    nearest = np.minimum(smallest, means) if side == "above" else np.maximum(smallest, means)
    if kind == "share":
        log_e = _weigh_share(n, means, nearest)
    else:
        known = (n > 1) & (deviations > 0)
        # t^2 / (n - 1), with Student's t
        square = n * (means - nearest) ** 2 / np.where(known, (n - 1) * deviations**2, 1)
        growth = 1 + n * EFFECT_VARIANCE
        log_e = n / 2 * (np.log1p(square) - np.log1p(square / growth)) - np.log(growth) / 2
        log_e = np.where(known, log_e, 0)
    with np.errstate(over="ignore"):
        return np.exp(log_e)


def reject(e_values: ArrayLike, level: float = 0.05) -> np.ndarray:
    """Mark the hypotheses that e-Benjamini-Hochberg rejects, in the order of their e-values.

    Of those marked, a share of at most `level` is expected to be true, however the e-values depend
    on one another (Wang and Ramdas 2022, "False discovery rate control with e-values"): the k
    largest are marked, for the largest k with all k at least (number of hypotheses) / (level * k).
    """
    e_values = np.asarray(e_values, float)
    descending = -np.sort(-e_values)
    ranks = np.arange(1, len(e_values) + 1)
    passed = descending[level * ranks * descending >= len(e_values)]
    return e_values >= passed.min(initial=math.inf)


def first_decision(
    values: np.ndarray, smallest: float, kind: str, alpha: float = 0.05, resolution: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first verdict that is not "not yet", and its number of seeds (else infinity).

    Both have the shape of the values without their last axis. Later seeds may take it back
    (`Decision.consistent`).
    """
    seeds = []
    for side in ("above", "below"):
        passed = weigh_evidence(values, smallest, side, kind, resolution) >= 1 / alpha
        seeds.append(np.where(passed.any(axis=-1), passed.argmax(axis=-1) + 1, math.inf))
    above, below = seeds
    verdicts = np.select([above < below, below < above], ["shown", "negligible"], "not yet")
    return verdicts, np.minimum(above, below)


def expect_more(
    values: ArrayLike,
    smallest: float,
    kind: str,
    alpha: float = 0.05,
    resolution: float = 0.0,
    cap: int = 100,
) -> float:
    """Return the median number of further seeds until a decision; infinity above the cap.

    Of 500 simulated continuations, each of Gaussian values with the mean and the standard deviation
    so far, or, for a share, of values drawn from those so far with one 0 and one 1 more. NaN for a
    mean of fewer than two values; 0 for what the last interval decides, whatever an earlier one
    did. Values that are NaN are left out.
    """
    values = _drop_nan(values)
    generator, shape = np.random.default_rng(0), (500, cap)
    if kind == "share":
        further = generator.choice([*values, 0.0, 1.0], shape)
    elif len(values) < 2:
        return math.nan
    else:
        _, means, deviations = _summarize(values, resolution)
        further = generator.normal(means[-1], deviations[-1], shape)
    so_far = np.broadcast_to(values, (len(further), len(values)))
    all_values, last = np.hstack([so_far, further]), max(len(values) - 1, 0)
    e = [weigh_evidence(all_values, smallest, s, kind, resolution) for s in ("above", "below")]
    passed = np.max(e, axis=0)[:, last:] >= 1 / alpha
    seeds = np.where(passed.any(axis=1), last + passed.argmax(axis=1) + 1, math.inf)
    return float(np.median(seeds)) - len(values)


def _compare(low: float, high: float, smallest: float) -> str:
    return "shown" if low > smallest else "negligible" if high < smallest else "not yet"


def _drop_nan(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, float)
    return values[~np.isnan(values)]


def _summarize(values: np.ndarray, resolution: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return number, mean and standard deviation, at least the resolution, after each seed."""
    values = np.asarray(values, float)
    n, first = np.arange(1, values.shape[-1] + 1), values[..., :1]
    sums = np.cumsum(values - first, axis=-1)  # exactly 0 where all values are equal
    squares = np.cumsum((values - first) ** 2, axis=-1) - sums**2 / n
    deviations = np.sqrt(np.maximum(squares, 0) / np.maximum(n - 1, 1))
    return n, first + sums / n, np.maximum(deviations, resolution)


def _weigh_share(n: np.ndarray, means: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return the logarithm of the beta-binomial martingale against each share."""
    ones, zeros = n * means, n * (1 - means)
    return betaln(ones + 1, zeros + 1) - xlogy(ones, share) - xlog1py(zeros, -share)


def _find_end(n: np.ndarray, means: np.ndarray, limit: float, alpha: float) -> np.ndarray:
    """Bisect for the end of the interval between the mean and the limit."""
    inside, outside = means, np.full_like(means, limit)
    for _ in range(50):
        middle = (inside + outside) / 2
        excluded = _weigh_share(n, means, middle) >= -math.log(alpha)
        inside, outside = np.where(excluded, inside, middle), np.where(excluded, middle, outside)
    return outside
