"""Elements of figures that several chapters share: images, curves over training, axes."""

from collections.abc import Iterable
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis

from bump_diffusion.page.words import short
from bump_diffusion.runs.record import Record

IMAGES_SEEN = "images seen in training"


def _pixels(axes: plt.Axes, image: np.ndarray, low: float = -1, high: float = 1) -> None:
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set(visible=True, color="#999999", linewidth=0.6)


def band(records: list[Record]) -> str:
    """What the curves of these runs show (see `curve`), in words."""
    seeds = len({r.configuration.seed for r in records})
    return "one seed" if seeds == 1 else f"line: mean over {seeds} seeds; band: their range"


def curve(ax: Axes, table: pd.DataFrame, y: str, **style: Any) -> None:
    """Draw a column of runs' checkpoints against images seen: the mean over seeds, and their range.

    Checkpoints where it is undefined are left out.
    """
    sns.lineplot(
        table.dropna(subset=[y]),
        x="images_seen",
        y=y,
        errorbar=("pi", 100),
        err_kws={"alpha": 0.15, "linewidth": 0},
        ax=ax,
        **style,
    )


def _few_checkpoints(record: Record, most: int) -> list[int]:
    """Places, among the record's checkpoints, of `most` evenly spread ones, first and last too."""
    count = len(record.checkpoints)
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def _thousands(images: float) -> str:
    return f"{short(images / 1000)}k" if images >= 1000 else f"{images:g}"


def _tables(records: list[Record], table: str) -> pd.DataFrame:
    return pd.concat(
        [getattr(r, table).assign(seed=r.configuration.seed, record=r.id) for r in records],
        ignore_index=True,
    )


def _last(records: list[Record], column: str) -> str:
    values = [r.checkpoints[column].iloc[-1] for r in records]
    return f"{np.mean(values):.0%} ({min(values):.0%} to {max(values):.0%})"


def _over_training(axes: Iterable[Axes], records: list[Record]) -> None:
    """Let the axes run, in log, over the images seen by the trained checkpoints.

    Before anything is drawn: a quantity may be undefined at all of them.
    """
    for ax in axes:
        images_axis(ax.xaxis, records)


def images_axis(axis: Axis, records: list[Record]) -> None:
    """Let an axis run, in log, over the images seen by the trained checkpoints."""
    seen = pd.concat([r.checkpoints["images_seen"] for r in records])
    name = axis.axis_name
    limits = (seen[seen > 0].min(), seen.max())
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": limits})
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 3)))
    axis.set_major_formatter(lambda images, _: _thousands(images))
    axis.set_minor_formatter("")


def position_colours(position: np.ndarray, N: int) -> np.ndarray:
    """Colours (n, 4) of positions (n, 2): blue to orange along x, dark to light along y.

    Positions that are NaN get a pale, nearly transparent grey.
    """
    unit = np.clip(np.nan_to_num(position) / N, 0, 1)
    corners = {(0, 0): "#00305c", (1, 0): "#7a2800", (0, 1): "#7cc4f5", (1, 1): "#ffc46b"}
    colour = sum(
        np.where(i, unit[:, :1], 1 - unit[:, :1])
        * np.where(j, unit[:, 1:], 1 - unit[:, 1:])
        * np.array(mpl.colors.to_rgba(corner))
        for (i, j), corner in corners.items()
    )
    colour[np.isnan(position).any(axis=1)] = (0.8, 0.8, 0.8, 0.5)
    return np.clip(colour, 0, 1)
