"""Inductive biases: other ways for the label to enter than as one vector in every block.

Each says what of the answer it is told. A network reads all that it is given of a label from one
vector, its embedding: first what its blocks are given, then what is drawn beside the image. So a
label is ablated, or exchanged, as it is without a bias: by another embedding.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bump_diffusion.config import BLOCKS, BOTTLENECKS, Configuration
from bump_diffusion.data.bumps import Images, Labels
from bump_diffusion.models.conditioning import CONDITIONINGS, LABEL_FEATURES, AxisValues, Embeddings
from bump_diffusion.seeds import generator

Profiles = Float[Tensor, "n 2 N"]
"""For each label a row of pixels along x, and one along y."""

Kept = Float[Tensor, "n 2"]
"""Shares of a label's vector that are left, of its x and of its y."""


class Lines(nn.Module):
    """A line one pixel wide at mu_x, and one at mu_y.

    It is told the geometry of pixels: where along each axis the bump is, though not its shape. The
    coordinates of arXiv 1807.03247 (CoordConv), relative to what is requested. Between pixels the
    line is shared by the nearest two.
    """

    def __init__(self, c: Configuration):
        super().__init__()
        self.N = c.N

    def distance(self, labels: Labels) -> Profiles:
        """Return how far each pixel is from mu_x along x, and from mu_y along y."""
        return (torch.arange(self.N, device=labels.device) - labels[:, :, None]).abs()

    def forward(self, labels: Labels) -> Profiles:
        return (1 - self.distance(labels)).clamp(min=0)


class GaussianProfiles(Lines):
    """The profile of the bump along x, and along y.

    It is told the geometry of pixels and the shape: the product of the two is the bump. The
    "forced rendering" of arXiv 2501.18797.
    """

    def __init__(self, c: Configuration):
        super().__init__(c)
        self.sigma = c.sigma

    def forward(self, labels: Labels) -> Profiles:
        return torch.exp(-(self.distance(labels) ** 2) / (2 * self.sigma**2))


class PermutedLines(Lines):
    """Lines whose pixels are permuted along each axis, in an order drawn from the seed.

    A control: it is told the separation of the axes, by which of them each line stands along, and
    as much of the values as lines are, but no geometry.
    """

    def __init__(self, c: Configuration):
        super().__init__(c)
        draws = generator("cpu", c.seed, "permuted pixels")
        orders = torch.stack([torch.randperm(c.N, generator=draws) for _ in "xy"])
        self.register_buffer("orders", orders, persistent=False)

    def forward(self, labels: Labels) -> Profiles:
        lines = super().forward(labels)
        return lines.gather(2, self.orders.expand(len(lines), -1, -1))


class LearnedProfiles(nn.Module):
    """A learned profile for each value of x along x, and for each of y along y, normal at first.

    It is told the separation of the axes, by which of them each profile stands along: no order of
    the values, no geometry (the learned rendering of arXiv 2501.18797, unregularised).
    """

    def __init__(self, c: Configuration):
        super().__init__()
        self.values = AxisValues(c)
        self.of_x, self.of_y = (nn.Embedding(n, c.N) for n in self.values.counts)

    def forward(self, labels: Labels) -> Profiles:
        x, y = self.values(labels)
        return torch.stack([self.of_x(x), self.of_y(y)], dim=1)


class Coordinates(Lines):
    """The coordinates of pixels, from -1 to 1, the same for every label.

    A control: it is told the geometry of pixels, and not what it has to do with labels
    (arXiv 1807.03247, CoordConv).
    """

    def forward(self, labels: Labels) -> Profiles:
        return torch.linspace(-1, 1, self.N, device=labels.device).expand(len(labels), 2, -1)


RENDERINGS = {
    "lines": Lines,
    "profiles": GaussianProfiles,
    "permuted": PermutedLines,
    "learned": LearnedProfiles,
    "coordinates": Coordinates,
}


def draw_beside(x: Images, profiles: Float[Tensor, "n both_axes"]) -> Float[Tensor, "n 3 N N"]:
    """Add two channels to images: the profile along x in every row, that along y in every column.

    `profiles` are flattened `Profiles`.
    """
    along_x, along_y = profiles.chunk(2, dim=1)
    channels = along_x[:, None, None, :].expand_as(x), along_y[:, None, :, None].expand_as(x)
    return torch.cat([x, *channels], dim=1)


class AxisProfiles(nn.Module):
    """Injects u(mu_x) by column and v(mu_y) by row into a block, free for each value and channel.

    It is told the separation of the axes: x by columns, y by rows. Which column belongs to which
    value, and the order of values, it must learn.
    """

    def __init__(self, c: Configuration, channels: int, size: int):
        super().__init__()
        self.counts, self.channels = AxisValues(c).counts, channels
        self.u, self.v = (nn.Linear(n, channels * size, bias=False) for n in self.counts)

    def forward(self, one_hot: Float[Tensor, "n values"]) -> Float[Tensor, "n channels size size"]:
        of_x, of_y = one_hot[:, : sum(self.counts)].split(self.counts, dim=1)
        by_column, by_row = (
            profiles.unflatten(1, (self.channels, -1)) for profiles in (self.u(of_x), self.v(of_y))
        )
        return by_column[:, :, None, :] + by_row[:, :, :, None]


class LabelInputs(nn.Module):
    """All that a network with a bias is given of labels.

    That is one of these, then a rendering, if there is one:

    - the values of x and y as one-hot codes, where the injection is by `axes`;
    - the label's vector, as without a bias; through a `bottleneck` of few numbers, which is told
      nothing; with `dropout` of the vector, or of either half of it, that of x or of y, in training
      (as in classifier-free guidance, arXiv 2207.12598), which is told nothing, or the separation
      of the axes; or `annealed`: fading in training, and gone when it is evaluated;
    - nothing, where the label is injected into no block.
    """

    def __init__(self, c: Configuration):
        super().__init__()
        self.values = AxisValues(c) if c.injection == "axes" else None
        without_vector = c.injection in ("none", "axes")
        self.vector = None if without_vector else CONDITIONINGS[c.conditioning](c)
        size = BOTTLENECKS.get(c.injection)
        self.squeeze = nn.Linear(LABEL_FEATURES, size, bias=False) if size else nn.Identity()
        self.fades = c.injection == "annealed"
        self.rendering = None if c.rendering == "none" else RENDERINGS[c.rendering](c)

    def forward(self, labels: Labels, kept: Kept | None = None) -> Embeddings:
        """`kept` is what training leaves of the labels' vectors."""
        parts = []
        if self.values is not None:
            for index, count in zip(self.values(labels), self.values.counts, strict=True):
                parts.append(index[:, None] == torch.arange(count, device=labels.device))
        if self.vector is not None:
            vector = self.vector(labels)
            if self.fades and kept is None:
                kept = torch.zeros_like(labels)
            if kept is not None:
                vector = (vector.unflatten(1, (2, -1)) * kept[:, :, None]).flatten(1)
            parts.append(self.squeeze(vector))
        if self.rendering is not None:
            parts.append(self.rendering(labels).flatten(1))
        return torch.cat([part.float() for part in parts], dim=1)


def embed_labels(c: Configuration) -> nn.Module:
    """The module of a configuration that gives an embedding for each label."""
    if c.rendering == "none" and c.injection in ("global", *BLOCKS):
        return CONDITIONINGS[c.conditioning](c)
    return LabelInputs(c)


def count_injected(c: Configuration, block: str) -> int:
    """How many numbers of an embedding, its first ones, are injected into a block as a vector."""
    if c.injection in ("none", "axes") or (c.injection in BLOCKS and c.injection != block):
        return 0
    return BOTTLENECKS.get(c.injection, LABEL_FEATURES)
