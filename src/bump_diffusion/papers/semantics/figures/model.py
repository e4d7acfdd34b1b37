"""The chapter *The model*: noising, labels, denoising, samplers."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bump_diffusion.analysis.frame import frame
from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import axis_positions
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.evaluation import generate
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.probes import probe_r2
from bump_diffusion.models.build import build_model
from bump_diffusion.models.conditioning import CONDITIONINGS
from bump_diffusion.models.unet import UNet
from bump_diffusion.page.axes import IMAGES_SEEN, band, curve, images_axis, show_pixels
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.runs.record import Record
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import NoiseSchedule, add_noise


@drawn
def noising(c: Configuration) -> tuple[Figure, str]:
    """A bump under growing noise, and the schedule's share of signal."""
    schedule = NoiseSchedule.of(c)
    alpha_bar = schedule.alpha_bar()
    steps = np.linspace(0, c.timesteps - 1, 6).round().astype(int).tolist()
    label = torch.tensor([[0.3 * c.N, 0.6 * c.N]])
    bump = task_of(c).render(label).expand(len(steps), -1, -1, -1)
    noise = torch.randn(bump.shape, generator=generator("cpu", "noising"))
    images = add_noise(bump, alpha_bar[steps], noise)
    figure = plt.figure(figsize=(WIDTH, 3.6))
    grid = figure.add_gridspec(2, len(steps), height_ratios=[1, 2])
    for i, t in enumerate(steps):
        ax = figure.add_subplot(grid[0, i])
        show_pixels(ax, images[i, 0].numpy(), -2, 2)
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
    grid = task_of(c).labels()
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
        stopped = c.model_copy(update={"probe_timestep": t})
        final, seen, t = generate(stopped, model, places, ("denoising",))
        for ax, image in zip(axes[:, column], seen, strict=True):
            show_pixels(ax, image[0].numpy(), -2, 2)
        axes[0, column].set_title(f"t = {t}")
    for ax, image, place in zip(axes[:, -1], final, places, strict=True):
        show_pixels(ax, image[0].numpy())
        ax.plot(*place, "+", color="#D55E00", markersize=7)
    axes[0, -1].set_title("image")
    for ax, place in zip(axes[:, 0], places.tolist(), strict=True):
        ax.set_ylabel(f"({place[0]:g}, {place[1]:g})", rotation=0, ha="right", va="center")
    alt = (
        f"{len(places)} images at falling timesteps, from noise to one bump; a cross marks the "
        "requested position in the finished image."
    )
    return figure, alt


def _samplers(records: list[Record]) -> pd.DataFrame:
    tables = [
        r.samplers.assign(images_seen=r.samplers["step"] * r.configuration.batch_size)
        for r in records
    ]
    return pd.concat(tables, ignore_index=True)


@drawn
def sampler_comparison(records: list[Record]) -> tuple[Figure, str]:
    """Kinds of image from the same networks over training, under different samplers."""
    table = _samplers(records)
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
    for ax in axes.flat:
        images_axis(ax.xaxis, frame(records))
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
    figure.supxlabel(f"{IMAGES_SEEN}; {band(frame(records))}", fontsize=8)
    return figure, f"Shares of images over training by sampler. {sampler_dependence(records).data}"


def sampler_dependence(records: list[Record]) -> Markdown:
    """How far few steps, and the deterministic sampler, are from the most ancestral steps."""
    table = _samplers(records)
    mean = table.groupby(["sampler", "sampler_steps", "step"])[list(OUTCOMES)].mean()
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
def outcomes_by_clipping(records: list[Record]) -> tuple[Figure, str]:
    """Kinds of image of the same networks, the sampler's estimates clipped to the data's range or
    not.
    """
    clipped = {r.id: r.configuration.clip_sample for r in records}
    table = frame(records).query("step > 0")
    table["sampler"] = table["record"].map(clipped).map({True: "clipped", False: "not clipped"})
    figure, axes = plt.subplots(2, 2, figsize=(WIDTH, 4.6), sharex=True, sharey=True)
    for ax in axes.flat:
        images_axis(ax.xaxis, frame(records))
    for ax, kind in zip(axes.flat, OUTCOMES, strict=True):
        curve(
            ax,
            table,
            kind,
            hue="sampler",
            style="sampler",
            legend=kind == OUTCOMES[0],
        )
        ax.set(title=kind, ylim=(-0.02, 1.02), xlabel="", ylabel="share of images")
    axes[0, 0].legend(title=None)
    figure.supxlabel(f"{IMAGES_SEEN}; {band(frame(records))}", fontsize=8)
    mean = table.groupby(["sampler", "step"])[list(OUTCOMES)].mean()
    most = (mean.loc["clipped"] - mean.loc["not clipped"]).abs().max()
    ends = mean["correct"].groupby("sampler").last()
    said = ", ".join(f"{kind} {most[kind]:.2f}" for kind in OUTCOMES)
    return figure, (
        "Shares of images over training with the sampler's estimates clipped and not. They differ "
        f"at most by: {said}. Correct at the end: clipped {ends['clipped']:.1%}, not clipped "
        f"{ends['not clipped']:.1%}."
    )
