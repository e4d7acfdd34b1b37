"""Finds the bumps in images."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

HALF_HEIGHT = 0.5
"""Least amplitude of a bump, as a share of a training bump's. One- and two-pixel specks, which a
sampler with too few steps leaves, stay below it where sigma is about a pixel or more."""

CONTRAST = 0.25
"""Least height of a bump's highest pixel, and least response of the matched filter there. A bump
narrower than a pixel can fall between pixels and leave less: with sigma 0.5 the least height is
0.37, with sigma 0.25 it is 0.02. So can one centred outside a corner where sigma is below 1."""

MISFIT = 0.5
"""Largest share of the energy around a bump that a Gaussian may leave unexplained."""


@dataclass(frozen=True)
class DetectedBumps:
    """The bumps that a batch of images holds, one row per bump."""

    image: Int[Tensor, " bumps"]
    "Index of the image."
    position: Float[Tensor, "bumps 2"]
    "(x, y) in pixels; may lie up to a pixel outside the frame."
    amplitude: Float[Tensor, " bumps"]
    "Height, 1 for a training bump."
    images: int
    "Number of images."

    @property
    def counts(self) -> Int[Tensor, " images"]:
        return torch.bincount(self.image, minlength=self.images)

    def single_positions(self) -> Float[Tensor, "images 2"]:
        """The position of the bump in images that have exactly one, NaN in the others."""
        positions = torch.full((self.images, 2), math.nan, device=self.position.device)
        alone = self.counts[self.image] == 1
        positions[self.image[alone]] = self.position[alone]
        return positions


def find_bumps(heights: Float[Tensor, "images N N"], sigma: float) -> DetectedBumps:
    """Find all bumps of spread `sigma` (pixels) in `heights` (`data.bumps.bump_height` of images).

    A matched filter, normalized by the part of a bump that lies inside the frame so that edges do
    not count against it, has its local maxima near bumps. At each, a Gaussian of width sigma is
    fitted to the pixels around (height and position, by Gauss-Newton). It is a bump if the fit is
    high enough (`HALF_HEIGHT`), seen (`CONTRAST`) and good (`MISFIT`). Of fits closer together than
    1.5 sigma (at least a pixel) the highest stays. Bumps closer than about 3 sigma count as one.
    """
    candidates = _local_maxima(heights, sigma)
    image, row, column = candidates.unbind(1)
    position, amplitude, misfit = _fit(heights, candidates, sigma)
    start = torch.stack([column, row], dim=1)
    good = (
        (amplitude >= HALF_HEIGHT)
        & (heights[image, row, column] >= CONTRAST)
        & (misfit <= MISFIT)
        & ((position - start).abs() <= max(1.5, sigma)).all(dim=1)
    )
    image, position, amplitude = image[good], position[good], amplitude[good]
    kept = _strongest_of_close(image, position, amplitude, distance=max(1.0, 1.5 * sigma))
    return DetectedBumps(image[kept], position[kept], amplitude[kept], images=len(heights))


def _local_maxima(
    heights: Float[Tensor, "images N N"], sigma: float
) -> Int[Tensor, "candidates 3"]:
    """(image, row, column) where the matched filter has a maximum among its eight neighbours."""
    N = heights.shape[-1]
    pixels = torch.arange(N, device=heights.device)
    distance = (pixels[:, None] - pixels).abs()
    # Column i holds a bump centred at pixel i, of norm 1: a product with it correlates along an
    # axis, many times faster than a convolution of one channel.
    g = torch.exp(-(distance**2) / (2 * sigma**2)).to(heights.dtype)
    g = g * (distance <= math.ceil(3 * sigma))
    norm = g.norm(dim=0)
    g = g / norm
    matched = ((heights @ g).mT.contiguous() @ g).mT
    # The energy that a bump centred here would explain: largest where the misfit is least.
    explained = matched.clamp(min=0).square_()
    # A bump midway between pixels has several equal maxima; a slope far below noise picks one.
    explained += torch.arange(N * N, device=heights.device).view(N, N) * (1e-5 / N**2)
    highest = F.max_pool2d(explained[:, None], 3, stride=1, padding=1)[:, 0]
    return ((explained == highest) & (matched >= CONTRAST * torch.outer(norm, norm))).nonzero()


def _fit(
    heights: Float[Tensor, "images N N"], candidates: Int[Tensor, "candidates 3"], sigma: float
) -> tuple[
    Float[Tensor, "candidates 2"], Float[Tensor, " candidates"], Float[Tensor, " candidates"]
]:
    """Position (x, y), amplitude and misfit of a Gaussian fitted around each candidate.

    A bump is the product of its profiles along x and y, so what Gauss-Newton sums over pixels are
    products of sums along one axis, and of the pixels with a profile or a slope along each.
    """
    N = heights.shape[-1]
    reach = max(1, math.ceil(1.5 * sigma))
    image, row, column = candidates.unbind(1)
    position = torch.stack([column, row]).double()
    at = position.long()[:, :, None] + torch.arange(-reach, reach + 1, device=heights.device)
    inside = ((at >= 0) & (at < N)).double()
    columns, rows = at.clamp(0, N - 1)
    pixels = heights[image[:, None, None], rows[:, :, None], columns[:, None, :]].double()
    pixels *= inside[1, :, :, None] * inside[0, :, None, :]
    energy = (pixels**2).sum((1, 2)).clamp(min=1e-12)

    def fit(position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best amplitude there, the misfit, and the way to a better position."""
        distance = at - position[:, :, None]
        profile = torch.exp(-(distance**2) / (2 * sigma**2)) * inside
        slope = profile * distance / sigma**2
        along_x, along_y = torch.stack([profile, slope], dim=-1)
        seen = along_y.mT @ pixels @ along_x
        pp, ps, ss = (profile**2).sum(-1), (profile * slope).sum(-1), (slope**2).sum(-1)
        of_bump = pp.prod(dim=0)
        amplitude = seen[:, 0, 0] / of_bump.clamp(min=1e-12)
        misfit = 1 - amplitude * seen[:, 0, 0] / energy
        # The normal equations for x and y: the residual is orthogonal to the bump, which eliminates
        # the amplitude. A trace of damping keeps them solvable where one column is in the frame.
        damping = 1e-6
        with_bump = amplitude * ps * pp.flip(0)
        gradient = amplitude * (torch.stack([seen[:, 0, 1], seen[:, 1, 0]]) - with_bump)
        xx, yy = amplitude**2 * ss * pp.flip(0) + damping - with_bump**2 / (of_bump + damping)
        xy = amplitude**2 * ps.prod(dim=0) - with_bump.prod(dim=0) / (of_bump + damping)
        opposite = torch.stack([yy, xx]) * gradient - xy * gradient.flip(0)
        return amplitude, misfit, opposite / (xx * yy - xy**2)

    for _ in range(8):
        _, _, step = fit(position)
        position = (position + step.clamp(-0.5, 0.5)).clamp(-1, N)
    amplitude, misfit, _ = fit(position)
    return position.T.float(), amplitude.float(), misfit.float()


def _strongest_of_close(
    image: Int[Tensor, " bumps"],
    position: Float[Tensor, "bumps 2"],
    amplitude: Float[Tensor, " bumps"],
    distance: float,
) -> Int[Tensor, " kept"]:
    """Indices of the bumps that no higher one of the same image is closer to than `distance`."""
    # Sorted by image and falling amplitude, a bump's rivals stand just before it.
    order = amplitude.argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]
    image, position = image[order], position[order]
    kept = torch.ones(len(image), dtype=torch.bool, device=image.device)
    for lag in range(1, int(torch.bincount(image, minlength=1).max())):
        near = (position[lag:] - position[:-lag]).norm(dim=1) < distance
        kept[lag:] &= ~((image[lag:] == image[:-lag]) & near & kept[:-lag])
    return order[kept]
