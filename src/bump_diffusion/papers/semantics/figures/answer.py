"""The page *The answer to the paper's call*: which biases help, by how much data, at what cost."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import amount_needed, learning_times
from bump_diffusion.models.build import build_model
from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.tables import Answer, Table
from bump_diffusion.papers.semantics.confirmed import CURE
from bump_diffusion.papers.semantics.cure import COMPOSES, classify_last
from bump_diffusion.papers.semantics.figures.compose import COMPARED, average_core, score_biases
from bump_diffusion.papers.semantics.figures.confirmed import list_missing
from bump_diffusion.papers.semantics.palette import FOUND, REQUESTED, setting_colours
from bump_diffusion.runs.record import Record

NEEDED = 0.9
"""The share right of combinations never trained that the data needed are counted for."""

WAYS = {"none": "no bias", "lines": "lines, no vector"}
"""The networks whose need of data is compared, by their `rendering`."""


def grow(records: list[Record]) -> pd.DataFrame:
    """Score networks trained on Latin subsets at combinations that were never trained.

    A row per run: N; `per_value`, the combinations trained over N; `way`, of `WAYS`; seed; `right`,
    the share of right images of combinations never trained at the end. In order of `per_value`.
    """
    rows = []
    for record in records:
        c, table = record.configuration, classify_last(record)
        others = table.loc[table["region"] != "trained", "outcome"]
        rows.append(
            {
                "N": c.N,
                "per_value": int(c.held_out.removeprefix("latin-")) / c.N,
                "way": WAYS[c.rendering],
                "seed": c.seed,
                "right": (others == "correct").mean(),
            }
        )
    return pd.DataFrame(rows).sort_values("per_value", ignore_index=True)


def count_needed(grown: pd.DataFrame) -> pd.Series:
    """Count the combinations per value of which `NEEDED` of the others are drawn right.

    By way, N and seed of `grow`; NaN where no number was enough (see `learning.amount_needed`).
    """
    by_network = grown.groupby(["way", "N", "seed"])[["per_value", "right"]]
    return by_network.apply(lambda runs: amount_needed(*runs.to_numpy().T, NEEDED))


def describe_call(
    classified: pd.DataFrame, records: list[Record], grown: pd.DataFrame, growth: list[Record]
) -> Answer:
    """Say which biases help, and how much data they save."""
    text = ""
    if records:
        core, networks = average_core(classified), len(records)
        others = core.drop(COMPARED[0])
        helping = (others > COMPOSES).sum()
        text = (
            f"Of {len(others)} biases, {helping} let networks draw most combinations of blocks "
            f"that were left out, of which they draw {core[COMPARED[0]]:.0%} without a bias "
            f"({networks} networks in all). "
        )
    needed = count_needed(grown).groupby("way").mean()
    without, lines = (needed[way] for way in WAYS.values())
    text += (
        "Where what is left out lies scattered among what is trained, networks compose without a "
        f"bias too, and a bias saves data: {NEEDED:.0%} of the rest is right from {lines:.1f} "
        f"combinations for each value with lines, and from {without:.1f} without."
    )
    answer = Answer(Markdown(text), [*records, *growth])
    answer.made_from["missing"] = list_missing(records, CURE)
    return answer


@drawn
def accuracy_by_bias(records: list[Record], classified: pd.DataFrame) -> tuple[Figure, str]:
    """Draw the accuracy of each network, trained and held-out requests, a row for each bias."""
    scores = score_biases(classified)
    biases = scores.index.droplevel("seed").unique()
    figure, ax = plt.subplots(figsize=(WIDTH, 1.2 + 0.45 * len(biases)))
    for y, (bias, told) in enumerate(biases):
        of_bias = scores.loc[(bias, told)]
        ax.plot(of_bias["trained"], np.full(len(of_bias), y - 0.15), "|", color=FOUND, ms=9)
        ax.plot(of_bias["core"], np.full(len(of_bias), y + 0.15), "o", color=REQUESTED, ms=5)
    labels = [f"{bias}\n(told {told})" for bias, told in biases]
    ax.set_yticks(range(len(biases)), labels)
    ax.invert_yaxis()
    ax.set(xlim=(-0.03, 1.03), xlabel="share of right images")
    styles = {
        "trained combinations": {"color": FOUND, "marker": "|", "ls": ""},
        "never trained": {"color": REQUESTED, "marker": "o", "ls": ""},
    }
    legend_above(figure, styles, ncols=2)
    core = average_core(classified)
    shares = ", ".join(f"{bias} {share:.2f}" for bias, share in core.items())
    return figure, f"Right images of combinations that were never trained, by bias: {shares}."


def describe_biases(classified: pd.DataFrame) -> Markdown:
    """Say what to see in `accuracy_by_bias`."""
    scores = score_biases(classified)
    others = average_core(classified).drop(list(COMPARED))
    return Markdown(
        f"Each mark is one network. All draw at least {scores['trained'].min():.0%} of what they "
        "are trained on (blue); they differ in what was left out (orange). Of the biases that are "
        f"not told where pixels are, the best is “{others.idxmax()}”: {others.max():.0%} right."
    )


@drawn
def data_needed(records: list[Record], grown: pd.DataFrame) -> tuple[Figure, str]:
    """Draw the share right of what was never trained against the combinations trained per value."""
    figure, axes = panels(WAYS.values(), 2.6)
    colours = setting_colours(sorted(grown["N"].unique()))
    for ax, way in zip(axes, WAYS.values(), strict=True):
        for (N, _), runs in grown[grown["way"] == way].groupby(["N", "seed"]):
            ax.plot(runs["per_value"], runs["right"], "o-", color=colours[N], ms=4, lw=1.2)
        ax.axhline(NEEDED, color="grey", lw=0.8, ls=":")
        ax.set_xscale("log", base=2)
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set(xlabel="trained combinations, per value", ylim=(-0.03, 1.03))
    axes[0].set_ylabel("right of the others")
    legend_above(figure, {f"N = {N}": {"color": colour} for N, colour in colours.items()}, ncols=3)
    needed = count_needed(grown).groupby(["way", "N"]).mean()
    return figure, (
        f"Combinations per value from which {NEEDED:.0%} of the others are right: "
        + "; ".join(f"{way}, N = {N}: {value:.1f}" for (way, N), value in needed.items())
        + "."
    )


def describe_data(grown: pd.DataFrame) -> Markdown:
    """Say what to see in `data_needed`, and whether the need grows with N or with its square."""
    text = (
        "Each line is one seed: networks that were trained on more and more combinations, in which "
        "each x and each y occurs equally often. Dotted: what is counted as enough."
    )
    needed = count_needed(grown).groupby(["way", "N"]).mean().unstack("N")
    small, large = needed.columns.min(), needed.columns.max()
    if large > small:
        ratios = needed[large] / needed[small]
        text += (
            " If the combinations needed grow as N, the lines of both sizes lie over each other; "
            f"if as N², those of N = {large} lie {large / small:.0f} times further right. Found: "
            + ", ".join(f"{ratios[way]:.1f} times with {way}" for way in WAYS.values())
            + "."
        )
    return Markdown(text)


def tabulate_biases(records: list[Record], classified: pd.DataFrame, judged: pd.DataFrame) -> Table:
    """Tabulate what each bias is told, what it gives, what it costs, and its verdict.

    The cost is in images seen until 90 % of what is trained is right, and in parameters.
    """
    by_id = {record.id: record for record in records}
    table = classified.groupby(["bias", "told", "seed"], sort=False).first()[
        ["record", "condition"]
    ]
    table = table.join(score_biases(classified)).reset_index()
    times = learning_times(frame(records), "accuracy", NEEDED)
    table["images"] = table["record"].map(times) / 1000
    table["parameters"] = [_count_parameters(by_id[id]) / 1000 for id in table["record"]]
    rows = table.groupby(["bias", "told", "condition"], sort=False).agg(
        core=("core", "mean"),
        trained=("trained", "mean"),
        images=("images", "mean"),
        parameters=("parameters", "first"),
        networks=("seed", "count"),
    )
    verdicts = judged[judged["criterion"] == "composes"].set_index("condition")["verdict"]
    rows = rows.join(verdicts, on="condition").reset_index().drop(columns="condition")
    rows = rows.round({"core": 2, "trained": 2}).astype({"images": int, "parameters": int})
    names = {
        "told": "is told",
        "core": "right, never trained",
        "trained": "right, trained",
        "images": "images to learn (thousands)",
        "parameters": "weights (thousands)",
        "verdict": "most networks compose",
    }
    return Table(rows.rename(columns=names), records)


def _count_parameters(record: Record) -> int:
    return sum(weights.numel() for weights in build_model(record.configuration).parameters())
