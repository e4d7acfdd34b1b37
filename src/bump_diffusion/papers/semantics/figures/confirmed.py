"""The chapter *Verdicts*: what the frozen criteria say of the runs that there are."""

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from bump_diffusion.errors import choose
from bump_diffusion.page.axes import legend_above
from bump_diffusion.page.colours import INK, QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Answer, Lead, Page, Table
from bump_diffusion.page.words import short
from bump_diffusion.papers.semantics.confirmed import find_runs, find_unreachable, judge
from bump_diffusion.papers.semantics.criteria import FROZEN, Frozen
from bump_diffusion.papers.semantics.palette import VERDICT_COLOURS
from bump_diffusion.papers.semantics.reading import (
    AGAINST,
    CRITERIA,
    EMPTY,
    FLAWED,
    FOR,
    NOT_CLAIMED,
    OPEN,
    SET_ASIDE,
    count_possible,
    count_sides,
    lacks_room,
    read_side,
)
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import default_store

TITLES = {
    1: "Learning has three phases: no structure, a disordered 2D manifold, an ordered one",
    2: "Each phase generates in its own way",
    3: "The ordered representation is key to performance",
    4: "With imbalanced data x and y are coupled, not factorized, which is inefficient",
}
"""The paper's claims, as the introduction counts them."""

COLOURS = {
    "shown": VERDICT_COLOURS["reproduced"],
    "negligible": VERDICT_COLOURS["not reproduced"],
    "not yet": QUIET,  # which is lighter in the dark theme
    EMPTY: QUIET,
}

NAMES = {
    "order-added": "order in layer 4",
    "published-order-added": "order, label present",
    "order-in-noise": "order in noise",
    "two-dimensional": "not two-dimensional",
    "disordered-phase": "a phase of disorder",
    "misplaced-phase": "a phase of wrong places",
    "sides-agree": "both sides agree",
    "order-first": "order before accuracy",
    "order-used-x": "x goes with layer 4",
    "order-used-y": "y goes with layer 4",
    "routed-apart": "x and y in two layers",
    "placed-together": "x and y placed together",
    "axes-apart-alone": "axes apart, alone",
    "axes-pulled-together": "axes pulled together",
    "axes-still-apart": "axes apart in images",
    "held-out-gap": "new combinations worse",
}
"""How figures write the criteria."""

AGAINST_IF_SHOWN, NO_CLAIM = "*", "°"
"""Marks of criteria for which "shown" does not speak for the paper."""

UNLIKELY = "unlikely to be decided"
"""What is said of a test that is expected to need more networks than the frozen file allows."""

LEAST, MOST = -3.0, 10.0
"""Effects in units of the smallest of interest are drawn between these."""


def load(frozen: Frozen = FROZEN) -> tuple[pd.DataFrame, list[Record]]:
    """Judge the runs that are there; return the verdicts and the runs' records."""
    runs = {name: find_runs(name, frozen=frozen) for name in frozen.conditions}
    records = [
        record
        for of_condition in runs.values()
        for run, baseline in of_condition
        for record in (run, *baseline.values())
    ]
    return judge(runs, frozen), list({record.id: record for record in records}.values())


def render_answer(judged: pd.DataFrame, records: Sequence[Record]) -> Answer:
    """Say how many tests are open, what the others say of the paper, and what all could say."""
    cells = list(judged.itertuples())
    could = [count_possible(cells, side, FROZEN) for side in (FOR, AGAINST)]
    aside = sum(cell.criterion in SET_ASIDE and cell.supports for cell in cells)
    told = (
        f" Of those that are not its claims, the frozen file would count {aside} for the paper; "
        "the log says why we do not."
        if aside
        else ""
    )
    sides = [read_side(cell) for cell in cells]
    still = [cell for cell, side in zip(cells, sides, strict=True) if side == OPEN]
    unlikely = sum(UNLIKELY in _list_limits(cell, FROZEN) for cell in still)
    verdict = (
        f"Of {len(cells)} tests {len(still)} are still open, {unlikely} of them {UNLIKELY} "
        "with the networks that they may have; so far the paper is supported by "
        f"{sides.count(FOR)} and contradicted by {sides.count(AGAINST)}."
    )
    text = (
        f"A test is a criterion under a condition. So far: {count_sides(cells)}.{told} "
        f"By what they measure {could[0]} can come out for the paper and {could[1]} against it. "
        f"There are {len(records)} runs so far, with seeds that the criteria were not made from."
    )
    return Answer(Lead(verdict, text), records)


def describe_claims(judged: pd.DataFrame) -> Markdown:
    """Say in a line for each of the paper's claims what its decided tests say of it."""
    lines = []
    for number, title in TITLES.items():
        cells = judged[judged["claim"] == number]
        tests: dict[str, list[str]] = {}
        for cell in cells.itertuples():
            side = read_side(cell)
            about = "" if side == EMPTY else f" ({FROZEN.conditions[cell.condition].about})"
            tests.setdefault(side, []).append(f"“{NAMES[cell.criterion]}”{about}")
        still_open = len(tests.pop(OPEN, []))
        told = "".join(
            f" {side[0].upper()}{side[1:]}: {', '.join(dict.fromkeys(names))}."
            for side, names in tests.items()
        )
        lines.append(f"{number}. **{title}.** {still_open} of {len(cells)} tests are open.{told}")
    return Markdown("\n".join(lines))


def render_scoreboard(judged: pd.DataFrame, records: Sequence[Record], *names: str) -> Page:
    """Tabulate the cells of conditions, by the paper's claim: effect, control, seeds, verdict."""
    claims: dict[int, list[dict[str, str]]] = {}
    cells = judged[judged["condition"].isin(names)].sort_values("claim", kind="stable")
    for cell in cells.itertuples():
        claims.setdefault(cell.claim, []).append(_describe(cell))
    missing = {"missing": list_missing(FROZEN)}
    return Page("scoreboard", records, missing, claims=claims, titles=TITLES, colours=COLOURS)


def list_missing(*editions: Frozen) -> list[str]:
    """List the ids of the runs that are planned and not there: a page is old when one comes."""
    conditions = (c for frozen in editions for c in frozen.conditions.values())
    planned = {c.id for each in conditions for run in each.plan() for plan in run for c in plan}
    return sorted(id for id in planned if default_store().folder(id) is None)


def _describe(cell) -> dict[str, str]:
    criterion = FROZEN.criteria[cell.criterion]
    known = len(cell.values)
    seeds = str(known) if known == cell.seeds else f"{known} of {cell.seeds}"
    claimed = f"it supports the paper if {criterion.supports}"
    if cell.criterion in NOT_CLAIMED:
        claimed = "the paper does not claim it"
    reading = [read_side(cell)]
    if cell.verdict == "not yet":
        cap = FROZEN.conditions[cell.condition].cap
        reading = [f"of at most {cap} seeds" if cell.seeds else "no run yet"]
        if np.isfinite(cell.more) and known + cell.more <= cap:
            reading.append(f"about {cell.more:.0f} more are needed")
    if cell.criterion in FLAWED:
        reading.append(FLAWED[cell.criterion])
    if (word := name_verdict(cell)) != cell.verdict:
        reading[0] = f"the rule says {cell.verdict}"
    other_way = [way] if (way := _other_way(cell)) else []
    return {
        "name": NAMES.get(cell.criterion, cell.criterion),
        "ours": criterion.ours,
        "about": f"{FROZEN.conditions[cell.condition].about}; {claimed}",
        "effect": describe_interval(cell),
        "smallest": short(cell.smallest),
        "control": "" if np.isnan(cell.control) else short(cell.control),
        "seeds": seeds,
        "verdict": word,
        "reading": "; ".join([*other_way, *reading, *_list_limits(cell, FROZEN)]),
    }


def name_verdict(cell) -> str:
    """The verdict by the frozen rule, or that the test cannot tell."""
    return EMPTY if cell.verdict != "not yet" and read_side(cell) == EMPTY else cell.verdict


def _other_way(cell) -> str:
    """Whether a negligible effect may be as large the other way: "negligible" bounds one side."""
    if cell.verdict != "negligible" or cell.low >= -cell.smallest:
        return ""
    return "opposite" if cell.high < -cell.smallest else "or opposite"


def _list_limits(cell, frozen: Frozen) -> list[str]:
    """What keeps a cell from a verdict, whatever its further networks give, or most likely."""
    limits, cap = [], frozen.conditions[cell.condition].cap
    if lacks_room(cell) and cell.verdict != "shown":
        limits.append("could not be shown, as the control leaves no room")
    if cell.verdict != "not yet":
        return limits
    if not cell.consistent:
        limits.append("its networks contradict its earlier ones")
    criterion = frozen.criteria[cell.criterion]
    if unreachable := find_unreachable(cell.values, criterion, cap, frozen.alpha):
        limits.append(f"could not be {' or '.join(unreachable)} with {cap} seeds")
    is_started = cell.seeds >= frozen.first
    if is_started and len(cell.values) + cell.more > cap and not lacks_room(cell):
        limits.append(UNLIKELY)
    return limits


def _has_interval(cell) -> bool:
    """Whether the seeds say more of an effect than the limits of what is measured."""
    return (cell.low, cell.high) != CRITERIA[cell.criterion].limits


def describe_interval(cell, write: Callable[[float], str] = "{:.2f}".format) -> str:
    """The estimate with the ends of its confidence sequence, where they are finite."""
    if np.isnan(cell.estimate):
        return ""
    if not _has_interval(cell):
        return f"{write(cell.estimate)} (no interval yet)"
    return f"{write(cell.estimate)} ({write(cell.low)} to {write(cell.high)})"


def spell_verdict(cell) -> str:
    """Write a verdict as it stands in a sentence."""
    return "not decided yet" if cell.verdict == "not yet" else cell.verdict


@drawn
def effects(judged: pd.DataFrame, records: list[Record], *names: str) -> Drawn:
    """Draw the effects of conditions, each in units of its smallest effect of interest."""
    cells = judged[judged["condition"].isin(names) & (judged["seeds"] > 0)]
    pitch = 0.3 if len(names) == 1 else 0.36
    figure, ax = plt.subplots(figsize=(WIDTH, 1.2 + pitch * max(len(cells), 1)))
    for y, cell in enumerate(cells.iloc[::-1].itertuples()):
        unit, colour = cell.smallest, COLOURS[name_verdict(cell)]
        if _has_interval(cell):
            low, high = np.clip([cell.low / unit, cell.high / unit], LEAST, MOST)
            ax.plot([low, high], [y, y], color=colour, lw=2.5, solid_capstyle="butt")
            for end, is_cut, marker in (
                (low, cell.low / unit < LEAST, "<"),
                (high, cell.high / unit > MOST, ">"),
            ):
                ax.plot([end] * is_cut, [y] * is_cut, marker, color=colour, markersize=7)
        values = np.clip(np.array(cell.values) / unit, LEAST, MOST)
        ax.plot(values, np.full(len(values), y), "|", color=colour, markersize=7)
        ax.plot(np.clip(cell.estimate / unit, LEAST, MOST), y, "o", color=colour, markersize=5)
    labels = [
        f"{cell.claim}. {NAMES[cell.criterion]}{_mark(cell.criterion)}"
        + (f"\n({cell.condition})" if len(names) > 1 else "")
        for cell in cells.iloc[::-1].itertuples()
    ]
    ax.set_yticks(range(len(cells)), labels, linespacing=0.9)
    ax.axvline(1, color=INK, ls="--", lw=1)
    ax.axvline(0, color=INK, lw=0.8)
    ax.set(xlim=(LEAST - 0.2, MOST + 0.2))
    figure.supxlabel("effect, in units of the smallest effect of interest")
    named = pd.Series([name_verdict(cell) for cell in cells.itertuples()], dtype=str)
    alike = dict.fromkeys(("not yet", EMPTY), f"not yet, or {EMPTY}")  # of one colour
    styles = {
        alike.get(v, v): {"color": c, "lw": 2.5} for v, c in COLOURS.items() if v in set(named)
    }
    legend_above(figure, styles, ncols=3)
    counts = ", ".join(f"{n} {v}" for v, n in named.value_counts().items())
    return figure, (
        f"Effects of {len(cells)} criteria with 95 % confidence sequences, in units of the "
        f"smallest effect of interest, a dashed line at 1. Verdicts: {counts or 'none yet'}."
    )


def describe_effects(judged: pd.DataFrame, *names: str) -> Markdown:
    """Say what to see in `effects`, and what is decided so far."""
    cells = judged[judged["condition"].isin(names)]
    counts = pd.Series(list(map(name_verdict, cells.itertuples())), dtype=str).value_counts()
    tally = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    conditions = FROZEN.conditions
    abouts = "; ".join(conditions[choose("a condition", name, conditions)].about for name in names)
    return Markdown(
        f"Effects in units of the smallest effect that would matter ({abouts}). A bar is an "
        "interval, with an arrow where it leaves the axis; there is none before enough networks "
        "are there. Ticks are single networks, a dot is their mean. A bar to the right of the "
        "dashed line is shown, one to the left of it negligible (no effect, too small a one, or "
        "the opposite), one across it not decided yet. “Shown” supports the paper. For names with "
        f"{AGAINST_IF_SHOWN} “negligible” does. Names with {NO_CLAIM} are no claim of the paper. "
        f"So far: {tally}."
    )


def _mark(criterion: str) -> str:
    if criterion in NOT_CLAIMED:
        return f" {NO_CLAIM}"
    return f" {AGAINST_IF_SHOWN}" * (FROZEN.criteria[criterion].supports == "negligible")


def describe_order_first(judged: pd.DataFrame) -> Markdown:
    """Say whether order comes before accuracy, where the signs of the effect may differ."""
    cells = judged[(judged["criterion"] == "order-first") & (judged["seeds"] > 0)]
    effects = "\n".join(
        f"- {FROZEN.conditions[cell.condition].about}: {describe_interval(cell)}; "
        f"{cell.estimate + cell.control:.2f} without taking off the untrained network's"
        for cell in cells.itertuples()
    )
    signs = "differ" if cells["estimate"].min() < 0 < cells["estimate"].max() else "agree"
    apart = int(((cells["low"] > 0) | (cells["high"] < 0)).sum())
    told = (
        f"{apart} of {len(cells)} intervals leave out 0"
        if apart
        else "no interval leaves out 0: these networks do not tell whether order comes first, nor "
        "whether that depends on the size of the images"
    )
    return Markdown(
        "How long order comes before accuracy, in "
        "doublings of the training images, beyond what an untrained network shows (below 0, it "
        f"comes after):\n\n{effects}\n\nThe signs {signs}, and {told}. An untrained network that "
        "is shown these images finds the bumps in them, so that to take off what it shows is "
        "strict. "
        "[Edition 1](claims.ipynb) counts the other way round, from accuracy to order, and does "
        "not take off what the untrained network shows: there, order comes first below 0."
    )


def tabulate(judged: pd.DataFrame, records: Sequence[Record], frozen: Frozen = FROZEN) -> Table:
    """Tabulate every cell: effect, interval, control, seeds, verdict, its limits, e-value."""
    rows = [
        {
            "criterion": cell.criterion.replace("-", " "),
            "claim": cell.claim,
            "condition": frozen.conditions[cell.condition].about,
            "effect (95 % sequence)": describe_interval(cell),
            "smallest of interest": short(cell.smallest),
            "control": "" if np.isnan(cell.control) else short(cell.control),
            "seeds": len(cell.values),
            "undefined": cell.seeds - len(cell.values),
            "verdict": ", ".join(filter(None, [cell.verdict, _other_way(cell)])),
            "limits": "; ".join(_list_limits(cell, frozen)),
            "e-value": short(cell.e) if cell.e < 1e6 else "above a million",
            "holds in the whole table": "yes" if cell.rejected else "",
        }
        for cell in judged.itertuples()
    ]
    return Table(pd.DataFrame(rows), records)


def tabulate_criteria(frozen: Frozen = FROZEN) -> Table:
    """Tabulate the frozen criteria, in the paper's sense and in ours."""
    return Table(
        pd.DataFrame(
            {
                "criterion": name.replace("-", " "),
                "the paper": criterion.paper,
                "ours": criterion.ours,
                "quantity": criterion.quantity,
                "control": criterion.control,
                "smallest of interest": f"{criterion.smallest:g}: {criterion.reason}",
                "speaks for the paper if": criterion.supports
                + "; no claim of the paper, set aside (log)" * (name in SET_ASIDE),
            }
            for name, criterion in frozen.criteria.items()
        )
    )
