"""The factorized reference: what learning x and y apart would take.

The paper argues (arXiv 2402.03305, section 3) that a model which factorizes would learn each axis
as a one-dimensional task. That model is built here: a one-dimensional diffusion model learns lines
with a bump at the requested x (experiment `lines`), another, or by symmetry the same, lines along
y. An image is the product of two lines. Both see the marginals of the two-dimensional data set.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import ttest_1samp

from bump_diffusion.analysis.learning import learning_time, learning_time_or_end
from bump_diffusion.data.bumps import bump_height
from bump_diffusion.data.lines import compose
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.outcomes import classify_images
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import Record
from bump_diffusion.seeds import generator

COMPOSED = 256
"""Images composed of the lines of a checkpoint."""

DISTINCT = 1.25
"""Least ratio of the learning times of axes apart for a coupling index, which must also differ from
1 by more than chance: axes that are learned equally fast apart look the same coupled and
factorized."""


def composed(along_x: Record, along_y: Record) -> pd.DataFrame:
    """The generation metrics of images composed of two runs' lines, at each checkpoint of both.

    A row per checkpoint: step, images_seen (the lines of both axes together), and the metrics of
    `generation.Classification`. Lines are paired at random, the same pairs at each checkpoint.
    """
    c = along_x.configuration
    draws = generator("cpu", c.seed, "compose")
    labels, chosen = [], []
    for record in (along_x, along_y):
        known = torch.from_numpy(record.arrays["labels"])
        chosen.append(torch.randint(len(known), (COMPOSED,), generator=draws))
        labels.append(known[chosen[-1], 0])
    requested = torch.stack(labels, dim=1)
    rows = []
    for place, step in enumerate(along_x.checkpoints["step"]):
        heights = []
        for record, picked in zip((along_x, along_y), chosen, strict=True):
            lines = torch.from_numpy(record.arrays["lines"][place])[picked].float() / 127.5 - 1
            heights.append(bump_height(lines[:, None, None], c.polarity))
        metrics = classify_images(compose(*heights), requested, c.sigma).metrics()
        rows.append({"step": step, "images_seen": 2 * step * c.batch_size, **metrics})
    return pd.DataFrame(rows)


def max_axis_gap(checkpoints: pd.DataFrame) -> float:
    """The largest difference between the accuracies in x and in y at any checkpoint."""
    return float((checkpoints["accuracy_x"] - checkpoints["accuracy_y"]).abs().max())


def coupling(records: list[Record], lines: list[Record]) -> pd.DataFrame:
    """How coupled the runs of one data set are, and at what cost; a row a run.

    `T_x` and `T_y` are the training images to 50 % accuracy in each axis, `T_x_1d` and `T_y_1d` the
    lines to it where the axis is learned alone, of the same seed. The coupling `index` is

        1 - log(T_x / T_y) / log(T_x^1D / T_y^1D),

    0 if the axes are learned as far apart as alone, 1 if together. Its denominator is the mean over
    seeds; where this is less than log(`DISTINCT`), or its 95 % interval (Student's) holds 0,
    coupled and factorized learning look the same and the index is NaN. So it is where an axis is
    learned before the first trained checkpoint. Its numerator is in the column `together`, the term
    of each seed in its denominator in `apart`. `cost` is the ratio of the training examples,
    repeats included, to 90 % correct: images of the 2D run, over the lines of both axes. A 2D run
    that does not get there counts with all the images that it saw: the cost is at least that.
    `images` and `lines`, of both axes, are the different examples that the data sets hold.
    `max_axis_gap_1d` is `max_axis_gap` of the reference's images.
    """
    rows = []
    for record in records:
        c = record.configuration
        along_x, along_y = (lines_of(lines, d, c.seed) for d in (c.d_x, c.d_y))
        apart = composed(along_x, along_y)
        images = learning_time_or_end(record.checkpoints, "accuracy", 0.9)
        rows.append(
            {
                "d_x": c.d_x,
                "d_y": c.d_y,
                "seed": c.seed,
                "T_x": _to_half(record.checkpoints, "accuracy_x"),
                "T_y": _to_half(record.checkpoints, "accuracy_y"),
                "T_x_1d": _to_half(along_x.checkpoints, "accuracy_x"),
                "T_y_1d": _to_half(along_y.checkpoints, "accuracy_x"),
                "cost": images / learning_time(apart, "accuracy", 0.9),
                "images": len(task_of(c).labels()),
                "lines": sum(len(task_of(r.configuration).labels()) for r in (along_x, along_y)),
                "farthest_apart_1d": max_axis_gap(apart),
            }
        )
    return _with_index(pd.DataFrame(rows), "T_x_1d", "T_y_1d")


def coupling_by_balanced(records: Sequence[Record], d_x: float, d_y: float) -> pd.DataFrame:
    """How coupled the runs of a data set are, beside images of balanced ones; a row a seed.

    As `coupling`, but the axes apart are those of images whose axes are both as dense as x,
    `T_x_2d`, and both as dense as y, `T_y_2d`: what each axis takes where the other is like it (the
    controls of arXiv 2402.03305, section 3). The index is 0 if an axis is learned as there,
    whatever the other, and 1 if both are learned at once. Empty if one of the three data sets is
    not among the records.
    """
    half = {
        (c.d_x, c.d_y, c.seed): [_to_half(r.checkpoints, f"accuracy_{axis}") for axis in "xy"]
        for r in records
        for c in [r.configuration]
    }
    rows = [
        (d_x, d_y, seed, *half[d_x, d_y, seed], half[d_x, d_x, seed][0], half[d_y, d_y, seed][1])
        for seed in sorted({seed for _, _, seed in half})
        if {(d_x, d_y, seed), (d_x, d_x, seed), (d_y, d_y, seed)} <= half.keys()
    ]
    columns = ["d_x", "d_y", "seed", "T_x", "T_y", "T_x_2d", "T_y_2d"]
    table = pd.DataFrame(rows, columns=columns)
    return _with_index(table, "T_x_2d", "T_y_2d")


def _with_index(table: pd.DataFrame, apart_x: str, apart_y: str) -> pd.DataFrame:
    apart = np.log(table[apart_x] / table[apart_y])
    known = len(apart) > 1 and not apart.isna().any()
    distinct = (
        known and abs(apart.mean()) >= np.log(DISTINCT) and ttest_1samp(apart, 0).pvalue < 0.05
    )
    together = np.log(table["T_x"] / table["T_y"])
    index = 1 - together / (apart.mean() if distinct else np.nan)
    return table.assign(together=together, apart=apart, index=index)


def _to_half(checkpoints: pd.DataFrame, measure: str) -> float:
    time = learning_time(checkpoints, measure, 0.5)
    first = checkpoints.query("step > 0")["images_seen"].iloc[0]
    return time if time > first else float("nan")


def runs(
    spacings: Sequence[float], profile: str, seeds: int | None, **fields: Any
) -> tuple[list[Record], list[Record]]:
    """The records of all data sets whose d_x and d_y are among the spacings, d_x at most d_y, as
    exchanging the axes gives the same; and of the lines that their reference is made of.

    `fields` replace those of the experiments' configurations, for both. Missing records are
    trained.
    """
    given = {"d_x": list(spacings), **fields}
    images = experiment("imbalance", profile, seeds, d_y=list(spacings), **given)
    return load_or_run(images), load_or_run(experiment("lines", profile, seeds, **given))


def lines_of(lines: Sequence[Record], d: float, seed: int) -> Record:
    """The run among `lines` with this spacing and seed. Raises LookupError if there is none."""
    for record in lines:
        if (record.configuration.d_x, record.configuration.seed) == (d, seed):
            return record
    raise LookupError(f"no line with d {d} and seed {seed}")
