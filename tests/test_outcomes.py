"""The bump finder against rendered images whose bumps are known."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bump_diffusion.analysis.composition import classify_kept
from bump_diffusion.config import configure
from bump_diffusion.data.bumps import bump_height, render_bumps
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics import outcomes
from bump_diffusion.metrics.bumps import find_bumps
from bump_diffusion.metrics.outcomes import OUTCOMES, classify_images
from bump_diffusion.metrics.sampling import search

N = 32
spreads = st.floats(0.5, 4)


def scene(positions, sigma, noise=0.0, seed=0):
    """Heights of one image with a bump at each position."""
    heights = torch.zeros(1, N, N)
    for position in positions:
        heights += bump_height(render_bumps(torch.tensor([position]), N, sigma))
    return heights + noise * torch.randn(1, N, N, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(spreads, st.floats(0, N - 1), st.floats(0, N - 1))
def test_one_bump_is_found_where_it_is(sigma, x, y):
    bumps = find_bumps(scene([(x, y)], sigma), sigma)
    assert bumps.counts.tolist() == [1]
    assert torch.allclose(bumps.position, torch.tensor([[x, y]]), atol=0.01)
    assert torch.allclose(bumps.amplitude, torch.ones(1), atol=0.01)


@settings(deadline=None)
@given(st.floats(1, 4), st.floats(0, N - 0.05), st.sampled_from([0.0, N - 0.05]), st.booleans())
def test_a_bump_cut_by_an_edge_is_found_beyond_it(sigma, along, edge, vertical):
    position = (edge, along) if vertical else (along, edge)
    bumps = find_bumps(scene([position], sigma), sigma)
    assert bumps.counts.tolist() == [1]
    assert torch.allclose(bumps.position, torch.tensor([position]), atol=0.05)


@settings(deadline=None)
@given(st.floats(1, 3), st.floats(0, N - 1), st.floats(0, N - 1), st.integers(0, 99))
def test_noise_moves_a_bump_by_less_than_the_tolerance(sigma, x, y, seed):
    bumps = find_bumps(scene([(x, y)], sigma, noise=0.05, seed=seed), sigma)
    assert bumps.counts.tolist() == [1]
    assert torch.allclose(bumps.position, torch.tensor([[x, y]]), atol=0.5)


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@settings(deadline=None, max_examples=50)
@given(st.data(), st.floats(0.6, 2), st.sampled_from([0.0, 0.05]), st.integers(0, 99))
def test_bumps_are_counted(count, data, sigma, noise, seed):
    position = st.tuples(st.floats(0, N - 1), st.floats(0, N - 1))
    positions = data.draw(st.lists(position, min_size=count, max_size=count))
    apart = [np.hypot(a - c, b - d) for (a, b), (c, d) in itertools.combinations(positions, 2)]
    assume(all(distance > 4 * sigma + 1 for distance in apart))
    bumps = find_bumps(scene(positions, sigma, noise, seed), sigma)
    assert bumps.counts.tolist() == [count]
    for position in positions:
        distance = (bumps.position - torch.tensor(position)).norm(dim=1)
        assert distance.min() < 0.7


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_an_even_image_has_no_bump(level):
    assert find_bumps(torch.full((1, N, N), level), 1.0).counts.tolist() == [0]


def test_specks_are_no_bumps_but_are_noticed():
    clean = scene([(20.0, 20.0)], 1.0)
    one, two = clean.clone(), clean.clone()
    one[0, 5, 5] = 1
    two[0, 5, 5:7] = 1
    requested = torch.tensor([[20.0, 20.0]]).expand(3, 2)
    result = classify_images(torch.cat([clean, one, two]), requested, 1.0)
    assert result.kind.tolist() == [OUTCOMES.index("correct")] * 3
    assert result.speckled.tolist() == [False, True, True]


def test_counts_agree_with_connected_components():
    """Where bumps are far apart, an independent count by thresholding gives the same."""
    generator = np.random.default_rng(0)
    images, expected = [], []
    for _ in range(200):
        cells = generator.choice(16, size=generator.integers(0, 6), replace=False)
        jitter = generator.uniform(-1, 1, (len(cells), 2))
        positions = [
            (8 * (c % 4) + 4 + a, 8 * (c // 4) + 4 + b)
            for c, (a, b) in zip(cells, jitter, strict=True)
        ]
        images.append(scene(positions, 1.0))
        expected.append(ndimage.label(images[-1][0].numpy() > 0.5)[1])
    assert find_bumps(torch.cat(images), 1.0).counts.tolist() == expected


def test_every_outcome_is_recognized():
    heights = torch.cat(
        [
            scene([], 1.0),
            scene([(5.0, 5.0), (20.0, 20.0)], 1.0),
            scene([(5.0, 5.0)], 1.0),
            scene([(20.9, 19.1)], 1.0),
            scene([(20.0, 5.0)], 1.0),
        ]
    )
    result = classify_images(heights, torch.tensor([[20.0, 20.0]]).expand(5, 2), 1.0)
    kinds = [OUTCOMES[k] for k in result.kind]
    assert kinds == ["none", "several", "misplaced", "correct", "misplaced"]
    assert result.metrics() == pytest.approx(
        {
            "none": 0.2,
            "several": 0.2,
            "misplaced": 0.4,
            "correct": 0.2,
            "accuracy": 0.2,
            "accuracy_x": 0.4,  # the last has its x right
            "accuracy_y": 0.2,
            "speckled": 0.0,
        }
    )


@settings(deadline=None)
@given(st.integers(0, 999))
def test_shares_add_up_and_accuracies_are_consistent(seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.rand(40, 2, generator=generator) * 16
    heights = bump_height(render_bumps(labels, 16, 1.0))
    heights += 0.3 * torch.randn(heights.shape, generator=generator)
    m = classify_images(heights, labels.flip(0), 1.0).metrics()
    assert sum(m[kind] for kind in OUTCOMES) == pytest.approx(1)
    assert m["accuracy"] == pytest.approx(m["correct"])
    assert m["accuracy"] <= min(m["accuracy_x"], m["accuracy_y"])
    assert max(m["accuracy_x"], m["accuracy_y"]) <= m["correct"] + m["misplaced"] + 1e-6


def test_a_batch_gives_what_each_image_gives():
    generator = torch.Generator().manual_seed(0)
    labels = torch.rand(300, 2, generator=generator) * 16
    heights = bump_height(render_bumps(labels, 16, 1.0))
    heights += heights.roll(1, 0) + 0.1 * torch.randn(heights.shape, generator=generator)
    alone = [int(find_bumps(h[None], 1.0).counts) for h in heights]
    assert find_bumps(heights, 1.0).counts.tolist() == alone


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 2.0])
def test_a_tolerance_chosen_afterwards_gives_what_the_images_give(tolerance, monkeypatch):
    """Bumps near and far from their requests, several and none: classified anew, and as kept."""
    c = configure("quick")
    draws = torch.Generator().manual_seed(3)
    requested = torch.rand(200, 2, generator=draws) * 15
    shift = torch.randn(200, 2, generator=draws) * 1.2
    images = task_of(c).render((requested + shift).clamp(0, 15))
    images[:20] = 1.0
    images[20:40] = images[20:40].minimum(images[60:80])
    images += 0.05 * torch.randn(images.shape, generator=draws)

    kept, bumps, _ = search(c, images, requested)
    kept, bumps = kept.assign(step=7, set="trained"), bumps.assign(step=7)
    later = classify_kept(kept, bumps, tolerance)

    monkeypatch.setattr(outcomes, "TOLERANCE", tolerance)
    anew = classify_images(bump_height(images), requested, c.sigma).metrics()
    for outcome in OUTCOMES:
        assert (later["outcome"] == outcome).mean() == pytest.approx(anew[outcome])
        assert anew[outcome] > 0
    for axis in "xy":
        assert later[f"correct_{axis}"].mean() == pytest.approx(anew[f"accuracy_{axis}"])
