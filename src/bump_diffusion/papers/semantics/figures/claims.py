"""The chapter *Claims at a glance*: verdicts as a table, in words, and as a figure."""

import math
import textwrap
from collections import Counter
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bump_diffusion.page.axes import legend_above
from bump_diffusion.page.colours import GRID, GROUND, INK
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Page
from bump_diffusion.papers.semantics.claims import BY_CONTROL, CLAIMS, VERDICTS, Claim, Decision
from bump_diffusion.papers.semantics.palette import VERDICT_COLOURS
from bump_diffusion.papers.semantics.quantities import CRITERIA
from bump_diffusion.runs.record import Record

RING = {"marker": "o", "mfc": "none", "markersize": 7, "alpha": 0.7}
"""The style of a control in the figure of effects."""


def collect_records(decisions: Sequence[Decision]) -> list[Record]:
    """Collect every record that some verdict rests on, once."""
    return list({record.id: record for one in decisions for record in one.records}.values())


def group_by_claim(decisions: Sequence[Decision]) -> dict[str, list[Decision]]:
    """Group decisions by the claim's name, in the order of `claims.yml`."""
    groups = {name: [one for one in decisions if one.name == name] for name in CLAIMS}
    return {name: group for name, group in groups.items() if group}


def describe_verdict(decisions: Sequence[Decision]) -> str:
    """Say the verdict on one claim over its settings."""
    claim = CLAIMS[decisions[0].name]
    settings: dict[str, list[str]] = {}
    for outcome in (*VERDICTS, BY_CONTROL):
        if where := [one.setting for one in decisions if one.outcome == outcome]:
            settings[outcome] = where
    too = f"met by the {claim.control} too, which says nothing of {claim.not_evidence_for}"
    reasons = {"not reproduced": claim.against, "not judged": claim.undefined}
    parts = []
    for outcome, where in settings.items():
        text = too if outcome == BY_CONTROL else outcome
        reason = reasons.get(outcome, "")
        if len(settings) > 1 or outcome == "undecided":
            under = " under settings" if outcome == "reproduced" else ""
            text, reason = f"{text}{under} ({', '.join(where)})", reason.rstrip(".")
        parts.append(f"{text}: {reason}" if reason else text)
    return "; ".join(parts)


def describe_interval(estimate: float, low: float = math.nan, high: float = math.nan) -> str:
    """Say an estimate with its interval, where there is one."""
    if math.isnan(estimate):
        return "undefined"
    if math.isnan(low):
        return f"{estimate:.2f}"
    between = "all runs alike" if low == high else f"{low:.2f} to {high:.2f}"
    return f"{estimate:.2f} ({between})"


def render_scoreboard(decisions: Sequence[Decision]) -> Page:
    """Tabulate claims, each with a link to its evidence, by settings: a verdict in each cell.

    Claims that are decided under the same settings share a table.
    """
    tables: dict[tuple[str, ...], list[tuple[Claim, list[Decision]]]] = {}
    for name, group in group_by_claim(decisions).items():
        tables.setdefault(tuple(one.setting for one in group), []).append((CLAIMS[name], group))
    records = collect_records(decisions)
    return Page("verdicts", records, tables=tables, colours=VERDICT_COLOURS)


def render_claims(decisions: Sequence[Decision]) -> Page:
    """Show each claim with its criterion, its effect under each setting, and its verdict.

    Its evidence is in its chapter and, if larger images are judged beside smaller ones, in theirs.
    """
    claims = []
    for name, group in group_by_claim(decisions).items():
        table = pd.DataFrame(_describe_decision(one) for one in group)
        by_size = len({record.configuration.N for record in collect_records(group)}) > 1
        claims.append((CLAIMS[name], describe_verdict(group), table, by_size))
    return Page("claims", collect_records(decisions), claims=claims)


def _describe_decision(one: Decision) -> dict[str, str]:
    """A row of the claim's table: what it says of one setting."""
    claim = CLAIMS[one.name]
    effect = describe_interval(one.estimate, one.low, one.high)
    if claim.unit == "doublings" and not math.isnan(one.estimate):
        effect += f"; {2**one.estimate:.2f} times"
    row = {
        "setting": f"{one.setting} (seen before)" if one.seen else one.setting,
        "effect (95 % interval)": effect,
    }
    if claim.control:
        row[claim.control] = describe_interval(one.control)
    row["runs"] = str(sum(not math.isnan(value) for value in one.values))
    row["verdict"] = one.outcome
    if one.moved:
        others = [
            f"{verdict} ({at})" for at, verdict in one.moved.items() if verdict != one.verdict
        ]
        row["with a threshold of the phase rule 20 % off"] = "; ".join(others) or "the same"
    return row


@drawn
def effects(decisions: Sequence[Decision], records: list[Record]) -> Drawn:
    """Draw the effect behind each verdict, its interval and the threshold that it must pass."""
    groups = group_by_claim(decisions)
    heights = [0.35 + 0.25 * len(group) for group in groups.values()]
    figure, axes = plt.subplots(
        len(groups), 1, figsize=(WIDTH, sum(heights) + 2.2), height_ratios=heights, squeeze=False
    )
    for ax, (name, group) in zip(axes[:, 0], groups.items(), strict=True):
        for y, one in enumerate(reversed(group)):
            _draw_effect(ax, y, one)
        _draw_criterion(ax, name)
        if all(one.verdict == "not judged" for one in group):
            ax.set_xticks([CLAIMS[name].threshold])
        settings = [textwrap.fill(one.setting, 23) for one in reversed(group)]
        ax.set_yticks(range(len(group)), settings, linespacing=0.9)
        ax.set_ylim(-0.7, len(group) - 0.3)
    styles = {verdict: {"color": c, "lw": 2.5} for verdict, c in VERDICT_COLOURS.items()}
    controls = dict.fromkeys(CLAIMS[name].control for name in groups if CLAIMS[name].control)
    styles["threshold"] = {"color": INK, "ls": "--"}
    styles["\n".join(controls) or "control"] = {"color": INK, "ls": "", **RING}
    legend_above(figure, styles, ncols=2)
    counts = Counter(one.outcome for one in decisions)
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICT_COLOURS)
    return figure, (
        f"Effects behind {len(groups)} claims by setting, with 95 % intervals; the claims need the "
        f"shaded side. Verdicts: {verdicts}."
    )


def _draw_effect(ax: Axes, y: float, one: Decision) -> None:
    colour = VERDICT_COLOURS[one.outcome]
    ax.plot([one.low, one.high], [y, y], color=colour, lw=2.5, solid_capstyle="butt")
    ax.plot(one.values, [y] * len(one.values), "|", color=colour, markersize=7, alpha=0.6)
    ax.plot(one.estimate, y, "o", color=colour, markersize=5)
    ax.plot(one.control, y, color=INK, **RING)
    if one.verdict == "not judged":
        undefined = f"undefined in {np.isnan(one.values).sum()} of {len(one.values)} runs"
        across, ground = ax.get_yaxis_transform(), {"color": GROUND, "pad": 1}
        ax.text(0.02, y, undefined, transform=across, va="center", bbox=ground)


def _draw_criterion(ax: Axes, name: str) -> None:
    """The threshold of a claim and the side that it needs, within the quantity's limits."""
    claim, limits = CLAIMS[name], CRITERIA[name].limits
    ax.axvline(claim.threshold, color=INK, lw=1, ls="--")
    left, right = ax.get_xlim()
    if np.isfinite(limits).all():
        left, right = limits[0] - 0.03, limits[1] + 0.03
    beyond = (claim.threshold, right) if claim.above is not None else (left, claim.threshold)
    ax.axvspan(*beyond, color=GRID, alpha=0.5, lw=0)
    ax.set_xlim(left, right)
    ax.set_title(f"{claim.number}. {name.replace('-', ' ')} ({claim.unit})", loc="right")
    ax.grid(False, axis="y")
