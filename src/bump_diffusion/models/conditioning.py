"""How a label enters the network (arXiv 2402.03305, section 2)."""

import torch
from jaxtyping import Float, Real
from torch import Tensor, nn

LABEL_FEATURES = 128


def positional_encoding(
    position: Real[Tensor, " batch"], features: int
) -> Float[Tensor, "batch features"]:
    """Sines and cosines of `position` at wavelengths from 2 pi to 2 pi * 10^4, half of each.

    The encoding of "Attention is all you need" (arXiv 1706.03762, section 3.5).
    """
    rates = 10_000 ** (-torch.arange(features // 2, device=position.device) / (features // 2))
    angles = position[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class SinusoidalConditioning(nn.Module):
    """Positional encodings of mu_x and mu_y (times `scale`), concatenated."""

    def __init__(self, grid: Float[Tensor, "n 2"], N: int, scale: float):
        super().__init__()
        self.scale = scale

    def forward(self, labels: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch features"]:
        return torch.cat(
            [positional_encoding(mu * self.scale, LABEL_FEATURES // 2) for mu in labels.unbind(1)],
            dim=1,
        )


class ScalarConditioning(nn.Module):
    """The label, divided by N, through one linear layer."""

    def __init__(self, grid: Float[Tensor, "n 2"], N: int, scale: float):
        super().__init__()
        self.N = N
        self.linear = nn.Linear(2, LABEL_FEATURES)

    def forward(self, labels: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch features"]:
        return self.linear(labels / self.N)


class TableConditioning(nn.Module):
    """A learned vector for each label of the grid, unit normal at first.

    The only scheme in which neighbouring labels start unrelated: nothing of the plane's order is
    put in. A label off the grid takes the entry of the nearest label on it.
    """

    def __init__(self, grid: Float[Tensor, "n 2"], N: int, scale: float):
        super().__init__()
        along = grid[:, 0].unique(), grid[:, 1].unique()
        for axis, values in zip("xy", along, strict=True):
            middles = (values[1:] + values[:-1]) / 2
            self.register_buffer(f"middles_{axis}", middles, persistent=False)
        self.rows = len(along[1])
        self.table = nn.Embedding(len(grid), LABEL_FEATURES)

    def forward(self, labels: Float[Tensor, "batch 2"]) -> Float[Tensor, "batch features"]:
        column = torch.bucketize(labels[:, 0].contiguous(), self.middles_x)
        row = torch.bucketize(labels[:, 1].contiguous(), self.middles_y)
        return self.table(column * self.rows + row)


CONDITIONINGS = {
    "sinusoidal": SinusoidalConditioning,
    "scalar": ScalarConditioning,
    "table": TableConditioning,
}
