"""The page *The task and the network*: images and their labels, and the network as a drawing."""

import itertools

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.models.hooks import read_layers
from bump_diffusion.models.unet import build_model
from bump_diffusion.page.axes import show_pixels
from bump_diffusion.page.diagram import arrow, box, draw, text
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.tables import Lead, Page
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import add_noise, signal_shares

NOISE_SHOWN = (0, 0.1, 0.25, 0.5, 1)
"""The timesteps at which a noisy image is shown, as shares of the last."""

LABEL_COLOUR, PROBED_COLOUR = "#D55E00", "#0072B2"


@drawn
def images_and_noise(c: Configuration) -> Drawn:
    """Show images of a data set under their labels, and the last of them in growing noise."""
    labels = task_of(c).labels()
    order = torch.randperm(len(labels), generator=generator("cpu", "shown labels"))
    labels = labels[order[: len(NOISE_SHOWN)]]
    images = task_of(c).render(labels)
    steps = _shown_timesteps(c)
    noise = torch.randn(images.shape, generator=generator("cpu", "shown noise"))
    last = images[-1:].expand(len(steps), -1, -1, -1)
    noisy = add_noise(last, signal_shares(c)[steps], noise)
    figure, axes = plt.subplots(2, len(steps), figsize=(WIDTH, 2.6))
    titles = [f"({x:g}, {y:g})" for x, y in labels.tolist()], [f"t = {t}" for t in steps]
    for row, shown, above in zip(axes, (images, noisy), titles, strict=True):
        for ax, image, title in zip(row, shown, above, strict=True):
            show_pixels(ax, image[0].numpy())
            ax.set_title(title)
    for ax, name in zip(axes[:, 0], ("images", "with noise"), strict=True):
        ax.set_ylabel(name)
    return figure, (
        f"{len(images)} images of {c.N} by {c.N} pixels, each with one dark bump, under their "
        f"labels; below, the last image under growing noise, from timestep {steps[0]} to "
        f"{steps[-1]}."
    )


def _shown_timesteps(c: Configuration) -> list[int]:
    return [round(share * (c.timesteps - 1)) for share in NOISE_SHOWN]


def describe_images(c: Configuration) -> Markdown:
    """Say what the data set holds and what the timesteps are."""
    count, steps = len(task_of(c).labels()), _shown_timesteps(c)
    noise = 1 - signal_shares(c)[steps]
    middle = len(steps) // 2
    return Markdown(
        f"Upper row: {len(steps)} of the {count:,} images from which the network learns, each "
        "under its label (x, y). Lower row: the last of them with more and more noise mixed in, as "
        "the network meets it in training. How much is counted in timesteps, t, from 0 to "
        f"{c.timesteps - 1}. At t = {steps[0]} there is next to none; at t = {steps[middle]}, "
        f"{noise[middle]:.0%} of the mixture is noise (by variance); at t = {steps[-1]}, "
        "nothing of the image is left. Values beyond black and white are drawn as black and white."
    )


def describe_task(c: Configuration) -> Lead:
    """Say in two sentences what the network is asked for, and why."""
    return Lead(
        "A network is given two numbers, x and y, and must draw one bump at that place in an image "
        f"of {c.N} × {c.N} pixels.",
        "The task is so small that one can look for the two numbers inside the network.",
    )


def describe_probed_layer(c: Configuration) -> Markdown:
    """Say how many numbers the probed layer gives for an image, by running a new network."""
    model = build_model(c)
    label = model.conditioning(task_of(c).labels()[:1])
    inputs = torch.zeros(1, 1, c.N, c.N), torch.zeros(1, dtype=torch.long), label
    _, channels, height, width = read_layers(model, [c.probe_layer], *inputs)[c.probe_layer].shape
    return Markdown(
        f"The paper looks into **layer 4**, the last layer on the way down. For one image of {c.N} "
        f"× {c.N} pixels its output is, in our networks, {channels} small images (*channels*) of "
        f"{height} × {width} values each: {channels * height * width:,} numbers, and none of them "
        "is meant to be x or y. But the two may be *represented* by all of them together. Then "
        "images whose bumps are neighbours give outputs that are neighbours too, and the outputs "
        "for all images lie on a curved sheet: a map of the plane. A layer with such a map is "
        "called *ordered*."
    )


def draw_network(caption: Markdown) -> Page:
    """Draw the U-Net (`unet.UNet`): blocks, skip connections, and where the label enters."""
    width, height, left, right, gap = 110, 52, 8, 362, 74
    rows = [96 + gap * row for row in range(4)]
    middle = [row + height / 2 for row in rows]
    parts = [text(63, 40, "noisy image"), arrow((63, 48), (63, rows[0]))]
    parts += [text(417, 40, "the noise in it"), arrow((417, rows[0]), (417, 48))]
    ways = {left: ("layer 1", "layer 2", "layer 3", "layer 4"), right: ("up 1", "up 2", "up 3")}
    for x, names in ways.items():
        for y, name in zip(rows, names, strict=False):
            probed = name == "layer 4"
            parts.append(box(x, y, width, height, PROBED_COLOUR if probed else "none"))
            parts.append(text(x + width / 2, y + 32, name))
    parts.append(box(185, rows[3], width, height))
    parts.append(text(240, rows[3] + 32, "bottleneck"))
    for upper, lower in itertools.pairwise(rows):
        parts.append(arrow((63, upper + height), (63, lower)))
        if lower != rows[3]:
            parts.append(arrow((417, lower), (417, upper + height)))
    parts.append(arrow((118, middle[3]), (185, middle[3])))
    parts.append(arrow((295, middle[3]), (417, middle[3]), (417, rows[2] + height)))
    for y in middle[:3]:
        parts.append(arrow((118, y - 13), (362, y - 13), dashed="2 4"))
    parts.append(text(240, middle[0] - 18, "skip connection", 14))
    # The label runs down on both sides of the middle, and into each block.
    parts += [box(172, 8, 136, 44, LABEL_COLOUR), text(240, 27, "label (x, y)")]
    parts.append(text(240, 45, "and timestep", 14))
    for x, bend, end, blocks in ((172, 152, 118, middle[1:]), (308, 328, 362, middle[:3])):
        for y in blocks:
            bends = (x, 30), (bend, 30), (bend, y + 11), (end, y + 11)
            parts.append(arrow(*bends, colour=LABEL_COLOUR))
    parts.append(text(left, rows[3] + height + 20, "probed in the paper", 14, "start"))
    return draw(
        draw_network,
        (480, 396),
        parts,
        "The network as a U: layers 1 to 4 lead down, a bottleneck and up 3 to up 1 lead up, with "
        "skip connections across. The label enters layers 2, 3, 4 and up 3, 2, 1. Layer 4 is "
        "marked: the paper probes it.",
        caption,
    )
