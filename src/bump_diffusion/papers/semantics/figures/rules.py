"""What the chapter *Verdicts* folds: how a verdict is computed, and what the rule is worth."""

from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown

from bump_diffusion.analysis.operating import simulate_all_or_nothing, simulate_decisions
from bump_diffusion.config import configure
from bump_diffusion.data.bumps import render_bumps
from bump_diffusion.metrics.geometry import intrinsic_dimension
from bump_diffusion.page.tables import Table
from bump_diffusion.page.words import short
from bump_diffusion.papers.semantics.confirmed import find_runs
from bump_diffusion.papers.semantics.criteria import CURE, EDITIONS, FROZEN, Plan
from bump_diffusion.runs.record import Record

COMMON = configure("quick").model_dump()
"""Fields that the runs of a condition have unless the table says otherwise."""


def show(name: str) -> Markdown:
    """Show a file beside the frozen ones, without its title: "rules" or "deviations"."""
    text = (files("bump_diffusion.papers.semantics") / f"frozen/{name}.md").read_text("utf-8")
    return Markdown(text.partition("\n")[2])


def tabulate_conditions() -> Table:
    """Tabulate the fields of each condition's runs, and of their baselines, in all frozen files."""
    rows = [
        (
            frozen.edition,
            name,
            condition.experiment,
            *map(_list_fields, zip(*condition.plan(), strict=True)),
        )
        for frozen in EDITIONS.values()
        for name, condition in frozen.conditions.items()
    ]
    columns = ["file", "condition", "experiment", "fields", "baseline"]
    fields = ", ".join(f"{field} {value}" for field, value in COMMON.items() if field != "seed")
    note = (
        "Runs are in the order of the values; where several fields have several, the last one "
        f"varies fastest. Each field that is not named is as in all of them: {fields}."
    )
    return Table(pd.DataFrame(rows, columns=columns), note=note)


def _list_fields(plans: Sequence[Plan]) -> str:
    """List the fields that runs have, and not all in common; those that vary least often first."""
    runs = [c.model_dump() for plan in plans for c in plan]
    values = {field: [run[field] for run in runs] for field in COMMON if runs}
    named = {f: v for f, v in values.items() if len(set(v)) > 1 or v[0] != COMMON[f]}
    in_order = sorted(named, key=lambda f: sum(a != b for a, b in pairwise(named[f])))
    return ", ".join(
        f"{f} the seed"
        if f == "split" and named[f] == named["seed"]
        else f"{f} {_list_values([*dict.fromkeys(named[f])])}"
        for f in in_order
    )


def _list_values(values: Sequence) -> str:
    """Write values one by one, but many whole numbers as "300 to 319" or "300, 302 to 318"."""
    if len(values) > 3 and len(steps := {b - a for a, b in pairwise(values)}) == 1:
        start = values[:1] if steps == {1} else values[:2]
        return f"{', '.join(map(str, start))} to {values[-1]}"
    return ", ".join(map(str, values))


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
        alike = int(-(-cells // (alpha * decided.max())))
        text += (
            f"So far {len(decided)} are decided, with e-values from {short(decided.min())} to "
            f"{short(decided.max())}, and {judged['rejected'].sum()} hold in the whole table: for "
            f"the largest of them to hold, {alike} {'test' if alike == 1 else 'tests'} would need "
            "as large a one. "
        )
    return Markdown(
        f"{text}A single verdict is wrong in at most one of {1 / alpha:.0f} cases, if its values "
        f"are as the rule assumes; of {cells} some can be."
    )


def tabulate_perfect_sheets(*names: str) -> Table:
    """Tabulate the dimension that is estimated in layer 4 beside that of a perfect sheet.

    A row for each condition that has runs. The sheet are bumps without a fault, at the places where
    the network's are at the end of training, in images that show one bump. Dimensions are by
    `geometry.intrinsic_dimension`, label ablated.
    """
    rows, records = [], []
    for name in names:
        runs = [run for run, _ in find_runs(name)]
        if runs:
            about = {"condition": FROZEN.conditions[name].about, **average_dimensions(runs)}
            rows.append({**about, "networks": len(runs)})
            records += runs
    return Table(
        pd.DataFrame(rows).round(2),
        records,
        note="Two-dimensional is what “not two-dimensional” calls less than 2.5. Requests lie on a "
        "grid, and the estimate takes points for scattered at random: the better a network places "
        "its bumps, the further from 2 it is, whatever the network holds.",
    )


def average_dimensions(runs: Sequence[Record]) -> dict[str, float]:
    """Average over runs what `tabulate_perfect_sheets` has in a row."""
    last = pd.DataFrame([run.checkpoints.iloc[-1] for run in runs])
    of_all = "intrinsic_dimension_of_all"
    return {
        "layer 4": last[f"{of_all}_ablated"].mean(),
        "perfect sheet": float(np.mean([measure_perfect_sheet(run) for run in runs])),
        "layer 4, untrained": last[f"{of_all}_untrained, ablated"].mean(),
    }


def measure_perfect_sheet(run: Record) -> float:
    """Estimate the dimension of faultless bumps where the run's single ones are at the end."""
    c = run.configuration
    drawn = (run.images["set"] == "trained")[run.images["step"] == c.steps].to_numpy()
    bumps = run.bumps[run.bumps["step"] == c.steps]
    single = bumps[~bumps["image"].duplicated(keep=False) & drawn[bumps["image"]]]
    places = torch.tensor(single[["x", "y"]].to_numpy())
    return intrinsic_dimension(render_bumps(places, c.N, c.sigma).flatten(1).numpy())


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
