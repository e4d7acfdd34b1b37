"""The page *The task and the network*: images and their labels, and the network as a drawing."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Markdown
from markupsafe import Markup
from matplotlib.figure import Figure

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.page.axes import show_pixels
from bump_diffusion.page.diagram import Diagram, arrow, box, text
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.seeds import generator
from bump_diffusion.training.diffusion import add_noise, signal_shares

SHOWN = 5
"""Images in a row."""

LABEL_COLOUR, PROBED_COLOUR = "#D55E00", "#0072B2"


@drawn
def images_and_noise(c: Configuration) -> tuple[Figure, str]:
    """Show images of a data set under their labels, and the last of them in growing noise."""
    labels = task_of(c).labels()
    order = torch.randperm(len(labels), generator=generator("cpu", "shown labels"))
    labels = labels[order[:SHOWN]]
    images = task_of(c).render(labels)
    steps = np.linspace(0, 0.6 * (c.timesteps - 1), SHOWN).round().astype(int).tolist()
    noise = torch.randn(images.shape, generator=generator("cpu", "shown noise"))
    last = images[-1:].expand(len(steps), -1, -1, -1)
    noisy = add_noise(last, signal_shares(c)[steps], noise)
    figure, axes = plt.subplots(2, SHOWN, figsize=(WIDTH, 2.6))
    for ax, image, (x, y) in zip(axes[0], images, labels.tolist(), strict=False):
        show_pixels(ax, image[0].numpy())
        ax.set_title(f"({x:g}, {y:g})")
    for ax, image, t in zip(axes[1], noisy, steps, strict=True):
        show_pixels(ax, image[0].numpy(), -2, 2)
        ax.set_title(f"t = {t}")
    return figure, (
        f"{SHOWN} images of {c.N} by {c.N} pixels, each with one dark bump, under their labels; "
        f"below, the last image under growing noise, from timestep {steps[0]} to {steps[-1]}."
    )


def describe_images(c: Configuration) -> Markdown:
    """Say what the data set holds and what the noise is for."""
    count = len(task_of(c).labels())
    return Markdown(
        f"Above, {SHOWN} of the {count:,} images of {c.N} × {c.N} pixels that the network learns "
        f"from, each under its label, the position of its bump. Below, the last of them as noise "
        f"is added, timestep by timestep (of {c.timesteps:,}): the network learns to take the "
        "noise away again, so that from noise alone and a label it can make an image."
    )


def describe_task(c: Configuration) -> Markdown:
    """Say in one sentence what the network is asked for."""
    return Markdown(
        f"From two numbers, x and y, a network must draw one bump at that place in an image of "
        f"{c.N} × {c.N} pixels; as the task is so small, one can look for x and y inside it."
    )


def draw_network(caption: Markdown) -> Diagram:
    """Draw the U-Net (`unet.UNet`): blocks, skip connections, and where the label enters."""
    width, height, left, right, gap = 110, 52, 8, 362, 74
    rows = [96 + gap * row for row in range(4)]
    middle = [row + height / 2 for row in rows]
    parts = [text(63, 40, "noisy image"), arrow((63, 48), (63, rows[0]))]
    parts += [text(417, 40, "its noise"), arrow((417, rows[0]), (417, 48))]
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
    for y in middle[1:4]:
        parts.append(arrow((152, 30), (152, y + 11), (118, y + 11), colour=LABEL_COLOUR))
    for y in middle[:3]:
        parts.append(arrow((328, 30), (328, y + 11), (362, y + 11), colour=LABEL_COLOUR))
    parts.append(
        Markup('<path d="M152 30H172M308 30H328" stroke="{}" stroke-width="1.8"/>').format(
            LABEL_COLOUR
        )
    )
    parts.append(text(left, rows[3] + height + 20, "probed in the paper", 14, "start"))
    return Diagram(
        draw_network,
        (480, 396),
        parts,
        "The network as a U: layers 1 to 4 lead down, a bottleneck and up 3 to up 1 lead up, with "
        "skip connections across. The label enters layers 2, 3, 4 and up 3, 2, 1. Layer 4 is "
        "marked: the paper probes it.",
        caption,
    )
