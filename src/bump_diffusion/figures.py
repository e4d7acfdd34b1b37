"""The book's figures, one function each.

A figure function takes records, or what else it draws, and returns the figure with its text
alternative; the decorator `drawn` makes of that a `Drawing`, which a notebook shows with a link to
the function and, folded, the provenance of the records. Figures are drawn 5.4 inches wide, to be
read in print and on a phone. Colours are Okabe and Ito's, which the colour-blind can tell apart.
"""

import base64
import functools
import html
import io
import itertools
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import as_file, files
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from .book import PROVENANCE
from .config import Configuration
from .data import axis_positions, bump_height, data_labels, label_grid, render_bumps
from .diffusion import NoiseSchedule, add_noise
from .evaluation import generate, shown
from .generation import KINDS
from .model import CONDITIONINGS, UNet
from .performance import LIBRARIES, OURS, Results
from .phases import (
    MANIFOLD,
    ORDER,
    PHASES,
    PLACED,
    SINGLE,
    agreement,
    order_parameters,
    phases_over_training,
    short,
)
from .representation import probe_r2
from .seeds import generator
from .store import Record, default_store
from .train import build_model, one_thread

WIDTH = 5.4
CSS_PIXELS_PER_INCH = 130
KIND_COLOURS = {
    "none": "#999999",
    "several": "#E69F00",
    "misplaced": "#56B4E9",
    "correct": "#009E73",
}
PHASE_COLOURS = {"A": "#E69F00", "B": "#56B4E9", "C": "#009E73"}
FEATURE_STYLES = {
    "trained": ("as published", "#D55E00", "-"),
    "ablated": ("label ablated", "#0072B2", "-"),
    "untrained": ("untrained network", "#D55E00", ":"),
    "untrained, ablated": ("untrained, label ablated", "#0072B2", ":"),
    "shuffled": ("shuffled labels", "#555555", "--"),
}
PROVENANCE_FIELDS = (
    *("N", "d_x", "d_y", "sigma", "axes", "width", "precision", "conditioning", "clip_sample"),
    *("steps", "seed"),
)
IMAGES_SEEN = "images seen in training"


class Drawing:
    """A figure as a notebook shows it: image, text alternative, source, provenance."""

    def __init__(
        self,
        figure: Figure,
        alt: str,
        function: Callable,
        records: Sequence[Record],
        provenance: str,
        moving: str | None = None,
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        self.png = buffer.getvalue()
        self.width = round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)
        self.alt = alt
        self.moving = moving
        self.function = function
        self.provenance = provenance
        # A record that is in no store, as of a model trained for one page, cannot change.
        roots = default_store().roots
        self.records = {r.id: r.digest for r in records if r.folder.parent in roots}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        name = self.function.__name__
        module = self.function.__module__
        source = f"../_modules/{module.replace('.', '/')}.html#{name}"
        images = self._image("dark-light", "image/png", self.png)
        if self.moving is not None:  # the still takes its place in print
            images = self._image("dark-light still", "image/png", self.png)
            images += self._image("dark-light moving", "image/svg+xml", self.moving.encode())
        page = (
            f'<figure class="drawing">{images}<figcaption>Drawn by <a href="{source}">'
            f"<code>{module}.{name}</code></a>{self.provenance}</figcaption></figure>"
        )
        return (
            {"text/html": page, "text/plain": f"<Drawing {name}: {self.alt}>"},
            {"text/html": {}, PROVENANCE: {"records": self.records}},
        )

    def _image(self, style: str, kind: str, content: bytes) -> str:
        encoded = base64.b64encode(content).decode()
        return (
            f'<img class="{style}" alt="{html.escape(self.alt)}" style="max-width: '
            f'min(100%, {self.width}px)" src="data:{kind};base64,{encoded}">'
        )


def drawn(function: Callable[..., tuple[Figure, str]]) -> Callable[..., Drawing]:
    """Make a function that returns a figure and its text alternative return a `Drawing`.

    It may return a third thing: the same as a moving picture, an SVG document.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Drawing:
        records = [
            record
            for argument in arguments
            for record in (argument if isinstance(argument, list) else [argument])
            if isinstance(record, Record)
        ]
        measured = [a for a in arguments if isinstance(a, Results)]
        provenance = provenance_html(records)
        if measured:
            provenance = f". {html.escape(measured[0].provenance)}"
        style = files(__package__) / "book.mplstyle"
        with as_file(style) as path, plt.style.context(path), one_thread():
            figure, alt, *moving = function(*arguments)
            return Drawing(figure, alt, function, records, provenance, *moving)

    return wrapper


def provenance_html(records: Sequence[Record]) -> str:
    """Folded lines on how each record was made; without records, nothing."""
    if not records:
        return " from no record: it needs no training."
    rows = []
    for record in records:
        made = record.provenance
        changed = ", ".join(
            f"{name} {value}"
            for name, value in record.configuration.model_dump().items()
            if name in PROVENANCE_FIELDS
        )
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        rows.append(
            f"<li><code>{record.id}</code>: {html.escape(changed)}; made {made['finished'][:10]} "
            f"in {made['wall_seconds'] / 60:.1f} min on {html.escape(made['device'])}, "
            f"{made['threads']} thread(s), Python {made['python']}, {versions}, "
            f"commit <code>{made['commit']}</code></li>"
        )
    count = "1 record" if len(records) == 1 else f"{len(records)} records"
    return (
        f"<details><summary>Provenance: {count}</summary><ul>{''.join(rows)}</ul>"
        "<p>Every field of a configuration, and the versions, stand in the record's folder.</p>"
        "</details>"
    )


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


# Data


@drawn
def bumps_by_spread(N: int, spreads: list[float], polarity: str) -> tuple[Figure, str]:
    """One bump for each spread sigma: in the middle, between pixels, and cut by an edge."""
    places = {"on a pixel": (N // 2, N // 2), "between": (N / 2 + 0.5, N / 2 + 0.5)}
    places["at the edge"] = (N - 0.5, N // 4)
    figure, axes = plt.subplots(
        3, len(spreads), figsize=(WIDTH, 3.4 * WIDTH / (len(spreads) + 0.8)), squeeze=False
    )
    for row, (place, label) in zip(axes, places.items(), strict=True):
        for ax, sigma in zip(row, spreads, strict=True):
            image = render_bumps(torch.tensor([label], dtype=torch.float32), N, sigma, polarity)
            _pixels(ax, image[0, 0].numpy())
            if place == "on a pixel":
                ax.set_title(rf"$\sigma$ = {sigma:g}")
        row[0].set_ylabel(place)
    ground = "light" if polarity == "dark" else "dark"
    alt = (
        f"Bumps of spread {', '.join(f'{s:g}' for s in spreads)} pixels, {polarity} on {ground} "
        f"ground, in {N} by {N} images: on a pixel, between pixels, and half cut by the right edge."
    )
    return figure, alt


@drawn
def label_grids(N: int, spacings: list[float]) -> tuple[Figure, str]:
    """The labels of data sets of different spacing, and how many images each has."""
    figure, axes = plt.subplots(
        1, len(spacings), figsize=(WIDTH, WIDTH / len(spacings) + 0.7), squeeze=False, sharey=True
    )
    counts = []
    for ax, d in zip(axes[0], spacings, strict=True):
        grid = label_grid(N, d, d)
        counts.append(len(grid))
        near = grid[(grid < 4).all(dim=1)]
        ax.plot(*near.T, ".", markersize=max(1.0, 6 * min(1.0, d)))
        ax.set(aspect="equal", xlim=(-0.5, 4), ylim=(4, -0.5), xlabel=r"$\mu_x$ (pixels)")
        ax.set_title(f"d = {d:g}\n{len(grid):,} images")
    axes[0, 0].set_ylabel(r"$\mu_y$ (pixels)")
    pairs = ", ".join(f"{n:,} at d = {d:g}" for n, d in zip(counts, spacings, strict=True))
    return figure, f"The corner of the label grid for each spacing d; number of images: {pairs}."


@drawn
def neighbour_overlap(N: int, spreads: list[float], spacings: list[float]) -> tuple[Figure, str]:
    """Cosine similarity of neighbouring bumps, measured on rendered images, over sigma / d."""
    figure, ax = plt.subplots()
    largest = 0.0
    for sigma in spreads:
        points = []
        for d in spacings:
            middle = torch.tensor([[N / 2, N / 2], [N / 2 + d, N / 2]])
            first, second = bump_height(render_bumps(middle, N, sigma)).flatten(1)
            similarity = float(torch.cosine_similarity(first, second, dim=0))
            largest = max(largest, abs(similarity - np.exp(-((d / sigma) ** 2) / 4)))
            points.append((sigma / d, similarity))
        ax.plot(*zip(*points, strict=True), "o", label=rf"$\sigma$ = {sigma:g}")
    ratio = np.geomspace(0.1, 40, 200)
    ax.plot(ratio, np.exp(-1 / (4 * ratio**2)), color="#555555", lw=1, zorder=0)
    ax.set(xscale="log", xlabel=r"$\sigma$ / d", ylabel="overlap of neighbours (cosine)")
    ax.legend(loc="lower right")
    alt = (
        "Overlap of neighbouring bumps against sigma over d, measured on rendered images: the "
        f"points follow the curve exp(-d^2 / 4 sigma^2), the farthest {largest:.2f} away from it."
    )
    return figure, alt


# Model


@drawn
def noising(c: Configuration) -> tuple[Figure, str]:
    """A bump under growing noise, and the schedule's share of signal."""
    schedule = NoiseSchedule(c.timesteps, c.beta_start, c.beta_end)
    alpha_bar = schedule.alpha_bar()
    steps = np.linspace(0, c.timesteps - 1, 6).round().astype(int).tolist()
    label = torch.tensor([[0.3 * c.N, 0.6 * c.N]])
    bump = render_bumps(label, c.N, c.sigma, c.polarity).expand(len(steps), -1, -1, -1)
    noise = torch.randn(bump.shape, generator=generator("cpu", "noising"))
    images = add_noise(bump, alpha_bar[steps], noise)
    figure = plt.figure(figsize=(WIDTH, 3.6))
    grid = figure.add_gridspec(2, len(steps), height_ratios=[1, 2])
    for i, t in enumerate(steps):
        ax = figure.add_subplot(grid[0, i])
        _pixels(ax, images[i, 0].numpy(), -2, 2)
        ax.set_title(f"t = {t}")
    ax = figure.add_subplot(grid[1, :])
    ax.plot(alpha_bar.sqrt(), label=r"signal $\sqrt{\bar\alpha_t}$")
    ax.plot((1 - alpha_bar).sqrt(), "--", label=r"noise $\sqrt{1-\bar\alpha_t}$")
    ax.set(xlabel="timestep t", ylabel="amplitude", ylim=(0, 1.02))
    ax.legend(loc="center right")
    alt = (
        f"A bump at timesteps {', '.join(map(str, steps))}: it drowns in noise. Below, the "
        f"amplitude of the signal falls from 1 to {float(alpha_bar[-1].sqrt()):.3f} and that of "
        "the noise rises to 1."
    )
    return figure, alt


@drawn
def label_distances(c: Configuration) -> tuple[Figure, str]:
    """How far apart an untrained network's inputs are for two labels, by conditioning scheme.

    The Euclidean distance of each label's embedding from the middle's, over the largest; and R^2 of
    reading the position linearly from the embedding (`representation.probe_r2`, the mean of x, y).
    """
    figure, axes = plt.subplots(1, len(CONDITIONINGS), figsize=(WIDTH, 2.7), sharey=True)
    grid = data_labels(c)
    middle = (grid - c.N / 2).norm(dim=1).argmin()
    shape = [len(axis_positions(c.N, d)) for d in (c.d_x, c.d_y)]
    extent = (-c.d_x / 2, c.N - c.d_x / 2, c.N - c.d_y / 2, -c.d_y / 2)
    said = []
    for ax, scheme in zip(axes, CONDITIONINGS, strict=True):
        scale = c.label_scale if scheme == "sinusoidal" else 1.0
        model = build_model(c.model_copy(update={"conditioning": scheme, "label_scale": scale}))
        with torch.inference_mode():
            embedding = model.conditioning(grid)
        distance = (embedding - embedding[middle]).norm(dim=1)
        distance = (distance / distance.max()).view(*shape).T
        image = ax.imshow(distance, cmap="viridis", vmin=0, vmax=1, extent=extent)
        r2 = np.mean(probe_r2(embedding.numpy(), grid.numpy()))
        ax.set(title=f"{scheme}\n$R^2$ = {r2:.2f}", xlabel=r"$\mu_x$ (pixels)")
        ax.grid(False)
        said.append(f"{scheme} {r2:.2f}")
    axes[0].set_ylabel(r"$\mu_y$ (pixels)")
    figure.colorbar(image, ax=axes, label="distance from the middle", shrink=0.7)
    return figure, (
        "Distance of each label's embedding from the middle label's, before any training. R "
        f"squared of reading the position from the embedding: {', '.join(said)}."
    )


@drawn
def denoising(record: Record, model: UNet) -> tuple[Figure, str]:
    """Images on their way from noise to a bump, one requested position a row."""
    c = record.configuration
    places = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.5, 0.75], [0.0, 0.5]]) * c.N
    kept = [c.timesteps - 1, *(round(c.timesteps * f) for f in (0.7, 0.5, 0.3, 0.15)), 0]
    figure, axes = plt.subplots(len(places), len(kept) + 1, figsize=(WIDTH, 3.5))
    for column, t in enumerate(kept):
        final, seen, t = generate(
            c.model_copy(update={"probe_timestep": t}),
            model,
            places,
            c.sampler,
            c.sampler_steps,
            ("denoising",),
        )
        for ax, image in zip(axes[:, column], seen, strict=True):
            _pixels(ax, image[0].numpy(), -2, 2)
        axes[0, column].set_title(f"t = {t}")
    for ax, image, place in zip(axes[:, -1], final, places, strict=True):
        _pixels(ax, image[0].numpy())
        ax.plot(*place, "+", color="#D55E00", markersize=7)
    axes[0, -1].set_title("image")
    for ax, place in zip(axes[:, 0], places.tolist(), strict=True):
        ax.set_ylabel(f"({place[0]:g}, {place[1]:g})", rotation=0, ha="right", va="center")
    alt = (
        f"{len(places)} images at falling timesteps, from noise to one bump; a cross marks the "
        "requested position in the finished image."
    )
    return figure, alt


@drawn
def sampler_comparison(records: list[Record]) -> tuple[Figure, str]:
    """Kinds of image from the same networks over training, under different samplers."""
    table = _tables(records, "samplers")
    table["images_seen"] = table["step"] * records[0].configuration.batch_size
    panels = {
        "correct": "one bump, right place",
        "misplaced": "one bump, wrong place",
        "several": "several bumps",
        "none": "no bump",
    }
    steps = sorted(table["sampler_steps"].unique())
    colours = dict(zip(steps, sns.color_palette("viridis_r", len(steps)), strict=True))
    styles = {"ancestral": "-", "ddim": ":"}
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.8), sharex=True, sharey=True)
    _over_training(axes.flat, records)
    for ax, (kind, title) in zip(axes.flat, panels.items(), strict=True):
        for (sampler, count), part in table.groupby(["sampler", "sampler_steps"]):
            curve(
                ax,
                part,
                kind,
                color=colours[count],
                linestyle=styles[sampler],
            )
        ax.set(title=title, ylim=(-0.02, 1.02), xlabel="", ylabel="share of images")
    handles = [
        Line2D([], [], color=colours[count], linestyle=style, label=f"{sampler}, {count:g} steps")
        for sampler, style in styles.items()
        for count in steps
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    figure.supxlabel(f"{IMAGES_SEEN}; {band(records)}", fontsize=8)
    return figure, f"Shares of images over training by sampler. {sampler_dependence(records).data}"


def sampler_dependence(records: list[Record]) -> Markdown:
    """How far few steps, and the deterministic sampler, are from the most ancestral steps."""
    table = _tables(records, "samplers")
    mean = table.groupby(["sampler", "sampler_steps", "step"])[list(KINDS)].mean()
    most, last = table["sampler_steps"].max(), table["step"].max()
    reference = mean.loc["ancestral", most]
    sentences = []
    for sampler, count in mean.index.droplevel("step").unique():
        if (sampler, count) == ("ancestral", most):
            continue
        off = (mean.loc[sampler, count] - reference).abs()
        end = mean.loc[sampler, count].loc[last]
        sentences.append(
            f"{sampler} with {count:g} steps differs by at most {off['correct'].max():.2f} in the "
            f"share of correct images and {off.max().max():.2f} in that of any kind, and ends at "
            f"{end['correct']:.0%} correct, {end['none']:.0%} without a bump, "
            f"{end['several']:.0%} with several"
        )
    return Markdown(
        f"Ancestral sampling with {most:g} steps ends at {reference.loc[last, 'correct']:.0%} "
        f"correct images. From it, {'; '.join(sentences)}."
    )


@drawn
def kinds_by_clipping(records: list[Record]) -> tuple[Figure, str]:
    """Kinds of image of the same networks, the sampler's estimates clipped to the data's range or
    not.
    """
    clipped = {r.id: r.configuration.clip_sample for r in records}
    table = _tables(records, "checkpoints").query("step > 0")
    table["sampler"] = table["record"].map(clipped).map({True: "clipped", False: "not clipped"})
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.6), sharex=True, sharey=True)
    _over_training(axes.flat, records)
    for ax, kind in zip(axes.flat, KINDS, strict=True):
        curve(
            ax,
            table,
            kind,
            hue="sampler",
            style="sampler",
            legend=kind == KINDS[0],
        )
        ax.set(title=kind, ylim=(-0.02, 1.02), xlabel="", ylabel="share of images")
    axes[0, 0].legend(title=None)
    figure.supxlabel(f"{IMAGES_SEEN}; {band(records)}", fontsize=8)
    mean = table.groupby(["sampler", "step"])[list(KINDS)].mean()
    most = (mean.loc["clipped"] - mean.loc["not clipped"]).abs().max()
    ends = mean["correct"].groupby("sampler").last()
    said = ", ".join(f"{kind} {most[kind]:.2f}" for kind in KINDS)
    return figure, (
        "Shares of images over training with the sampler's estimates clipped and not. They differ "
        f"at most by: {said}. Correct at the end: clipped {ends['clipped']:.1%}, not clipped "
        f"{ends['not clipped']:.1%}."
    )


# Learning


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


@drawn
def loss_curve(records: list[Record]) -> tuple[Figure, str]:
    """The training loss: mean of each stretch of steps, one line a seed."""
    figure, ax = plt.subplots()
    for record in records:
        losses = record.arrays["losses"]
        edges = np.unique([0, *np.geomspace(1, len(losses), 60).astype(int)])
        means = [losses[a:b].mean() for a, b in itertools.pairwise(edges)]
        ax.plot(edges[1:], means, label=f"seed {record.configuration.seed}", lw=1.2)
    ax.set(xscale="log", yscale="log", xlabel="training step", ylabel="noise prediction loss")
    ax.legend(ncols=2)
    ends = ", ".join(
        f"{r.arrays['losses'][0]:.2f} to {r.checkpoints['loss'].iloc[-1]:.4f}" for r in records
    )
    return figure, f"Loss against training step, one line a seed: from {ends}."


@drawn
def samples_over_training(record: Record) -> tuple[Figure, str]:
    """Samples of one run for the same requests at several checkpoints, requests marked."""
    c = record.configuration
    columns = _few_checkpoints(record, 7)
    images = record.arrays["images"]
    labels = record.arrays["labels"][shown(len(record.arrays["labels"])).numpy()]
    rows = np.linspace(0, len(labels) - 1, 6).round().astype(int)
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(WIDTH, WIDTH * len(rows) / len(columns) + 0.5)
    )
    for line, row in zip(axes, rows, strict=True):
        for ax, column in zip(line, columns, strict=True):
            _pixels(ax, images[column, row], 0, 255)
            ax.plot(*labels[row], "+", color="#D55E00", markersize=6)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(_thousands(int(record.checkpoints["images_seen"].iloc[column])))
    figure.supxlabel(f"{IMAGES_SEEN} (top); + the requested position", fontsize=9)
    alt = (
        f"Samples for {len(rows)} requested positions (rows) at {len(columns)} checkpoints "
        f"(columns) of the run with seed {c.seed}; in the end "
        f"{record.checkpoints['correct'].iloc[-1]:.0%} of all its samples are one bump at the "
        "requested place."
    )
    return figure, alt


@drawn
def kinds_over_training(records: list[Record]) -> tuple[Figure, str]:
    """The share of each kind of image at each checkpoint."""
    long = _tables(records, "checkpoints").query("step > 0")
    long = long.melt(["images_seen", "seed"], list(KINDS), "kind", "share")
    figure, ax = plt.subplots()
    _over_training([ax], records)
    curve(
        ax,
        long,
        "share",
        hue="kind",
        style="kind",
        palette=KIND_COLOURS,
    )
    ax.set(xlabel=IMAGES_SEEN, ylabel="share of images", ylim=(-0.02, 1.02))
    sns.move_legend(ax, "lower center", bbox_to_anchor=(0.5, 1), ncols=4, title=None)
    figure.supxlabel(band(records), fontsize=8)
    alt = (
        "Shares of images with no bump, several, one misplaced and one correct, against images "
        f"seen. At the end correct: {_last(records, 'correct')}, misplaced: "
        f"{_last(records, 'misplaced')}, several: {_last(records, 'several')}, none: "
        f"{_last(records, 'none')} (mean and range over {len(records)} seeds)."
    )
    return figure, alt


@drawn
def accuracy_over_training(records: list[Record]) -> tuple[Figure, str]:
    """Accuracy, and accuracy in x and in y apart."""
    names = {"accuracy": "x and y", "accuracy_x": "x alone", "accuracy_y": "y alone"}
    long = _tables(records, "checkpoints").query("step > 0")
    long = long.melt(["images_seen", "seed"], list(names), "measure", "share")
    long["measure"] = long["measure"].map(names)
    figure, ax = plt.subplots(figsize=(WIDTH, 3))
    _over_training([ax], records)
    curve(
        ax,
        long,
        "share",
        hue="measure",
        style="measure",
    )
    ax.set(xlabel=IMAGES_SEEN, ylabel="accuracy (share of images)", ylim=(-0.02, 1.02))
    ax.legend(title=None)
    figure.supxlabel(band(records), fontsize=8)
    alt = (
        f"Accuracy against images seen; at the end {_last(records, 'accuracy')}, in x "
        f"{_last(records, 'accuracy_x')}, in y {_last(records, 'accuracy_y')}."
    )
    return figure, alt


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


@drawn
def embedding_over_training(record: Record) -> tuple[Figure, str]:
    """The probed layer's UMAP embedding at several checkpoints, coloured by position.

    Of the three UMAP dimensions the two main axes are drawn. Rows: features as published and with
    the label ablated, each coloured by the requested position and by the generated one.
    """
    c = record.configuration
    columns = _few_checkpoints(record, 5)
    rows = [
        ("trained", "requested", "as published,\nby request"),
        ("trained", "generated", "as published,\nby bump found"),
        ("ablated", "requested", "label ablated,\nby request"),
        ("ablated", "generated", "label ablated,\nby bump found"),
    ]
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=(WIDTH, WIDTH * len(rows) / (len(columns) + 0.4) + 1.0)
    )
    for line, (features, target, name) in zip(axes, rows, strict=True):
        for ax, column in zip(line, columns, strict=True):
            points = record.arrays[f"umap_{features}"][column].astype(float)
            points = points - points.mean(axis=0)
            axis = np.linalg.svd(points, full_matrices=False)[2][:2]
            position = record.arrays["labels"]
            if target == "generated":
                position = record.arrays["position"][column]
            ax.scatter(*(points @ axis.T).T, c=position_colours(position, c.N), s=5, lw=0)
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
        line[0].set_ylabel(name, fontsize=8)
    for ax, column in zip(axes[0], columns, strict=True):
        ax.set_title(_thousands(int(record.checkpoints["images_seen"].iloc[column])))
    figure.supxlabel(
        f"{IMAGES_SEEN} (top). Colour: blue to orange along x, dark to light along y;\n"
        "grey where not exactly one bump was found",
        fontsize=8,
    )
    last = record.probes[record.probes["step"] == c.steps].query("reduction == 'umap'")

    def r2(features: str, target: str) -> str:
        rows = last.query("features == @features and target == @target")
        return " and ".join(f"{v:.2f}" for v in rows["r2"])

    alt = (
        f"UMAP embedding of {c.probe_layer} at {len(columns)} checkpoints of the run with seed "
        f"{c.seed}. At the end x and y of the request are read from it with R squared "
        f"{r2('trained', 'requested')} as published, {r2('ablated', 'requested')} with the label "
        f"ablated; of the generated bump with {r2('ablated', 'generated')} (ablated)."
    )
    return figure, alt


@drawn
def probes_over_training(records: list[Record]) -> tuple[Figure, str]:
    """R squared of the published probe and all its controls."""
    table = _tables(records, "probes").query("step > 0")
    batch = {r.id: r.configuration.batch_size for r in records}
    table["images_seen"] = table["step"] * table["record"].map(batch)
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 5.6), sharex=True, sharey=True)
    _over_training(axes.flat, records)
    for row, target in zip(axes, ("requested", "generated"), strict=True):
        for ax, reduction in zip(row, ("umap", "direct"), strict=True):
            for name, (_, colour, line) in FEATURE_STYLES.items():
                if (target, name) == ("generated", "shuffled"):
                    continue  # it is the requested labels that are shuffled
                features, wanted = (name, target) if name != "shuffled" else ("trained", name)
                part = table[
                    (table["features"] == features)
                    & (table["target"] == wanted)
                    & (table["reduction"] == reduction)
                ]
                curve(
                    ax,
                    part,
                    "r2",
                    color=colour,
                    linestyle=line,
                )
            through = "from the UMAP embedding" if reduction == "umap" else "from all features"
            ax.set(title=f"{target} position\n{through}", ylim=(-0.15, 1.03))
            ax.set(xlabel="", ylabel=r"$R^2$")
    handles = [
        Line2D([], [], color=colour, linestyle=line, label=label)
        for label, colour, line in FEATURE_STYLES.values()
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=2)
    figure.supxlabel(
        f"{IMAGES_SEEN}; line: mean, band: range, over seeds ({len(records)}) and both axes",
        fontsize=8,
    )
    last = table[table["step"] == table["step"].max()].query("target == 'requested'")
    ends = ", ".join(
        f"{label} {last.query('features == @name and reduction == @reduction')['r2'].mean():.2f}"
        f" ({reduction})"
        for name, (label, _, _) in list(FEATURE_STYLES.items())[:4]
        for reduction in ("umap", "direct")
    )
    alt = (
        f"R squared of reading position from the features. Requested position, at the end: {ends}."
    )
    return figure, alt


@drawn
def order_parameters_over_training(records: list[Record]) -> tuple[Figure, str]:
    """The four quantities that the phases are assigned from, with their thresholds."""
    sides = {
        "generation": {
            "single": (f"single: one bump (≥ {SINGLE:g}: not A)", "#56B4E9"),
            "placed": (f"placed: of these, right (≥ {PLACED:g}: C)", "#009E73"),
        },
        "representation": {
            "manifold": (rf"manifold: $R^2$ generated (≥ {MANIFOLD:g}: not A)", "#56B4E9"),
            "order": (rf"order: $R^2$ requested (≥ {ORDER:g}: C)", "#009E73"),
        },
    }
    tables = []
    for record in records:
        parameters = order_parameters(record.checkpoints, record.probes)
        seen = parameters.index * record.configuration.batch_size
        tables.append(parameters.assign(images_seen=seen, seed=record.configuration.seed))
    table = pd.concat(tables).query("images_seen > 0")
    figure, axes = plt.subplots(2, 1, figsize=(WIDTH, 4.8), sharex=True)
    _over_training(axes, records)
    for ax, (side, names) in zip(axes, sides.items(), strict=True):
        for name, (label, colour) in names.items():
            curve(
                ax,
                table,
                name,
                color=colour,
                linestyle="--" if name in ("single", "manifold") else "-",
                label=label,
            )
        ax.axhline(0.5, color="#555555", lw=0.8)
        of = "share of images" if side == "generation" else r"$R^2$, label ablated"
        ax.set(title=side, ylim=(-0.15, 1.03), ylabel=of, xlabel="")
        ax.legend(loc="best")
    figure.supxlabel(f"{IMAGES_SEEN}; {band(records)}", fontsize=8)
    means = table[table["images_seen"] == table["images_seen"].max()].mean()
    ends = ", ".join(f"{n} {means[n]:.2f}" for n in ("single", "placed", "manifold", "order"))
    return figure, f"Order parameters against images seen; means at the end: {ends}."


@drawn
def phase_bars(records: list[Record]) -> tuple[Figure, str]:
    """The phase of each checkpoint from each side, one pair of bars a run."""
    figure, axes = plt.subplots(
        2, 1, figsize=(WIDTH, 1.6 + 0.44 * len(records)), sharex=True, squeeze=False
    )
    schemes = len({r.configuration.conditioning for r in records})
    axes = axes[:, 0]
    _over_training(axes, records)
    colours = mpl.colors.ListedColormap([PHASE_COLOURS[p] for p in PHASES])
    said = []
    for ax, side in zip(axes, ("generation", "representation"), strict=True):
        for height, record in enumerate(records):
            phases = phases_over_training(record)[side]
            seen = phases.index.to_numpy() * record.configuration.batch_size
            # A checkpoint's colour reaches, in log, half way to its neighbours.
            middle = np.sqrt(seen[1:] * seen[:-1])
            edges = np.concatenate([[seen[0]], middle, [seen[-1]]])
            numbers = phases.map(PHASES.index).to_numpy()[None]
            ax.pcolormesh(
                edges, [height - 0.4, height + 0.4], numbers, cmap=colours, vmin=0, vmax=2
            )
            changes = np.flatnonzero(np.r_[True, np.diff(numbers[0]) != 0])
            for start, stop in zip(changes, [*changes[1:], len(seen)], strict=True):
                centre = np.sqrt(edges[start] * edges[stop])
                ax.text(centre, height, PHASES[numbers[0, start]], ha="center", va="center")
            said.append(f"{_run_name(record, schemes)} {side} {''.join(_runs(phases))}")
        names = [_run_name(r, schemes) for r in records]
        ax.set_yticks(range(len(records)), names)
        ax.set(title=side, xlabel="")
        ax.grid(False)
    axes[-1].set_xlabel(IMAGES_SEEN)
    handles = [Patch(color=PHASE_COLOURS[p], label=f"phase {p}") for p in PHASES]
    figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return figure, f"Sequence of phases over training: {'; '.join(said)}."


def _run_name(record: Record, schemes: int) -> str:
    c = record.configuration
    return f"{c.conditioning}, seed {c.seed}" if schemes > 1 else f"seed {c.seed}"


def _runs(phases: pd.Series) -> list[str]:
    return [p for p, before in zip(phases, [None, *phases[:-1]], strict=True) if p != before]


@drawn
def phase_agreement(records: list[Record]) -> tuple[Figure, str]:
    """How many checkpoints have each pair of phases from the two sides, by conditioning scheme."""
    tables: dict[str, pd.DataFrame] = {}
    for record in records:
        scheme = record.configuration.conditioning
        counts = agreement(phases_over_training(record))
        tables[scheme] = tables[scheme] + counts if scheme in tables else counts
    figure, axes = plt.subplots(
        1, len(tables), figsize=(max(2.6, WIDTH * len(tables) / 3), 2.5), sharey=True, squeeze=False
    )
    said = []
    for ax, (scheme, table) in zip(axes[0], tables.items(), strict=True):
        sns.heatmap(table, annot=True, fmt="d", cmap="Blues", cbar=False, ax=ax, linewidths=1)
        ax.set(xlabel="", ylabel="", title=scheme)
        ax.tick_params(rotation=0)
        agree = np.trace(table.to_numpy())
        said.append(
            f"{scheme}, {agree} of {table.to_numpy().sum()} agree, rows (generation A, B, C) by "
            f"columns (representation A, B, C) {table.to_numpy().tolist()}"
        )
    axes[0, 0].set_ylabel("phase of generation")
    figure.supxlabel("phase of the representation", fontsize=9)
    return figure, f"Checkpoints by phase from each side: {'; '.join(said)}."


@drawn
def geometry_over_training(records: list[Record]) -> tuple[Figure, str]:
    """Dimensions of the features, and whether neighbours there are neighbours in the plane."""
    panels = {
        "intrinsic_dimension": "intrinsic dimension (TwoNN)",
        "effective_dimension": "effective dimension\n(participation ratio)",
        "neighbourhood_requested": "trustworthiness,\nrequested plane",
        "neighbourhood_generated": "trustworthiness,\ngenerated plane",
    }
    table = _tables(records, "checkpoints").query("step > 0")
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.8), sharex=True)
    _over_training(axes.flat, records)
    for ax, (measure, title) in zip(axes.flat, panels.items(), strict=True):
        for features in ("trained", "ablated"):
            label, colour, _ = FEATURE_STYLES[features]
            curve(
                ax,
                table,
                f"{measure}_{features}",
                color=colour,
                linestyle="-" if features == "trained" else "--",
                label=label,
                legend=measure == "intrinsic_dimension",
            )
        if measure.startswith("neighbourhood"):
            ax.axhline(0.5, color="#555555", lw=0.8)
            ax.set_ylim(0.4, 1.02)
        else:
            ax.set_ylim(bottom=0)
        ax.set(title=title, xlabel="", ylabel="")
    figure.supxlabel(f"{IMAGES_SEEN}; {band(records)}", fontsize=8)
    last = table[table["step"] == table["step"].max()].mean(numeric_only=True)
    ends = ", ".join(
        f"{m.replace('_', ' ')} {last[f'{m}_trained']:.2f}, ablated {last[f'{m}_ablated']:.2f}"
        for m in panels
    )
    return figure, f"Geometry of the features against images seen; means at the end: {ends}."


# Performance


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
    precisions = {r.id: r.configuration.precision for r in records}
    table = _tables(records, "checkpoints").query("step > 0")
    table = table.assign(precision=table["record"].map(precisions))
    figure, ax = plt.subplots(figsize=(WIDTH, 3.2))
    _over_training([ax], records)
    curve(
        ax,
        table,
        "accuracy",
        hue="precision",
        style="precision",
    )
    ax.set(xlabel="", ylabel="accuracy (share of images)", ylim=(-0.02, 1.02))
    ax.legend(title=None)
    figure.supxlabel(f"{IMAGES_SEEN}; {band(records)}", fontsize=8)
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
    ax.xaxis.set_major_formatter(lambda images, _: _thousands(images))
    ax.set(xlabel=IMAGES_SEEN, ylabel="accuracy (share of images)", ylim=(-0.02, 1.02))
    ax.legend()
    return figure, f"Accuracy against images seen, by recipe. Last: {'; '.join(ends)}."
