"""The factorized baseline: what learning x and y apart would take.

The paper argues (arXiv 2402.03305, section 3) that a model which factorizes would learn each axis
as a one-dimensional task. That model is built here: a one-dimensional diffusion model learns lines
with a bump at the requested x (experiment `lines`), another, or by symmetry the same, lines along
y. An image is the product of two lines. Both see the marginals of the two-dimensional data set.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from scipy.stats import ttest_1samp

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.learning import learning_times
from bump_diffusion.data.bumps import bump_height
from bump_diffusion.data.lines import compose
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.outcomes import classify_images
from bump_diffusion.runs.record import Record
from bump_diffusion.seeds import generator

COMPOSED = 256
"""Images composed of the lines of a checkpoint."""

DISTINCT = 1.25
"""Least ratio of the learning times of separate axes for a coupling index, which must also differ
from 1 by more than chance: axes that are learned equally fast look the same coupled and
factorized."""


def measure_composed(along_x: Record, along_y: Record) -> pd.DataFrame:
    """Measure the images composed of two runs' lines, at each checkpoint that both have.

    A row per checkpoint: step, images_seen (the lines of both axes together), and the metrics of
    `outcomes.Classification`. Lines are paired at random, the same pairs at each checkpoint.
    """
    c = along_x.configuration
    draws = generator("cpu", c.seed, "compose")
    labels, lines = [], []
    steps = np.intersect1d(along_x.checkpoints["step"], along_y.checkpoints["step"])
    for record in (along_x, along_y):
        known, drawn = (torch.from_numpy(record.arrays[name]) for name in ("labels", "lines"))
        chosen = torch.randint(len(known), (COMPOSED,), generator=draws)
        labels.append(known[chosen, 0])
        at_steps = drawn[record.checkpoints["step"].isin(steps).to_numpy(copy=True)]
        lines.append(at_steps[:, chosen, None, None].float() / 127.5 - 1)
    requested, rows = torch.stack(labels, dim=1), []
    for step, *of_axes in zip(steps.tolist(), *lines, strict=True):
        heights = (bump_height(images, c.polarity) for images in of_axes)
        metrics = classify_images(compose(*heights), requested, c.sigma).metrics()
        rows.append({"step": step, "images_seen": 2 * step * c.batch_size, **metrics})
    return pd.DataFrame(rows)


def couple_to_lines(images: Sequence[Record], lines: Sequence[Record]) -> pd.DataFrame:
    """Compute how coupled the axes of images are, and at what cost, beside those learned alone.

    `lines` hold a run for each spacing and seed of the `images`; otherwise raises LookupError.
    Returns a row per run of images, indexed by record. `T_x` and `T_y` are the training images to
    50 % accuracy in each axis, `T_x_1d` and `T_y_1d` the lines to it where the axis is learned
    alone, of the same seed; NaN where the first trained checkpoint reaches it. The coupling `index`
    is

        1 - log(T_x / T_y) / log(T_x^1D / T_y^1D),

    0 if the axes are learned as far apart as alone, 1 if jointly. Its numerator is in the column
    `joint`, the term of each seed in its denominator in `separate`; for the denominator itself see
    `_with_index`. `cost` is the ratio of the training examples, repeats included, to 90 % correct:
    images of the 2D run, over the lines of both axes. A 2D run that does not reach that counts with
    all the images that it saw: the cost is at least that. `images` and `lines`, of both axes, are
    the different examples that the data sets hold. `max_axis_gap_1d` is the largest difference
    between the accuracies in x and y of the images composed of lines (`measure_composed`).
    """
    by_spacing = {(c.N, c.d_x, c.seed): r for r in lines for c in [r.configuration]}
    pairs = {
        record.id: [by_spacing[c.N, d, c.seed] for d in (c.d_x, c.d_y)]
        for record in images
        for c in [record.configuration]
    }
    baseline = pd.concat(
        {id: measure_composed(*pair) for id, pair in pairs.items()}, names=["record"]
    )
    gaps = (baseline["accuracy_x"] - baseline["accuracy_y"]).abs()
    baseline, table, alone = baseline.reset_index("record"), frame(images), frame(lines)
    line_times = _learn_axes(alone)["T_x"]
    couplings = _learn_axes(table).assign(
        T_x_1d=[line_times[along_x.id] for along_x, _ in pairs.values()],
        T_y_1d=[line_times[along_y.id] for _, along_y in pairs.values()],
        cost=learning_times(table, "accuracy", 0.9, or_end=True)
        / learning_times(baseline, "accuracy", 0.9),
        images=[_count_examples(record) for record in images],
        lines=[sum(map(_count_examples, pair)) for pair in pairs.values()],
        max_axis_gap_1d=gaps.groupby("record").max(),
    )
    return _with_index(couplings, "T_x_1d", "T_y_1d")


def couple_to_balanced(images: Sequence[Record]) -> pd.DataFrame:
    """Compute how coupled the axes of imbalanced images are, beside images of balanced ones.

    As `couple_to_lines`, but the separate axes are those of images whose axes are both as dense as
    x, `T_x_2d`, and both as dense as y, `T_y_2d`: what each axis takes where the other is like it
    (the controls of arXiv 2402.03305, section 3). The index is 0 if an axis is learned as there,
    whatever the other, and 1 if both are learned at once. Runs whose balanced data sets are not
    among the images with the same seed are left out.
    """
    table = _learn_axes(frame(images))
    ids = {record.configuration: record.id for record in images}
    balanced = {}
    for c, id in ids.items():
        as_x, as_y = (ids.get(c.model_copy(update={"d_x": d, "d_y": d})) for d in (c.d_x, c.d_y))
        if c.d_x != c.d_y and as_x and as_y:
            balanced[id] = (table["T_x"][as_x], table["T_y"][as_y])
    columns = ["T_x_2d", "T_y_2d"]
    balanced = pd.DataFrame.from_dict(balanced, orient="index", columns=columns, dtype=float)
    return _with_index(table.join(balanced, how="inner"), *columns)


def _learn_axes(table: pd.DataFrame) -> pd.DataFrame:
    """Each run's setting, spacings and seed, and its images to 50 % accuracy in x and y."""
    runs = table.drop_duplicates("record").set_index("record")
    first = table[table["step"] > 0].groupby("record", sort=False)["images_seen"].first()
    times = {axis: learning_times(table, f"accuracy_{axis}", 0.5) for axis in "xy"}
    # Reached at the first trained checkpoint, it is not known when.
    return runs[["setting", "d_x", "d_y", "seed"]].assign(
        **{f"T_{axis}": time.where(time > first) for axis, time in times.items()}
    )


def _with_index(couplings: pd.DataFrame, time_x: str, time_y: str) -> pd.DataFrame:
    """Add the coupling index, whose denominator is the mean over the seeds of a data set.

    Where this is less than log(`DISTINCT`), or its 95 % interval (Student's) holds 0, coupled and
    factorized learning look the same and the index is NaN.
    """
    couplings = couplings.assign(
        joint=np.log(couplings["T_x"] / couplings["T_y"]),
        separate=np.log(couplings[time_x] / couplings[time_y]),
    )
    separate = couplings.groupby("setting")["separate"].transform(_mean_if_distinct)
    return couplings.assign(index=1 - couplings["joint"] / separate)


def _mean_if_distinct(separate: pd.Series) -> float:
    distinct = (
        len(separate) > 1
        and abs(separate.mean(skipna=False)) >= np.log(DISTINCT)
        and ttest_1samp(separate, 0).pvalue < 0.05
    )
    return separate.mean() if distinct else np.nan


def _count_examples(record: Record) -> int:
    return len(task_of(record.configuration).labels())
