"""Elements of figures that several chapters share: images, curves over training, axes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bump_diffusion.page.colours import PIXELS, QUIET
from bump_diffusion.page.drawing import WIDTH
from bump_diffusion.page.words import short

IMAGES_SEEN = "images seen in training"


def show_pixels(ax: Axes, image: np.ndarray, low: float = -1, high: float = 1) -> None:
    """Show an image (height, width) in grey, framed, `low` black and `high` white.

    It is less bright in the dark theme.
    """
    ax.imshow(image, cmap="gray", vmin=low, vmax=high, interpolation="nearest", gid=PIXELS)
    hide_ticks(ax)
    for spine in ax.spines.values():
        spine.set(visible=True, color=QUIET, linewidth=0.6)


def hide_ticks(ax: Axes) -> None:
    """Take away the axes' ticks and grid, where numbers along them mean nothing."""
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def cell_axes(ax: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    """Let axes show square cells, one for each pair of a value of x and one of y."""
    ax.set_xticks(np.arange(len(x)) + 0.5, [f"{value:g}" for value in x])
    ax.set_yticks(np.arange(len(y)) + 0.5, [f"{value:g}" for value in y])
    ax.set(xlim=(0, len(x)), ylim=(0, len(y)), aspect="equal")
    ax.grid(False)


def panels(titles: Iterable[str], height: float) -> tuple[Figure, np.ndarray]:
    """Make a row of panels under their titles that share both axes; `height` is in inches."""
    titles = list(titles)
    shape, size = (1, len(titles)), (WIDTH, height)
    figure, axes = plt.subplots(*shape, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    return figure, axes[0]


def panels_over_training(
    table: pd.DataFrame,
    rows: int = 1,
    columns: int = 1,
    height: float = 3.4,
    caption: str | None = None,
    **subplots: Any,
) -> tuple[Figure, np.ndarray]:
    """Make panels (rows, columns) that share an `images_axis` along x; `height` is in inches.

    The caption below says by default what is along x, and what a `curve` of these runs shows.
    """
    size = (WIDTH, height)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex=True, squeeze=False, **subplots)
    for ax in axes.flat:
        images_axis(ax.xaxis, table)
    if caption != "":
        figure.supxlabel(caption or f"{IMAGES_SEEN}; {band(table)}")
    return figure, axes


def images_axis(axis: Axis, table: pd.DataFrame) -> None:
    """Let an axis run, in log, over the images seen by the trained checkpoints of the runs.

    Before anything is drawn: a quantity may be undefined at all of them.
    """
    seen = table["images_seen"][table["images_seen"] > 0]
    name = axis.axis_name
    limits = seen.min(), max(seen.max(), 2 * seen.min())  # of a single checkpoint too
    axis.axes.set(**{f"{name}scale": "log", f"{name}lim": limits})
    axis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 3)))
    axis.set_major_formatter(lambda images, _: thousands(images))
    axis.set_minor_formatter("")


def curve(ax: Axes, table: pd.DataFrame, y: str, **style: Any) -> None:
    """Draw a column of runs' checkpoints against images seen: the mean over runs, and their range.

    Runs are told apart by `record`, and one run's lines by the columns of hue and style and by
    `variable`. Checkpoints where the column is undefined are left out; see `at_all_checkpoints` for
    runs that have other checkpoints than each other. The axes get no labels.
    """
    names = ("record", "variable", style.get("hue"), style.get("style"))
    of_line = list(dict.fromkeys(name for name in names if name in table))
    aligned = at_all_checkpoints(table.dropna(subset=[y]), y, of_line)
    style |= {"errorbar": ("pi", 100), "err_kws": {"alpha": 0.15, "linewidth": 0}}
    sns.lineplot(aligned, x="images_seen", y=y, ax=ax, **style)
    ax.set(xlabel="", ylabel="")


def at_all_checkpoints(table: pd.DataFrame, y: str, of_line: Sequence[str]) -> pd.DataFrame:
    """Give each line the checkpoints of all, from its first to its last, as a mean needs them.

    A value between two checkpoints lies on the straight line between theirs, against the logarithm
    of the images seen. Returns the columns `of_line`, images_seen and `y`; step 0 is left out.
    """
    table = table[table["images_seen"] > 0]
    every, parts = np.sort(table["images_seen"].unique()), [table.iloc[:0]]
    for line, run in table.sort_values("images_seen").groupby(list(of_line), sort=False):
        seen = run["images_seen"].to_numpy()
        between = every[(every >= seen[0]) & (every <= seen[-1])]
        values = np.interp(np.log(between), np.log(seen), run[y])
        about = dict(zip(of_line, line, strict=True))
        parts.append(pd.DataFrame({**about, "images_seen": between, y: values}))
    return pd.concat(parts)[[*of_line, "images_seen", y]]


def band(table: pd.DataFrame) -> str:
    """Say what the curves of these runs show (see `curve`)."""
    seeds = table["seed"].nunique()
    return "one seed" if seeds == 1 else f"line: mean over {seeds} seeds; band: their range"


def means_at_end(table: pd.DataFrame, names: dict[str, str]) -> str:
    """List the means of columns over runs at their last steps, by their names, for an alt text."""
    at_end = table["step"] == table.groupby("record")["step"].transform("max")
    means = table.loc[at_end, list(names)].mean().dropna()
    return ", ".join(f"{names[column]} {mean:.2f}" for column, mean in means.items())


def legend_above(figure: Figure, styles: Mapping[str, Any], **legend: Any) -> None:
    """Put a legend above the figure: for each label a line in a style, or a patch in a colour."""
    handles = [
        Patch(color=style, label=label)
        if isinstance(style, str)
        else Line2D([], [], label=label, **style)
        for label, style in styles.items()
    ]
    figure.legend(handles=handles, loc="outside upper center", **legend)


def spaced_indices(count: int, most: int) -> list[int]:
    """Choose at most `most` of `count` indices, evenly spaced, the first and the last too."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist()


def thousands(images: float) -> str:
    """Write a number of images in thousands, from one thousand on."""
    return f"{short(images / 1000)}k" if images >= 1000 else f"{images:g}"
