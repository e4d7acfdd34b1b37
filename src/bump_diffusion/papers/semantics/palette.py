"""The colours of outcomes, phases, features and schemes: Okabe and Ito's, which the colour-blind
can tell apart; and of positions.
"""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from bump_diffusion.models.conditioning import CONDITIONINGS
from bump_diffusion.page.axes import legend_above

OUTCOME_COLOURS = {
    "none": "#999999",
    "several": "#E69F00",
    "misplaced": "#56B4E9",
    "correct": "#009E73",
}


AXIS_COLOURS = {"x": "#D55E00", "y": "#0072B2"}


PHASE_COLOURS = {"A": "#E69F00", "B": "#56B4E9", "C": "#009E73"}


FEATURE_STYLES = {
    "trained": ("as published", "#D55E00", "-"),
    "ablated": ("label ablated", "#0072B2", "-"),
    "untrained": ("untrained network", "#D55E00", ":"),
    "untrained, ablated": ("untrained, label ablated", "#0072B2", ":"),
    "shuffled": ("shuffled labels", "#555555", "--"),
}


SCHEME_COLOURS = dict(
    zip(CONDITIONINGS, ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"), strict=False)
)


def phase_legend(figure: Figure) -> None:
    """Put a legend of the phases' colours above the figure."""
    legend_above(figure, {f"phase {p}": colour for p, colour in PHASE_COLOURS.items()}, ncols=3)


def position_colours(position: np.ndarray, N: int) -> np.ndarray:
    """Colour positions (n, 2): (n, 4), blue to orange along x, dark to light along y.

    Positions that are NaN get a pale, nearly transparent grey.
    """
    x, y = np.clip(np.nan_to_num(position) / N, 0, 1).T[..., None]
    corners = ("#00305c", "#7a2800", "#7cc4f5", "#ffc46b")
    weights = ((1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y)
    colours = sum(w * mpl.colors.to_rgba_array(c) for w, c in zip(weights, corners, strict=True))
    colours[np.isnan(position).any(axis=1)] = (0.8, 0.8, 0.8, 0.5)
    return np.clip(colours, 0, 1)
