"""The chapter *The model*: noising, labels, denoising, samplers."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from bump_diffusion.analysis.frame import frame, gather
from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import axis_positions
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.probes import Probe
from bump_diffusion.metrics.sampling import generate
from bump_diffusion.models.unet import UNet, build_model
from bump_diffusion.page.axes import curve, panels_over_training, show_pixels
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.papers.semantics.figures.watch import KINDS
from bump_diffusion.papers.semantics.palette import REQUESTED, SCHEME_COLOURS, setting_colours
from bump_diffusion.runs.record import Record
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import add_noise, signal_shares


@drawn
def noising(c: Configuration) -> Drawn:
    """Show a bump under growing noise, and draw the amplitudes of signal and noise."""
    alpha_bar = signal_shares(c)
    steps = np.linspace(0, c.timesteps - 1, 6).round().astype(int).tolist()
    bump = task_of(c).render(torch.tensor([[0.3 * c.N, 0.6 * c.N]])).expand(len(steps), -1, -1, -1)
    noise = torch.randn(bump.shape, generator=generator("cpu", "noising"))
    images = add_noise(bump, alpha_bar[steps], noise)
    figure = plt.figure(figsize=(WIDTH, 3.6))
    grid = figure.add_gridspec(2, len(steps), height_ratios=[1, 2])
    for i, t in enumerate(steps):
        ax = figure.add_subplot(grid[0, i], title=f"t = {t}")
        show_pixels(ax, images[i, 0].numpy(), -2, 2)
    ax = figure.add_subplot(grid[1, :], xlabel="timestep t", ylabel="amplitude", ylim=(0, 1.02))
    ax.plot(alpha_bar.sqrt(), label=r"signal $\sqrt{\bar\alpha_t}$")
    ax.plot((1 - alpha_bar).sqrt(), "--", label=r"noise $\sqrt{1-\bar\alpha_t}$")
    ax.legend(loc="center right")
    return figure, (
        f"A bump at timesteps {', '.join(map(str, steps))}: it drowns in noise. Below, the "
        f"amplitude of the signal falls from 1 to {alpha_bar[-1].sqrt():.3f} and that of the noise "
        "rises to 1."
    )


@drawn
def label_distances(c: Configuration) -> Drawn:
    """Draw how far apart an untrained network's inputs are for two labels, by conditioning.

    The Euclidean distance of each label's embedding from the middle's, over the largest; and R^2 of
    reading the position linearly from the embedding (`probes.Probe`, the mean of x and y).
    """
    figure, axes = plt.subplots(1, len(SCHEME_COLOURS), figsize=(WIDTH, 2.7), sharey=True)
    grid = task_of(c).grid()
    middle = (grid - c.N / 2).norm(dim=1).argmin()
    shape = [len(axis_positions(c.N, d)) for d in (c.d_x, c.d_y)]
    extent = (-c.d_x / 2, c.N - c.d_x / 2, c.N - c.d_y / 2, -c.d_y / 2)
    r2 = {}
    for ax, scheme in zip(axes, SCHEME_COLOURS, strict=True):
        scale = c.label_scale if scheme == "sinusoidal" else 1.0
        model = build_model(c.model_copy(update={"conditioning": scheme, "label_scale": scale}))
        with torch.inference_mode():
            embedding = model.conditioning(grid)
        distance = (embedding - embedding[middle]).norm(dim=1)
        distance = (distance / distance.max()).view(*shape).T
        image = ax.imshow(distance, cmap="viridis", vmin=0, vmax=1, extent=extent)
        r2[scheme] = np.mean(Probe(embedding.numpy()).r2(grid.numpy()))
        ax.set(title=f"{scheme}\n$R^2$ = {r2[scheme]:.2f}", xlabel=r"$\mu_x$ (pixels)")
        ax.grid(False)
    axes[0].set_ylabel(r"$\mu_y$ (pixels)")
    figure.colorbar(image, ax=axes, label="distance from the middle", shrink=0.7)
    return figure, (
        "Distance of each label's embedding from the middle label's, before any training. R "
        "squared of reading the position from the embedding: "
        f"{', '.join(f'{scheme} {value:.2f}' for scheme, value in r2.items())}."
    )


@drawn
def denoising(record: Record, model: UNet) -> Drawn:
    """Show images on their way from noise to a bump, one requested position a row."""
    c = record.configuration
    labels = torch.tensor([[0.25, 0.25], [0.75, 0.25], [0.5, 0.75], [0.0, 0.5]]) * c.N
    timesteps = [c.timesteps - 1, *(round(c.timesteps * f) for f in (0.7, 0.5, 0.3, 0.15)), 0]
    figure, axes = plt.subplots(len(labels), len(timesteps) + 1, figsize=(WIDTH, 3.5))
    for column, timestep in zip(axes.T, timesteps, strict=False):
        images, noisy, t = generate(c, model, labels, ("denoising",), timestep)
        for ax, image in zip(column, noisy, strict=True):
            show_pixels(ax, image[0].numpy(), -2, 2)
        column[0].set_title(f"t = {t}")
    for row, image, (x, y) in zip(axes, images, labels.tolist(), strict=True):
        show_pixels(row[-1], image[0].numpy())
        row[-1].plot(x, y, "+", color=REQUESTED, markersize=7)
        row[0].set_ylabel(f"({x:g}, {y:g})", rotation=0, ha="right", va="center")
    axes[0, -1].set_title("image")
    return figure, (
        f"{len(labels)} images at falling timesteps, from noise to one bump; a cross marks the "
        "requested position in the finished image."
    )


def _draw_outcomes(table: pd.DataFrame, **style: Any) -> Figure:
    """Draw the share of each kind of image over training, a panel a kind; `style` is of `curve`."""
    figure, axes = panels_over_training(table, 2, 2, height=4.8, sharey=True)
    for ax, (kind, title) in zip(axes.flat, KINDS.items(), strict=True):
        curve(ax, table, kind, legend=ax is axes[0, 0], **style)
        ax.set(title=title, ylim=(-0.02, 1.02), ylabel="share of images")
    axes[0, 0].get_legend().remove()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return figure


@drawn
def sampler_comparison(records: list[Record]) -> Drawn:
    """Draw the kinds of image from the same networks over training, under different samplers."""
    table = gather(records, "samplers")
    table["images_seen"] = table["step"] * table["batch_size"]
    table["denoising steps"] = table["sampler_steps"].astype(int)
    colours = setting_colours(sorted(table["denoising steps"].unique()))
    lines = {"ancestral": "", "ddim": (1, 1)}
    style = {"hue": "denoising steps", "palette": colours, "style": "sampler", "dashes": lines}
    figure = _draw_outcomes(table, **style)
    last = table[table["step"] == table["step"].max()].groupby(["sampler", "sampler_steps"])
    ends = last["correct"].mean()
    return figure, (
        "Shares of images of each kind over training, by sampler and its number of steps. Correct "
        f"at the end: {ends.min():.0%} to {ends.max():.0%}."
    )


def tabulate_samplers(records: list[Record]) -> pd.DataFrame:
    """Tabulate how far each sampler is from the most ancestral steps, and what it draws at the end.

    The largest difference over training in the share of correct images, and of any kind of image;
    means over seeds.
    """
    table = gather(records, "samplers").astype({"sampler_steps": int})
    sampler = ["sampler", "sampler_steps"]
    mean = table.groupby([*sampler, "step"])[list(OUTCOMES)].mean()
    reference = mean.loc["ancestral", table["sampler_steps"].max()]
    off = mean.sub(reference, axis=0, level="step").abs().groupby(sampler).max()
    end = mean.xs(table["step"].max(), level="step")
    shares = {
        "correct: differ by": off["correct"],
        "any kind: differ by": off.max(axis=1),
        "correct at the end": end["correct"],
        "no bump": end["none"],
        "several": end["several"],
    }
    return pd.DataFrame(shares).map("{:.0%}".format).rename_axis(["sampler", "steps"]).reset_index()


@drawn
def outcomes_by_clipping(records: list[Record]) -> Drawn:
    """Draw the kinds of image of the same networks over training, the sampler's estimates clipped
    to the data's range or not.
    """
    table = frame(records).query("step > 0")
    table["clipping"] = table["clip_sample"].map({True: "clipped", False: "not clipped"})
    figure = _draw_outcomes(table, hue="clipping", style="clipping")
    mean = table.groupby(["clipping", "step"])[list(OUTCOMES)].mean()
    difference = (mean.loc["clipped"] - mean.loc["not clipped"]).abs().to_numpy().max()
    ends = mean["correct"].groupby("clipping").last()
    return figure, (
        "Shares of images over training with the sampler's estimates clipped and not: they differ "
        f"by at most {difference:.2f}. Correct at the end: clipped {ends['clipped']:.1%}, not "
        f"clipped {ends['not clipped']:.1%}."
    )
