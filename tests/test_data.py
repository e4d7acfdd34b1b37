from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from bump_diffusion.config import Configuration, configure
from bump_diffusion.data.bumps import axis_positions, bump_height, label_grid, render_bumps
from bump_diffusion.data.tasks import TASKS, task_of

positions = st.floats(0, 31.9)


@pytest.mark.parametrize(("d", "images"), [(0.1, 102_400), (1.0, 1024), (0.5, 4096)])
def test_grid_has_the_papers_number_of_images(d, images):
    assert len(label_grid(32, d, d)) == images


@given(st.integers(8, 64), st.floats(0.05, 8))
def test_axis_is_evenly_spaced_and_stops_short_of_N(N, d):
    axis = axis_positions(N, d)
    assert axis[0] == 0
    assert axis[-1] < N + 1e-4 * d
    assert axis[-1] + d >= N - 1e-4 * d
    assert torch.allclose(axis.diff(), torch.full((len(axis) - 1,), d), atol=1e-4)


def test_grid_is_the_product_of_both_axes():
    grid = label_grid(8, 2.0, 4.0).tolist()
    assert grid == [[x, y] for x in (0.0, 2.0, 4.0, 6.0) for y in (0.0, 4.0)]


@given(positions, positions, st.floats(0.3, 5))
def test_bump_is_a_product_of_normal_densities(x, y, sigma):
    image = bump_height(render_bumps(torch.tensor([[x, y]]), 32, sigma))[0]
    pixels = np.arange(32)
    along_x, along_y = (norm.pdf(pixels, mu, sigma) / norm.pdf(0, 0, sigma) for mu in (x, y))
    # x runs along columns, y along rows.
    assert np.allclose(image, along_y[:, None] * along_x[None, :], atol=1e-5)


@given(positions, positions)
def test_polarities_are_each_others_negative(x, y):
    label = torch.tensor([[x, y]])
    dark, light = (render_bumps(label, 32, 1.0, polarity) for polarity in ("dark", "light"))
    assert torch.equal(dark, -light)
    assert torch.allclose(bump_height(dark, "dark"), bump_height(light, "light"))
    assert dark.max() <= 1 and dark.min() >= -1
    assert dark.mean() > 0.8  # the ground is light


def test_batch_holds_what_each_label_gives_alone():
    labels = torch.rand(50, 2) * 16
    batch = render_bumps(labels, 16, 1.3)
    for label, image in zip(labels, batch, strict=True):
        assert torch.allclose(image, render_bumps(label[None], 16, 1.3)[0])


def test_every_task_of_a_configuration_has_a_class():
    assert set(TASKS) == set(get_args(Configuration.model_fields["axes"].annotation))


@pytest.mark.parametrize("axes", TASKS)
def test_a_tasks_images_have_its_height_and_show_where_their_label_is(axes):
    task = task_of(configure("quick", axes=axes))
    labels = task.labels()
    images = task.render(labels)
    assert images.shape == (len(labels), 1, task.height, 16)
    heights, requested = task.to_classify(images, labels)
    row, column = (heights.flatten(1).argmax(1) // 16, heights.flatten(1).argmax(1) % 16)
    assert torch.equal(torch.stack([column, row], 1).float(), requested)
    assert task.has_plane == bool((labels.std(dim=0) > 0).all())
