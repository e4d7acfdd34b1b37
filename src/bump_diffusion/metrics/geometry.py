"""The shape of the points that a network's features are: UMAP, dimensions, neighbourhoods."""

import atexit
import functools
import shutil
import warnings
from tempfile import mkdtemp
from types import ModuleType

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import pdist, squareform

from bump_diffusion.metrics.probes import MINIMUM_POINTS, Points, Targets

NEIGHBOURS = 15
"""Neighbours in UMAP (its default) and in trustworthiness."""


def umap_embedding(features: Points, seed: int) -> Float[np.ndarray, "n 3"]:
    """UMAP of the features to three dimensions, as the paper does, with umap-learn's defaults.

    Points too few to have `NEIGHBOURS` neighbours each are all put at zero.
    """
    if len(features) <= NEIGHBOURS:
        return np.zeros((len(features), 3), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of points left apart, which R^2 shows
        fit = _umap().UMAP(n_components=3, n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1)
        return fit.fit_transform(features)


def _choose_cache_folder() -> None:
    """Let numba keep compiled functions in a temporary folder if it can write to no other one."""
    import numba

    try:
        numba.njit(cache=True)(squareform)  # any function of a package: nothing is compiled yet
    except RuntimeError:
        numba.config.CACHE_DIR = mkdtemp()
        atexit.register(shutil.rmtree, numba.config.CACHE_DIR, ignore_errors=True)


@functools.cache
def _umap() -> ModuleType:
    """The package umap, imported when it is needed, as that takes seconds, and set up once."""
    _choose_cache_folder()
    import numba
    import umap

    # Numba's OpenMP layer, its default, would also reset the number of threads of torch.
    numba.config.THREADING_LAYER = "workqueue"
    # What umap-learn compiles anew in every process, for nine seconds: kept on disk.
    for function in (
        umap.utils.fast_knn_indices,
        umap.umap_.smooth_knn_dist,
        umap.umap_.compute_membership_strengths,
    ):
        function.enable_caching()
    return umap


def effective_dimension(features: Points) -> float:
    """Participation ratio of the covariance's eigenvalues, (sum l)^2 / sum l^2."""
    centred = features - features.mean(axis=0)
    eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2
    total = eigenvalues.sum()
    return float(total**2 / (eigenvalues**2).sum()) if total > 0 else 0.0


def intrinsic_dimension(features: Points) -> float:
    """Dimension of the manifold the points lie on, by TwoNN (Facco et al., arXiv 1803.06992).

    The ratio of the distances to a point's second and first neighbour follows a Pareto law whose
    exponent is the dimension; this is its maximum-likelihood estimate, corrected for bias. Points
    that coincide count once. NaN with fewer than `MINIMUM_POINTS` distinct points.
    """
    features = np.unique(features, axis=0)
    if len(features) < MINIMUM_POINTS:
        return float("nan")
    distances = squareform(pdist(features.astype(np.float64)))
    np.fill_diagonal(distances, np.inf)
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    return float((len(features) - 1) / np.log(second / first).sum())


def neighbourhood_order(features: Points, target: Targets) -> float:
    """Trustworthiness of the features as a picture of the target plane (Venna & Kaski, 2001).

    1 if each point's nearest neighbours among the features are its neighbours in the plane, about
    0.5 if they are any. Order that bends or folds, which R^2 misses, still shows here. Rows whose
    target is NaN are left out; points that share a target, and would be each other's neighbours
    whatever the order, are averaged. NaN with fewer than `MINIMUM_POINTS` left.
    """
    known = ~np.isnan(target).any(axis=1)
    target, features = target[known], features[known]
    positions, which = np.unique(target, axis=0, return_inverse=True)
    if len(positions) < len(target):
        features = np.stack([features[which == i].mean(axis=0) for i in range(len(positions))])
        target = positions
    if len(target) < MINIMUM_POINTS:
        return float("nan")
    from sklearn.manifold import trustworthiness  # takes a second to import

    return float(trustworthiness(target, features, n_neighbors=NEIGHBOURS))
