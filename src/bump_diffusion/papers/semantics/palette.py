"""The colours of what figures show: one palette for each kind of thing, and none in two.

Every colour has a contrast of at least 3 to 1 against the pages' grounds, light and dark, and lines
one of at least 4.5 in the dark, where they are lighter; colours of one palette are apart for the
colour-blind too. `tests/test_palette.py` computes both.
"""

from collections.abc import Iterable

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bump_diffusion.page.axes import legend_above
from bump_diffusion.page.colours import ON_DARK, lighten
from bump_diffusion.papers.semantics.claims import BY_CONTROL

OUTCOME_COLOURS = {
    "none": "#888888",
    "several": "#b98700",
    "misplaced": "#0095e8",
    "correct": "#007a4d",
}
AT_OTHER = "#9944aa"
"""Of an image whose bump lies where another was requested; beside the outcomes."""

PHASE_COLOURS = {
    phase: OUTCOME_COLOURS[kind]
    for phase, kind in {"A": "several", "B": "misplaced", "C": "correct"}.items()
}
"""Those of the images that name the phases."""

ON_PHASE = {"A": "black", "B": "black", "C": "white"}
"""Of words on a phase's colour."""

SCHEME_COLOURS = {"sinusoidal": "#dd7755", "scalar": "#007799", "table": "#776600"}
"""Of the ways in which the label becomes a vector to which the paper's claims are put."""

AXIS_COLOURS = {"x": "#d81b28", "y": "#5588bb"}

FEATURE_STYLES = {
    "trained": ("as published", "#a5623f", "-"),
    "ablated": ("label ablated", "#8877ff", "-"),
    "untrained": ("untrained network", "#a5623f", ":"),
    "untrained, ablated": ("untrained, label ablated", "#8877ff", ":"),
    "shuffled": ("shuffled labels", "#808080", "--"),
}

VERDICT_COLOURS = {
    "reproduced": "#889955",
    BY_CONTROL: "#0066ff",
    "not reproduced": "#dd66bb",
    "undecided": "#867575",
    "not judged": "#bb11bb",
}

REQUESTED, FOUND = "#D55E00", "#0072B2"
"""Marks in images, which are grey: of the requested position, and of bumps that were found."""

_SETTINGS = [
    mpl.colors.LinearSegmentedColormap.from_list("settings", colours)
    for colours in (
        ("#1d0a30", "#7a1fa0", "#d0335f", "#dc7800"),
        ("#8f62f5", "#e8608a", "#ffc940", "#ffff9a"),
    )
]

lighten(*SCHEME_COLOURS.values(), *AXIS_COLOURS.values(), REQUESTED, FOUND)
lighten(*(colour for _, colour, _ in FEATURE_STYLES.values()), *VERDICT_COLOURS.values())


def setting_colours(values: Iterable[object]) -> dict[object, str]:
    """Give each of a field's values, in their order, a colour that is lighter than the one before.

    From nearly black to orange on a light ground, and from violet to yellow in the dark.
    """
    values = list(values)
    light, dark = (
        map(mpl.colors.to_hex, ramp(np.linspace(0, 1, len(values)))) for ramp in _SETTINGS
    )
    colours = dict(zip(values, light, strict=True))
    ON_DARK.update(zip(colours.values(), dark, strict=True))
    return colours


def scheme_colours(schemes: Iterable[str]) -> dict[str, str]:
    """Give each scheme its colour of `SCHEME_COLOURS`, or one of its own if it has none there."""
    schemes = list(schemes)
    colours = setting_colours(s for s in schemes if s not in SCHEME_COLOURS) | SCHEME_COLOURS
    return {scheme: colours[scheme] for scheme in schemes}


def phase_legend(figure: Figure) -> None:
    """Put a legend of the phases' colours above the figure."""
    legend_above(figure, {f"phase {p}": colour for p, colour in PHASE_COLOURS.items()}, ncols=3)


def position_colours(position: np.ndarray, N: int) -> np.ndarray:
    """Colour positions (n, 2): (n, 4), blue to orange along x, dark to light along y.

    Positions that are NaN get a nearly transparent grey.
    """
    x, y = np.clip(np.nan_to_num(position) / N, 0, 1).T[..., None]
    corners = ("#166dd0", "#b05a10", "#4f98dc", "#c98432")
    weights = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    colours = sum(w * mpl.colors.to_rgba_array(c) for w, c in zip(weights, corners, strict=True))
    colours[np.isnan(position).any(axis=1)] = (0.5, 0.5, 0.5, 0.4)
    return np.clip(colours, 0, 1)
