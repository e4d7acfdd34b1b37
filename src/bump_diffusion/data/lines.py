"""One axis of the bumps alone, and images composed of two."""

import torch
from jaxtyping import Float
from torch import Tensor

from bump_diffusion.data.bumps import Bumps, Labels, bump_height, label_grid


class Lines(Bumps):
    """Images one pixel high, with a bump at each position along x; their labels have mu_y = 0."""

    has_plane = False
    height = 1

    def grid(self) -> Labels:
        return label_grid(self.c.N, self.c.d_x, float(self.c.N))

    def to_classify(
        self, images: Float[Tensor, "n 1 1 N"], labels: Labels
    ) -> tuple[Float[Tensor, "n N N"], Labels]:
        """Lines are composed with a true bump in the middle along y."""
        middle = torch.tensor([[self.c.N // 2, 0.0]], device=labels.device)
        along_x, along_y = (bump_height(x, self.c.polarity) for x in (images, self.render(middle)))
        return compose(along_x, along_y.expand_as(along_x)), labels + middle.flip(1)


def compose(
    along_x: Float[Tensor, "n 1 N"], along_y: Float[Tensor, "n 1 N"]
) -> Float[Tensor, "n N N"]:
    """The heights of images from those of two lines: a bump is the product of its two profiles."""
    return along_y.transpose(1, 2) * along_x
