"""The chapter *Performance*: what `make bench` measured, in figures and sentences."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from bump_diffusion.analysis.frame import frame
from bump_diffusion.book.performance_results import LIBRARIES, OURS, Results
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    curve,
    legend_above,
    panels_over_training,
    thousands,
)
from bump_diffusion.page.colours import QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Page
from bump_diffusion.runs.record import Record


def describe_limits(results: Results) -> Page:
    """Say what keeps ours from going faster, from the rows."""
    steps: dict[str, list[dict[str, Any]]] = {}
    for row in results.rows:
        if row["group"] == "operations" and row["unit"] == "%":
            steps.setdefault(row["name"].partition(": ")[0], []).append(row)
    rates = {row["name"]: row for row in results.rows if row["unit"] == "GFLOP/s"}
    return Page("limits", rows=results.rows, rates=rates, steps=steps)


@drawn
def benchmark_ratios(results: Results) -> Drawn:
    """Draw how many times better ours is than the better peer, where there is such an aim."""
    rows = [row for row in results.rows if row["least_ratio"] is not None]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 + 0.42 * len(rows)))
    heights = np.arange(len(rows))[::-1]
    ratios, aims = zip(*((row["ratio"], row["least_ratio"]) for row in rows), strict=True)
    ax.barh(heights, ratios, height=0.55, color="C0")
    aim = {"color": "C1", "ls": "", "marker": "|", "ms": 14, "mew": 2.5}
    ax.plot(aims, heights, **aim)
    ax.axvline(1, color=QUIET, lw=1, zorder=0)
    ax.set(xscale="log", xlabel="times the better peer")
    ax.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
    ax.xaxis.set_minor_formatter(lambda ratio, _: f"{ratio:g}" if ratio in (2, 3, 5, 20) else "")
    ax.set_yticks(heights, [row["name"].replace(", one thread", "") for row in rows])
    legend_above(figure, {"aim": aim})
    return figure, (
        f"Ours over the better peer in {len(rows)} rows, with their aims marked: from "
        f"{min(ratios):.2f} to {max(ratios):.2f} times; {sum(row['met'] for row in rows)} are met."
    )


@drawn
def accuracy_by_precision(records: list[Record]) -> Drawn:
    """Draw accuracy over training with the network's arithmetic in float32 and in bfloat16."""
    table = frame(records).query("step > 0")
    figure, ((ax,),) = panels_over_training(table, height=3.2)
    curve(ax, table, "accuracy", hue="precision", style="precision")
    ax.set(ylabel="accuracy (share of images)", ylim=(-0.02, 1.02))
    ax.legend(title=None)
    last = table[table["step"] == table["step"].max()].groupby("precision")["accuracy"]
    ends = ", ".join(f"{p} {a.mean():.1%} ({a.min():.1%} to {a.max():.1%})" for p, a in last)
    return figure, f"Accuracy against images seen, by precision. At the end: {ends}."


@drawn
def learning_by_recipe(results: Results) -> Drawn:
    """Draw accuracy against images seen, the same network trained by each contender's recipe."""
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    ends = []
    for line, name in zip(("-", "--", ":"), ("ours", *LIBRARIES), strict=True):
        label, curve = (OURS if name == "ours" else name), results.curves[name]
        images = np.array(curve["images"])
        ax.plot(images, curve["accuracy"], line, marker="o", markersize=3, label=label)
        ends.append(f"{label} {curve['accuracy'][-1]:.0%} after {images[-1]:,} images")
    ax.xaxis.set_major_formatter(lambda images, _: thousands(images))
    ax.set(xlabel=IMAGES_SEEN, ylabel="accuracy (share of images)", ylim=(-0.02, 1.02))
    ax.legend()
    return figure, f"Accuracy against images seen, by recipe. Last: {'; '.join(ends)}."
