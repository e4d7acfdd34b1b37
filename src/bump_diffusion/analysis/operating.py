"""What the sequential decisions of this project are worth, by simulation."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from bump_diffusion.analysis.sequential import decide, first_decision

VERDICTS = ("shown", "negligible", "not yet")


def simulate_decisions(
    cap: int, effects: Sequence[float] = (-4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4)
) -> pd.DataFrame:
    """Return a table of what a claim becomes that adds seeds until it is decided, at most to a cap.

    A row per true effect: its distance from the smallest effect of interest, in standard deviations
    over seeds, the share of 4,000 experiments with Gaussian seeds that end in each verdict, and
    the median number of seeds that they use.
    """
    noise = np.random.default_rng(0).normal(size=(4000, cap))
    rows = []
    for effect in effects:
        verdicts, seeds = first_decision(noise + effect, 0.0, "mean")
        shares = {verdict: np.mean(verdicts == verdict) for verdict in VERDICTS}
        rows.append({"effect": effect, **shares, "seeds": np.median(np.minimum(seeds, cap))})
    return pd.DataFrame(rows)


def simulate_all_or_nothing(
    cap: int,
    first: int,
    smallest: float,
    resolution: float,
    shares: Sequence[float] = (0.05, 0.1, 0.22, 0.3, 0.5, 0.8),
) -> pd.DataFrame:
    """Return a table of what a "mean" becomes whose seeds have all of an effect, or none of it.

    A row per share of seeds that have 0.98, the others 0, with a spread of 0.02: the true mean, and
    the shares of 1,000 experiments that end in each verdict if seeds are added from the `first` on
    until `decide` decides, at most to the cap; and the share that is wrong at the cap if all seeds
    are run whatever is decided on the way.
    """
    generator = np.random.default_rng(0)
    rows = []
    for share in shares:
        has_all = generator.random((1000, cap)) < share
        values = 0.98 * has_all + generator.normal(0, 0.02, has_all.shape)
        judge = partial(decide, smallest=smallest, kind="mean", resolution=resolution)
        ends = [[judge(v[:n]).verdict for n in range(first, cap + 1)] for v in values]
        stopped = pd.Series(next((v for v in each if v != "not yet"), "not yet") for each in ends)
        mean = 0.98 * share
        wrong = "negligible" if mean > smallest else "shown"
        rows.append(
            {
                "share of seeds": share,
                "true mean": mean,
                **{verdict: np.mean(stopped == verdict) for verdict in VERDICTS},
                "wrong if all seeds are run": np.mean([each[-1] == wrong for each in ends]),
            }
        )
    return pd.DataFrame(rows)
