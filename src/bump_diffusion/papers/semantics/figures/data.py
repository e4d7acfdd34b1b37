"""The chapter *Data*: bumps, grids of labels, the overlap of neighbours."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from bump_diffusion.data.bumps import bump_height, label_grid, render_bumps
from bump_diffusion.page.axes import show_pixels
from bump_diffusion.page.drawing import WIDTH, drawn


@drawn
def bumps_by_spread(N: int, spreads: list[float], polarity: str) -> tuple[Figure, str]:
    """One bump for each spread sigma: in the middle, between pixels, and cut by an edge."""
    places = {"on a pixel": (N // 2, N // 2), "between": (N / 2 + 0.5, N / 2 + 0.5)}
    places["at the edge"] = (N - 0.5, N // 4)
    figure, axes = plt.subplots(
        3, len(spreads), figsize=(WIDTH, 3.4 * WIDTH / (len(spreads) + 0.8)), squeeze=False
    )
    for row, (place, label) in zip(axes, places.items(), strict=True):
        for ax, sigma in zip(row, spreads, strict=True):
            image = render_bumps(torch.tensor([label], dtype=torch.float32), N, sigma, polarity)
            show_pixels(ax, image[0, 0].numpy())
            if place == "on a pixel":
                ax.set_title(rf"$\sigma$ = {sigma:g}")
        row[0].set_ylabel(place)
    ground = "light" if polarity == "dark" else "dark"
    alt = (
        f"Bumps of spread {', '.join(f'{s:g}' for s in spreads)} pixels, {polarity} on {ground} "
        f"ground, in {N} by {N} images: on a pixel, between pixels, and half cut by the right edge."
    )
    return figure, alt


@drawn
def label_grids(N: int, spacings: list[float]) -> tuple[Figure, str]:
    """The labels of data sets of different spacing, and how many images each has."""
    figure, axes = plt.subplots(
        1, len(spacings), figsize=(WIDTH, WIDTH / len(spacings) + 0.7), squeeze=False, sharey=True
    )
    counts = []
    for ax, d in zip(axes[0], spacings, strict=True):
        grid = label_grid(N, d, d)
        counts.append(len(grid))
        near = grid[(grid < 4).all(dim=1)]
        ax.plot(*near.T, ".", markersize=max(1.0, 6 * min(1.0, d)))
        ax.set(aspect="equal", xlim=(-0.5, 4), ylim=(4, -0.5), xlabel=r"$\mu_x$ (pixels)")
        ax.set_title(f"d = {d:g}\n{len(grid):,} images")
    axes[0, 0].set_ylabel(r"$\mu_y$ (pixels)")
    pairs = ", ".join(f"{n:,} at d = {d:g}" for n, d in zip(counts, spacings, strict=True))
    return figure, f"The corner of the label grid for each spacing d; number of images: {pairs}."


@drawn
def neighbour_overlap(N: int, spreads: list[float], spacings: list[float]) -> tuple[Figure, str]:
    """Cosine similarity of neighbouring bumps, measured on rendered images, over sigma / d."""
    figure, ax = plt.subplots()
    largest = 0.0
    for sigma in spreads:
        points = []
        for d in spacings:
            middle = torch.tensor([[N / 2, N / 2], [N / 2 + d, N / 2]])
            first, second = bump_height(render_bumps(middle, N, sigma)).flatten(1)
            similarity = float(torch.cosine_similarity(first, second, dim=0))
            largest = max(largest, abs(similarity - np.exp(-((d / sigma) ** 2) / 4)))
            points.append((sigma / d, similarity))
        ax.plot(*zip(*points, strict=True), "o", label=rf"$\sigma$ = {sigma:g}")
    ratio = np.geomspace(0.1, 40, 200)
    ax.plot(ratio, np.exp(-1 / (4 * ratio**2)), color="#555555", lw=1, zorder=0)
    ax.set(xscale="log", xlabel=r"$\sigma$ / d", ylabel="overlap of neighbours (cosine)")
    ax.legend(loc="lower right")
    alt = (
        "Overlap of neighbouring bumps against sigma over d, measured on rendered images: the "
        f"points follow the curve exp(-d^2 / 4 sigma^2), the farthest {largest:.2f} away from it."
    )
    return figure, alt
