"""Classifies generated images by what is wrong with them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bump_diffusion.metrics.bumps import HALF_HEIGHT, DetectedBumps, find_bumps

OUTCOMES = ("none", "several", "misplaced", "correct")
"""What an image can show of a requested bump; arrays hold indices into this."""

TOLERANCE = 1.0
"""A bump is right within this many pixels in x and in y (arXiv 2402.03305, section 3)."""


@dataclass(frozen=True)
class Classification:
    """What each of a batch of images shows of the bump that was requested."""

    bumps: DetectedBumps
    "All that were found."
    kind: Int[Tensor, " images"]
    "Index into `OUTCOMES`."
    position: Float[Tensor, "images 2"]
    "The bump's (x, y) where there is exactly one, else NaN; pixels."
    correct: Bool[Tensor, "images 2"]
    "Whether there is one bump and its x, its y, is within `TOLERANCE` of the requested."
    speckled: Bool[Tensor, " images"]
    "Whether a pixel above half height lies apart from every bump: too small to be one."

    def metrics(self) -> dict[str, float]:
        """Shares of images of each outcome, accuracies, the share with specks; each in [0, 1].

        `accuracy` is the share of "correct"; `accuracy_x` takes one bump at the right x as
        correct whatever its y (arXiv 2402.03305, section 3).
        """
        shares = torch.bincount(self.kind, minlength=len(OUTCOMES)) / len(self.kind)
        return {
            **{name: float(share) for name, share in zip(OUTCOMES, shares, strict=True)},
            "accuracy": float(self.correct.all(dim=1).float().mean()),
            "accuracy_x": float(self.correct[:, 0].float().mean()),
            "accuracy_y": float(self.correct[:, 1].float().mean()),
            "speckled": float(self.speckled.float().mean()),
        }


def classify_images(
    heights: Float[Tensor, "images N N"], requested: Float[Tensor, "images 2"], sigma: float
) -> Classification:
    """Compare the bumps in images (`data.bumps.bump_height` of them) with those requested."""
    bumps = find_bumps(heights, sigma)
    counts, position = bumps.counts, bumps.single_positions()
    correct = (position - requested).abs() <= TOLERANCE  # False where the position is NaN
    kind = torch.where(correct.all(dim=1), OUTCOMES.index("correct"), OUTCOMES.index("misplaced"))
    kind[counts == 0] = OUTCOMES.index("none")
    kind[counts > 1] = OUTCOMES.index("several")
    return Classification(bumps, kind, position, correct, _apart_from_bumps(heights, bumps, sigma))


def _apart_from_bumps(
    heights: Float[Tensor, "images N N"], bumps: DetectedBumps, sigma: float
) -> Bool[Tensor, " images"]:
    """Which images have a pixel above half height that no bump's surroundings cover."""
    N, reach = heights.shape[-1], 2 * sigma + 1
    first, last = (bumps.position - reach).ceil().long(), (bumps.position + reach).floor().long()
    window = first[:, None] + torch.arange(int(2 * reach) + 1, device=heights.device)[:, None]
    columns, rows = torch.minimum(window, last[:, None]).clamp(0, N - 1).unbind(-1)
    covered = torch.zeros(heights.shape, dtype=torch.bool, device=heights.device)
    covered[bumps.image[:, None, None], rows[:, :, None], columns[:, None, :]] = True
    return ((heights > HALF_HEIGHT) & ~covered).flatten(1).any(dim=1)
