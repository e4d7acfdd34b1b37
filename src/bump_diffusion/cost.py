"""What a sweep would cost, from what its like has taken."""

import math
from collections.abc import Sequence
from numbers import Real

import pandas as pd

from .errors import UserError
from .store import Record


def extrapolate(
    records: Sequence[Record], times: float, cores: Sequence[int], price_per_core_hour: float
) -> pd.DataFrame:
    """The cost of `times` as many runs as `records`, of the same kind, on so many `cores`.

    A row for the records themselves on the first number of cores, then one for the larger sweep on
    each. A run takes one core for the mean of the records' times, and is not divided among cores:
    hours are those of the longest-working core. The price is for cores as long as they work.
    Raises UserError for numbers that are not positive.
    """
    for name, value in (("times", times), ("price_per_core_hour", price_per_core_hour)):
        if not isinstance(value, Real) or not 0 < value < math.inf:
            raise UserError(f"{name} is {value!r}, it must be a number above 0.")
    for number in cores or [cores]:
        if not isinstance(number, int) or number < 1:
            raise UserError(f"cores has {number!r}, it must list whole numbers from 1.")
    seconds = [record.provenance["wall_seconds"] for record in records]
    hours_a_run = sum(seconds) / len(seconds) / 3600
    larger = math.ceil(times * len(records))
    rows = []
    for runs, number in [(len(records), cores[0]), *((larger, number) for number in cores)]:
        rows.append(
            {
                "runs": f"{runs:,}",
                "cores": f"{number:,}",
                "minutes a run": f"{hours_a_run * 60:.1f}",
                "(from, to)": f"{min(seconds) / 60:.1f}, {max(seconds) / 60:.1f}",
                "core-hours": f"{runs * hours_a_run:,.1f}",
                "hours": f"{math.ceil(runs / number) * hours_a_run:,.1f}",
                "price": f"{runs * hours_a_run * price_per_core_hour:,.2f}",
            }
        )
    return pd.DataFrame(rows)
