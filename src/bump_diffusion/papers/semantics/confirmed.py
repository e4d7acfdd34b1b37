"""Criteria that were frozen before their runs: what a file says, and what the records say by it."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, Field

from bump_diffusion.analysis.sequential import decide, expect_more, reject, weigh_evidence
from bump_diffusion.config import Configuration
from bump_diffusion.papers.semantics import confirm, cure, routing
from bump_diffusion.papers.semantics.confirm import Baseline, Value
from bump_diffusion.runs.experiments import experiment, unite
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import Store, default_store

CONFIRMATORY_FROM = 100
"""Runs with this seed and later ones were made after the criteria were frozen."""

NEW_FROM = 900
"""Runs with this seed and later ones are a reader's own: no criterion counts them."""

FIRST_SEEDS = 4
"""Fewer have no finite interval (`sequential.EFFECT_VARIANCE`)."""

QUANTITIES = {**confirm.QUANTITIES, **cure.QUANTITIES, **routing.QUANTITIES}
"""By the criteria's names."""

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


def find_runs(
    name: str, store: Store | None = None, frozen: Frozen = FROZEN
) -> list[tuple[Record, Baseline]]:
    """The runs of a condition that are there, with their baselines: seeds up to the first missing.

    Nothing is trained. Whatever was made first, seeds thus count in their order.
    """
    store, found = store or default_store(), []
    for run, lines in frozen.conditions[name].plan():
        records = [store.get(c, extras) for c, extras in unite(run, lines).items()]
        if None in records:
            break
        of_run, *of_lines = records
        found.append((of_run, {line.configuration.d_x: line for line in of_lines}))
    return found


def plan_finished(store: Store, frozen: Frozen = FROZEN) -> Plan:
    """The runs of all conditions, and their baselines, that a store holds."""
    plans = (plan for condition in frozen.conditions.values() for plan in condition.plan())
    wanted = unite(*(part for plan in plans for part in plan))
    return {c: extras for c, extras in wanted.items() if store.get(c, extras)}


def plan_next(judged: pd.DataFrame, frozen: Frozen = FROZEN) -> Iterator[Plan]:
    """What each condition with an undecided cell needs next, in the order of the frozen file.

    `judged` is what `judge` gives. One more seed's run, with its baseline, and at first those of
    as many seeds as come first; nothing beyond the cap.
    """
    for name, condition in frozen.conditions.items():
        cells = judged[judged["condition"] == name]
        seeds = int(cells["seeds"].max())
        if (cells["verdict"] == "not yet").any():
            after = max(seeds + 1, frozen.first)
            yield from (unite(*run) for run in condition.plan()[seeds:after])


def judge(
    runs: Mapping[str, Sequence[tuple[Record, Baseline]]], frozen: Frozen = FROZEN
) -> pd.DataFrame:
    """Judge each cell, a criterion under a condition, by the runs of each condition.

    Columns: claim, criterion, condition, `seeds` (runs), `values` (the defined ones, in order of
    the seeds), `estimate`, `low` and `high` (the ends of the confidence sequence), `consistent`
    (`sequential.Decision`), `smallest`, `control` (the mean of what the control has), `verdict`,
    `more` (seeds that a cell not decided is expected to need), `e` (the larger of the e-values for
    and against), `supports` (whether the verdict supports the paper) and `rejected` (whether a
    verdict is kept by e-Benjamini-Hochberg over all cells of the file, with runs or without).
    """
    table = pd.DataFrame(
        _decide_cell(name, condition, runs[condition], frozen)
        for name, criterion in frozen.criteria.items()
        for condition in criterion.conditions
    )
    kept = reject(table["e"], frozen.alpha) & (table["verdict"] != "not yet")
    return table.assign(rejected=kept)


def judge_cell(criterion: str, condition: str, frozen: Frozen = FROZEN) -> Any:
    """Judge one cell by the runs that are there: a row of `judge`, without `rejected`."""
    decided = _decide_cell(criterion, condition, find_runs(condition, frozen=frozen), frozen)
    return next(pd.DataFrame([decided]).itertuples())


def _decide_cell(
    name: str, condition: str, runs: Sequence[tuple[Record, Baseline]], frozen: Frozen
) -> dict[str, Any]:
    criterion = frozen.criteria[name]
    smallest, kind, resolution = criterion.smallest, criterion.kind, criterion.resolution
    rule = (smallest, kind, frozen.alpha, resolution)
    values = pd.DataFrame(
        [QUANTITIES[name](*run) for run in runs], columns=Value._fields, dtype=float
    )
    known = values["effect"].dropna().to_numpy()
    decision = decide(known, *rule, criterion.limits)._asdict()
    verdict = decision["verdict"]
    e = [
        weigh_evidence(known, smallest, side, kind, resolution)[-1:] for side in ("above", "below")
    ]
    return {
        "claim": criterion.claim,
        "criterion": name,
        "condition": condition,
        "seeds": len(values),
        "values": known.tolist(),
        "smallest": smallest,
        "control": values["control"].mean(),
        "more": expect_more(known, *rule) if verdict == "not yet" else 0.0,
        "e": float(np.max(e, initial=0.0)),
        "supports": verdict == criterion.supports,
        "estimate": decision.pop("mean"),
        **decision,
    }


def find_unreachable(
    values: Sequence[float], criterion: Criterion, cap: int, alpha: float
) -> list[str]:
    """List the verdicts that a share cannot have up to the cap, though all further values be best.

    For a "mean" nothing is known of values to come: none.
    """
    if criterion.kind != "share":
        return []
    unreachable = []
    for verdict, side, best in (("shown", "above", 1.0), ("negligible", "below", 0.0)):
        at_best = np.array([*values, *[best] * (cap - len(values))])
        evidence = weigh_evidence(at_best, criterion.smallest, side, "share")
        if (evidence[len(values) :] < 1 / alpha).all():
            unreachable.append(verdict)
    return unreachable
