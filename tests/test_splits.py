import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bump_diffusion.config import configure
from bump_diffusion.data.bumps import label_grid
from bump_diffusion.data.splits import held_out, in_core, latin_subset
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.files import ROOT
from bump_diffusion.metrics.sampling import requested_labels
from bump_diffusion.training.trainer import training_labels

SPLITS = json.loads((ROOT / "data" / "splits.json").read_text("utf-8"))


@given(st.integers(2, 32), st.data())
def test_a_latin_subset_has_every_row_and_every_column_equally_often(n, data):
    times = data.draw(st.integers(1, n - 1))
    chosen = latin_subset(n, n * times, data.draw(st.integers(0, 2**32 - 1)))
    assert (chosen.sum(dim=0) == times).all() and (chosen.sum(dim=1) == times).all()


def test_latin_subsets_differ_by_seed_and_are_the_published_ones():
    for n, by_K in SPLITS.items():
        for K, by_seed in by_K.items():
            for seed, rows in by_seed.items():
                chosen = latin_subset(int(n), int(K), int(seed))
                assert [row.nonzero()[:, 0].tolist() for row in chosen] == rows
            assert len({str(rows) for rows in by_seed.values()}) == len(by_seed)


@pytest.mark.parametrize(
    ("name", "N", "count", "core"),
    [
        # Counted from the tables of regions: opposite quadrants, [3..12] of 16 with core [4..11],
        # [6..25] of 32 with core [7..24], x and y >= 8, and 6..9 in either coordinate.
        ("quadrants", 16, 2 * 64, None),
        ("donut", 16, 10**2, 8**2),
        ("donut", 32, 20**2, 18**2),
        ("donut", 8, 4**2, 2**2),
        ("corner", 16, 8**2, None),
        ("band", 16, 16**2 - 12**2, None),
        ("band", 32, 32**2 - 25**2, None),
        ("none", 16, 0, None),
    ],
)
def test_regions_hold_out_the_stated_labels(name, N, count, core):
    grid = label_grid(N, 1.0, 1.0)
    held = held_out(grid, N, name, 0)
    assert held.sum() == count
    if core is not None:
        assert in_core(grid[held], grid[~held]).sum() == core


def test_all_regions_but_the_band_train_every_x_and_every_y():
    grid = label_grid(16, 0.5, 0.5)
    for name in ("quadrants", "donut", "corner", "latin-64"):
        trained = grid[~held_out(grid, 16, name, 1)]
        for axis in (0, 1):
            assert np.array_equal(trained[:, axis].unique(), grid[:, axis].unique())


@pytest.mark.parametrize("name", ["latin", "latin-0", "latin-17", "latin-256", "ring"])
def test_what_is_no_split_is_refused_by_name(name):
    with pytest.raises(UserError, match=f"held_out is '{name}'"):
        configure("quick", held_out=name)


def test_a_latin_subset_needs_equal_axes_and_a_plane():
    with pytest.raises(UserError, match="d_x and d_y must be equal"):
        configure("quick", held_out="latin-32", d_x=2.0)
    with pytest.raises(UserError, match="held_out is 'quadrants'"):
        configure("quick", held_out="quadrants", axes="x")


@settings(max_examples=10)
@given(
    st.sampled_from(["quadrants", "donut", "corner", "band", "latin-32"]),
    st.integers(0, 99),
    st.integers(1, 40),
)
def test_no_held_out_combination_is_in_any_batch(name, seed, step):
    c = configure("quick", held_out=name, seed=seed, split=seed)
    held = {tuple(label) for label in task_of(c).held_out_labels().tolist()}
    trained = {tuple(label) for label in task_of(c).labels().tolist()}
    assert held and len(held | trained) == 256 and not held & trained
    assert {tuple(label) for label in training_labels(c, step).tolist()} <= trained
    requested = {n: {tuple(x) for x in v.tolist()} for n, v in requested_labels(c, True).items()}
    assert requested["trained"] <= trained and requested["held-out"] <= held
    assert not requested["off-grid"] & (held | trained)


def test_labels_are_never_both_trained_and_held_out():
    grid = label_grid(16, 1.0, 1.0)
    held = held_out(grid, 16, "latin-32", 3)
    assert (~held).sum() == 32 and torch.equal(held, held_out(grid, 16, "latin-32", 3))
