"""The phase rule on checkpoints that are A, B and C by construction."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from bump_diffusion.analysis.frame import frame, gather, split
from bump_diffusion.analysis.learning import explain_by_overlap, explain_on_grid, learning_times
from bump_diffusion.analysis.phases import (
    PHASES,
    assign_phases,
    cohen_kappa,
    first_phases,
    pass_in_order,
)
from bump_diffusion.config import configure
from bump_diffusion.data.bumps import bump_height, label_grid, render_bumps
from bump_diffusion.metrics.outcomes import classify_images
from bump_diffusion.metrics.probes import Probe
from bump_diffusion.page.words import with_range
from bump_diffusion.papers.semantics.figures.comparisons import count_phases
from bump_diffusion.papers.semantics.figures.phases import tabulate_without_b

N = 16
LABELS = label_grid(N, 1.0, 1.0)


def checkpoint(heights, features, step=0):
    """The rows that a record would have of images and label-ablated features."""
    found = classify_images(heights, LABELS, 1.0)
    targets = {"requested": LABELS.numpy(), "generated": found.position.numpy()}
    probes = [
        {"features": "ablated", "reduction": "direct", "target": t, "axis": a, "r2": r2}
        for t, positions in targets.items()
        for a, r2 in zip("xy", Probe(features).r2(positions), strict=True)
    ]
    row = pd.DataFrame([{"step": step, **found.metrics()}])
    return row, pd.DataFrame(probes).assign(step=step)


def features_of(positions, seed=0):
    frame = np.random.default_rng(seed).normal(size=(2, 40))
    bent = np.sin(positions / N) @ frame
    return bent + 0.01 * np.random.default_rng(seed + 1).normal(size=bent.shape)


def phase_a(step=0):
    generator = torch.Generator().manual_seed(0)
    heights = torch.rand(len(LABELS), N, N, generator=generator)
    return checkpoint(heights, np.random.default_rng(0).normal(size=(len(LABELS), 40)), step)


def phase_b(step=0):
    random = torch.rand(len(LABELS), 2, generator=torch.Generator().manual_seed(1)) * (N - 1)
    return checkpoint(bump_height(render_bumps(random, N, 1.0)), features_of(random.numpy()), step)


def phase_c(step=0):
    return checkpoint(bump_height(render_bumps(LABELS, N, 1.0)), features_of(LABELS.numpy()), step)


class Run:
    """What a record has of these checkpoints."""

    def __init__(self, *checkpoints):
        self.id = str(id(self))
        tables, probes = zip(*checkpoints, strict=True)
        self.checkpoints = pd.concat(tables).assign(images_seen=lambda t: t["step"] * 32)
        self.probes = pd.concat(probes)
        self.configuration = configure("quick")


def phases_of(*checkpoints, **thresholds):
    return assign_phases(frame([Run(*checkpoints)]), **thresholds)


@pytest.mark.parametrize(("made", "phase"), [(phase_a, "A"), (phase_b, "B"), (phase_c, "C")])
def test_phases_made_by_construction_are_named_from_both_sides(made, phase):
    assert phases_of(made()).iloc[0].tolist() == [phase, phase]


def test_phases_do_not_hinge_on_a_threshold():
    made = [phase_a(0), phase_b(1), phase_c(2)]
    for name, factor in itertools.product(("single", "placed", "manifold", "order"), (0.8, 1.2)):
        moved = phases_of(*made, **{name: 0.5 * factor})
        assert moved["generation"].tolist() == ["A", "B", "C"]
        assert moved["representation"].tolist() == ["A", "B", "C"]


def test_images_without_a_bump_are_phase_a():
    heights = torch.zeros(len(LABELS), N, N)
    features = np.random.default_rng(0).normal(size=(len(LABELS), 40))
    assert phases_of(checkpoint(heights, features)).iloc[0].tolist() == ["A", "A"]


def test_sides_are_judged_apart():
    """Right images whose features say nothing: C from one side, A from the other."""
    heights = bump_height(render_bumps(LABELS, N, 1.0))
    silent = np.random.default_rng(0).normal(size=(len(LABELS), 40))
    phases = phases_of(checkpoint(heights, silent))
    assert phases.iloc[0].tolist() == ["C", "A"]


def test_an_r2_that_is_undefined_in_one_axis_is_undefined():
    table, probes = phase_c()
    probes.loc[(probes["target"] == "generated") & (probes["axis"] == "y"), "r2"] = np.nan
    assert np.isnan(frame([Run((table, probes))])["manifold"].item())


def test_runs_that_go_from_a_to_c_past_b_are_shown_where_they_come_nearest_to_it():
    assert tabulate_without_b([Run(phase_a(1), phase_b(2), phase_c(3))]).empty
    assert tabulate_without_b([Run(phase_a(0), phase_a(1))]).empty  # never in C
    (row,) = tabulate_without_b([Run(phase_a(0), phase_a(1), phase_c(2))]).to_dict("records")
    assert (row["conditioning"], row["seed"], row["images seen"]) == ("sinusoidal", 0, "32")
    assert row["one bump at the right place"] == "0%"


@given(st.lists(st.lists(st.sampled_from("ABC"), min_size=1, max_size=12), min_size=1))
def test_order_of_first_occurrences(sequences):
    table = pd.DataFrame(
        (name, step, step * 32, phase)
        for name, phases in enumerate(sequences)
        for step, phase in enumerate(["A", *phases])  # the first untrained
    ).set_axis(["record", "step", "images_seen", "phase_generation"], axis=1)
    first = first_phases(table, "generation")
    in_order = pass_in_order(first)
    for name, phases in enumerate(sequences):
        for phase, images in first.loc[name].items():
            if phase in phases:
                assert images == 32 * (phases.index(phase) + 1)
            else:
                assert np.isnan(images)
        assert in_order[name] == (list(dict.fromkeys(phases)) == ["A", "B", "C"])


def test_runs_are_counted_by_what_they_pass():
    made = [phase_a(0), phase_a(1), phase_b(2), phase_c(3)], [phase_a(0), phase_c(1), phase_b(2)]
    runs = [Run(*checkpoints) for checkpoints in made]
    row = count_phases(runs, "sigma").iloc[0]
    assert (row["sigma"], row["runs"]) == ("1", 2)
    for side in ("generation", "representation"):
        assert (row[f"{side}: A, B, C"], row[f"{side}: B"]) == (1, 2)


IDS = itertools.count()

# (sigma, d): four pairs of equal sigma / d, and one data set without a partner.
SETTINGS = [(0.25, 1), (1, 4), (0.5, 1), (1, 2), (2, 1), (1, 0.5), (4, 1), (1, 0.25), (1, 1)]


def learned_after(images, sigma, d, seed=0):
    """A stand-in for a run that places half of all bumps right after so many images, or never."""
    seen = [0, 1, 10_000_000] if images is None else [0, images, 10_000_000]
    accuracy = [0, 0, 0.1] if images is None else [0, 0.5, 1]
    columns = {"step": [0, 1, 2], "images_seen": seen, "accuracy": accuracy}
    fields = {"sigma": float(sigma), "d_x": float(d), "d_y": float(d), "seed": seed}
    return SimpleNamespace(
        id=str(next(IDS)),
        configuration=configure("quick", **fields),
        checkpoints=pd.DataFrame(columns | {"misplaced": 0, "correct": accuracy}),
        probes=pd.DataFrame({"step": []}),
    )


def test_times_on_one_curve_are_explained_by_the_overlap():
    runs = [learned_after(1000 * (1 + s / d), s, d) for s, d in SETTINGS]
    found = explain_by_overlap(frame(runs), "accuracy")
    assert found.explained == [pytest.approx(1)]
    assert (found.runs, found.never) == (8, 0)
    runs[0] = learned_after(None, *SETTINGS[0])
    found = explain_by_overlap(frame(runs), "accuracy")
    assert found.explained[0] < 0.7
    assert (found.runs, found.never) == (8, 1)
    # A pair that never gets there tells nothing.
    runs[1] = learned_after(None, *SETTINGS[1])
    found = explain_by_overlap(frame(runs), "accuracy")
    assert found.explained == [pytest.approx(1)]
    assert (found.runs, found.never) == (6, 0)


def test_times_paired_at_random_are_explained_as_much_as_chance_says():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(100):
        times = rng.lognormal(9, 1, len(SETTINGS))
        runs = [learned_after(t, *at) for t, at in zip(times, SETTINGS, strict=True)]
        found.append(explain_by_overlap(frame(runs), "accuracy"))
    assert found[0].chance == pytest.approx(3 / 7)
    assert np.mean([one.explained for one in found]) == pytest.approx(3 / 7, abs=0.03)


def test_noise_between_seeds_bounds_what_can_be_explained():
    """Times that are a function of sigma / d but for noise are explained as far as is predicted."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(20):
        runs = []
        for seed in range(4):
            quick = rng.lognormal(0, 0.5)  # a seed that learns all data sets soon is no noise
            for s, d in SETTINGS:
                images = 2000 * quick * (s / d) * rng.lognormal(0, 0.5)
                runs.append(learned_after(images, s, d, seed))
        found.append(explain_by_overlap(frame(runs), "accuracy"))
    explained = np.mean([one.explained for one in found])
    assert 0.8 < explained < 0.95
    assert np.mean([one.noise_ceiling for one in found]) == pytest.approx(explained, abs=0.03)


@pytest.mark.parametrize("settings", [SETTINGS[:3], [*SETTINGS[:3], SETTINGS[0]]])
def test_nothing_is_explained_without_two_pairs(settings):
    runs = [learned_after(1000, s, d) for s, d in settings]
    assert np.isnan(explain_by_overlap(frame(runs), "accuracy").explained).all()


def test_nothing_is_explained_where_all_take_as_long():
    for settings in (SETTINGS, SETTINGS[:6]):
        runs = [learned_after(160, s, d) for s, d in settings]
        assert np.isnan(explain_by_overlap(frame(runs), "accuracy").explained).all()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([2e-6, 0.00034, 1234.5], "412 % (<0.001 to 1,234)"),
        ([0.0, 0.5], "0.25 % (0 to 0.5)"),
        ([np.nan, 20.0], "20 %; never in 1 of 2"),
        ([np.nan], "never in 1 of 1"),
    ],
)
def test_a_mean_is_told_with_its_range_in_digits_that_can_be_read(values, text):
    assert with_range(values, " %") == text


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_on_a_full_grid_each_factor_explains_its_share(by_sigma, by_d):
    assume(by_sigma**2 + by_d**2 > 0.01)
    values = (0.5, 1.0, 2.0)
    runs = [
        learned_after(4000 * s**by_sigma * d**by_d, s, d)
        for s, d in itertools.product(values, values)
    ]
    runs.append(learned_after(160, 4.0, 1.0))  # outside of the grid
    (found,) = explain_on_grid(frame(runs), "accuracy").to_dict("records")
    # Both factors are spaced evenly in the logarithm, so that their effects have equal variance.
    total = by_sigma**2 + by_d**2
    assert found["sigma"] == pytest.approx(by_sigma**2 / total, abs=1e-6)
    assert found["d"] == pytest.approx(by_d**2 / total, abs=1e-6)


def test_a_function_of_the_overlap_is_explained_by_it_alone():
    values = (0.5, 1.0, 2.0)
    runs = [learned_after(4000 * (s / d) ** 0.3, s, d) for s in values for d in values]
    (found,) = explain_on_grid(frame(runs), "accuracy").to_dict("records")
    assert found == pytest.approx({"sigma": 0.5, "d": 0.5, "overlap": 1.0})
    assert explain_on_grid(frame(runs[:4]), "accuracy").empty


def test_a_gathered_table_has_each_run_once_with_its_fields_unless_the_table_has_them():
    samplers = pd.DataFrame({"step": [1, 2], "sampler": ["ddim", "ddpm"]})
    runs = [
        SimpleNamespace(id=id, configuration=configure("quick", sigma=sigma), samplers=samplers)
        for id, sigma in (("b", 2.0), ("a", 1.0))
    ]
    table = gather([*runs, runs[0]], "samplers")
    assert table["record"].tolist() == ["b", "b", "a", "a"]
    assert table["sigma"].tolist() == [2.0, 2.0, 1.0, 1.0]
    assert table["sampler"].tolist() == ["ddim", "ddpm"] * 2
    assert list(split(table, "sigma")) == ["1", "2"]
    assert list(split(table, "setting")) == [
        "sinusoidal with warm-up at sigma = 2",
        "sinusoidal with warm-up",
    ]


def test_a_run_that_never_reaches_a_level_has_no_time_or_its_end():
    runs = [learned_after(1000, 1, 1), learned_after(None, 1, 1)]
    times = learning_times(frame(runs), "accuracy", 0.5)
    assert times.index.tolist() == [run.id for run in runs]
    assert times.iloc[0] == 1000 and np.isnan(times.iloc[1])
    ends = learning_times(frame(runs), "accuracy", 0.5, or_end=True)
    assert ends.tolist() == [1000, 10_000_000]


PAIRS = st.lists(st.tuples(*[st.sampled_from(PHASES)] * 2), min_size=1, max_size=9)


@given(PAIRS)
def test_kappa_is_that_of_scikit_learn(pairs):
    one, other = (pd.Series(phases) for phases in zip(*pairs, strict=True))
    if len({*one, *other}) == 1:
        assert np.isnan(cohen_kappa(one, other))
    else:
        expected = cohen_kappa_score(one, other, labels=list(PHASES))
        assert cohen_kappa(one, other) == pytest.approx(expected)
