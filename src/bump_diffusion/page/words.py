"""Numbers in words, as tables and sentences show them."""

import re
from collections.abc import Callable, Iterable

import numpy as np


def short(value: float) -> str:
    """A number in three digits, or all that stand before the point; "<0.001" for what is less."""
    if 0 < abs(value) < 0.001:
        return "<0.001"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def spell_layer(layer: str) -> str:
    """Write the name of a layer as pages do, layer4 as "layer 4"."""
    return re.sub(r"(?<=[a-z])(?=\d)", " ", layer)


def with_range(
    values: Iterable[float],
    unit: str = "",
    missing: str = "never",
    write: Callable[[float], str] = short,
) -> str:
    """The mean of values with their range, if they differ, and how many are `missing` (NaN)."""
    values = np.array(list(values), dtype=float)
    known = values[~np.isnan(values)]
    lacking = f"{missing} in {len(values) - len(known)} of {len(values)}"
    if not len(known):
        return lacking
    text, low, high = f"{write(known.mean())}{unit}", write(known.min()), write(known.max())
    if low != high:
        text += f" ({low} to {high})"
    return text + (f"; {lacking}" if len(known) < len(values) else "")


def percent_range(shares: Iterable[float]) -> str:
    """Write shares in percent: the lowest and the highest, or one where they are alike."""
    low, high = (f"{share:.0%}" for share in (min(shares), max(shares)))
    return low if low == high else f"{low} to {high}"
