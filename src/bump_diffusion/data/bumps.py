"""The data of the paper: grids of 2D Gaussian bumps, rendered when they are needed."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bump_diffusion.config import Configuration
from bump_diffusion.data.splits import held_out

Labels = Float[Tensor, "n 2"]
"""Positions (mu_x, mu_y) in pixels."""

Images = Float[Tensor, "n 1 height N"]
"""Values in [-1, 1], the range that the diffusion works in."""

Heights = Float[Tensor, "n height N"]
"""The bumps in images: 0 on the ground, 1 at the peak."""


def axis_positions(N: int, d: float) -> Float[Tensor, " n"]:
    """Positions along one axis: 0, d, 2d, ... below `N` (pixels).

    With N = 32, d = 0.1 gives 320 positions an axis and so 102,400 images, d = 1 gives 1,024:
    the sizes that the paper states (arXiv 2402.03305, section 2). `d` may be any positive number
    up to `N`; 1e-9 of a step is forgiven, so that 32 / 0.1 counts 320 and not 321 positions.
    """
    count = max(1, math.ceil(N / d - 1e-9))
    return torch.arange(count, dtype=torch.float32) * d


def label_grid(N: int, d_x: float, d_y: float) -> Labels:
    """All labels of a data set with increments `d_x` and `d_y`, mu_y varying fastest."""
    return torch.cartesian_prod(axis_positions(N, d_x), axis_positions(N, d_y))


def render_bumps(
    labels: Labels, N: int, sigma: float, polarity: str = "dark", height: int | None = None
) -> Images:
    """Draw one bump per label, on the labels' device.

    The bump is g = exp(-((i - mu_x)^2 + (j - mu_y)^2) / (2 sigma^2)) with i the column (x) and j
    the row (y), both counted in pixels from 0 (arXiv 2402.03305, section 2). A coordinate below 0
    has no part in it: the bump is then a stripe (`data.stripes`). `polarity` "dark" draws 1 - g,
    dark on a light ground; "light" draws g. Pixel values in [0, 1] are then mapped to [-1, 1].
    Images have `height` rows, by default N; a single one, where mu_y is 0, is a bump in one
    dimension.
    """
    pixels = torch.arange(N, dtype=labels.dtype, device=labels.device)
    rows = N if height is None else height
    along_x, along_y = (
        torch.exp(-((pixels[:n] - mu[:, None]) ** 2) / (2 * sigma**2)).where(mu[:, None] >= 0, 1.0)
        for n, mu in zip((N, rows), labels.unbind(1), strict=True)
    )
    bumps = along_y[:, None, :, None] * along_x[:, None, None, :]
    return 1 - 2 * bumps if polarity == "dark" else 2 * bumps - 1


def bump_height(images: Images, polarity: str = "dark") -> Heights:
    """The bump g itself: undoes polarity and scaling."""
    return ((1 - images) if polarity == "dark" else (1 + images))[:, 0] / 2


@dataclass(frozen=True)
class Bumps:
    """Images of one bump each, at the positions of a grid: the paper's task."""

    c: Configuration
    has_plane: ClassVar[bool] = True
    "Whether labels vary in x and y: only then is there a plane of positions to be probed."

    @property
    def height(self) -> int:
        """Height of an image, pixels."""
        return self.c.N

    def grid(self) -> Labels:
        """All labels, held-out ones too."""
        return label_grid(self.c.N, self.c.d_x, self.c.d_y)

    def labels(self) -> Labels:
        """The labels that are trained: those of the data set."""
        grid = self.grid()
        return grid[~self._is_held_out(grid)]

    def held_out_labels(self) -> Labels:
        """The labels of the grid that are not trained."""
        grid = self.grid()
        return grid[self._is_held_out(grid)]

    def labels_off_grid(self) -> Labels:
        """Labels midway between neighbours of the grid along each of its axes."""
        grid, step = self.grid(), torch.tensor([self.c.d_x, self.c.d_y])
        step = step * (grid.amax(dim=0) > 0)
        return (grid + step / 2)[(grid + step <= grid.amax(dim=0) + 1e-4).all(dim=1)]

    def _is_held_out(self, grid: Labels) -> Bool[Tensor, " n"]:
        return held_out(grid, self.c.N, self.c.held_out, self.c.split)

    def render(self, labels: Labels) -> Images:
        """Draw an image per label."""
        return render_bumps(labels, self.c.N, self.c.sigma, self.c.polarity, self.height)

    def to_classify(self, images: Images, labels: Labels) -> tuple[Heights, Labels]:
        """Heights in which bumps are searched to classify images, and where bumps are requested."""
        return bump_height(images, self.c.polarity), labels
