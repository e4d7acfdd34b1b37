"""Probes: how well bump position can be read, linearly, from the network's features.

Two questions are kept apart. Do the features lie on a 2D manifold of bump positions at all? Then
the position of the bump that was *generated* can be read from them. Is it ordered by the request?
Then the *requested* position can. The published probe (arXiv 2402.03305, section 3) asks the second
question only, of features that hold the label because it was injected into them; `analysis.phases`
therefore reads both from features whose label part was replaced by its mean.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int

MINIMUM_POINTS = 50
"""Fewest points that a probe is fitted to; with fewer it is undefined (NaN)."""

FOLDS = 5
"""Folds of the cross-validation."""

RIDGE_ALPHAS = np.logspace(-2, 6, 17)
"""Strengths of the ridge regression that are tried."""

LEAST_SQUARES_FEATURES = 10
"""Most features that are fitted by least squares, as the UMAP embedding's."""


Points = Float[np.ndarray, "n features"]
Targets = Float[np.ndarray, "n 2"]
Groups = Int[np.ndarray, " n"]


def probe_targets(
    points: Points, targets: Mapping[str, Targets], groups: Groups
) -> Iterator[tuple[str, str, float]]:
    """Yield (target, axis, R^2) for both axes of each target."""
    probe = Probe(points, groups)
    for target, positions in targets.items():
        for axis, r2 in zip("xy", probe.r2(positions), strict=True):
            yield target, axis, r2


class Probe:
    """Linear, cross-validated reading of positions from one set of features.

    Predictions are those of `FOLDS` folds, so that many features cannot explain few points by
    chance: where there is nothing to read, R^2 is about 0 or below. Up to
    `LEAST_SQUARES_FEATURES` features are fitted by least squares, more by ridge regression with
    its alpha chosen within each fold, by leaving out one group at a time. Points of one group (the
    images of one label) share a fold; by default each point is a group of its own.
    """

    def __init__(self, points: Points, groups: Groups | None = None):
        self.points = points
        self.groups = np.arange(len(points)) if groups is None else groups
        self._folds: dict[bytes, list[_Fold]] = {}

    def r2(self, target: Targets) -> tuple[float, float]:
        """R^2 with which x and y, the target's columns, are read.

        Rows whose target is NaN are left out; with fewer than `MINIMUM_POINTS` left, or fewer
        groups than folds, R^2 is NaN; so is that of an axis along which the target is constant.
        """
        known = ~np.isnan(target).any(axis=1)
        if known.sum() < MINIMUM_POINTS or len(np.unique(self.groups[known])) < FOLDS:
            return float("nan"), float("nan")
        target = target[known].astype(np.float64)
        read = np.empty_like(target)
        for fold in self._folds_of(known):
            read[fold.test] = fold.predict(target[fold.train])
        missed = ((target - read) ** 2).sum(axis=0)
        varied = np.where(np.ptp(target, axis=0) > 0, target - target.mean(axis=0), np.nan)
        r2_x, r2_y = 1 - missed / (varied**2).sum(axis=0)
        return float(r2_x), float(r2_y)

    def _folds_of(self, known: Bool[np.ndarray, " n"]) -> "list[_Fold]":
        key = known.tobytes()
        if key not in self._folds:
            points = self.points[known].astype(np.float64)
            present, group = np.unique(self.groups[known], return_inverse=True)
            order = np.random.RandomState(0).permutation(len(present))
            tested = [np.isin(group, fold) for fold in np.array_split(order, FOLDS)]
            self._folds[key] = [
                _Fold(points, group, np.flatnonzero(~test), np.flatnonzero(test)) for test in tested
            ]
        return self._folds[key]


class _Fold:
    """The fit to one fold's points, decomposed once for all targets and alphas."""

    def __init__(
        self,
        points: Float[np.ndarray, "n features"],
        group: Int[np.ndarray, " n"],
        train: Int[np.ndarray, " t"],
        test: Int[np.ndarray, " rest"],
    ):
        self.train, self.test, self.group = train, test, group[train]
        mean, spread = points[train].mean(axis=0), points[train].std(axis=0)
        varied = spread > 1e-12 * np.abs(mean)  # a constant feature has but rounding
        fitted, tested = (
            (points[side][:, varied] - mean[varied]) / spread[varied] for side in (train, test)
        )
        # The fit stays within the span of the training points: their Gram matrix is all it needs.
        squares, self.directions = np.linalg.eigh(fitted @ fitted.T)
        self.squares = squares.clip(min=0)
        self.projected = tested @ fitted.T @ self.directions
        few = points.shape[1] <= LEAST_SQUARES_FEATURES
        self.alphas = np.zeros(1) if few else RIDGE_ALPHAS

    @cached_property
    def members(self) -> list[Int[np.ndarray, "groups size"]]:
        """The points of the groups of several, a row each; those of equal size together."""
        counts = np.bincount(self.group)
        by_group = np.argsort(self.group, kind="stable")
        ends = np.cumsum(counts)
        return [
            np.stack([by_group[end - size : end] for end in ends[counts == size]])
            for size in np.unique(counts[counts > 1])
        ]

    def predict(self, target: Float[np.ndarray, "t 2"]) -> Float[np.ndarray, "rest 2"]:
        """Positions of the tested points, from those of the others."""
        mean = target.mean(axis=0)
        along = self.directions.T @ (target - mean)
        best = self._errors(target - mean, along).argmin() if len(self.alphas) > 1 else 0
        return mean + self.projected @ (along * self.inverse[best, :, None])

    @cached_property
    def inverse(self) -> Float[np.ndarray, "alphas t"]:
        """What each alpha divides each direction by, as a factor."""
        # Directions in which the points do not vary, but for rounding, are not divided by.
        varied = self.squares > 1e-12 * self.squares.max(initial=1e-300)
        return np.where(varied, 1 / np.where(varied, self.squares + self.alphas[:, None], 1), 0)

    @cached_property
    def kept(self) -> Float[np.ndarray, "alphas t"]:
        """The share of what lies along each direction that the fit with each alpha keeps."""
        return self.squares * self.inverse

    @cached_property
    def left(self) -> Float[np.ndarray, "alphas t"]:
        """What the fit with each alpha leaves of each point: the hat matrix's diagonal from one."""
        return 1 - self.kept @ self.directions.T**2 - 1 / len(self.train)

    def _errors(
        self, centred: Float[np.ndarray, "t 2"], along: Float[np.ndarray, "t 2"]
    ) -> Float[np.ndarray, " alphas"]:
        """Squared error in predicting each group from the others, without fitting again.

        The residuals of a group that is left out are those of the whole fit, times the inverse of
        what the fit leaves of the group (the hat matrix's block subtracted from one). Leaving out
        single points would choose too small an alpha: the others of its group, which have the same
        target, vouch for a point.
        """
        residual = centred - self.directions @ (along * self.kept[:, :, None])
        errors = (residual / self.left[:, :, None]) ** 2
        for rows in self.members:
            directions = self.directions[rows]
            hat = (directions * self.kept[:, None, None]) @ directions.mT
            blocks = np.eye(rows.shape[1]) - hat - 1 / len(centred)
            errors[:, rows] = np.linalg.solve(blocks, residual[:, rows]) ** 2
        return errors.sum(axis=(1, 2))
