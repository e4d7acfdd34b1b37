"""The chapter *Claims at a glance*: verdicts as a table, in words, and as a figure."""

import math
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.tables import Page
from bump_diffusion.papers.semantics.claims import BY_CONTROL, CLAIMS, VERDICTS, Claim, Decision
from bump_diffusion.papers.semantics.quantities import BY_RULE
from bump_diffusion.runs.record import Record

VERDICT_COLOURS = {
    "reproduced": "#009E73",
    BY_CONTROL: "#56B4E9",
    "not reproduced": "#D55E00",
    "undecided": "#777777",
    "not judged": "#BBBBBB",
}
"""In the table of verdicts and in the figure of their effects."""


def records_behind(judged: Sequence[Decision]) -> list[Record]:
    """Every record that some verdict rests on, once."""
    return list({record.id: record for one in judged for record in one.records}.values())


def overall(judged: Sequence[Decision]) -> str:
    """The verdict on a claim over its settings, in words."""
    by: dict[str, list[str]] = {outcome: [] for outcome in (*VERDICTS, BY_CONTROL)}
    for one in judged:
        by[one.outcome].append(one.setting)
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
    names = {"reproduced": "reproduced under settings", BY_CONTROL: too}
    whys = {"not reproduced": claim.against, "not judged": claim.undefined}
    return "; ".join(
        f"{names.get(outcome, outcome)} ({', '.join(where)})"
        + (f": {why}" if (why := whys.get(outcome, "").rstrip(".")) else "")
        for outcome, where in by.items()
        if where
    )


def summary(judged: Sequence[Decision]) -> Page:
    """Claims, each with a link to its evidence, by settings: a verdict in each cell.

    Claims that are judged under the same settings share a table.
    """
    tables: dict[tuple[str, ...], list[tuple[Claim, list[Decision]]]] = {}
    for name, own in by_claim(judged).items():
        tables.setdefault(tuple(one.setting for one in own), []).append((CLAIMS[name], own))
    return Page("verdicts", records_behind(judged), tables=tables, colours=VERDICT_COLOURS)


def show(judged: Sequence[Decision]) -> Page:
    """Each claim with its criterion, its effect under each setting, and its verdict.

    Its evidence is in its chapter and, if larger images are judged beside smaller ones, in theirs.
    """
    claims = []
    for name, own in by_claim(judged).items():
        claim = CLAIMS[name]
        columns = ["setting", "effect (95 % interval)", "control", "runs", "verdict", "moved"]
        if not claim.control:
            columns.remove("control")
        if name not in BY_RULE:
            columns.remove("moved")
        table = pd.DataFrame([{column: _cell(one, column) for column in columns} for one in own])
        moved = "with a threshold of the phase rule 20 % off"
        table = table.rename(columns={"control": claim.control, "moved": moved})
        by_size = len({record.configuration.N for one in own for record in one.records}) > 1
        claims.append((claim, overall(own), table, by_size))
    return Page("claims", records_behind(judged), claims=claims)


def _cell(one: Decision, column: str) -> str:
    """What the table of a claim says of one setting."""
    match column:
        case "setting":
            return f"{one.setting} (seen before)" if one.seen else one.setting
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


def by_claim(judged: Sequence[Decision]) -> dict[str, list[Decision]]:
    """What was judged, by the claim's name, in the order of `claims.yml`."""
    names = [name for name in CLAIMS if any(one.name == name for one in judged)]
    return {name: [one for one in judged if one.name == name] for name in names}


@drawn
def verdicts(judged: Sequence[Decision], records: list[Record]) -> tuple[Figure, str]:
    """The effect behind each verdict, with its interval and the threshold that it must pass."""
    names, rows = zip(*by_claim(judged).items(), strict=True)
    heights = [0.35 + 0.22 * len(own) for own in rows]
    figure, axes = plt.subplots(
        len(rows), 1, figsize=(WIDTH, sum(heights) + 2.2), height_ratios=heights, squeeze=False
    )
    for ax, name, own in zip(axes[:, 0], names, rows, strict=True):
        claim = CLAIMS[name]
        for place, one in enumerate(reversed(own)):
            colour = VERDICT_COLOURS[one.outcome]
            ax.plot(
                [one.low, one.high], [place, place], color=colour, lw=2.5, solid_capstyle="butt"
            )
            ax.plot(
                one.values, [place] * len(one.values), "|", color=colour, markersize=7, alpha=0.6
            )
            ax.plot(one.estimate, place, "o", color=colour, markersize=5)
            ax.plot(one.control, place, "o", color="black", mfc="none", markersize=7, alpha=0.7)
            if one.verdict == "not judged":
                ax.text(
                    0.02,
                    place,
                    f"undefined in {np.isnan(one.values).sum()} of {len(one.values)} runs",
                    transform=ax.get_yaxis_transform(),
                    va="center",
                    fontsize=8,
                )
        ax.axvline(claim.threshold, color="black", lw=1, ls="--")
        left, right = ax.get_xlim()
        if np.isfinite(claim.limits).all():
            left, right = claim.limits[0] - 0.03, claim.limits[1] + 0.03
        beyond = (claim.threshold, right) if claim.above is not None else (left, claim.threshold)
        ax.axvspan(*beyond, color="#009E73", alpha=0.08, lw=0)
        ax.set(xlim=(left, right), ylim=(-0.7, len(own) - 0.3))
        if all(one.verdict == "not judged" for one in own):
            ax.set_xticks([claim.threshold])
        ax.set_yticks(range(len(own)), [one.setting for one in reversed(own)])
        ax.set_title(
            f"{claim.number}. {name.replace('-', ' ')} ({claim.unit})", loc="left", fontsize=9
        )
        ax.grid(False, axis="y")
    handles = [Line2D([], [], color=c, lw=2.5, label=v) for v, c in VERDICT_COLOURS.items()]
    handles.append(Line2D([], [], color="black", ls="--", label="threshold"))
    ring = {"marker": "o", "mfc": "none", "ls": "", "markersize": 7, "alpha": 0.7}
    controls = dict.fromkeys(CLAIMS[name].control for name in names if CLAIMS[name].control)
    handles.append(Line2D([], [], color="black", label="\n".join(controls) or "control", **ring))
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    said = "; ".join(
        f"{one.name} ({one.setting}) {one.estimate:.2f}, {one.low:.2f} to {one.high:.2f}: "
        f"{one.outcome}"
        for one in judged
    )
    return figure, f"Effects with 95 % intervals; the claims need the shaded side. {said}."
