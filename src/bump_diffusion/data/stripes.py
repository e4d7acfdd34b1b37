"""Stripes: images that show one coordinate and leave the other open.

They teach each value of an axis apart from the other axis (arXiv 2408.13256, figures 4 and 9, where
they supply the values that a data set lacks). What they tell is the separation of the axes, in the
data alone: no held-out combination is among them.
"""

import torch

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Labels, axis_positions
from bump_diffusion.seeds import generator

OUTSIDE = -6.0
"""The coordinate that a stripe leaves open, pixels: outside the frame by the margin of the paper's
label space, of 44 pixels a side around 32 (arXiv 2408.13256, figure 9)."""


def mix_in_stripes(c: Configuration, labels: Labels, step: int) -> Labels:
    """Replace each label of a training step's batch by a stripe's, with probability `c.stripes`.

    Stripes are as often along x as along y, at any position of the grid, also one that no trained
    combination has.
    """
    draws = generator("cpu", c.seed, "stripes", step)
    n = len(labels)
    positions = [axis_positions(c.N, d) for d in (c.d_x, c.d_y)]
    stripes = torch.stack([p[torch.randint(len(p), (n,), generator=draws)] for p in positions], 1)
    axis = torch.randint(2, (n,), generator=draws)
    stripes[torch.arange(n), axis] = OUTSIDE
    replaced = torch.rand(n, generator=draws) < c.stripes
    return torch.where(replaced[:, None], stripes, labels)
