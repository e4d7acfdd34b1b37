"""Criteria that were frozen before their runs: what the files in `frozen` say."""

from importlib.resources import files
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field

from bump_diffusion.config import Configuration
from bump_diffusion.runs.experiments import experiment

CONFIRMATORY_FROM = 100
"""Runs with this seed and later ones were made after the criteria were frozen."""

NEW_FROM = 900
"""Runs with this seed and later ones are a reader's own: no criterion counts them."""

FIRST_SEEDS = 4
"""Fewer have no finite interval (`sequential.EFFECT_VARIANCE`)."""

Plan = dict[Configuration, tuple[str, ...]]
"""Configurations, each with the extras that its record holds."""


class Condition(BaseModel):
    """Runs under which criteria are judged: those of an experiment, seed by seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    experiment: str
    where: dict[str, Any] = Field(default_factory=dict)
    "Fields of the experiment's runs that the condition is about."
    baseline: str = ""
    """The experiment of what stands beside each run, if anything: with the same held-out labels,
    at the spacings of the run's axes, and with what they share."""
    shares: Literal["seed", "weights_seed"] = "seed"
    "Which seed of a run its baseline has: that of the data, or that of the initial weights."
    paired: bool = False
    "Whether the runs count in pairs, each second one beside the one before it."
    cap: int
    "The most seeds: runs, or pairs of them."

    def plan(self) -> list[tuple[Plan, Plan]]:
        """The run of each seed, and what stands beside it, in the order of the seeds."""
        runs = [{c: extras} for c, extras in experiment(self.experiment, **self.where).items()]
        if self.paired:
            return list(zip(runs[::2], runs[1::2], strict=True))[: self.cap]
        lines = experiment(self.baseline) if self.baseline else {}
        return [(run, self._choose_lines(*run, lines)) for run in runs[: self.cap]]

    def _choose_lines(self, c: Configuration, lines: Plan) -> Plan:
        return {
            line: extras
            for line, extras in lines.items()
            if getattr(line, self.shares) == getattr(c, self.shares)
            and line.held_out == c.held_out
            and line.d_x in (c.d_x, c.d_y)
        }


class Criterion(BaseModel):
    """One criterion, as the frozen file states it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    claim: int
    "Of the paper's claims, as the introduction counts them; 5 is its call for inductive biases."
    paper: str
    ours: str
    quantity: str
    control: str
    smallest: float
    "The smallest effect of interest."
    reason: str
    kind: Literal["mean", "share"]
    limits: tuple[float, float] = (-np.inf, np.inf)
    resolution: float = 0.0
    supports: Literal["shown", "negligible"]
    "The verdict that supports the paper."
    conditions: tuple[str, ...]


class Frozen(BaseModel):
    """A file of criteria."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    edition: int | str
    frozen: Any
    "The day on which it was frozen; null before."
    alpha: float
    first: int = FIRST_SEEDS
    "Seeds of a condition that are run before any is judged."
    conditions: dict[str, Condition]
    criteria: dict[str, Criterion]

    @property
    def experiments(self) -> set[str]:
        """The experiments whose runs are judged, or are baselines of these."""
        return {name for c in self.conditions.values() for name in (c.experiment, c.baseline)}


EDITIONS = {
    name: Frozen(**yaml.safe_load((files(__package__) / f"frozen/{file}.yml").read_bytes()))
    for name, file in {"claims": "edition-2", "cure": "cure", "routing": "routing"}.items()
}
"""By the names under which `bump-diffusion run` knows them."""

FROZEN, CURE, ROUTING = EDITIONS.values()
