"""Dimensions, R^2 and trustworthiness on manifolds whose answers are known."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bump_diffusion.metrics.geometry import (
    effective_dimension,
    intrinsic_dimension,
    neighbourhood_order,
    umap_embedding,
)
from bump_diffusion.metrics.probes import FOLDS, MINIMUM_POINTS, RIDGE_ALPHAS, Probe


def plane(n=500, features=20, seed=0):
    """Points of a plane, turned into many dimensions, and their coordinates on it."""
    generator = np.random.default_rng(seed)
    position = generator.uniform(0, 16, (n, 2))
    frame = np.linalg.qr(generator.normal(size=(features, 2)))[0]
    return position @ frame.T, position


def torus(n=1500, seed=0):
    """A Clifford torus in four dimensions, and its two angles."""
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, (n, 2))
    points = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    return points, angles


def noise(n=500, features=20, seed=0):
    return np.random.default_rng(seed).normal(size=(n, features))


def test_position_is_read_from_a_plane_and_not_from_shuffled_labels_or_noise():
    points, position = plane()
    assert min(Probe(points).r2(position)) > 0.999
    assert max(Probe(points).r2(np.random.default_rng(1).permutation(position))) < 0.05
    assert max(Probe(noise()).r2(position)) < 0.05


def test_more_features_than_points_do_not_explain_noise():
    assert max(Probe(noise(n=100, features=400)).r2(plane(n=100)[1])) < 0.2


def labels_repeated(labels, times, features=60, seed=0):
    """Noisy features of a plane's points, each of whose labels occurs several times."""
    generator = np.random.default_rng(seed)
    position = np.repeat(generator.uniform(0, 16, (labels, 2)), times, axis=0)
    codes = np.repeat(generator.normal(size=(labels, features)), times, axis=0)
    points = 0.05 * position @ generator.normal(size=(2, features)) + codes
    points += 0.05 * generator.normal(size=points.shape)
    return points, position, np.repeat(np.arange(labels), times)


@settings(deadline=None, max_examples=5)
@given(st.integers(60, 90), st.integers(0, 99))
def test_r2_is_that_of_ridge_regression_with_its_alpha_chosen_by_leaving_out_points(n, seed):
    points, position, _ = labels_repeated(n, 1, seed=seed)
    read = np.empty_like(position)
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(points):
        ridge = make_pipeline(StandardScaler(), RidgeCV(RIDGE_ALPHAS))
        read[test] = ridge.fit(points[train], position[train]).predict(points[test])
    expected = r2_score(position, read, multioutput="raw_values")
    assert Probe(points).r2(position) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=3)
@given(st.integers(15, 25), st.integers(4, 5), st.integers(0, 99))
def test_groups_are_left_out_whole_in_choosing_alpha(labels, times, seed):
    points, position, group = labels_repeated(labels, times, seed=seed)
    read = np.empty_like(position)
    for train, test in KFold(FOLDS, shuffle=True, random_state=0).split(np.unique(group)):
        fitted, tested = np.isin(group, train), np.isin(group, test)
        scaler = StandardScaler().fit(points[fitted])
        # Each left-out group has as many points: the mean of their errors ranks as the sum does.
        search = GridSearchCV(
            Ridge(),
            {"alpha": RIDGE_ALPHAS},
            cv=LeaveOneGroupOut(),
            scoring="neg_mean_squared_error",
        ).fit(scaler.transform(points[fitted]), position[fitted], groups=group[fitted])
        read[tested] = search.predict(scaler.transform(points[tested]))
    expected = r2_score(position, read, multioutput="raw_values")
    assert Probe(points, group).r2(position) == pytest.approx(expected, abs=1e-6)


def test_one_probe_reads_several_targets_as_probes_of_their_own_would():
    points, position = plane(n=200)
    partly = position.copy()
    partly[::3] = np.nan
    probe = Probe(points)
    for target in (position, partly, position[::-1]):
        assert probe.r2(target) == Probe(points).r2(target)


def test_labels_that_repeat_do_not_vouch_for_each_other():
    """What a label's own code adds must be shrunk away, though its repeats agree on it."""
    for seed in range(4):
        points, position, group = labels_repeated(labels=64, times=4, features=50, seed=seed)
        assert min(Probe(points, group).r2(position)) > 0.3


def test_nearly_equal_points_are_read_without_a_warning_and_as_in_double_precision(recwarn):
    first, position, group = labels_repeated(16, 8, features=2000)
    points = first.reshape(16, 8, -1)[:, :1].repeat(8, axis=1).reshape(first.shape)
    points += 1e-3 * noise(*points.shape)
    single = Probe(points.astype(np.float32), group).r2(position)
    assert not recwarn.list
    assert single == pytest.approx(Probe(points, group).r2(position), abs=1e-3)


def test_each_axis_has_its_r2():
    _, position = plane()
    x, y = Probe(position[:, :1]).r2(position)
    assert x > 0.999 and y < 0.05


def test_an_axis_that_does_not_vary_has_nothing_to_be_read():
    points, position = plane()
    position[:, 1] = 3
    x, y = Probe(points).r2(position)
    assert x > 0.999 and np.isnan(y)


def test_few_features_are_fitted_by_least_squares():
    points, position = plane()
    reduced = points[:, :3] + 0.5 * noise(features=3)
    in_sample = LinearRegression().fit(reduced, position).score(reduced, position)
    assert np.mean(Probe(reduced).r2(position)) == pytest.approx(in_sample, abs=0.02)


def test_points_without_a_target_are_left_out():
    points, position = plane()
    position[:100] = np.nan
    points[:100] = 1e6
    assert min(Probe(points).r2(position)) > 0.999
    position[: len(position) - MINIMUM_POINTS + 1] = np.nan
    assert np.isnan(Probe(points).r2(position)).all()


@pytest.mark.parametrize(
    ("points", "dimension"),
    [(plane(2000)[0], 2), (torus()[0], 2), (noise(2000, 5), 5), (plane(2000)[0][:, :1], 1)],
)
def test_intrinsic_dimension(points, dimension):
    assert intrinsic_dimension(points) == pytest.approx(dimension, rel=0.12)


def test_intrinsic_dimension_counts_coinciding_points_once():
    points = plane(2000)[0]
    assert intrinsic_dimension(np.concatenate([points, points])) == pytest.approx(
        intrinsic_dimension(points)
    )
    assert np.isnan(intrinsic_dimension(np.ones((500, 4))))


@pytest.mark.parametrize(("points", "dimension"), [(plane()[0], 2), (torus()[0], 4)])
def test_effective_dimension(points, dimension):
    assert effective_dimension(points) == pytest.approx(dimension, rel=0.05)


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=8))
def test_effective_dimension_of_known_variances(spreads):
    """Against the formula on a covariance whose eigenvalues are set."""
    n = len(spreads)
    corners = np.concatenate([np.eye(n), -np.eye(n)]) * spreads
    eigenvalues = np.square(spreads)
    expected = eigenvalues.sum() ** 2 / np.square(eigenvalues).sum()
    assert effective_dimension(corners) == pytest.approx(expected)


def test_neighbours_of_a_plane_are_neighbours_and_of_shuffled_ones_are_not():
    points, position = plane()
    assert neighbourhood_order(points, position) > 0.999
    shuffled = np.random.default_rng(1).permutation(position)
    assert neighbourhood_order(points, shuffled) == pytest.approx(0.5, abs=0.05)
    bent = np.stack([np.cos(position[:, 0] / 6), np.sin(position[:, 0] / 6), position[:, 1] / 6], 1)
    assert neighbourhood_order(bent, position) > 0.99


def test_repeats_of_a_point_are_not_its_neighbours():
    position = np.repeat(plane(n=64)[1], 16, axis=0)
    codes = np.repeat(noise(n=64), 16, axis=0) + 0.01 * noise(n=1024)
    assert neighbourhood_order(codes, position) == pytest.approx(0.5, abs=0.1)
    assert np.isnan(neighbourhood_order(codes[:320], position[:320]))  # of 20 positions


def test_compiled_functions_are_kept_elsewhere_if_the_environment_cannot_be_written(tmp_path):
    """A stand-in for a read-only environment, which holds for root too; there is no home."""
    code = """
        import os
        from numba import njit
        from numba.core import caching
        from scipy.spatial.distance import pdist
        from bump_diffusion.metrics.geometry import _choose_cache_folder

        def refuse(self):
            raise OSError

        caching.InTreeCacheLocator.ensure_cache_path = refuse
        _choose_cache_folder()
        print(njit(cache=True)(pdist)._cache.cache_path)
    """
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    environment |= {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert tmp_path in Path(done.stdout.strip()).parents
    assert not list(tmp_path.iterdir())  # removed at the end


@settings(deadline=None, max_examples=3)
@given(st.integers(0, 99))
def test_umap_keeps_a_planes_order_and_is_repeatable(seed):
    points, position = plane(n=300)
    embedding = umap_embedding(points, seed)
    assert embedding.shape == (300, 3)
    assert neighbourhood_order(embedding, position) > 0.95
    assert np.array_equal(embedding, umap_embedding(points, seed))
