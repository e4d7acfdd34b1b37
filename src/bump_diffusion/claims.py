"""The paper's claims, judged: criteria from `claims.yml`, values from the records, verdicts.

Once the criteria are written nothing here is a matter of opinion: a claim's quantity is computed
for every run, its interval over the runs is compared with the threshold, the verdict follows.
"""

import html
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, model_validator
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from .book import Page, Table
from .experiments import EXPERIMENTS, experiment, load_or_run
from .phases import (
    ORDER,
    PHASES,
    assign_phases,
    in_order,
    learning_time,
    order_parameters,
)
from .reference import coupling, lines_of, runs
from .store import Record

CONFIDENCE = 0.95
"""Of every interval."""

VERDICTS = ("reproduced", "not reproduced", "undecided", "not judged")


class Claim(BaseModel):
    """One claim and its criterion, as `claims.yml` states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    "Of the paper's claims, as the introduction counts them."
    claim: str
    quantity: str
    "What judges the claim, one value for each run."
    kind: Literal["mean", "share"]
    above: float | None = None
    below: float | None = None
    experiment: str
    chapter: str
    "The chapter with the evidence."
    against: str
    "What it means if the claim is not reproduced."

    @model_validator(mode="after")
    def _has_one_threshold(self) -> "Claim":
        if (self.above is None) == (self.below is None):
            raise ValueError("a claim must have one of above and below")
        return self

    @property
    def threshold(self) -> float:
        return self.below if self.above is None else self.above


CLAIMS: dict[str, Claim] = {
    name: Claim(**content)
    for name, content in yaml.safe_load(
        files(__package__).joinpath("claims.yml").read_text("utf-8")
    ).items()
}


class Judged(NamedTuple):
    """A claim under one condition: its estimate over the runs, the interval, the verdict."""

    name: str
    condition: str
    records: list[Record]
    "Those that the values come from."
    values: list[float]
    estimate: float
    low: float
    high: float
    verdict: str


# The quantities


def _phases(record: Record) -> pd.DataFrame:
    phases = assign_phases(order_parameters(record.checkpoints, record.probes))
    return phases[phases.index > 0]


def representation_phases(record: Record) -> float:
    return float(in_order(_phases(record)["representation"]))


def generation_phases(record: Record) -> float:
    return float(in_order(_phases(record)["generation"]))


def sides_agree(record: Record) -> float:
    phases = _phases(record)
    if phases["generation"].nunique() == 1 and phases["representation"].nunique() == 1:
        return float("nan")  # with one phase on each side kappa is undefined
    sides = phases["generation"], phases["representation"]
    return float(cohen_kappa_score(*sides, labels=list(PHASES)))


def order_learned(record: Record) -> float:
    last = record.probes[record.probes["step"] == record.probes["step"].max()]
    last = last.query("reduction == 'direct' and target == 'requested'")
    worse = last.groupby("features")["r2"].min()
    return float(worse["ablated"] - worse["untrained, ablated"])


def order_necessary(record: Record) -> float:
    parameters = order_parameters(record.checkpoints, record.probes)
    accurate = record.checkpoints.set_index("step")["accuracy"] >= 0.5
    if not accurate.any():
        return float("nan")
    return float((_representation_side(parameters)[accurate] == "C").mean())


def _representation_side(parameters: pd.DataFrame) -> pd.Series:
    return assign_phases(parameters)["representation"]


def order_first(record: Record) -> float:
    table = record.checkpoints.set_index("step")
    table["order"] = order_parameters(record.checkpoints, record.probes)["order"]
    table = table.reset_index()
    accuracy = learning_time(table, "accuracy", 0.5)
    order = learning_time(table, "order", ORDER)
    if math.isnan(order):  # later than the end: at least this late
        order = float(table["images_seen"].iloc[-1])
    return math.log2(order / accuracy)


def order_used(record: Record) -> float:
    rows = record.interventions.query("intervention == 'other features' and layer == 'layer4'")
    return float(rows["at_other"].iloc[0])


def rise_together(record: Record) -> float:
    trained = record.checkpoints.query("step > 0")
    return float((trained["accuracy_x"] - trained["accuracy_y"]).abs().max())


QUANTITIES = {
    "representation-phases": representation_phases,
    "order-learned": order_learned,
    "generation-phases": generation_phases,
    "sides-agree": sides_agree,
    "order-necessary": order_necessary,
    "order-first": order_first,
    "order-used": order_used,
    "rise-together": rise_together,
}

DENSE, SPARSE = 0.1, 1.0
"""d_x and d_y of the paper's imbalanced data set (arXiv 2402.03305, section 3)."""


def _against_reference(name: str, records: list[Record], lines: list[Record]) -> list[float]:
    values = []
    for record in records:
        seed = record.configuration.seed
        pair = (lines_of(lines, d, seed) for d in (DENSE, SPARSE))
        found = coupling(record, *pair)
        values.append(found["index"] if name == "coupled" else np.log2(found["cost"]))
    return values


# The verdicts


def interval(values: Sequence[float], kind: str) -> tuple[float, float, float]:
    """The mean of the values and its confidence interval; NaN where it is undefined.

    Student's for a "mean", which needs two values; Wilson's (1927) for a "share", of values 0 or 1.
    Values that are NaN are left out.
    """
    known = np.array([v for v in values if not math.isnan(v)])
    if not len(known):
        return math.nan, math.nan, math.nan
    mean = float(known.mean())
    if kind == "share":
        found = stats.binomtest(int(known.sum()), len(known)).proportion_ci(
            CONFIDENCE, method="wilson"
        )
        return mean, float(found.low), float(found.high)
    if len(known) < 2:
        return mean, math.nan, math.nan
    half = stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) * stats.sem(known)
    return mean, mean - half, mean + half


def judge(
    name: str, condition: str, values: Sequence[float], records: Sequence[Record] = ()
) -> Judged:
    """The verdict on one claim under one condition, from its quantity's values over the runs."""
    claim = CLAIMS[name]
    estimate, low, high = interval(values, claim.kind)
    sign = 1 if claim.above is not None else -1
    nearer, farther = sorted((sign * low, sign * high))
    if math.isnan(low):
        verdict = "not judged"
    elif nearer > sign * claim.threshold:
        verdict = "reproduced"
    elif farther < sign * claim.threshold:
        verdict = "not reproduced"
    else:
        verdict = "undecided"
    return Judged(name, condition, list(records), list(values), estimate, low, high, verdict)


def judge_claims(
    profile: str,
    seeds: int,
    conditioning: list[str] | None = None,
    chapter: str | None = None,
) -> list[Judged]:
    """Every claim, or those of one chapter, under every condition.

    Claims 1 to 3 are judged for each conditioning scheme apart, by default for all. At most `seeds`
    runs of each experiment are taken. Missing runs are trained.
    """
    claims = {name: c for name, c in CLAIMS.items() if chapter in (None, c.chapter)}
    # Those that hold more come first: made without it, a run that another needs with a dissection
    # would be made twice.
    needed = sorted(
        {c.experiment for c in claims.values()}, key=lambda e: not EXPERIMENTS[e].extras
    )
    records = {e: runs_of(e, profile, seeds, conditioning) for e in needed if e != "imbalance"}
    lines: list[Record] = []
    if "imbalance" in needed:
        imbalanced, lines = runs([(DENSE, SPARSE)], profile, _at_most(seeds, "imbalance"))
        records["imbalance"] = imbalanced
    found = []
    for name, claim in claims.items():
        own = records[claim.experiment]
        if name not in QUANTITIES:
            values = _against_reference(name, own, lines)
            found.append(judge(name, _condition(own[0]), values, [*own, *lines]))
            continue
        for condition in dict.fromkeys(_condition(record) for record in own):
            part = [record for record in own if _condition(record) == condition]
            found.append(judge(name, condition, [QUANTITIES[name](r) for r in part], part))
    return found


def runs_of(
    name: str, profile: str, seeds: int, conditioning: list[str] | None = None
) -> list[Record]:
    """The records of at most `seeds` seeds of an experiment, with its extras; missing ones are
    trained.
    """
    found = experiment(name, profile, _at_most(seeds, name), conditioning=conditioning)
    return load_or_run(found, extras=EXPERIMENTS[name].extras)


def _at_most(seeds: int, name: str) -> int:
    return min(seeds, len(EXPERIMENTS[name].vary["seed"]))


def _condition(record: Record) -> str:
    """Under which condition a run is judged: its data set where that is imbalanced, else how the
    label enters.
    """
    c = record.configuration
    return c.conditioning if c.d_x == c.d_y else f"d_x = {c.d_x:g}, d_y = {c.d_y:g}"


def records_behind(judged: Sequence[Judged]) -> list[Record]:
    """Every record that some verdict rests on, once."""
    return list({record.id: record for one in judged for record in one.records}.values())


def overall(judged: Sequence[Judged]) -> str:
    """The verdict on a claim over its conditions, in words."""
    by: dict[str, list[str]] = {verdict: [] for verdict in VERDICTS}
    for one in judged:
        by[one.verdict].append(one.condition)
    if len(by["reproduced"]) == len(judged):
        return "reproduced"
    if by["reproduced"]:
        return f"reproduced under conditions: {', '.join(by['reproduced'])}"
    if len(by["not reproduced"]) == len(judged):
        return f"not reproduced: {CLAIMS[judged[0].name].against}"
    return "; ".join(f"{verdict} ({', '.join(where)})" for verdict, where in by.items() if where)


def summary(judged: Sequence[Judged]) -> Table:
    """A line for each claim, with its verdict."""
    rows = [
        {"claim": f"{CLAIMS[name].number}. {name.replace('-', ' ')}", "verdict": overall(own)}
        for name, own in by_claim(judged).items()
    ]
    return Table(pd.DataFrame(rows), records_behind(judged))


def show(judged: Sequence[Judged]) -> Page:
    """Each claim with its criterion, its effect under each condition, and its verdict."""
    parts = []
    for name, own in by_claim(judged).items():
        claim = CLAIMS[name]
        side = "above" if claim.above is not None else "below"
        rows = "".join(
            f"<tr><td>{html.escape(one.condition)}</td><td>{_effect(one)}</td>"
            f"<td>{sum(not math.isnan(v) for v in one.values)}</td><td>{one.verdict}</td></tr>"
            for one in own
        )
        parts.append(
            f'<section class="claim"><p><strong>{claim.number}. {html.escape(claim.claim)}'
            "</strong><br>"
            f"Judged by: {html.escape(claim.quantity)}; reproduced if {side} {claim.threshold:g}."
            f"<br>Verdict: <strong>{html.escape(overall(own))}</strong> "
            f'(<a href="{claim.chapter}.html">evidence</a>)</p><div class="wide"><table>'
            "<tr><th>condition</th><th>effect (95 % interval)</th><th>runs</th><th>verdict</th>"
            f"</tr>{rows}</table></div></section>"
        )
    return Page("".join(parts), records_behind(judged))


def _effect(one: Judged) -> str:
    if math.isnan(one.estimate):
        return "undefined"
    between = "" if math.isnan(one.low) else f" ({one.low:.2f} to {one.high:.2f})"
    return f"{one.estimate:.2f}{between}"


def by_claim(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """What was judged, by the claim's name, in the order of `claims.yml`."""
    names = [name for name in CLAIMS if any(one.name == name for one in judged)]
    return {name: [one for one in judged if one.name == name] for name in names}
