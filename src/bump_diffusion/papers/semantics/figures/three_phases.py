"""The page *Three phases*: what a network represents above what it generates, on one time axis."""

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown
from matplotlib.patches import ConnectionPatch
from sklearn.decomposition import PCA

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import first_phases, pass_in_order
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.page.axes import (
    IMAGES_SEEN,
    hide_ticks,
    images_axis,
    spaced_indices,
    thousands,
)
from bump_diffusion.page.colours import GROUND, INK, QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Lead
from bump_diffusion.papers.semantics.confirm import kappa
from bump_diffusion.papers.semantics.confirmed import find_runs, judge_cell
from bump_diffusion.papers.semantics.figures.confirmed import describe_interval, spell_verdict
from bump_diffusion.papers.semantics.figures.gallery import COLOUR_KEY
from bump_diffusion.papers.semantics.figures.sentences import choose_quantity, count_of, name_runs
from bump_diffusion.papers.semantics.palette import (
    FEATURE_STYLES,
    OUTCOME_COLOURS,
    position_colours,
)
from bump_diffusion.runs.record import Record

FEATURES = {"trained": "with the\nlabel", "ablated": "label\nablated"}
"""The rows of embeddings: as the paper reads the layer, and without the label."""

SEEN = 0.1
"""A share of images in the figure from which on its kind is named there."""


@drawn
def embedding_and_outcomes(record: Record) -> Drawn:
    """Draw the probed layer's UMAP embedding, the shares of outcomes and order, over one training.

    Points have the colour of the requested position; dashed lines are where the phase of
    generation changes.
    """
    run, c = frame([record]).query("step > 0"), record.configuration
    shown = run.index[spaced_indices(len(run), 5)]
    seen = run["images_seen"]
    figure = plt.figure(figsize=(WIDTH, 6.7))
    grid = figure.add_gridspec(4, len(shown), height_ratios=[1, 1, 1.7, 1.2])
    ax = figure.add_subplot(grid[2, :], ylabel="share of images", ylim=(0, 1))
    images_axis(ax.xaxis, run)
    ax.stackplot(seen, *(run[kind] for kind in OUTCOMES), colors=OUTCOME_COLOURS.values())
    on_ground = {"bbox": {"facecolor": GROUND, "edgecolor": "none", "pad": 1}}
    tops = run[list(OUTCOMES)].cumsum(axis=1)
    for kind in OUTCOMES:  # by name, as the colours of the points above mean something else
        widest = run[kind].idxmax()
        if run[kind][widest] > SEEN:
            side = "right" if widest == run.index[-1] else "center"
            side = "left" if widest == run.index[0] else side
            middle = tops[kind][widest] - run[kind][widest] / 2
            ax.annotate(kind, (seen[widest], middle), ha=side, va="center", **on_ground)
    held = figure.add_subplot(grid[3, :], sharex=ax, ylabel="order ($R^2$)", ylim=(-0.05, 1.05))
    for column, name in {"order": "ablated", "order_untrained": "untrained, ablated"}.items():
        label, colour, line = FEATURE_STYLES[name]
        held.plot(seen, run[column].clip(lower=0), color=colour, ls=line, label=label)
    held.set_xlabel(IMAGES_SEEN)
    held.legend(loc="upper left")
    colours = position_colours(record.arrays["labels"], c.N)
    for row, (features, name) in enumerate(FEATURES.items()):
        for column, index in enumerate(shown):
            panel = figure.add_subplot(grid[row, column])
            embedding = record.arrays[f"umap_{features}"][index].astype(float)
            points = PCA(2).fit_transform(embedding)
            panel.scatter(*points.T, c=colours[: len(points)], s=5, lw=0)
            hide_ticks(panel)
            if column == 0:
                panel.set_ylabel(name)
            if row == 0:
                panel.set_title(thousands(seen[index]))
            else:
                ends = {"xyA": (0.5, 0), "coordsA": panel.transAxes, "xyB": (seen[index], 1)}
                line = ConnectionPatch(**ends, coordsB=ax.transData, color=QUIET, lw=0.8)
                figure.add_artist(line)
    phases = run["phase_generation"]
    for index in phases.index[phases != phases.shift()]:
        ax.axvline(seen[index], color=INK, ls="--", lw=1)
        ax.annotate(
            phases[index],
            (seen[index], 0.94),
            (4, 0),
            textcoords="offset points",
            va="top",
            fontweight="bold",
            **on_ground,
        )
    return figure, (
        f"Above, the embedding of {c.probe_layer} at {len(shown)} times of one training, with the "
        "label and without, coloured by the requested position; below, the shares of images with "
        "no bump, several, one misplaced, one correct, and the order of the layer, trained and "
        f"not. At the end {run['correct'].iloc[-1]:.0%} "
        "are correct."
    )


SIDES = ("generation", "representation", "representation_untrained")
"""What is drawn, what layer 4 holds, and what that of an untrained network does."""


def count_passed(records: list[Record]) -> list[int]:
    """Count the runs in which each of `SIDES` passes through the phases."""
    table = frame(records)
    return [int(pass_in_order(first_phases(table, side)).sum()) for side in SIDES]


def conclude(records: list[Record], passed: list[int]) -> str:
    """Say how many networks draw the phases, and what that tells, from `count_passed`."""
    N, (drawn, held, untrained) = records[0].configuration.N, passed
    causes = (
        "Layer 4 passes through phases too, but no more often than an untrained layer 4 that is "
        "shown the same drawings."
        if untrained >= held
        else "So does layer 4, in more of them than an untrained one that is shown these drawings."
    )
    return (
        f"On images of {N} × {N} pixels {choose_quantity(drawn, len(records))} networks draw the "
        f"paper's three phases, one after the other. {causes}"
    )


def describe_phases(records: list[Record]) -> Lead:
    """Say in how many runs each side passes through the phases, and how often the sides agree.

    Also of the judged networks for larger images, if there are any.
    """
    runs = [run for _, run in frame(records).query("step > 0").groupby("record")]
    agree, control = (
        np.mean([kappa(run["phase_generation"], run[f"phase_{side}"]) for run in runs])
        for side in SIDES[1:]
    )
    N, passed = records[0].configuration.N, count_passed(records)
    drawn, held, untrained = (count_of(count, len(records)) for count in passed)
    return Lead(
        conclude(records, passed),
        f"In {drawn} networks for {N} × {N} pixels the drawings pass through the three phases. So "
        f"does what layer 4 holds, the label taken away, in {held}; but shown these drawings, so "
        f"does a network that was never trained, in {untrained}. The phase of layer 4 agrees with "
        f"that of the drawing by a κ of {agree:.2f} (0 is chance, 1 full agreement), the untrained "
        f"one's by {control:.2f} ({name_runs(records)}).{_describe_judged()}",
    )


def load_judged() -> list[Record]:
    """Find the judged networks for larger images; nothing is trained."""
    return [run for run, _ in find_runs("larger")]


def _describe_judged() -> str:
    """What the judged networks for larger images add, as a sentence; empty if there are none."""
    judged = load_judged()
    if not judged:
        return ""
    passed, *_ = count_passed(judged)
    cell = judge_cell("misplaced-phase", "larger")
    factor = describe_interval(cell, lambda doublings: f"{2**doublings:.1f}")
    return (
        f" Of the networks made after the criteria were frozen {count_of(passed, len(judged))} "
        "draw all three phases. From when half of the images show one bump to when half are right, "
        f"the images seen grow by a factor of {factor} on average; the frozen test of that is "
        f"{spell_verdict(cell)}."
    )


def describe_embedding(record: Record) -> Markdown:
    """Say what to see in `embedding_and_outcomes`."""
    run = frame([record]).query("step > 0")
    first, last = run.iloc[0], run.iloc[-1]
    begins, ends, control = (
        max(min(row[f"r2_{features}_umap_requested_{axis}"] for axis in "xy"), 0)
        for row, features in ((first, "trained"), (last, "trained"), (last, "untrained"))
    )
    passed = run["phase_generation"].drop_duplicates()
    return Markdown(
        f"One network (seed {record.configuration.seed}) while it learns. In the middle, what it "
        f"draws: phases {', '.join(passed)} pass, and at the end {last['correct']:.0%} of the "
        "images are right. Above is layer 4 at those times: each point is an image, in the colour "
        f"of the position that was requested. {COLOUR_KEY}. With the label left in, and read after "
        f"UMAP as in the paper, the first picture is already ordered (R² {begins:.2f}), though "
        f"{first['correct']:.0%} of the images are right; the last has {ends:.2f}, an untrained "
        f"network's {control:.2f}. Without the label, and read linearly, order appears (R² "
        f"{max(first['order'], 0):.2f} to {max(last['order'], 0):.2f}) once single bumps do. "
        "Below is the same beside an untrained network that is shown the same images, which ends "
        f"at R² {max(last['order_untrained'], 0):.2f}: what lies between the lines was learned."
    )
