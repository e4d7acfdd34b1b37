"""The page *The answer to the paper's call*: which biases help, by how much data, at what cost."""

import re
from collections.abc import Sequence

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_times
from bump_diffusion.config import Configuration
from bump_diffusion.errors import UserError
from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.drawing import Drawn, drawn
from bump_diffusion.page.tables import Answer, Lead, Table
from bump_diffusion.page.words import percent_range
from bump_diffusion.papers.semantics.criteria import CURE
from bump_diffusion.papers.semantics.cure import COMPOSES, classify_last, region_accuracy
from bump_diffusion.papers.semantics.figures.confirmed import list_missing
from bump_diffusion.papers.semantics.gaps import (
    COMPARED,
    EVERY_GAP,
    TOLD,
    average_without_geometry,
    describe_condition,
    name_gap,
    score_biases,
)
from bump_diffusion.papers.semantics.palette import setting_colours
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment, unite
from bump_diffusion.runs.record import Record

LEARNED = 0.9
"""The share right of trained combinations up to which the images seen are counted."""

TOLERANCE = 0.5
"""Pixels within which these are right: a copy of a trained bump never is."""

BLOCKS = ("quadrants", "corner", "donut")
"""Gaps that leave every x and every y in the training data, and whole blocks of pairs out."""

WAYS = {"none": COMPARED[0], "lines": COMPARED[1]}
"""The networks whose need of data is compared, by their `rendering`."""


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
    gap = cells["condition"].map(name_gap)
    way = cells["condition"].map(lambda name: CURE.conditions[name].experiment)
    accuracy = cells.assign(gap=gap, way=way).pivot_table("control", "gap", "way")
    both = accuracy.reindex(BLOCKS, columns=["cure-baseline", "cure-lines"]).dropna()
    return None if both.empty else (both["cure-baseline"], both["cure-lines"])


def describe_call(
    classified: pd.DataFrame, judged: pd.DataFrame, grown: pd.DataFrame, records: list[Record]
) -> Answer:
    """Say which biases help, and how much data they save; `records` are those of all tables.

    `classified` is of `gaps.load_gaps`.
    """
    verdict, text = "None of the networks with a bias has been trained yet.", ""
    blocks = average_blocks(judged)
    if len(classified) and blocks:
        without, lines = map(percent_range, blocks)
        well = "combine" if blocks[1].min() > COMPOSES else "do not always combine"
        verdict = (
            f"Networks that are shown x and y as two lines beside the image {well} those that they "
            f"never saw together. {tell_where_others_compose(judged)}"
        )
        text = (
            "Of combinations well inside a region that is missing, the usual network draws "
            f"{without} right, depending on the region; one that gets the label as two extra input "
            f"images, a line at x and a line at y, {lines}. But these show it the place. "
            f"{_describe_others(classified)}"
        )
    right = average_right(grown)
    without, lines = (right[way] for way in WAYS.values())
    text += (
        "Lines need fewer data, too: trained on one combination for each value, scattered, such "
        f"networks draw {percent_range(lines[1])} of the others right within half a pixel, those "
        f"without a bias {percent_range(without[1])}."
    )
    return Answer(Lead(verdict, text), records, list_missing(CURE))


def tell_where_others_compose(judged: pd.DataFrame) -> str:
    """Say with what left out most networks compose, of biases that do not tell a pixel's place."""
    tried: dict[str, dict[str, list[str]]] = {}
    for cell in judged[(judged["criterion"] == "composes") & (judged["seeds"] > 0)].itertuples():
        (bias, told), gap = describe_condition(cell.condition), name_gap(cell.condition)
        if gap and told == TOLD["separation of the axes"]:
            by_verdict = tried.setdefault(bias, {verdict: [] for verdict in ANSWERS})
            by_verdict[cell.verdict].append(EVERY_GAP[gap])
    always, partly = [], []
    for bias, by_verdict in tried.items():
        where, elsewhere, unknown = (" or ".join(by_verdict[verdict]) for verdict in ANSWERS)
        if where and not (elsewhere or unknown):
            always.append(f"“{bias}” lets them do so for all {len(by_verdict['shown'])} gaps tried")
        elif where:
            limits = (f", not for {elsewhere}" * bool(elsewhere)) + (
                f" ({unknown}: open)" * bool(unknown)
            )
            partly.append(f"“{bias}” for {where}{limits}")
    told = "; ".join([*always, *partly]) or "none has been shown to help"
    return f"Of biases that tell less, {told}."


def _describe_others(classified: pd.DataFrame) -> str:
    """What networks draw whose bias does not tell a pixel's place: the best, and of other gaps."""
    others = average_without_geometry(classified)
    quarters = others.loc["quadrants"].dropna()
    if quarters.empty:
        return ""
    best = quarters.idxmax()
    text = (
        f"Of {len(quarters)} biases that do not tell a network where its pixels lie, the best is "
        f"“{best}”: {quarters[best]:.0%} of two missing quarters. "
    )
    for bias, shares in others.drop(index="quadrants").items():
        if bias != best and shares.max() > COMPOSES:
            named = (f"{share:.0%} ({EVERY_GAP[gap]})" for gap, share in shares.dropna().items())
            text += f"“{bias}” gives {quarters[bias]:.0%} there, but {', '.join(named)}. "
    return text


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
        ax.set(ylim=(-0.03, 1.03))
    axes[0].set_ylabel("share right,\nnever trained")
    figure.supxlabel("trained combinations, per value")
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
            " An image of N pixels a side has N² combinations. If a network needed a fixed share "
            f"of them, those of {sizes[-1]} pixels would need {sizes[-1] / sizes[0]:.0f} times as "
            f"many per value as those of {sizes[0]}; if it needed a fixed number per value, the "
            "lines of both would lie on each other. "
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
        f"{cell.estimate:.2f} with “{describe_condition(cell.condition)[0]}” (95 % interval "
        f"{cell.low:.2f} to {cell.high:.2f}; {cell.seeds} networks: {cell.verdict})"
        for cell in cells.itertuples()
    )
    return Markdown(
        "Where x has four times as many values as "
        "y, and each axis is learned alone, the images needed lie "
        f"{cells['control'].mean():.2f} doublings apart. In networks that draw both they lie apart "
        f"by {' and '.join(ways)}. These are other networks than those of *x and y*."
    )


def tabulate_biases(records: list[Record], classified: pd.DataFrame) -> Table:
    """Tabulate what each bias is told, what it gives with each of `EVERY_GAP`, and what it costs.

    The cost is in images seen until 90 % of what is trained is right.
    """
    scores = score_biases(classified)
    by = ["bias", "told"]
    core = scores["core"].groupby([*by, "held_out"], sort=False).mean().unstack(sort=False)
    of_quarters = classified[classified["held_out"] == "quadrants"]
    networks = of_quarters.groupby([*by, "held_out", "seed"], sort=False)["record"].first()
    networks = scores.join(networks, how="inner").reset_index().set_index("record")
    quarters = [record for record in records if record.id in networks.index]
    networks["images"] = learning_times(frame(quarters), "accuracy", LEARNED)
    closely = {record.id: region_accuracy(record, "core", TOLERANCE) for record in quarters}
    rows = networks.assign(closely=pd.Series(closely)).groupby(by, sort=False)
    shares = core.reindex(columns=EVERY_GAP).rename(columns=EVERY_GAP).round(2)
    order = shares.iloc[:, 0].sort_values(ascending=False).index
    columns = {
        "two quarters, within half a pixel": rows["closely"].mean().round(2),
        "trained": rows["trained"].mean().round(2),
        "images to learn (thousands)": (rows["images"].mean() / 1000).round().astype("Int64"),
        "networks": scores.groupby(by, sort=False).size(),
    }
    table = shares.join(pd.DataFrame(columns)).loc[order].reset_index().astype(object)
    table = table.where(table.notna(), "–")
    return Table(
        table.rename(columns={"told": "is told"}).rename_axis(columns=None),
        records,
        "Shares right, of combinations at least two pixels from trained ones, by what was left "
        "out. With two quarters left out also: within half a pixel; of trained combinations; and "
        f"training images until {LEARNED:.0%} of the latter are right. A fading vector is gone "
        "after half of the training, one “at times” is hidden in some steps; “coordinates” are two "
        "ramps, the same for every request; of “learned profiles” the network finds the shapes; "
        "“only”: in no other block; networks with a vector “through” few numbers are trained for "
        "twice as long.",
    )
