"""What several pages say of their runs in the same words."""

from collections.abc import Sequence

from bump_diffusion.papers.semantics.criteria import CONFIRMATORY_FROM, NEW_FROM
from bump_diffusion.runs.record import Record


def name_runs(records: Sequence[Record]) -> str:
    """Name runs by their seeds and by whether the criteria were frozen before them."""
    seeds = sorted({record.configuration.seed for record in records})
    edition = "confirmatory" if CONFIRMATORY_FROM <= seeds[0] < NEW_FROM else "exploratory"
    among = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return f"{edition} runs, {among}"


def choose_quantity(count: int, total: int) -> str:
    """Say roughly how many of how many."""
    if count in (0, total):
        return "all" if count else "no"
    return "most" if count > total / 2 else "some"


def count_of(count: int, total: int) -> str:
    """Say how many of how many, with "none" and "all" in words."""
    if count == 0:
        return f"none of {total}"
    return f"all {total}" if count == total and total > 1 else f"{count} of {total}"
