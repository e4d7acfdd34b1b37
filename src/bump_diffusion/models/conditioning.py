"""How a label enters the network (arXiv 2402.03305, section 2)."""

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Labels
from bump_diffusion.data.tasks import task_of

LABEL_FEATURES = 128

Embeddings = Float[Tensor, "n embedding"]


def positional_encoding(position: Real[Tensor, " n"], features: int) -> Embeddings:
    """Sines and cosines of `position` at wavelengths from 2 pi to 2 pi * 10^4, half of each.

    The encoding of "Attention is all you need" (arXiv 1706.03762, section 3.5).
    """
    rates = 10_000 ** (-torch.arange(features // 2, device=position.device) / (features // 2))
    angles = position[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class SinusoidalConditioning(nn.Module):
    """Positional encodings of mu_x and mu_y (times the label scale), concatenated."""

    def __init__(self, c: Configuration):
        super().__init__()
        self.scale = c.label_scale

    def forward(self, labels: Labels) -> Embeddings:
        axes = (labels * self.scale).unbind(1)
        return torch.cat([positional_encoding(mu, LABEL_FEATURES // 2) for mu in axes], dim=1)


class ScalarConditioning(nn.Module):
    """The label, divided by N, through one linear layer."""

    def __init__(self, c: Configuration):
        super().__init__()
        self.N = c.N
        self.linear = nn.Linear(2, LABEL_FEATURES)

    def forward(self, labels: Labels) -> Embeddings:
        return self.linear(labels / self.N)


class TableConditioning(nn.Module):
    """A learned vector for each label of the grid, unit normal at first.

    The only scheme in which neighbouring labels start unrelated: nothing of the plane's order is
    put in. A label off the grid takes the entry of the nearest label on it.
    """

    def __init__(self, c: Configuration):
        super().__init__()
        x, y = (axis.unique() for axis in task_of(c).grid().unbind(1))
        self.register_buffer("middles_x", (x[1:] + x[:-1]) / 2, persistent=False)
        self.register_buffer("middles_y", (y[1:] + y[:-1]) / 2, persistent=False)
        self.rows = len(y)
        self.table = nn.Embedding(len(x) * len(y), LABEL_FEATURES)

    def forward(self, labels: Labels) -> Embeddings:
        column = torch.bucketize(labels[:, 0].contiguous(), self.middles_x)
        row = torch.bucketize(labels[:, 1].contiguous(), self.middles_y)
        return self.table(column * self.rows + row)


CONDITIONINGS = {
    "sinusoidal": SinusoidalConditioning,
    "scalar": ScalarConditioning,
    "table": TableConditioning,
}
