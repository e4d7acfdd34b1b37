"""The straightforward way to sort images: one after another, with scikit-image and SciPy."""

import numpy as np
from scipy.optimize import curve_fit
from skimage.feature import peak_local_max

from bump_diffusion.metrics.bumps import CONTRAST, HALF_HEIGHT
from bump_diffusion.metrics.outcomes import OUTCOMES, TOLERANCE


def sort_images_by_loop(heights: np.ndarray, requested: np.ndarray, sigma: float) -> np.ndarray:
    """The kind (index into `OUTCOMES`) of each image: `heights` (n, N, N), `requested` (n, 2).

    Local maxima are candidates; at each a Gaussian is fitted to the pixels around; those that are
    high enough and far enough from a higher one are bumps.
    """
    return np.array(
        [_kind(image, wanted, sigma) for image, wanted in zip(heights, requested, strict=True)]
    )


def _kind(image: np.ndarray, wanted: np.ndarray, sigma: float) -> int:
    bumps = _bumps(image, sigma)
    if len(bumps) != 1:
        return OUTCOMES.index("several" if bumps else "none")
    right = (np.abs(np.array(bumps[0]) - wanted) <= TOLERANCE).all()
    return OUTCOMES.index("correct" if right else "misplaced")


def _bumps(image: np.ndarray, sigma: float) -> list[tuple[float, float]]:
    reach = max(1, int(np.ceil(1.5 * sigma)))
    fits = []
    for row, column in peak_local_max(image, threshold_abs=CONTRAST, exclude_border=False):
        rows = np.arange(max(0, row - reach), min(len(image), row + reach + 1))
        columns = np.arange(max(0, column - reach), min(len(image), column + reach + 1))
        pixels = image[np.ix_(rows, columns)].ravel()
        y, x = (grid.ravel() for grid in np.meshgrid(rows, columns, indexing="ij"))

        def gaussian(_, a, mu_x, mu_y, x=x, y=y):
            return a * np.exp(-((x - mu_x) ** 2 + (y - mu_y) ** 2) / (2 * sigma**2))

        try:
            (a, mu_x, mu_y), _ = curve_fit(gaussian, None, pixels, p0=(1.0, column, row))
        except RuntimeError:  # no fit found
            continue
        if a >= HALF_HEIGHT:
            fits.append((a, mu_x, mu_y))
    kept = []
    for _, mu_x, mu_y in sorted(fits, reverse=True):
        if all(np.hypot(mu_x - x, mu_y - y) >= max(1.0, 1.5 * sigma) for x, y in kept):
            kept.append((mu_x, mu_y))
    return kept
