"""Probes: how well bump position can be read, linearly, from the network's features.

Two questions are kept apart. Do the features lie on a 2D manifold of bump positions at all? Then
the position of the bump that was *generated* can be read from them. Is it ordered by the request?
Then the *requested* position can. The published probe (arXiv 2402.03305, section 3) asks the second
question only, of features that hold the label because it was injected into them; `analysis.phases`
therefore reads both from features whose label part was replaced by its mean.
"""

import warnings
from collections.abc import Iterator, Mapping

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import LinAlgWarning
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MINIMUM_POINTS = 50
"""Fewest points that a probe is fitted to; with fewer it is undefined (NaN)."""

FOLDS = 5
"""Folds of the cross-validation."""

RIDGE_ALPHAS = np.logspace(-2, 6, 17)
"""Strengths of the ridge regression that are tried."""

Points = Float[np.ndarray, "n features"]
Targets = Float[np.ndarray, "n 2"]
Groups = Int[np.ndarray, " n"]


def probe_targets(
    points: Points, targets: Mapping[str, Targets], groups: Groups
) -> Iterator[tuple[str, str, float]]:
    """Yield (target, axis, R^2) for both axes of each target: see `probe_r2`."""
    for target, positions in targets.items():
        for axis, r2 in zip("xy", probe_r2(points, positions, groups), strict=True):
            yield target, axis, r2


def probe_r2(points: Points, target: Targets, groups: Groups | None = None) -> tuple[float, float]:
    """R^2 with which x and y (the target's columns) are read linearly from the points.

    Predictions are cross-validated (5 folds), so that many features cannot explain few points by
    chance: where there is nothing to read, R^2 is about 0 or below. Up to ten features (the UMAP
    embedding) are fitted by least squares, more by ridge regression with its strength chosen within
    each fold, by leaving out one group at a time. Points of one group share a fold; by default each
    is a group. Rows whose target is NaN are left out; with fewer than `MINIMUM_POINTS` left, or
    fewer groups than folds, R^2 is NaN; so is that of an axis along which the target is constant.
    """
    known = ~np.isnan(target).any(axis=1)
    points, target = points[known], target[known]
    groups = np.arange(len(known)) if groups is None else groups
    present, group = np.unique(groups[known], return_inverse=True)
    if len(points) < MINIMUM_POINTS or len(present) < FOLDS:
        return float("nan"), float("nan")
    tested, predicted = [], []
    for fold in KFold(FOLDS, shuffle=True, random_state=0).split(present):
        train, test = (np.flatnonzero(np.isin(group, side)) for side in fold)
        regression = _regression(points[train], target[train], group[train])
        with warnings.catch_warnings():
            # Points of one group are nearly equal; single precision does for the R^2 even so.
            warnings.simplefilter("ignore", LinAlgWarning)
            regression.fit(points[train], target[train])
        tested.append(test)
        predicted.append(regression.predict(points[test]))
    in_order = np.argsort(np.concatenate(tested))
    r2 = r2_score(target, np.concatenate(predicted)[in_order], multioutput="raw_values")
    r2_x, r2_y = np.where(np.ptp(target, axis=0) > 0, r2, np.nan)
    return float(r2_x), float(r2_y)


def _regression(points: Points, target: Targets, group: Groups) -> BaseEstimator:
    """What is to be fitted to the points: see `probe_r2`."""
    if points.shape[1] <= 10:
        return LinearRegression()
    alone = len(np.unique(group)) == len(group)
    ridge = RidgeCV(RIDGE_ALPHAS) if alone else Ridge(choose_alpha(points, target, group))
    return make_pipeline(StandardScaler(), ridge)


def choose_alpha(points: Points, target: Targets, group: Groups) -> float:
    """The one of `RIDGE_ALPHAS` whose ridge regression best predicts groups left out one by one.

    Leaving out single points, as `RidgeCV` does, would choose too little strength: the others of
    its group, which have the same target, vouch for a point. Without fitting again: the residuals
    of a group that is left out are those of the whole fit, times the inverse of what this leaves of
    the group (the hat matrix's block subtracted from one).
    """
    scaled = StandardScaler().fit_transform(points.astype(np.float64))
    directions, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    members = [np.flatnonzero(group == g) for g in np.unique(group)]

    def error(alpha: float) -> float:
        shrunk = sizes**2 / (sizes**2 + alpha)
        left = np.eye(len(points)) - (directions * shrunk) @ directions.T - 1 / len(points)
        residual = left @ target
        errors = (np.linalg.solve(left[np.ix_(g, g)], residual[g]) for g in members)
        return sum(float((e**2).sum()) for e in errors)

    return float(min(RIDGE_ALPHAS, key=error))
