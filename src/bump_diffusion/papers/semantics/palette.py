"""The colours of outcomes, phases, features and schemes: Okabe and Ito's, which the colour-blind
can tell apart.
"""

from bump_diffusion.models.conditioning import CONDITIONINGS

OUTCOME_COLOURS = {
    "none": "#999999",
    "several": "#E69F00",
    "misplaced": "#56B4E9",
    "correct": "#009E73",
}


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
