"""What is in the network's features: probes of bump position, dimensions, neighbourhoods.

Two questions are kept apart. Do the features lie on a 2D manifold of bump positions at all? Then
the position of the bump that was *generated* can be read from them. Is it ordered by the request?
Then the *requested* position can. The published probe (arXiv 2402.03305, section 3) asks the second
question only, of features that hold the label because it was injected into them; `phases` therefore
reads both from features whose label part was replaced by its mean.
"""

import functools
import warnings
from types import ModuleType

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import LinAlgWarning
from scipy.spatial.distance import pdist, squareform
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.manifold import trustworthiness
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FEWEST = 50
"""Fewest points that a probe is fitted to; with fewer it is undefined (NaN)."""

FOLDS = 5
"""Folds of the cross-validation."""

STRENGTHS = np.logspace(-2, 6, 17)
"""Strengths of the ridge regression that are tried."""

NEIGHBOURS = 15
"""Neighbours in UMAP (its default) and in trustworthiness."""


def umap_embedding(
    features: Float[np.ndarray, "n features"], seed: int
) -> Float[np.ndarray, "n 3"]:
    """UMAP of the features to three dimensions, as the paper does, with umap-learn's defaults.

    Points too few to have `NEIGHBOURS` neighbours each are all put at zero.
    """
    if len(features) <= NEIGHBOURS:
        return np.zeros((len(features), 3), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of points left apart, which R^2 shows
        fit = _umap().UMAP(n_components=3, n_neighbors=NEIGHBOURS, random_state=seed, n_jobs=1)
        return fit.fit_transform(features)


@functools.cache
def _umap() -> ModuleType:
    """The package umap, set up once in a process.

    Imported when needed because it takes seconds, which a reader of shipped records need not wait.
    """
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


def probe_r2(
    points: Float[np.ndarray, "n features"],
    target: Float[np.ndarray, "n 2"],
    groups: Int[np.ndarray, " n"] | None = None,
) -> tuple[float, float]:
    """R^2 with which x and y (the target's columns) are read linearly from the points.

    Predictions are cross-validated (5 folds), so that many features cannot explain few points by
    chance: where there is nothing to read, R^2 is about 0 or below. Up to ten features (the UMAP
    embedding) are fitted by least squares, more by ridge regression with its strength chosen within
    each fold, by leaving out one group at a time. Points of one group share a fold; by default each
    is its own. Rows whose target is NaN are left out; with fewer than `FEWEST` left, or fewer
    groups than folds, R^2 is NaN, and so is that of an axis along which the target does not vary.
    """
    known = ~np.isnan(target).any(axis=1)
    points, target = points[known], target[known]
    groups = np.arange(len(known)) if groups is None else groups
    present, group = np.unique(groups[known], return_inverse=True)
    if len(points) < FEWEST or len(present) < FOLDS:
        return float("nan"), float("nan")
    tested, read = [], []
    for fold in KFold(FOLDS, shuffle=True, random_state=0).split(present):
        train, test = (np.flatnonzero(np.isin(group, side)) for side in fold)
        regression = _regression(points[train], group[train], target[train])
        with warnings.catch_warnings():
            # Points of one group are nearly equal; single precision does for the R^2 even so.
            warnings.simplefilter("ignore", LinAlgWarning)
            regression.fit(points[train], target[train])
        tested.append(test)
        read.append(regression.predict(points[test]))
    in_order = np.argsort(np.concatenate(tested))
    r2 = r2_score(target, np.concatenate(read)[in_order], multioutput="raw_values")
    r2_x, r2_y = np.where(np.ptp(target, axis=0) > 0, r2, np.nan)
    return float(r2_x), float(r2_y)


def _regression(
    points: Float[np.ndarray, "n features"],
    group: Int[np.ndarray, " n"],
    target: Float[np.ndarray, "n 2"],
) -> BaseEstimator:
    """What is to be fitted to the points: see `probe_r2`."""
    if points.shape[1] <= 10:
        return LinearRegression()
    alone = len(np.unique(group)) == len(group)
    ridge = RidgeCV(STRENGTHS) if alone else Ridge(ridge_strength(points, group, target))
    return make_pipeline(StandardScaler(), ridge)


def ridge_strength(
    points: Float[np.ndarray, "n features"],
    group: Int[np.ndarray, " n"],
    target: Float[np.ndarray, "n 2"],
) -> float:
    """Of `STRENGTHS` that whose ridge regression best predicts the groups left out, one at a time.

    Leaving out single points, as `RidgeCV` does, would choose too little strength: the others of
    its group, which have the same target, vouch for a point. Without fitting again: the residuals
    of a group that is left out are those of the whole fit, times the inverse of what this leaves of
    the group (the hat matrix's block subtracted from one).
    """
    scaled = StandardScaler().fit_transform(points.astype(np.float64))
    directions, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    members = [np.flatnonzero(group == one) for one in np.unique(group)]

    def error(strength: float) -> float:
        shrunk = sizes**2 / (sizes**2 + strength)
        left = np.eye(len(points)) - (directions * shrunk) @ directions.T - 1 / len(points)
        residual = left @ target
        found = (np.linalg.solve(left[np.ix_(own, own)], residual[own]) for own in members)
        return sum(float((errors**2).sum()) for errors in found)

    return float(min(STRENGTHS, key=error))


def effective_dimension(features: Float[np.ndarray, "n features"]) -> float:
    """Participation ratio of the covariance's eigenvalues, (sum l)^2 / sum l^2."""
    centred = features - features.mean(axis=0)
    eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2
    total = eigenvalues.sum()
    return float(total**2 / (eigenvalues**2).sum()) if total > 0 else 0.0


def intrinsic_dimension(features: Float[np.ndarray, "n features"]) -> float:
    """Dimension of the manifold the points lie on, by TwoNN (Facco et al., arXiv 1803.06992).

    The ratio of the distances to a point's second and first neighbour follows a Pareto law whose
    exponent is the dimension; this is its maximum-likelihood estimate, corrected for bias. Points
    that coincide count once. NaN with fewer than `FEWEST` distinct points.
    """
    features = np.unique(features, axis=0)
    if len(features) < FEWEST:
        return float("nan")
    distances = squareform(pdist(features.astype(np.float64)))
    np.fill_diagonal(distances, np.inf)
    first, second = np.partition(distances, 1, axis=1)[:, :2].T
    return float((len(features) - 1) / np.log(second / first).sum())


def neighbourhood_order(
    features: Float[np.ndarray, "n features"], target: Float[np.ndarray, "n 2"]
) -> float:
    """Trustworthiness of the features as a picture of the target plane (Venna & Kaski, 2001).

    1 if each point's nearest neighbours among the features are its neighbours in the plane,
    about 0.5 if they are any. Order that bends or folds, which R^2 misses, still shows here.
    Rows whose target is NaN are left out; points that share a target, and would be each other's
    neighbours whatever the order, are averaged. NaN with fewer than `FEWEST` left.
    """
    known = ~np.isnan(target).any(axis=1)
    target, features = target[known], features[known]
    present, which = np.unique(target, axis=0, return_inverse=True)
    if len(present) < len(target):
        features = np.stack([features[which == i].mean(axis=0) for i in range(len(present))])
        target = present
    if len(target) < FEWEST:
        return float("nan")
    return float(trustworthiness(target, features, n_neighbors=NEIGHBOURS))
