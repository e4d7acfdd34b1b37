"""The chapter *Data*: bumps, grids of labels, the overlap of neighbours."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from bump_diffusion.data.bumps import bump_height, label_grid, render_bumps
from bump_diffusion.page.axes import panels, show_pixels
from bump_diffusion.page.colours import QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn


@drawn
def bumps_by_spread(N: int, spreads: list[float], polarity: str) -> Drawn:
    """Show a bump of each spread sigma: on a pixel, between pixels, and cut by an edge."""
    labels = {
        "on a pixel": (N // 2, N // 2),
        "between": (N / 2 + 0.5, N / 2 + 0.5),
        "at the edge": (N - 0.5, N // 4),
    }
    size = (WIDTH, 3.4 * WIDTH / (len(spreads) + 0.8))
    figure, axes = plt.subplots(3, len(spreads), figsize=size, squeeze=False)
    for row, (name, label) in zip(axes, labels.items(), strict=True):
        for ax, sigma in zip(row, spreads, strict=True):
            image = render_bumps(torch.tensor([label], dtype=torch.float32), N, sigma, polarity)
            show_pixels(ax, image[0, 0].numpy())
        row[0].set_ylabel(name)
    for ax, sigma in zip(axes[0], spreads, strict=True):
        ax.set_title(rf"$\sigma$ = {sigma:g}")
    return figure, (
        f"{polarity.capitalize()} bumps of spread {', '.join(f'{s:g}' for s in spreads)} pixels in "
        f"{N} by {N} images: on a pixel, between pixels, and half cut by the right edge."
    )


@drawn
def label_grids(N: int, spacings: list[float]) -> Drawn:
    """Draw the labels of data sets of different spacing, and how many images each has."""
    grids = {d: label_grid(N, d, d) for d in spacings}
    titles = [f"d = {d:g}\n{len(grid):,} images" for d, grid in grids.items()]
    figure, axes = panels(titles, WIDTH / len(spacings) + 0.7)
    for ax, (d, grid) in zip(axes, grids.items(), strict=True):
        ax.plot(*grid[(grid < 4).all(dim=1)].T, ".", markersize=max(1.0, 6 * min(1.0, d)))
        ax.set(aspect="equal", xlim=(-0.5, 4), ylim=(4, -0.5), xlabel=r"$\mu_x$ (pixels)")
    axes[0].set_ylabel(r"$\mu_y$ (pixels)")
    counts = ", ".join(title.replace("\n", ": ") for title in titles)
    return figure, f"The corner of the label grid for each spacing d (pixels): {counts}."


@drawn
def neighbour_overlap(N: int, spreads: list[float], spacings: list[float]) -> Drawn:
    """Draw the cosine similarity of neighbouring bumps, as rendered, over sigma / d."""
    figure, ax = plt.subplots()
    deviations = []
    for sigma in spreads:
        points = []
        for d in spacings:
            neighbours = torch.tensor([[N / 2, N / 2], [N / 2 + d, N / 2]])
            first, second = bump_height(render_bumps(neighbours, N, sigma)).flatten(1)
            similarity = torch.cosine_similarity(first, second, dim=0).item()
            deviations.append(abs(similarity - np.exp(-((d / sigma) ** 2) / 4)))
            points.append((sigma / d, similarity))
        ax.plot(*zip(*points, strict=True), "o", label=rf"$\sigma$ = {sigma:g}")
    ratio = np.geomspace(0.1, 40, 200)
    ax.plot(ratio, np.exp(-1 / (4 * ratio**2)), color=QUIET, lw=1, zorder=0)
    ax.set(xscale="log", xlabel=r"$\sigma$ / d", ylabel="overlap of neighbours (cosine)")
    ax.legend(loc="lower right")
    return figure, (
        "Overlap of neighbouring bumps against sigma over d, measured on rendered images: the "
        f"points lie at most {max(deviations):.2f} from the curve exp(-d^2 / 4 sigma^2)."
    )
