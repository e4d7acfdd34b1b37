"""The picture by which a link to the site is shown elsewhere: its title beside some bumps."""

import io
import itertools
import textwrap

import matplotlib.pyplot as plt
import torch

from bump_diffusion.data.bumps import render_bumps
from bump_diffusion.page.axes import show_pixels
from bump_diffusion.page.colours import STYLE

SIZE = (12.0, 6.3)
"""Inches at 100 pixels each, as sites ask for."""


def draw_card(title: str) -> bytes:
    """Draw the card, a PNG."""
    N = 16
    positions = [(x, y) for y, x in itertools.product((3.5, 7.5, 11.5), repeat=2)]
    bumps = render_bumps(torch.tensor(positions), N, 1.5, "light")
    with plt.style.context(["bump_diffusion.page.book", STYLE]):
        figure = plt.figure(figsize=SIZE, layout="none")
        figure.text(0.05, 0.5, textwrap.fill(title, 20), fontsize=34, va="center")
        grid = figure.add_gridspec(3, 3, left=0.54, right=0.96, bottom=0.1, top=0.9)
        for cell, bump in zip(grid, bumps, strict=True):
            show_pixels(figure.add_subplot(cell), bump[0].numpy())
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=100, transparent=False)
        plt.close(figure)
    return png.getvalue()
