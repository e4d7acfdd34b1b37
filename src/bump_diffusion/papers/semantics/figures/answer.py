"""The page *The answer to the paper's call*: which biases help, by how much data, at what cost."""

import re
import textwrap
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_times
from bump_diffusion.config import Configuration
from bump_diffusion.errors import UserError
from bump_diffusion.models.unet import build_model
from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.colours import INK
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Answer, Lead, Table
from bump_diffusion.page.words import percent_range
from bump_diffusion.papers.semantics.confirmed import CURE
from bump_diffusion.papers.semantics.cure import COMPOSES, classify_last, region_accuracy
from bump_diffusion.papers.semantics.figures.compose import (
    COMPARED,
    average_core,
    describe_condition,
    score_biases,
)
from bump_diffusion.papers.semantics.figures.confirmed import list_missing
from bump_diffusion.papers.semantics.palette import FOUND, REQUESTED, setting_colours
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment, unite
from bump_diffusion.runs.record import Record

LEARNED = 0.9
"""The share right of trained combinations up to which the images seen are counted."""

TOLERANCE = 0.5
"""Pixels within which these are right: a copy of a trained bump never is."""

BLOCKS = ("quadrants", "donut", "corner")
"""Gaps that leave every x and every y in the training data, and whole blocks of pairs out."""

WAYS = {"none": "no bias", "lines": "lines, no vector"}
"""The networks whose need of data is compared, by their `rendering`."""

TICK = {"marker": "|", "markersize": 9, "markeredgewidth": 1.8, "linestyle": ""}
"""The style of a network's mark for what it was trained on."""


def plan_growth(
    sizes: Sequence[int], profile: str, seeds: int
) -> dict[Configuration, tuple[str, ...]]:
    """Plan the networks trained on Latin subsets of images of these sizes (N), as `experiment`."""
    names = [f"growth-{N}" for N in sizes]
    if not names or not EXPERIMENTS.keys() >= set(names):
        known = re.findall(r"^growth-(\d+)$", "\n".join(EXPERIMENTS), re.MULTILINE)
        raise UserError(f"sizes is {list(sizes)}, it must hold one or more of {', '.join(known)}.")
    both = (f"{name}{way}" for name in names for way in ("", "-lines"))
    return unite(*(experiment(name, profile, seeds) for name in both))


def grow(records: list[Record]) -> pd.DataFrame:
    """Score networks trained on Latin subsets at combinations that were never trained.

    A row per run: N; `per_value`, the combinations trained over N; `way`, of `WAYS`; seed; `right`,
    the share of right images of combinations never trained at the end. In order of `per_value`.
    """
    rows = []
    for record in records:
        c, table = record.configuration, classify_last(record, TOLERANCE)
        rows.append(
            {
                "N": c.N,
                "per_value": int(c.held_out.removeprefix("latin-")) / c.N,
                "way": WAYS[c.rendering],
                "seed": c.seed,
                "right": table.query("region != 'trained'")["correct"].mean(),
            }
        )
    return pd.DataFrame(rows).sort_values("per_value", ignore_index=True)


def average_right(grown: pd.DataFrame) -> pd.Series:
    """Average what is right over the seeds of `grow`, by way, combinations per value, and N."""
    return grown.groupby(["way", "per_value", "N"])["right"].mean()


def average_blocks(judged: pd.DataFrame) -> tuple[pd.Series, pd.Series] | None:
    """Average what is right well inside `BLOCKS` on the smaller images, without lines and with.

    By block; `judged` is that of the cure's criteria. None if no block has both.
    """
    cells = judged[(judged["criterion"] == "composes") & (judged["seeds"] > 0)]
    conditions = cells["condition"].map(CURE.conditions)
    gap = conditions.map(lambda condition: condition.where.get("held_out"))
    way = conditions.map(lambda condition: condition.experiment)
    accuracy = cells.assign(gap=gap, way=way).pivot_table("control", "gap", "way")
    both = accuracy.reindex(BLOCKS, columns=["cure-baseline", "cure-lines"]).dropna()
    return None if both.empty else (both["cure-baseline"], both["cure-lines"])


def average_without_geometry(classified: pd.DataFrame) -> pd.Series:
    """Average the accuracy in the core, by bias, where no pixel's place is told; no bias left out.

    `classified` is of `compose.load`.
    """
    told = classified.groupby("bias", sort=False)["told"].first()
    return average_core(classified)[~told.str.contains("geometry")].drop(COMPARED[0])


def describe_call(
    classified: pd.DataFrame, judged: pd.DataFrame, grown: pd.DataFrame, records: list[Record]
) -> Answer:
    """Say which biases help, and how much data they save; `records` are those of all tables."""
    verdict, text = "None of the networks with a bias has been trained yet.", ""
    blocks = average_blocks(judged)
    if len(classified) and blocks:
        without, lines = map(percent_range, blocks)
        others = average_without_geometry(classified)
        best = others.idxmax()
        ids = set(classified.loc[classified["bias"] == best, "record"])
        closely = [region_accuracy(r, "core", TOLERANCE) for r in records if r.id in ids]
        well = "combine" if blocks[1].min() > COMPOSES else "do not always combine"
        verdict = (
            f"Networks that are shown x and y as two lines beside the image {well} those that they "
            f"never saw together. Of biases that tell less, “{best}” helps most."
        )
        text = (
            "Of combinations well inside a block that is missing, the usual network draws "
            f"{without} right, depending on the block. If it gets the label as two extra input "
            f"images, a line at x and a line at y, it is {lines}; but these show it the place. Of "
            f"{len(others)} that do not tell a network where its pixels lie, the best is “{best}”: "
            f"{others[best]:.0%} of two "
            f"missing quarters, and {np.mean(closely):.0%} within half a pixel "
            f"({len(closely)} networks). "
        )
    right = average_right(grown)
    without, lines = (right[way] for way in WAYS.values())
    most = without.index.unique("per_value").max()
    text += (
        "If the missing ones are scattered, networks with lines that are trained on one "
        f"combination for each value draw {percent_range(lines[1])} of the rest right (means, by "
        "size of image), within half a pixel. Networks without a bias draw "
        f"{percent_range(without[1])} after one combination for each value, and "
        f"{percent_range(without[most])} after {most:.0f}."
    )
    return Answer(Lead(verdict, text), records, list_missing(CURE))


@drawn
def accuracy_by_bias(records: list[Record], classified: pd.DataFrame) -> Drawn:
    """Draw the accuracy of each network, trained and held-out requests, a row for each bias."""
    scores = score_biases(classified)
    core = average_core(classified).sort_values(ascending=False)
    biases = core.index
    figure, ax = plt.subplots(figsize=(WIDTH, 1.2 + 0.55 * len(biases)))
    for y, bias in enumerate(biases):
        of_bias = scores.loc[bias]
        ax.plot(of_bias["trained"], np.full(len(of_bias), y - 0.2), color=FOUND, **TICK)
        beside = y + 0.15 + np.linspace(-0.15, 0.15, len(of_bias))  # dots that are alike are seen
        ax.plot(of_bias["core"], beside, "o", color=REQUESTED, ms=4, alpha=0.7, mew=0)
        ax.plot(core[bias], y + 0.15, "|", color=INK, ms=16, mew=2)
    names = [
        f"{textwrap.fill(bias, 24)}\n{core[bias]:.0%} ({len(scores.loc[bias])})" for bias in biases
    ]
    ax.set_yticks(range(len(biases)), names)
    ax.invert_yaxis()
    ax.set(xlim=(-0.03, 1.03), xlabel="share of right images")
    styles = {
        "trained combinations": {"color": FOUND, **TICK},
        "never trained": {"color": REQUESTED, "marker": "o", "ls": ""},
        "their mean": {"color": INK, "marker": "|", "ls": "", "ms": 12, "mew": 2},
    }
    legend_above(figure, styles, ncols=3)
    shares = ", ".join(f"{bias} {share:.2f}" for bias, share in core.items())
    return figure, f"Right images of combinations that were never trained, by bias: {shares}."


def describe_biases(classified: pd.DataFrame) -> Markdown:
    """Say what to see in `accuracy_by_bias`."""
    scores = score_biases(classified)
    others = average_without_geometry(classified)
    return Markdown(
        "Each mark is one network. Under a name stand the mean of what was never trained and the "
        "number of networks. All draw at least "
        f"{scores['trained'].min():.0%} of what they are trained on (blue); they differ in what "
        "was left out (orange), at least two pixels from what was trained. Of the biases that "
        "do not tell a network where its pixels lie, the best is "
        f"“{others.idxmax()}”: {others.max():.0%}."
    )


QUESTIONS = {
    "composes-more": "draws more than no bias?",
    "composes": "do most networks draw over 60 %?",
    "composes-at-half-pixel": "within half a pixel?",
    "draws-trained": "over 90 % of what was trained?",
}
"""By criterion, what is asked of a bias."""

ANSWERS = {"shown": "yes", "negligible": "no", "not yet": "open"}
"""What a verdict answers to `QUESTIONS`."""


def describe_verdicts(judged: pd.DataFrame) -> Markdown:
    """Say how many of the frozen tests are decided, and how many hold all taken together."""
    decided = (judged["verdict"] != "not yet").sum()
    may = judged.loc[
        (judged["criterion"] == "composes") & (judged["verdict"] == "negligible"), "high"
    ]
    text = (
        f"Of {len(judged)} frozen tests {decided} are decided. Each is wrong in at most one of "
        f"{1 / CURE.alpha:.0f} cases; {judged['rejected'].sum()} hold if that is asked of all of "
        "them together (Benjamini-Hochberg over e-values)."
    )
    if len(may):
        text += f" “No” means fewer than half of the networks; it may still be {may.max():.0%}."
    return Markdown(text)


def tabulate_verdicts(judged: pd.DataFrame) -> pd.DataFrame:
    """Tabulate what each bias does with what was never trained, by the frozen criteria.

    In how many settings, each a kind of gap and a size of image that has runs, the answer to each
    of `QUESTIONS` is yes, no or open.
    """
    begun = judged[judged["seeds"] > 0]
    bias = begun["condition"].map(lambda name: describe_condition(name)[0]).rename("bias")
    counts = begun.groupby([bias, "criterion"], sort=False)["verdict"].value_counts().unstack()
    counts = counts.reindex(columns=list(ANSWERS)).rename(columns=ANSWERS)
    answers = counts.apply(
        lambda row: ", ".join(f"{name} {int(n)}" for name, n in row.items() if n > 0), axis=1
    )
    table = answers.unstack(sort=False, fill_value="").reindex(columns=QUESTIONS, fill_value="")
    return table.rename(columns=QUESTIONS).reset_index().rename_axis(columns=None)


@drawn
def data_needed(records: list[Record], grown: pd.DataFrame) -> Drawn:
    """Draw the share right of what was never trained against the combinations trained per value."""
    figure, axes = panels(WAYS.values(), 2.6)
    colours = setting_colours(sorted(grown["N"].unique()))
    for ax, way in zip(axes, WAYS.values(), strict=True):
        for (N, _), runs in grown[grown["way"] == way].groupby(["N", "seed"]):
            ax.plot(runs["per_value"], runs["right"], "o-", color=colours[N], ms=4, lw=1.2)
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set(xlabel="trained combinations, per value", ylim=(-0.03, 1.03))
    axes[0].set_ylabel("share right, never trained")
    legend_above(
        figure, {f"{N} × {N} pixels": {"color": colour} for N, colour in colours.items()}, ncols=3
    )
    shares = (
        f"{way}, {per_value:.0f} per value, N = {N}: {share:.2f}"
        for (way, per_value, N), share in average_right(grown).items()
    )
    return figure, f"Share right of combinations that were never trained: {'; '.join(shares)}."


def describe_data(grown: pd.DataFrame) -> Markdown:
    """Say what to see in `data_needed`, and what it would be if the need grew as N squared."""
    sizes = sorted(grown["N"].unique())
    text = (
        "Each line is one seed: networks that were trained on more and more combinations, in which "
        "each x and each y occurs equally often. Right is within half a pixel, where a copy of a "
        "trained bump never is."
    )
    if len(sizes) > 1:
        text += (
            " If all combinations needed grew as N², those needed per value would grow as N, and "
            f"the lines of {sizes[-1]} pixels would lie at {sizes[-1] / sizes[0]:.0f} times the "
            f"number per value of those of {sizes[0]}. "
        )
        without = average_right(grown)[WAYS["none"]].unstack("N").dropna()
        apart = without[sizes[-1]] - without[sizes[0]]
        at = (f"{difference:+.2f} at {per_value:.0f}" for per_value, difference in apart.items())
        text += (
            "Without a bias, at equal numbers per value, the share right on the larger images "
            f"differs from that on the smaller ones by {', '.join(at)}. So few sizes do not tell."
        )
    return Markdown(text)


def describe_imbalance(judged: pd.DataFrame) -> Markdown:
    """Say how far apart x and y are learned where one has more values, by the judged networks."""
    cells = judged[(judged["criterion"] == "axes-still-apart") & (judged["seeds"] > 0)]
    if cells.empty:
        return Markdown("No network has been judged yet whose x has more values than its y.")
    ways = (
        f"{cell.estimate:.2f} with “{describe_condition(cell.condition)[0]}” "
        f"({cell.seeds} of at most {CURE.conditions[cell.condition].cap} networks: {cell.verdict})"
        for cell in cells.itertuples()
    )
    return Markdown(
        "**Is the axis with more values learned apart?** Where x has four times as many values as "
        "y, and each axis is learned alone, the images needed lie "
        f"{cells['control'].mean():.2f} doublings apart. In networks that draw both they lie apart "
        f"by {' and '.join(ways)}."
    )


def tabulate_biases(records: list[Record], classified: pd.DataFrame) -> Table:
    """Tabulate what each bias is told, what it gives, and what it costs.

    The cost is in images seen until 90 % of what is trained is right, and in parameters.
    """
    networks = classified.groupby(["bias", "told", "seed"], sort=False).first()
    networks = networks.join(score_biases(classified)).reset_index().set_index("record")
    networks["images"] = learning_times(frame(records), "accuracy", LEARNED)
    models = {record.id: build_model(record.configuration) for record in records}
    networks["weights"] = pd.Series(models).map(lambda m: sum(w.numel() for w in m.parameters()))
    networks["closely"] = pd.Series({r.id: region_accuracy(r, "core", TOLERANCE) for r in records})
    rows = networks.groupby(["bias", "told"], sort=False)
    columns = {
        "never trained": rows["core"].mean().round(2),
        "within half a pixel": rows["closely"].mean().round(2),
        "trained": rows["trained"].mean().round(2),
        "images to learn (thousands)": (rows["images"].mean() / 1000).round().astype("Int64"),
        "networks": rows.size(),
    }
    table = pd.DataFrame(columns).sort_values("never trained", ascending=False).reset_index()
    weights = networks["weights"] / 1000
    return Table(
        table.rename(columns={"told": "is told"}),
        records,
        "Shares right, of combinations well inside two missing quarters and of trained ones; "
        f"training images until {LEARNED:.0%} of the latter are right. Weights: "
        f"{weights.min():.0f} to {weights.max():.0f} thousand.",
    )
