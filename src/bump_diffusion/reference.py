"""The factorized reference: what learning x and y apart would take.

The paper argues (arXiv 2402.03305, section 3) that a model which factorizes would learn each axis
as a one-dimensional task. That model is built here: a one-dimensional diffusion model learns lines
with a bump at the requested x (experiment `lines`), another, or by symmetry the same, lines along
y. An image is the product of two lines. Both see the marginals of the two-dimensional data set.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from .config import Configuration
from .data import bump_height
from .errors import UserError
from .evaluation import compose
from .experiments import experiment, load_or_run
from .generation import sort_images
from .phases import learning_time
from .seeds import generator
from .store import Record

COMPOSED = 256
"""Images composed of the lines of a checkpoint."""

DISTINCT = 1.25
"""Least ratio of the one-dimensional learning times for a coupling index: axes that are learned
equally fast apart look the same coupled and factorized."""


def composed(along_x: Record, along_y: Record) -> pd.DataFrame:
    """The generation metrics of images composed of two runs' lines, at each checkpoint of both.

    A row per checkpoint: step, images_seen (the lines of both axes together), and the metrics of
    `generation.Sorted`. Lines are paired at random, the same pairs at each checkpoint.
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
        metrics = sort_images(compose(*heights), requested, c.sigma).metrics()
        rows.append({"step": step, "images_seen": 2 * step * c.batch_size, **metrics})
    return pd.DataFrame(rows)


def coupling(both: Record, along_x: Record, along_y: Record, level: float = 0.5) -> pd.Series:
    """The learning times of a 2D run and of its factorized reference, and what follows from them.

    Times are training examples to `level` in each axis (images for the 2D run, lines for the
    reference). The coupling `index` is 1 - log(T_x / T_y) / log(T_x^1D / T_y^1D): 0 if the axes are
    learned as far apart as one-dimensional models learn them, 1 if together; NaN where these differ
    by less than `DISTINCT`. `cost` is the ratio of the examples to 90 % correct images: of the 2D
    run to the lines of both axes.
    """
    two = {a: learning_time(both.checkpoints, f"accuracy_{a}", level) for a in "xy"}
    one = {
        a: learning_time(record.checkpoints, "accuracy_x", level)
        for a, record in (("x", along_x), ("y", along_y))
    }
    apart = np.log(one["x"] / one["y"])
    index = 1 - np.log(two["x"] / two["y"]) / apart if abs(apart) >= np.log(DISTINCT) else np.nan
    cost = learning_time(both.checkpoints, "accuracy", 0.9) / learning_time(
        composed(along_x, along_y), "accuracy", 0.9
    )
    return pd.Series(
        {
            "T_x": two["x"],
            "T_y": two["y"],
            "T_x_1d": one["x"],
            "T_y_1d": one["y"],
            "index": index,
            "cost": cost,
        }
    )


def runs(
    spacings: Sequence[Sequence[float]], profile: str, seeds: int | None
) -> tuple[list[Record], list[Record]]:
    """The records of data sets (d_x, d_y), and of the lines that their reference is made of.

    Missing ones are trained. As exchanging the axes gives the same, d_x and d_y are put in order.
    Raises UserError for what is not a list of pairs.
    """
    for pair in spacings:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise UserError(f"spacings has {pair!r}, it must list pairs [d_x, d_y].")
    wanted = [c for x, y in map(sorted, spacings) for c in _images(x, y, profile, seeds)]
    lines = experiment("lines", profile, seeds, d_x=sorted({d for pair in spacings for d in pair}))
    return load_or_run(wanted), load_or_run(lines)


def _images(d_x: float, d_y: float, profile: str, seeds: int | None) -> list[Configuration]:
    return experiment("imbalance", profile, seeds, d_x=d_x, d_y=d_y)


def lines_of(lines: Sequence[Record], d: float, seed: int) -> Record:
    """The run among `lines` with this spacing and seed. Raises LookupError if there is none."""
    for record in lines:
        if (record.configuration.d_x, record.configuration.seed) == (d, seed):
            return record
    raise LookupError(f"no line with d {d} and seed {seed}")
