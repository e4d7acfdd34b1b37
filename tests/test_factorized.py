"""The factorized baseline: lines, what is composed of them, and the coupling index."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bump_diffusion.analysis.learning import learning_time
from bump_diffusion.config import configure
from bump_diffusion.data.bumps import bump_height, label_grid, render_bumps
from bump_diffusion.data.lines import compose
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.probes import Probe
from bump_diffusion.metrics.sampling import classify, evaluation_labels
from bump_diffusion.models.unet import build_model
from bump_diffusion.papers.semantics.factorized import (
    couple_to_balanced,
    couple_to_lines,
    measure_composed,
)
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.store import default_store

N = 16

IDS = itertools.count()


@given(st.floats(0, N - 0.01), st.floats(0, N - 0.01), st.floats(0.5, 3))
def test_an_image_is_the_product_of_two_lines(mu_x, mu_y, sigma):
    image = bump_height(render_bumps(torch.tensor([[mu_x, mu_y]]), N, sigma))
    along_x, along_y = (
        bump_height(render_bumps(torch.tensor([[mu, 0.0]]), N, sigma, height=1))
        for mu in (mu_x, mu_y)
    )
    assert torch.allclose(compose(along_x, along_y), image, atol=1e-6)


def test_lines_have_one_label_for_each_position_and_are_one_pixel_high():
    c = configure("quick", axes="x", d_x=0.5)
    labels = task_of(c).labels()
    assert labels[:, 0].tolist() == [i / 2 for i in range(32)]
    assert labels[:, 1].abs().max() == 0
    assert len(evaluation_labels(c, 256)) == 256  # each of the 32 eight times
    model = build_model(c)
    x = torch.randn(3, 1, 1, N)
    with torch.inference_mode():
        y = model(x, torch.tensor([5, 5, 5]), model.conditioning(labels[:3]))
    assert y.shape == x.shape


@pytest.mark.parametrize("sigma", [1.0, 2.0])
def test_true_lines_are_judged_correct_and_shifted_ones_misplaced(sigma):
    c = configure("quick", axes="x", d_x=0.5, sigma=sigma)
    labels = task_of(c).labels()
    lines = render_bumps(labels, N, sigma, height=1)
    assert classify(c, lines, labels).correct.all()
    shifted = labels + torch.tensor([3.0, 0.0])
    far = classify(c, lines, shifted)
    assert not far.correct[:, 0].any()
    assert far.correct[:, 1].all()


def curve(images, accuracy, **others):
    table = {"step": np.arange(len(images)), "images_seen": images, "accuracy": accuracy}
    return pd.DataFrame({**table, **others})


def test_the_learning_time_is_read_off_the_curve():
    table = curve([0, 100, 400, 1600], [1.0, 0.0, 0.4, 0.8])
    # Half way, in the logarithm, from 400 at 0.4 to 1600 at 0.8 lies 800 at 0.6.
    assert learning_time(table, "accuracy", 0.6) == pytest.approx(800)
    assert learning_time(table, "accuracy", 0.4) == pytest.approx(400)
    assert np.isnan(learning_time(table, "accuracy", 0.9))
    assert learning_time(curve([0, 100, 200], [0, 0.7, 0.9]), "accuracy", 0.5) == 100
    assert learning_time(curve([0, 100, 200], [0, np.nan, 0.9]), "accuracy", 0.5) == 200


def run(c, times, lines=None, accuracy=None):
    """A stand-in for a record whose accuracies pass one half after the given images."""
    images = np.r_[0, np.geomspace(1e3, 1e6, 200)]
    times = {"accuracy_y": 1e4} | times
    table = {a: 1 / (1 + (t / np.maximum(images, 1)) ** 8) for a, t in times.items()}
    both = table["accuracy_x"] if accuracy is None else np.full(len(images), accuracy)
    checkpoints = curve(images, both, **table)
    arrays = {"labels": task_of(c).labels().numpy(), "lines": lines}
    if lines is not None:
        arrays["lines"] = np.repeat(lines[None], len(images), axis=0)
    return SimpleNamespace(
        id=str(next(IDS)),
        configuration=c,
        checkpoints=checkpoints.assign(misplaced=0.0, correct=both),
        probes=pd.DataFrame({"step": []}),
        arrays=arrays,
    )


def true_lines(c):
    lines = render_bumps(task_of(c).labels(), c.N, c.sigma, c.polarity, 1)
    return ((lines[:, 0, 0] + 1) * 127.5).round().byte().numpy()


def seeds_of(c, times, lines=None, accuracy=None):
    """Stand-ins for two runs that differ a little in their times."""
    return [
        run(
            c.model_copy(update={"seed": seed}),
            {axis: time * (1 + 0.02 * seed) for axis, time in times.items()},
            lines,
            accuracy,
        )
        for seed in (0, 1)
    ]


def test_the_coupling_index_is_0_for_axes_learned_as_alone_and_1_for_axes_learned_together():
    fine, coarse = configure("quick", axes="x", d_x=0.5), configure("quick", axes="x")
    lines = [
        line
        for c, time in ((fine, 40_000), (coarse, 10_000))
        for line in seeds_of(c, {"accuracy_x": time}, true_lines(c))
    ]
    both = configure("quick", d_x=0.5)
    apart = seeds_of(both, {"accuracy_x": 80_000, "accuracy_y": 20_000})
    together = seeds_of(both, {"accuracy_x": 60_000, "accuracy_y": 60_000})
    assert couple_to_lines(apart, lines)["index"].tolist() == pytest.approx([0, 0], abs=0.01)
    found = couple_to_lines(together, lines)
    assert found["index"].tolist() == pytest.approx([1, 1], abs=0.01)
    assert found["T_x_1d"].iloc[0] == pytest.approx(40_000, rel=0.01)
    # Never at 90 %, it counts with its end; the composed lines are right from the start.
    never = seeds_of(both, {"accuracy_x": 60_000, "accuracy_y": 60_000}, accuracy=0.5)
    assert couple_to_lines(never, lines)["cost"].iloc[0] == pytest.approx(1e6 / 64)
    # Axes that take equally long alone tell nothing of coupling; nor does one seed.
    same = seeds_of(fine, {"accuracy_x": 11_000}, true_lines(fine)) + lines[2:]
    assert np.isnan(couple_to_lines(together, same)["index"]).all()
    assert np.isnan(couple_to_lines(together[:1], lines)["index"]).all()


def test_coupling_beside_balanced_data_sets():
    dense, sparse, both = (
        configure("quick", d_x=x, d_y=y) for x, y in ((0.5, 0.5), (1, 1), (0.5, 1))
    )
    balanced = seeds_of(dense, {"accuracy_x": 20_000, "accuracy_y": 1_000_000})
    balanced += seeds_of(sparse, {"accuracy_x": 1_000_000, "accuracy_y": 60_000})
    for times, index in (((20_000, 60_000), 0), ((40_000, 40_000), 1)):
        own = seeds_of(both, dict(zip(("accuracy_x", "accuracy_y"), times, strict=True)))
        found = couple_to_balanced([*balanced, *own])
        assert found["index"].tolist() == pytest.approx([index] * 2, abs=0.02)
    assert len(couple_to_balanced(balanced)) == 0
    alike = [*seeds_of(dense, {"accuracy_x": 55_000, "accuracy_y": 55_000}), *balanced[2:], *own]
    assert np.isnan(couple_to_balanced(alike)["index"]).all()


def test_true_lines_compose_to_correct_images_and_one_wrong_axis_spoils_its_axis_alone():
    fine, coarse = configure("quick", axes="x", d_x=0.25), configure("quick", axes="x", d_x=1.0)
    x, y = (run(c, {"accuracy_x": 1e4}, true_lines(c)) for c in (fine, coarse))
    assert measure_composed(x, y)["accuracy"].min() == 1
    wrong = run(coarse, {"accuracy_x": 1e4}, np.roll(true_lines(coarse), 5, axis=0))
    table = measure_composed(x, wrong)
    assert table["accuracy_x"].min() == 1
    assert table["accuracy_y"].max() == 0
    y.checkpoints, y.arrays["lines"] = y.checkpoints[::2], y.arrays["lines"][::2]
    table = measure_composed(x, y)  # at the checkpoints of both
    assert table["step"].tolist() == y.checkpoints["step"].tolist()
    assert table["accuracy"].min() == 1


def test_the_shipped_lines_learn_their_axis_and_compose_to_bumps():
    store = default_store()
    lines = [r for c in experiment("lines") if (r := store.get(c))]
    assert len(lines) >= 6
    for record in lines:
        assert record.checkpoints["accuracy_x"].iloc[-1] > 0.9
    along_x, along_y = (next(r for r in lines if r.configuration.d_x == d) for d in (0.1, 1.0))
    assert along_x.configuration.seed == along_y.configuration.seed
    assert measure_composed(along_x, along_y)["accuracy"].iloc[-1] > 0.8


def test_a_label_requested_often_is_judged_by_other_labels():
    """16 labels, each 16 times, with features that name the label but have no order."""
    from bump_diffusion.metrics.evaluation import group_by_label

    labels = label_grid(N, 4.0, 4.0).repeat(16, 1)
    groups = group_by_label(labels)
    names = np.random.default_rng(0).normal(size=(16, 100))[groups]
    assert min(Probe(names).r2(labels.numpy())) > 0.95
    assert max(Probe(names, groups).r2(labels.numpy())) < 0.2
