"""Groups of runs: by a field of their configurations, or by all that sets them apart."""

from collections.abc import Callable, Iterable
from typing import Any

from bump_diffusion.config import Configuration
from bump_diffusion.runs.record import Record


def setting(c: Configuration) -> str:
    """Name the setting under which a run is judged: its data set where that is imbalanced, else how
    the label enters, and whether training was warmed up; and what else of these is not as usual.
    """
    usual = Configuration()
    if c.d_x != c.d_y:
        parts = [f"d_x = {c.d_x:g} and d_y = {c.d_y:g}"]
        parts += [f"with {c.conditioning}"] * (c.conditioning != usual.conditioning)
    else:
        parts = [f"{c.conditioning} {'with warm-up' if c.warmup else 'at full rate'}"]
        parts += [f"at d = {c.d_x:g}"] * (c.d_x != usual.d_x)
    parts += [f"at sigma = {c.sigma:g}"] * (c.sigma != usual.sigma)
    parts += [f"on {c.N} × {c.N} pixels"] * (c.N != usual.N)
    parts += [f"in {c.precision}"] * (c.precision != usual.precision)
    return " ".join(parts)


def grouped(records: Iterable[Record], name_of: Callable[[Record], str]) -> dict[str, list[Record]]:
    """The records by what they are called, in the order in which the names first occur."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(name_of(record), []).append(record)
    return groups


def by_setting(records: list[Record], field: str) -> dict[str, list[Record]]:
    """The records by what a field of their configurations is, in its order; or, for "setting", by
    `setting`, as they come.
    """
    if field == "setting":
        return grouped(records, lambda record: setting(record.configuration))

    def value(record: Record) -> Any:
        return getattr(record.configuration, field)

    def name_of(record: Record) -> str:
        return value(record) if isinstance(value(record), str) else f"{value(record):g}"

    return grouped(sorted(records, key=value), name_of)
