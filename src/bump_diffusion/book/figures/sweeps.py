"""What a sweep would cost, from what its like has taken."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import pandas as pd

from bump_diffusion.errors import UserError
from bump_diffusion.runs.record import Record


@dataclass(frozen=True)
class LargerSweep:
    """`times` as many runs, on each number of `cores`; a core's hour has a price.

    Raises UserError for numbers that are not positive.
    """

    times: float
    cores: Sequence[int]
    price_per_core_hour: float

    def __post_init__(self) -> None:
        for name in ("times", "price_per_core_hour"):
            value = getattr(self, name)
            if not isinstance(value, Real) or not 0 < value < math.inf:
                raise UserError(f"{name} is {value!r}, it must be a number above 0.")
        for number in self.cores or [self.cores]:
            if not isinstance(number, int) or number < 1:
                raise UserError(f"cores has {number!r}, it must list whole numbers from 1.")


def extrapolate(records: Sequence[Record], plan: LargerSweep) -> pd.DataFrame:
    """What a larger sweep of the records' kind would cost.

    A row for the records themselves on the first number of cores, then one for the larger sweep on
    each. A run takes one core for the median of the records' times, and is not divided among cores:
    hours are those of the longest-working core. The price is for cores as long as they work.
    """
    cores, price_per_core_hour = plan.cores, plan.price_per_core_hour
    seconds = [record.provenance["wall_seconds"] for record in records]
    hours_a_run = statistics.median(seconds) / 3600
    larger = math.ceil(plan.times * len(records))
    rows = []
    for runs, number in [(len(records), cores[0]), *((larger, number) for number in cores)]:
        rows.append(
            {
                "runs": f"{runs:,}",
                "cores": f"{number:,}",
                "minutes a run": f"{hours_a_run * 60:.1f}",
                "from": f"{min(seconds) / 60:.1f}",
                "to": f"{max(seconds) / 60:.1f}",
                "core-hours": f"{runs * hours_a_run:,.1f}",
                "hours": f"{math.ceil(runs / number) * hours_a_run:,.1f}",
                "price": f"{runs * hours_a_run * price_per_core_hour:,.2f}",
            }
        )
    return pd.DataFrame(rows)
