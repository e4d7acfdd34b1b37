"""The paper's claims, judged: criteria from `claims.yml`, values from the records, verdicts.

Once the criteria are written nothing here is a matter of opinion: a claim's quantity is computed
for every run, its interval over the runs is compared with the threshold, the verdict follows.
"""

import html
import itertools
import math
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import yaml
from IPython.display import Markdown
from pydantic import BaseModel, ConfigDict, model_validator
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from .book import Page, table_html
from .errors import UserError
from .experiments import EXPERIMENTS, experiment, load_or_run, with_extras
from .phases import (
    ORDER,
    PHASES,
    assign_phases,
    by_setting,
    checkpoints_with_order,
    condition,
    grouped,
    in_order,
    learning_time,
    learning_time_or_end,
    moved_thresholds,
    phases_over_training,
)
from .reference import coupling, coupling_by_balanced, farthest_apart
from .store import Record

CONFIDENCE = 0.95
"""Of every interval."""

VERDICTS = ("reproduced", "not reproduced", "undecided", "not judged")

BY_CONTROL = "met by the control too"
"""What stands in place of "reproduced" where the claim's control meets the criterion too."""

VERDICT_COLOURS = {
    "reproduced": "#009E73",
    BY_CONTROL: "#56B4E9",
    "not reproduced": "#D55E00",
    "undecided": "#777777",
    "not judged": "#BBBBBB",
}
"""In the table of verdicts and in the figure of their effects."""

FEWEST_RUNS = 3
"""Needed to decide: two that happen to be alike have an interval of no width."""

LIMITS = {"accuracy": (0.0, 1.0), "share": (0.0, 1.0), "kappa": (-1.0, 1.0)}
"""Between which values a quantity lies, by the first word of its unit, where it has limits."""


class Claim(BaseModel):
    """One claim and its criterion, as `claims.yml` states them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    "Of the paper's claims, as the introduction counts them."
    claim: str
    quantity: str
    "What judges the claim, one value for each run."
    kind: Literal["mean", "share"]
    unit: str
    above: float | None = None
    below: float | None = None
    experiment: str
    chapter: str
    "The chapter with the evidence."
    section: str
    "Its section with the evidence, as links name it."
    seen: tuple[str, ...] = ()
    "Conditions whose runs had been seen before the criterion was written."
    against: str
    "What it means if the claim is not reproduced."
    control: str = ""
    "What gives the quantity too without what the claim says, if anything was asked."
    empty: str = ""
    "What a verdict that the control earns too says nothing of."
    undefined: str = ""
    "What it means if the quantity is undefined for every run."

    @model_validator(mode="after")
    def _has_one_threshold(self) -> "Claim":
        if (self.above is None) == (self.below is None):
            raise ValueError("a claim must have one of above and below")
        return self

    @property
    def threshold(self) -> float:
        return self.below if self.above is None else self.above

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest value that the quantity can have."""
        return LIMITS.get(self.unit.split()[0], (-math.inf, math.inf))

    def passes(self, value: float) -> bool:
        """Whether a value lies beyond the threshold, on the side that the claim needs."""
        return value < self.below if self.above is None else value > self.above


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
    control: float = math.nan
    "The estimate from the claim's control, where it has one."
    moved: dict[str, str] = {}  # noqa: RUF012
    "The verdict with each threshold of the phase rule a fifth off, where the claim rests on it."

    @property
    def seen(self) -> bool:
        """Whether runs behind it had been seen before the criterion was written."""
        return self.condition in CLAIMS[self.name].seen

    @property
    def outcome(self) -> str:
        """The verdict; `BY_CONTROL` where it is "reproduced" and the control's mean passes too.

        Of the control the mean is enough: in doubt a claim is not credited with what may not be
        its own.
        """
        by_control = self.verdict == "reproduced" and CLAIMS[self.name].passes(self.control)
        return BY_CONTROL if by_control else self.verdict


# The quantities


def representation_phases(record: Record, features: str = "ablated", **thresholds: float) -> float:
    phases = phases_over_training(record, features, **thresholds)
    return float(in_order(phases["representation"]))


def generation_phases(record: Record, **thresholds: float) -> float:
    return float(in_order(phases_over_training(record, **thresholds)["generation"]))


def sides_agree(record: Record, features: str = "ablated", **thresholds: float) -> float:
    phases = phases_over_training(record, features, **thresholds)
    if phases.stack().nunique() == 1:
        return float("nan")  # one phase for all, on both sides: kappa is undefined
    sides = phases["generation"], phases["representation"]
    return float(cohen_kappa_score(*sides, labels=list(PHASES)))


def order_at_end(record: Record, reduction: str = "direct") -> tuple[float, float]:
    """The order at the end, label ablated, of the trained and of the untrained network.

    Below 0 nothing is read, and how far below is not more of nothing: it counts as 0.
    """
    trained, untrained = (
        max(checkpoints_with_order(record, features, reduction)["order"].iloc[-1], 0.0)
        for features in ("ablated", "untrained, ablated")
    )
    return float(trained), float(untrained)


def order_learned(record: Record) -> float:
    trained, untrained = order_at_end(record)
    return trained - untrained


def order_necessary(record: Record, features: str = "ablated", **thresholds: float) -> float:
    accurate, ordered = _accurate_and_ordered(record, features, **thresholds)
    return float(ordered[accurate].mean())


def order_sufficient(record: Record, features: str = "ablated", **thresholds: float) -> float:
    accurate, ordered = _accurate_and_ordered(record, features, **thresholds)
    return float(accurate[ordered].mean())


def _accurate_and_ordered(
    record: Record, features: str, **thresholds: float
) -> tuple[pd.Series, pd.Series]:
    """Whether accuracy is at least one half, and the representation in C, at each checkpoint."""
    table = checkpoints_with_order(record, features)
    ordered = assign_phases(table, **thresholds)["representation"] == "C"
    return table["accuracy"] >= 0.5, ordered


def order_first(record: Record, features: str = "ablated") -> float:
    table = checkpoints_with_order(record, features)
    levels = {"order": ORDER, "accuracy": 0.5}
    if all(math.isnan(learning_time(table, *level)) for level in levels.items()):
        return float("nan")
    # What is never reached comes after the end at the earliest.
    order_at, accuracy_at = (learning_time_or_end(table, *level) for level in levels.items())
    return math.log2(order_at / accuracy_at)


def order_used(record: Record) -> float:
    rows = record.interventions.query("intervention == 'other features' and layer == 'layer4'")
    return float(rows["at_other"].iloc[0])


def rise_together(record: Record) -> float:
    trained = record.checkpoints.query("step > 0")
    if trained[["accuracy_x", "accuracy_y"]].max(axis=None) < 0.5:
        return float("nan")  # neither rose
    return farthest_apart(trained)


QUANTITIES = {
    "representation-phases": representation_phases,
    "order-learned": order_learned,
    "generation-phases": generation_phases,
    "sides-agree": sides_agree,
    "order-necessary": order_necessary,
    "order-sufficient": order_sufficient,
    "order-first": order_first,
    "order-used": order_used,
    "rise-together": rise_together,
}
"""What judges a claim, from one run."""

FULL_RATE = {"three-phases": "full-rate", "controls": "full-rate-controls"}
"""The experiments without a warm-up that are judged beside those with one."""

OF_UNTRAINED = (
    *("representation-phases", "sides-agree"),
    *("order-necessary", "order-sufficient", "order-first"),
)
"""Those that are also taken of the untrained network on the same images."""

BY_RULE = {
    "representation-phases": ("representation",),
    "generation-phases": ("generation",),
    "sides-agree": ("generation", "representation"),
    "order-necessary": ("representation",),
    "order-sufficient": ("representation",),
}
"""Those that rest on the rule that names phases, and whose sides' thresholds they hang on."""

OF_AXES = {"imbalance-judged": "lines-judged", "imbalance-wide": "lines-wide"}
"""The experiments by which claim 4 is judged, images and the lines of their reference: at the
paper's spacings (arXiv 2402.03305, section 3), and where balanced images take unequally long."""


# The verdicts


def interval(
    values: Sequence[float], kind: str, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float, float, float]:
    """The mean of the values and its confidence interval; NaN where it is undefined.

    Student's for a "mean", which needs two values, cut off at the `limits` of what can be; Wilson's
    (1927) for a "share", of values 0 or 1. Values that are NaN are left out.
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
    low, high = np.clip([mean - half, mean + half], *limits)
    return mean, float(low), float(high)


def index_interval(found: pd.DataFrame) -> tuple[float, float, float]:
    """The coupling index over seeds and its confidence interval; NaN where it is undefined.

    `found` is a table of `reference.coupling`. The index has a denominator that is estimated from
    the same seeds, so the interval is Fieller's (1954): it holds those ratios r for which
    Student's test does not tell the mean of together - r * apart from 0.
    """
    known = found.dropna(subset="index")
    if known.empty:
        return math.nan, math.nan, math.nan
    together, apart = known["together"].mean(), known["apart"].mean()
    if len(known) < 2:
        return 1 - together / apart, math.nan, math.nan
    spread = known[["together", "apart"]].cov().to_numpy() / len(known)
    spread *= stats.t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) ** 2
    square, product = apart**2 - spread[1, 1], together * apart - spread[0, 1]
    if square <= 0:  # the axes apart cannot be told from each other by these seeds
        return 1 - together / apart, -math.inf, math.inf
    half = math.sqrt(max(product**2 - square * (together**2 - spread[0, 0]), 0.0))
    low, high = (1 - (product + sign * half) / square for sign in (1, -1))
    return 1 - together / apart, low, high


def judge(
    name: str,
    condition: str,
    values: Sequence[float],
    records: Sequence[Record] = (),
    found: tuple[float, float, float] | None = None,
) -> Judged:
    """The verdict on one claim under one condition, from its quantity's values over the runs.

    `found` are the estimate and its interval, where they are not those of the values' mean.
    """
    claim = CLAIMS[name]
    estimate, low, high = found or interval(values, claim.kind, claim.limits)
    known = len(values) - int(np.isnan(values).sum())
    if math.isnan(low):
        verdict = "not judged"
    elif known < FEWEST_RUNS or low <= claim.threshold <= high:
        verdict = "undecided"
    else:
        verdict = "reproduced" if claim.passes(low) else "not reproduced"
    return Judged(name, condition, list(records), list(values), estimate, low, high, verdict)


def which_first(records: list[Record]) -> Markdown:
    """How well the checkpoints can tell whether order or accuracy comes first, in a sentence."""
    gaps, known, same = [], 0, 0
    for record in records:
        table = checkpoints_with_order(record).query("step > 0")
        gaps += np.diff(np.log2(table["images_seen"])).tolist()
        reached = {"order": table["order"] >= ORDER, "accuracy": table["accuracy"] >= 0.5}
        if all(there.any() for there in reached.values()):
            known += 1
            same += reached["order"].argmax() == reached["accuracy"].argmax()
    return Markdown(
        f"Checkpoints lie {np.median(gaps):.2f} doublings of the images apart. In {same} of the "
        f"{known} runs that get to both, order and accuracy pass one half between the same two "
        "checkpoints: there, which comes first is a matter of how the values between are filled in."
    )


class BySize(NamedTuple):
    """The records by which images of several sizes are judged."""

    images: list[Record]
    controls: list[Record]
    "Those that hold a dissection."
    imbalance: list[Record]
    lines: list[Record]
    "Of the imbalanced images' reference."

    def each(self) -> list["BySize"]:
        """Those of each size by themselves, from the smallest to the largest."""
        split = [by_setting(records, "N").values() for records in self]
        return [BySize(*parts) for parts in zip(*split, strict=True)]


def runs_by_size(
    profiles: list[str],
    seeds: int,
    fewer_seeds: int,
    conditioning: str | None = None,
    places: bool = False,
) -> BySize:
    """The records of the experiments on larger images, in all profiles.

    `seeds` is the number of seeds of `larger-images`, `fewer_seeds`, at most as many, that of the
    others. With `places` the largest of these images are those of `larger-places`. Missing records
    are trained. Raises UserError for two profiles with images of one size, which could not be told
    apart.
    """
    sizes = {p: experiment("larger-images", p, seeds)[0].N for p in profiles}
    if len(set(sizes.values())) < len(profiles):
        raise UserError(
            f"profile is {profiles}, they must differ in the size of their images (here "
            f"{', '.join(str(sizes[p]) for p in profiles)} pixels)."
        )
    largest = max(profiles, key=lambda p: sizes[p])
    fewer = min(seeds, fewer_seeds)
    counts = {"controls": fewer, "images": seeds, "imbalance": fewer, "lines": fewer}
    plan = []
    for kind, profile in itertools.product(counts, profiles):
        with_places = places and kind == "images" and profile == largest
        name = "larger-places" if with_places else f"larger-{kind}"
        own = experiment(name, profile, counts[kind], conditioning=conditioning)
        plan.append((kind, name, own))
    # All experiments before any is loaded: a run that several share is made once, with all extras.
    extras = with_extras((name, own) for _, name, own in plan)
    records = dict(zip(extras, load_or_run(list(extras), extras=extras), strict=True))
    return BySize(
        **{kind: [records[c] for of, _, own in plan if of == kind for c in own] for kind in counts}
    )


def judge_by_size(runs: BySize) -> list[Judged]:
    """The verdicts on every claim, for each size of image."""
    return [
        one
        for own in runs.each()
        for one in (
            *judge_networks(own.images, own.controls),
            *judge_axes(own.imbalance, own.lines),
        )
    ]


def judge_claims(
    profile: str, seeds: int, fewer_seeds: int, chapter: str | None = None, **fields: Any
) -> list[Judged]:
    """Every claim, or those of one chapter, under every condition.

    Claims 1 to 3 are judged for each conditioning scheme apart, without and with warm-up; `fields`
    are those of their configurations that are replaced, as `experiment` takes them. If `profile` is
    "own" and all chapters are judged, so are larger images, by runs of their own; with any other
    profile all images are of one size. `seeds` is the number of seeds, `fewer_seeds`, at most as
    many, that of the runs that hold a dissection. Missing runs are trained.
    """
    fewer_seeds = min(seeds, fewer_seeds)
    needed = {c.experiment for c in CLAIMS.values() if chapter in (None, c.chapter)}
    counts = {"controls": fewer_seeds, "three-phases": seeds}
    # Those that hold more come first: made without it, a run that another needs with a dissection
    # would be made twice.
    records = {
        e: without_and_with_warm_up(e, profile, count, **fields)
        for e, count in counts.items()
        if e in needed
    }
    found = judge_networks(
        records.get("three-phases", []), records.get("controls", []), chapter=chapter
    )
    if "imbalance-judged" in needed:
        found += judge_imbalance(profile, seeds, fewer_seeds)
    if chapter is None and profile == "own":
        found += judge_by_size(runs_by_size([profile], seeds, fewer_seeds))
    return found


def judge_imbalance(profile: str, seeds: int, fewer_seeds: int, **fields: Any) -> list[Judged]:
    """Claim 4 at the spacings that judge it: the paper's, by `seeds` seeds, and far wider ones.

    `fields` are those of the configurations that are replaced, as `experiment` takes them. Missing
    runs are trained.
    """
    counts = {"imbalance-judged": seeds, "imbalance-wide": min(seeds, fewer_seeds)}
    return [
        one
        for images, lines in OF_AXES.items()
        for one in judge_axes(
            *(runs_of(name, profile, counts[images], **fields) for name in (images, lines))
        )
    ]


def judge_runs(name: str, records: Sequence[Record]) -> list[Judged]:
    """The verdicts on a claim that a run by itself tells of, for each condition among the runs."""
    found = []
    for where, part in grouped(records, condition).items():
        judged = judge(name, where, [QUANTITIES[name](r) for r in part], part)
        if name in OF_UNTRAINED:
            values = [QUANTITIES[name](r, "untrained, ablated") for r in part]
            judged = judged._replace(control=interval(values, CLAIMS[name].kind)[0])
        found.append(judged._replace(moved=_with_moved_thresholds(name, part)))
    return found


def _with_moved_thresholds(name: str, records: list[Record]) -> dict[str, str]:
    """The verdict on a claim with each threshold that it hangs on a fifth lower and higher."""
    return {
        at: judge(name, "", [QUANTITIES[name](r, **change) for r in records]).verdict
        for side in BY_RULE.get(name, ())
        for at, change in moved_thresholds(side).items()
    }


def judge_networks(
    records: list[Record], controls: Sequence[Record] = (), chapter: str | None = None
) -> list[Judged]:
    """The verdicts on claims 1 to 3, or on those of one chapter, for each condition.

    `controls` are the runs that hold a dissection, if any.
    """
    of = {"three-phases": records, "controls": controls}
    return [
        one
        for name, claim in CLAIMS.items()
        if claim.experiment in of and chapter in (None, claim.chapter)
        for one in judge_runs(name, of[claim.experiment])
    ]


def judge_axes(records: list[Record], lines: list[Record]) -> list[Judged]:
    """The verdicts on claim 4, from the runs of the imbalanced data set and of both balanced ones,
    and from the lines of the reference.
    """
    imbalanced = [r for r in records if r.configuration.d_x != r.configuration.d_y]
    found = coupling(imbalanced, lines)
    c = imbalanced[0].configuration
    balanced = coupling_by_balanced(records, c.d_x, c.d_y)
    where, behind = condition(imbalanced[0]), [*imbalanced, *lines]
    (together,) = judge_runs("rise-together", imbalanced)
    return [
        together._replace(control=interval(found["farthest_apart_1d"], "mean")[0]),
        judge("coupled", where, found["index"].tolist(), behind, index_interval(found)),
        judge(
            "coupled-in-images",
            where,
            balanced["index"].tolist(),
            records,
            index_interval(balanced),
        ),
        judge("costly", where, np.log2(found["cost"]).tolist(), behind),
    ]


def runs_of(name: str, profile: str, seeds: int, **fields: Any) -> list[Record]:
    """The records of an experiment, with its extras; missing ones are trained.

    `fields` of the configurations are replaced, as `experiment` takes them.
    """
    found = experiment(name, profile, seeds, **fields)
    return load_or_run(found, extras=EXPERIMENTS[name].extras)


def without_and_with_warm_up(name: str, profile: str, seeds: int, **fields: Any) -> list[Record]:
    """The records of an experiment and, before them, of its counterpart in `FULL_RATE`."""
    return [r for n in (FULL_RATE[name], name) for r in runs_of(n, profile, seeds, **fields)]


def records_behind(judged: Sequence[Judged]) -> list[Record]:
    """Every record that some verdict rests on, once."""
    return list({record.id: record for one in judged for record in one.records}.values())


def overall(judged: Sequence[Judged]) -> str:
    """The verdict on a claim over its conditions, in words."""
    by: dict[str, list[str]] = {outcome: [] for outcome in (*VERDICTS, BY_CONTROL)}
    for one in judged:
        by[one.outcome].append(one.condition)
    claim = CLAIMS[judged[0].name]
    too = f"met by the {claim.control} too, which says nothing of {claim.empty}"
    in_all = {
        "reproduced": "reproduced",
        "not reproduced": f"not reproduced: {claim.against}",
        "not judged": f"not judged: {claim.undefined}" if claim.undefined else "not judged",
        BY_CONTROL: too,
    }
    for outcome, sentence in in_all.items():
        if len(by[outcome]) == len(judged):
            return sentence
    names = {"reproduced": "reproduced under conditions", BY_CONTROL: too}
    whys = {"not reproduced": claim.against, "not judged": claim.undefined}
    return "; ".join(
        f"{names.get(outcome, outcome)} ({', '.join(where)})"
        + (f": {why}" if (why := whys.get(outcome, "").rstrip(".")) else "")
        for outcome, where in by.items()
        if where
    )


def summary(judged: Sequence[Judged]) -> Page:
    """Claims, each with a link to its evidence, by conditions: a verdict in each cell.

    Claims that are judged under the same conditions share a table.
    """
    tables: dict[tuple[str, ...], list[str]] = {}
    for name, own in by_claim(judged).items():
        claim = CLAIMS[name]
        link = f'<a href="{_evidence(claim)}">{html.escape(name.replace("-", " "))}</a>'
        cells = "".join(
            f'<td style="--verdict: {VERDICT_COLOURS[one.outcome]}">{one.outcome}</td>'
            for one in own
        )
        tables.setdefault(tuple(one.condition for one in own), []).append(
            f"<tr><th>{claim.number}. {html.escape(claim.claim)} ({link})</th>{cells}</tr>"
        )
    parts = []
    for conditions, rows in tables.items():
        head = "".join(f"<th>{html.escape(where)}</th>" for where in ("claim", *conditions))
        parts.append(
            f'<div class="wide"><table class="verdicts"><thead><tr>{head}</tr></thead>'
            f"<tbody>{''.join(rows)}</tbody></table></div>"
        )
    return Page("".join(parts), records_behind(judged))


def _links(claim: Claim, own: Sequence[Judged]) -> str:
    """Where the evidence is: in the claim's chapter and, if larger images are judged beside smaller
    ones, in theirs.
    """
    links = [f'<a href="{_evidence(claim)}">evidence</a>']
    if len({record.configuration.N for one in own for record in one.records}) > 1:
        links.append('<a href="larger.html">that of larger images</a>')
    return ", ".join(links)


def _evidence(claim: Claim) -> str:
    return f"{claim.chapter}.html#{claim.section}"


def show(judged: Sequence[Judged]) -> Page:
    """Each claim with its criterion, its effect under each condition, and its verdict."""
    parts = []
    for name, own in by_claim(judged).items():
        claim = CLAIMS[name]
        side = "above" if claim.above is not None else "below"
        columns = ["condition", "effect (95 % interval)", "control", "runs", "verdict", "moved"]
        if not claim.control:
            columns.remove("control")
        if name not in BY_RULE:
            columns.remove("moved")
        table = pd.DataFrame([{column: _cell(one, column) for column in columns} for one in own])
        moved = "with a threshold of the phase rule 20 % off"
        table = table.rename(columns={"control": claim.control, "moved": moved})
        parts.append(
            f'<section class="claim"><p><strong>{claim.number}. {html.escape(claim.claim)}'
            "</strong><br>"
            f"Judged by: {html.escape(claim.quantity)}; reproduced if {side} {claim.threshold:g}."
            f"<br>Verdict: <strong>{html.escape(overall(own))}</strong> "
            f"({_links(claim, own)})</p>{table_html(table)}</section>"
        )
    return Page("".join(parts), records_behind(judged))


def _cell(one: Judged, column: str) -> str:
    """What the table of a claim says of one condition."""
    match column:
        case "condition":
            return f"{one.condition} (seen before)" if one.seen else one.condition
        case "control":
            return "undefined" if math.isnan(one.control) else f"{one.control:.2f}"
        case "runs":
            return str(sum(not math.isnan(value) for value in one.values))
        case "verdict":
            return one.outcome
        case "moved":
            others = [
                f"{verdict} ({at})" for at, verdict in one.moved.items() if verdict != one.verdict
            ]
            return "; ".join(others) or "the same"
    effect = in_words(one.estimate, one.low, one.high)
    if CLAIMS[one.name].unit == "doublings" and not math.isnan(one.estimate):
        effect += f"; {2**one.estimate:.2f} times"
    return effect


def in_words(estimate: float, low: float, high: float) -> str:
    """An estimate with its interval, where there is one."""
    if math.isnan(estimate):
        return "undefined"
    if math.isnan(low):
        return f"{estimate:.2f}"
    between = "all runs alike" if low == high else f"{low:.2f} to {high:.2f}"
    return f"{estimate:.2f} ({between})"


def by_claim(judged: Sequence[Judged]) -> dict[str, list[Judged]]:
    """What was judged, by the claim's name, in the order of `claims.yml`."""
    names = [name for name in CLAIMS if any(one.name == name for one in judged)]
    return {name: [one for one in judged if one.name == name] for name in names}
