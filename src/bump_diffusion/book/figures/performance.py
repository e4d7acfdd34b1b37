"""What `make bench` measured, as the book shows it.

`data/benchmarks/cpu.json`, and `cuda.json` where a GPU was to be had, hold the machine, the
versions, the commit, each contender's network, and the rows of the table: a median with its spread
for us and for each peer, their ratio, and whether the aim is met (`benchmarks/suite.py`).
"""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from bump_diffusion.analysis.frame import frame
from bump_diffusion.book.performance_results import LIBRARIES, OURS, Results, _reached
from bump_diffusion.page.axes import IMAGES_SEEN, band, curve, panels_over_training, thousands
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.page.tables import Table
from bump_diffusion.runs.record import Record


def show(table: pd.DataFrame, results: Results) -> Table:
    """A table of results as a page shows it, with where it comes from."""
    return Table(table, note=results.origin)


def limits(results: Results) -> Markdown:
    """Sentences on what keeps ours from going faster, computed from the rows."""
    by = {(row["name"], row["unit"]): row for row in results.rows}
    lines = []
    for row in results.rows:
        if "product_gflops" in row and "float32" in row["name"]:
            product = row["product_gflops"]["median"]
            name = row["name"].partition(", of a ")[0]
            better = by[name, "GFLOP/s"]
            if better["least_ratio"] is not None:
                peer = better["peers"][better["better_peer"]]["median"]
                most = product / peer
                lines.append(
                    f"- {name[0].upper()}{name[1:]}: {row['ours']['median']:.0f} % of the "
                    f"{product:.0f} GFLOP/s of a large float32 matrix product. At the whole of it, "
                    f"we would be {most:.1f} times {better['better_peer']}; the aim is "
                    f"{better['least_ratio']:g}."
                )
    parts: dict[str, list[dict[str, Any]]] = {}
    for row in results.rows:
        if row["group"] == "operations":
            parts.setdefault(row["name"].partition(":")[0], []).append(row)
    for title, (*shares, rate) in parts.items():
        of = ", ".join(
            f"{r['name'].partition(': ')[2]} {r['ours']['median']:.0f} %" for r in shares
        )
        lines.append(
            f"- The time of {title} goes to {of}. Its convolutions run at "
            f"{rate['ours']['median']:.0f} GFLOP/s."
        )
    for row in results.rows:
        if row["group"] == "learning" and row["unit"] == "images":
            for name, curve in row["curves"].items():
                if not _reached(row, name):
                    lines.append(
                        f"- The recipe of {name} is at {curve['accuracy'][-1]:.0%} correct after "
                        f"{curve['images'][-1]:,} images, where it was stopped: the ratio is a "
                        "lower bound."
                    )
        if "sampling_operations" in row:
            lines.append(
                f"- The {row['evaluations']} evaluations of a quick run sample its training labels "
                f"anew each time, which takes {row['sampling_operations']:.0f} % of the operations "
                "of the training by itself; fewer checkpoints, images or sampler steps would be "
                "cheaper and tell less."
            )
        if "agreement" in row:
            lines.append(
                f"- Our bump finder and the loop agree on {row['agreement']:.1%} of images."
            )
    return Markdown("\n".join(lines))


@drawn
def benchmark_ratios(results: Results) -> tuple[Figure, str]:
    """How many times better ours is than the better peer, for each row that has such an aim."""
    rows = [row for row in results.rows if row["least_ratio"] is not None]
    figure, ax = plt.subplots(figsize=(WIDTH, 0.5 + 0.42 * len(rows)))
    places = np.arange(len(rows))[::-1]
    ax.barh(places, [row["ratio"] for row in rows], height=0.55, color="#0072B2")
    aims = [row["least_ratio"] for row in rows]
    ax.plot(aims, places, "|", color="#D55E00", markersize=14, markeredgewidth=2.5, label="aim")
    ax.axvline(1, color="#555555", lw=1, zorder=0)
    ax.set(xscale="log", xlabel="times the better peer")
    ax.xaxis.set_major_formatter(lambda ratio, _: f"{ratio:g}")
    ax.xaxis.set_minor_formatter(lambda ratio, _: f"{ratio:g}" if ratio in (2, 3, 5, 20) else "")
    ax.set_yticks(places, [row["name"].replace(", one thread", "") for row in rows])
    ax.legend(loc="lower right")
    found = "; ".join(
        f"{row['name']} {row['ratio']:.2f} times {row['better_peer']}, aim {row['least_ratio']:g}"
        for row in rows
    )
    return figure, f"Ours over the better peer, with the aim marked: {found}."


@drawn
def accuracy_by_precision(records: list[Record]) -> tuple[Figure, str]:
    """Accuracy over training with the network's arithmetic in float32 and in bfloat16."""
    table = frame(records).query("step > 0")
    figure, ((ax,),) = panels_over_training(table, height=3.2)
    curve(ax, table, "accuracy", hue="precision", style="precision")
    ax.set(xlabel="", ylabel="accuracy (share of images)", ylim=(-0.02, 1.02))
    ax.legend(title=None)
    figure.supxlabel(f"{IMAGES_SEEN}; {band(table)}", fontsize=8)
    last = table[table["step"] == table["step"].max()].groupby("precision")["accuracy"]
    ends = ", ".join(f"{p} {a.mean():.1%} ({a.min():.1%} to {a.max():.1%})" for p, a in last)
    return figure, f"Accuracy against images seen, by precision. At the end: {ends}."


@drawn
def learning_by_recipe(results: Results) -> tuple[Figure, str]:
    """Accuracy against images seen, the same network trained by each contender's recipe."""
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
