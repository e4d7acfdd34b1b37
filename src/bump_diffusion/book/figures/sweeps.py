"""What a sweep would cost, from what its like has taken."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bump_diffusion.errors import UserError
from bump_diffusion.runs.record import Record


def check_positive(**numbers: float | Sequence[float]) -> None:
    """Raise UserError for a number, or a list of numbers, that is not above 0."""
    for name, value in numbers.items():
        if np.min(value) <= 0:
            raise UserError(f"{name} is {value!r}, it must be above 0.")


def extrapolate(
    records: Sequence[Record], times: float, cores: Sequence[int], price_per_core_hour: float
) -> pd.DataFrame:
    """Tabulate what `times` as many runs of the records' kind would cost, on each number of cores.

    The first row is for the records themselves, on the first number of cores. A run takes one core
    for the median of the records' times, and is not divided among cores: hours are those of the
    longest-working core. The price is for cores as long as they work.
    """
    minutes = np.array([record.provenance["wall_seconds"] for record in records]) / 60
    hours_a_run = np.median(minutes) / 60
    larger = math.ceil(times * len(records))
    return pd.DataFrame(
        {
            "runs": f"{runs:,}",
            "cores": f"{number:,}",
            "minutes a run": f"{np.median(minutes):.1f}",
            "from": f"{minutes.min():.1f}",
            "to": f"{minutes.max():.1f}",
            "core-hours": f"{runs * hours_a_run:,.1f}",
            "hours": f"{math.ceil(runs / number) * hours_a_run:,.1f}",
            "price": f"{runs * hours_a_run * price_per_core_hour:,.2f}",
        }
        for runs, number in [(len(records), cores[0]), *((larger, number) for number in cores)]
    )
