"""The paper's claims, from `claims.yml`, and the verdict on one."""

import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict

from bump_diffusion.analysis.intervals import estimate
from bump_diffusion.papers.semantics.quantities import CRITERIA
from bump_diffusion.runs.record import Record

VERDICTS = ("reproduced", "not reproduced", "undecided", "not judged")

BY_CONTROL = "met by the control too"
"""What stands in place of "reproduced" where the claim's control meets the criterion too."""

MINIMUM_RUNS = 3
"""Needed to decide: two that happen to be alike have an interval of no width."""


class Claim(BaseModel):
    """One claim and its criterion, as `claims.yml` states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    "Of the paper's claims, as the introduction counts them."
    claim: str
    quantity: str
    "What decides the claim, one value for each run; computed by `quantities.CRITERIA`."
    kind: Literal["mean", "share"]
    unit: str
    above: float | None = None
    below: float | None = None
    "The threshold is one of both."
    experiment: str
    chapter: str
    "The chapter with the evidence."
    section: str
    "Its section with the evidence, as links name it."
    seen: tuple[str, ...] = ()
    "Settings whose runs had been seen before the criterion was written."
    against: str
    "What it means if the claim is not reproduced."
    control: str = ""
    "What gives the quantity too without what the claim says, if anything was asked."
    not_evidence_for: str = ""
    "What a verdict that the control earns too says nothing of."
    undefined: str = ""
    "What it means if the quantity is undefined for every run."

    @property
    def threshold(self) -> float:
        return self.below if self.above is None else self.above

    def passes(self, value: float) -> bool:
        """Whether a value lies beyond the threshold, on the side that the claim needs."""
        return value < self.below if self.above is None else value > self.above


CLAIMS = {
    name: Claim(**content)
    for name, content in yaml.safe_load((files(__package__) / "claims.yml").read_bytes()).items()
}


class Decision(NamedTuple):
    """A claim under one setting: its estimate over the runs, the interval, the verdict."""

    name: str
    setting: str
    records: list[Record]
    "Those that the values come from."
    values: list[float]
    estimate: float
    low: float
    high: float
    verdict: str
    control: float = math.nan
    "The estimate from the claim's control, where it has one."
    moved: dict[str, str] = {}  # noqa: RUF012
    "The verdict with each threshold of the phase rule a fifth off, where the claim rests on it."

    @property
    def seen(self) -> bool:
        """Whether runs behind it had been seen before the criterion was written."""
        return self.setting in CLAIMS[self.name].seen

    @property
    def outcome(self) -> str:
        """The verdict; `BY_CONTROL` where it is "reproduced" and the control's mean passes too.

        Of the control the mean is enough: in doubt a claim is not credited with what may not be
        its own.
        """
        by_control = self.verdict == "reproduced" and CLAIMS[self.name].passes(self.control)
        return BY_CONTROL if by_control else self.verdict


def decide(
    name: str,
    setting: str,
    values: Sequence[float],
    records: Sequence[Record] = (),
    interval: tuple[float, float, float] | None = None,
    **more: Any,
) -> Decision:
    """Decide one claim under one setting, from its quantity's values over the runs.

    `interval` is the estimate with its ends, where it is not that of the values' mean; `more` are
    `control` and `moved` of the `Decision`.
    """
    claim = CLAIMS[name]
    mean, low, high = interval or estimate(values, claim.kind, CRITERIA[name].limits)
    known = len(values) - int(np.isnan(values).sum())
    if math.isnan(low):
        verdict = "not judged"
    elif known < MINIMUM_RUNS or low <= claim.threshold <= high:
        verdict = "undecided"
    else:
        verdict = "reproduced" if claim.passes(low) else "not reproduced"
    return Decision(name, setting, list(records), list(values), mean, low, high, verdict, **more)
