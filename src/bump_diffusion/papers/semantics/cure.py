"""The cure's criteria: the quantities that `frozen/cure.yml` names, one value per run."""

import math

import pandas as pd

from bump_diffusion.analysis.composition import classify_requests, score_regions
from bump_diffusion.metrics.outcomes import TOLERANCE
from bump_diffusion.papers.semantics.confirm import Baseline, Quantity, Value
from bump_diffusion.runs.record import Record

COMPOSES = 0.6
"""Accuracy on the core above which a network composes."""

DRAWS = 0.9
"""Accuracy on trained labels above which it draws what it was trained on."""


def composes_more(run: Record, baseline: Baseline) -> Value:
    without = region_accuracy(baseline[run.configuration.d_x], "core")
    return Value(region_accuracy(run, "core") - without, without)


QUANTITIES: dict[str, Quantity] = {
    "composes": lambda run, _: _passes(region_accuracy(run, "core"), COMPOSES),
    "composes-at-half-pixel": lambda run, _: _passes(region_accuracy(run, "core", 0.5), COMPOSES),
    "composes-more": composes_more,
    "draws-trained": lambda run, _: _passes(region_accuracy(run, "trained"), DRAWS),
}
"""By the criteria's names in the frozen file."""

_SCORES: dict[tuple[str, float], pd.Series] = {}
"""What `region_accuracy` has computed, by the record's digest and the tolerance: a run is judged by
several criteria, and stands beside several others.
"""


def region_accuracy(run: Record, region: str, tolerance: float = TOLERANCE) -> float:
    """The share of right images of a region at the end of training; NaN if it has no image.

    The regions of a run on the full grid are those of the quadrants, which others are not trained
    on.
    """
    key = run.digest, tolerance
    if key not in _SCORES:
        _SCORES[key] = score_regions(classify_last(run, tolerance))
    return float(_SCORES[key].get(region, math.nan))


def classify_last(
    run: Record, tolerance: float = TOLERANCE, at_step: int | None = None
) -> pd.DataFrame:
    """Classify the images at the end of training as `composition.classify_requests` does.

    Or those at another checkpoint.
    """
    c = run.configuration
    step = at_step or c.steps
    images, bumps = (table[table["step"] == step] for table in (run.images, run.bumps))
    if c.held_out == "none":
        c = c.model_copy(update={"held_out": "quadrants"})
    return classify_requests(c, images, bumps, tolerance)


def _passes(accuracy: float, level: float) -> Value:
    return Value(math.nan if math.isnan(accuracy) else float(accuracy > level), accuracy)
