"""What the chapter *Verdicts* folds: how a verdict is computed, and what the rule is worth."""

from importlib.resources import files

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.operating import simulate_all_or_nothing, simulate_decisions
from bump_diffusion.config import Configuration, configure
from bump_diffusion.page.tables import Table
from bump_diffusion.page.words import short
from bump_diffusion.papers.semantics.confirmed import CURE, EDITIONS, FROZEN, Plan

COMMON = configure("quick")
"""Fields that the runs of a condition have unless the table says otherwise."""


def show(name: str) -> Markdown:
    """Show a file beside the frozen ones, without its title: "rules" or "deviations"."""
    text = (files("bump_diffusion.papers.semantics") / f"frozen/{name}.md").read_text("utf-8")
    return Markdown(text.partition("\n")[2])


def tabulate_conditions() -> Table:
    """Tabulate the fields of each condition's runs, and of their baselines, in all frozen files."""
    rows = []
    for frozen in EDITIONS.values():
        for name, condition in frozen.conditions.items():
            run, lines = condition.plan()[0]
            (first,) = run
            rows.append(
                {
                    "edition": frozen.edition,
                    "condition": name,
                    "experiment": condition.experiment,
                    "seeds": f"{first.seed} to {first.seed + condition.cap - 1}",
                    "fields": _list_fields(run),
                    "baseline": _list_fields(lines),
                }
            )
    fields = ", ".join(f"{f} {v}" for f, v in COMMON.model_dump().items() if f != "seed")
    note = f"Each field that is not named is as in all of them: {fields}."
    return Table(pd.DataFrame(rows), note=note)


def _list_fields(plan: Plan) -> str:
    return "; or ".join(", ".join(_differ_from_common(c)) or "none" for c in plan)


def _differ_from_common(c: Configuration) -> list[str]:
    common = COMMON.model_dump()
    return [
        f"{field} {'the seed' if field == 'split' else value}"
        for field, value in c.model_dump().items()
        if field != "seed" and value != common[field]
    ]


def describe_whole_table(judged: pd.DataFrame) -> Markdown:
    """Say what *holds in the whole table* asks, and how far from it the cells are."""
    cells, alpha = len(judged), FROZEN.alpha
    decided = judged.loc[judged["verdict"] != "not yet", "e"]
    some = round(cells / 5)
    text = (
        "A test holds in the whole table if Benjamini-Hochberg over the e-values keeps it: of "
        f"those that it keeps at most one in {1 / alpha:.0f} is expected to be wrong, however they "
        "depend on each other. That is nearly out of reach here. A test among "
        f"{cells} needs an e-value of at least {short(cells / alpha)} if no other has as large a "
        f"one, {short(cells / alpha / some)} if {some} have, {1 / alpha:.0f} if all have; but it "
        f"is decided at {1 / alpha:.0f}, and when all tests of a condition are, no more networks "
        "are added to it. "
    )
    if len(decided):
        text += (
            f"So far {len(decided)} are decided, with e-values from {short(decided.min())} to "
            f"{short(decided.max())}, and {judged['rejected'].sum()} hold in the whole table: for "
            f"the largest of them to hold, {-(-cells // (alpha * decided.max())):.0f} tests would "
            "need as large a one. "
        )
    return Markdown(
        f"{text}A single verdict is wrong in at most one of {1 / alpha:.0f} cases, if its values "
        f"are as the rule assumes; of {cells} some can be."
    )


def tabulate_power() -> Table:
    """Tabulate what the rule decides of simulated seeds, by their distance from the threshold."""
    return Table(
        simulate_decisions(max(c.cap for c in FROZEN.conditions.values())).round(2),
        note="Values that are Gaussian over seeds; the effect is the distance of their mean from "
        "the smallest effect of interest, in standard deviations.",
    )


def tabulate_all_or_nothing() -> Table:
    """Tabulate what the rule for a mean decides where a network has all of an effect, or none."""
    criterion = CURE.criteria["composes-more"]
    cap = max(CURE.conditions[name].cap for name in criterion.conditions)
    table = simulate_all_or_nothing(cap, CURE.first, criterion.smallest, criterion.resolution)
    wrong = table[(table["true mean"] > criterion.smallest) & (table["negligible"] > 0)]
    worst = wrong.loc[wrong["negligible"].idxmax()]
    return Table(
        table.round(2),
        note="Values that are not Gaussian: a network composes, with an effect of 0.98, or does "
        "not, as may be in composes more and held-out gap, judged as the former is. The rule "
        "is not made for this: its first networks may agree by chance, and look exact. A true "
        f"mean of {worst['true mean']:.3f}, above the smallest of {criterion.smallest:g}, is "
        f"called negligible in {100 * worst['negligible']:.0f} % of experiments, where at most 5 % "
        "are promised. The frozen rule stays; such verdicts are to be read beside those of "
        "composes, a share of networks, which assumes nothing of the values.",
    )
