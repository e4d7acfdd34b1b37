"""How a label enters the network (arXiv 2402.03305, section 2)."""

from functools import partial

import torch
from jaxtyping import Float, Int, Real
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


class AxisValues(nn.Module):
    """Finds each label's values among those of the grid, the nearest along each axis."""

    def __init__(self, c: Configuration):
        super().__init__()
        x, y = (axis.unique() for axis in task_of(c).grid().unbind(1))
        self.register_buffer("middles_x", (x[1:] + x[:-1]) / 2, persistent=False)
        self.register_buffer("middles_y", (y[1:] + y[:-1]) / 2, persistent=False)
        self.counts = len(x), len(y)

    def forward(self, labels: Labels) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
        """Return the index of each label's x and of its y."""
        x, y = labels.T.contiguous()
        return torch.bucketize(x, self.middles_x), torch.bucketize(y, self.middles_y)


class TableConditioning(nn.Module):
    """A learned vector for each label of the grid, unit normal at first.

    The only scheme in which neighbouring labels start unrelated: nothing of the plane's order is
    put in, nor that labels have two coordinates. A label off the grid takes the entry of the
    nearest label on it.
    """

    def __init__(self, c: Configuration):
        super().__init__()
        self.values = AxisValues(c)
        columns, self.rows = self.values.counts
        self.table = nn.Embedding(columns * self.rows, LABEL_FEATURES)

    def forward(self, labels: Labels) -> Embeddings:
        column, row = self.values(labels)
        return self.table(column * self.rows + row)


class LowRankConditioning(nn.Module):
    """A table of labels in which each feature, as a matrix over x and y, has at most some rank.

    It is the sum, over the rank, of the products of a learned vector of x and one of y: the
    canonical decomposition of the table (Hitchcock 1927). It is told that labels have two
    coordinates, and nothing of the order of their values or of pixels. A label off the grid takes
    the nearest values.
    """

    def __init__(self, c: Configuration, rank: int):
        super().__init__()
        self.values = AxisValues(c)
        self.rank = rank
        self.of_x, self.of_y = (nn.Embedding(n, rank * LABEL_FEATURES) for n in self.values.counts)

    def forward(self, labels: Labels) -> Embeddings:
        x, y = self.values(labels)
        products = (self.of_x(x) * self.of_y(y)).unflatten(1, (self.rank, LABEL_FEATURES))
        return products.sum(dim=1) / self.rank**0.5  # of unit variance at first


CONDITIONINGS = {
    "sinusoidal": SinusoidalConditioning,
    "scalar": ScalarConditioning,
    "table": TableConditioning,
    **{f"low-rank-{rank}": partial(LowRankConditioning, rank=rank) for rank in (1, 2, 4)},
}
