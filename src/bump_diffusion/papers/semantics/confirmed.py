"""What the records say by criteria that were frozen before them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bump_diffusion.analysis.sequential import decide, expect_more, reject, weigh_evidence
from bump_diffusion.papers.semantics import confirm, cure, routing
from bump_diffusion.papers.semantics.confirm import Baseline, Value
from bump_diffusion.papers.semantics.criteria import FROZEN, Criterion, Frozen, Plan
from bump_diffusion.runs.experiments import unite
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import Store, default_store

QUANTITIES = {**confirm.QUANTITIES, **cure.QUANTITIES, **routing.QUANTITIES}
"""By the criteria's names."""


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
