import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bump_diffusion.config import (
    DROPPED_AFTER_FORMAT_2,
    FORMAT,
    PROFILES,
    Configuration,
    configure,
    profile_of,
)
from bump_diffusion.errors import UserError
from bump_diffusion.runs.experiments import EXPERIMENTS, Experiment, experiment, unite
from bump_diffusion.runs.store import SHIPPED


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"learning_rate": -1}, "learning_rate is -1, it should be greater than 0."),
        ({"N": 15}, "N is 15, it should be a multiple of 8."),
        ({"seed": True}, "seed is True, it should be a valid integer."),
        ({"sigma": "1"}, "sigma is '1', it should be a valid number."),
        ({"N": "wide"}, "N is 'wide', it should be a valid integer"),
        ({"sigma": float("nan")}, "sigma is nan, it should be a finite number."),
        ({"conditioning": "tabel"}, "conditioning is 'tabel', it should be 'sinusoidal'"),
        ({"learnin_rate": 1}, "did you mean 'learning_rate'?"),
        ({"d_x": 17.0}, "d_x is 17.0, it must be at most N (here 16)."),
        ({"sampler_steps": 2000}, "sampler_steps is 2000, it must be at most timesteps"),
        ({"conditioning": "table", "label_scale": 2.0}, "label_scale is 2.0, it must be 1.0 where"),
        ({"compared_steps": [10, 0]}, "compared_steps.1 is 0, it should be greater than"),
    ],
)
def test_bad_values_are_named_in_one_sentence(overrides, sentence):
    with pytest.raises(UserError) as caught:
        configure("quick", **overrides)
    assert sentence in caught.value.message
    assert "\n" not in caught.value.message


def test_unknown_profile_and_experiment():
    with pytest.raises(UserError, match="'quik' is not a profile"):
        configure("quik")
    with pytest.raises(UserError, match="'phases' is not an experiment"):
        experiment("phases")
    with pytest.raises(UserError, match="seeds is 0, it must be a whole number from 1"):
        experiment("three-phases", seeds=0)
    with pytest.raises(UserError, match="spacing is 'wide', it must be a number"):
        experiment("three-phases", spacing="wide")


@given(st.sampled_from(sorted(PROFILES)), st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_configuration_has_one_name_and_no_other_has_it(profile, seed, other):
    c = configure(profile, seed=seed)
    assert c.id == Configuration(**c.model_dump()).id
    assert (c.id == configure(profile, seed=other).id) == (seed == other)


@given(st.integers(1, 100_000), st.integers(1, 60))
def test_evaluations_are_log_spaced_and_end_with_the_training(steps, evaluations):
    spaced = configure("quick", steps=steps, evaluations=evaluations).evaluation_steps
    assert spaced[0] == 0 and spaced[-1] == steps
    assert spaced == sorted(set(spaced)) and len(spaced) <= evaluations + 1
    if evaluations > 1 and steps > 50 * evaluations:
        ratios = [b / a for a, b in itertools.pairwise(spaced[1:])]
        assert len(spaced) == evaluations + 1
        assert max(ratios) < min(ratios) * 1.5


def test_configurations_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        configure("quick").seed = 3


def test_experiment_is_the_product_of_what_varies():
    configurations = Experiment(
        profile="quick", set={"width": 8}, vary={"seed": [0, 1], "sigma": [0.5, 1, 2]}
    ).configurations()
    assert [(c.seed, c.sigma) for c in configurations] == [
        (s, v) for s in (0, 1) for v in (0.5, 1.0, 2.0)
    ]
    assert {c.width for c in configurations} == {8}


def test_spacing_stands_for_both_increments_and_symmetry_halves_the_runs():
    spaced = experiment("density", seeds=1)
    assert [(c.d_x, c.d_y) for c in spaced] == [(d, d) for d in (0.1, 0.25, 0.5, 1, 2, 4)]
    values = [0.1, 0.25, 0.5]
    pairs = [(c.d_x, c.d_y) for c in experiment("imbalance", seeds=1, d_x=values, d_y=values)]
    assert sorted(pairs) == [(x, y) for x in values for y in values if x <= y]
    with pytest.raises(UserError, match="d_x must be at most d_y for some run"):
        experiment("imbalance", d_x=2, d_y=1)
    # Either way of saying it replaces the other.
    assert [(c.d_x, c.d_y) for c in experiment("density", seeds=1, d_x=2.0)] == [(2, 1)]
    assert [(c.d_x, c.d_y) for c in experiment("imbalance", seeds=1, spacing=[2, 4.0])] == [
        (2, 2),
        (4, 4),
    ]


def test_lines_have_no_increment_along_y():
    with pytest.raises(UserError, match=r"d_y is 2\.0, it must be 1\.0 where axes is 'x'"):
        configure("quick", axes="x", d_y=2.0)


def test_overrides_replace_what_an_experiment_sets_and_varies():
    made = experiment("samplers", profile="smoke", seeds=2, spacing=2, sigma=[0.5, 1.0])
    assert {(c.N, c.d_x, c.d_y) for c in made} == {(8, 2.0, 2.0)}
    assert sorted((c.seed, c.sigma) for c in made) == [(0, 0.5), (0, 1.0), (1, 0.5), (1, 1.0)]


def test_an_experiment_keeps_its_own_profile_or_takes_anothers():
    own = list(experiment("larger-images", "own"))
    assert own == list(experiment("larger-images")) and own[0].N == 32
    assert {c.N for c in experiment("larger-images", "smoke")} == {8}


def test_what_is_warmed_up_differs_from_what_is_not_in_that_and_in_its_length():
    for with_, without in (("three-phases", "full-rate"), ("controls", "full-rate-controls")):
        pairs = zip(experiment(without), experiment(with_), strict=True)
        for one, other in pairs:
            changed = {"warmup": one.warmup, "steps": one.steps}
            assert other.warmup and other.steps < one.steps
            assert other.model_copy(update=changed) == one


def test_every_experiment_of_the_book_is_valid():
    for name, found in EXPERIMENTS.items():
        assert found.configurations(), name
        assert found.about


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"seeds": 2, "seed": 5}, "seeds is 2 and seed is 5; only one is allowed"),
        ({"spacing": 2.0, "d_x": 5.0}, "spacing is 2.0 and d_x is 5.0; only one is allowed"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        experiment("three-phases", **arguments)


def test_a_field_is_set_or_varied(tmp_path):
    file = tmp_path / "twice.yml"
    file.write_text("set: {sigma: 2}\nvary: {sigma: [1, 2]}")
    with pytest.raises(UserError, match="sigma is in set and in vary; only one of them is allowed"):
        experiment(str(file))


def test_a_field_of_lists_takes_one_list_as_its_value_and_several_to_vary():
    (one,) = experiment("samplers", seeds=1, compared_steps=[5, 10])
    assert one.compared_steps == (5, 10)
    both = experiment("samplers", seeds=1, compared_steps=[[5], [10]])
    assert [c.compared_steps for c in both] == [(5,), (10,)]


def test_numbers_of_a_file_are_read_as_python_writes_them(tmp_path):
    file = tmp_path / "rates.yml"
    file.write_text("vary: {learning_rate: [1e-3, 2e-3]}")
    assert [c.learning_rate for c in experiment(str(file))] == [0.001, 0.002]


def test_a_run_is_of_the_profile_that_it_was_made_from():
    for profile in PROFILES:
        assert profile_of(configure(profile)) == profile
    for name, found in EXPERIMENTS.items():
        if name in ("live", "first-steps"):
            continue  # of other lengths than any profile
        assert {profile_of(c) for c in experiment(name)} == {found.profile}, name


def test_a_run_of_two_experiments_is_planned_once_with_the_extras_of_both():
    images, patching, controls = (
        experiment(f"larger-{name}") for name in ("images", "patching", "controls")
    )
    united = unite(images, patching, controls)
    assert list(united) == list(images)
    assert {c.seed: extras for c, extras in united.items()} == {
        **dict.fromkeys((0, 1, 2), ("umap", "patching", "interventions")),
        **dict.fromkeys((3, 4), ("umap", "patching")),
    }


def test_a_field_that_was_added_renames_no_shipped_record():
    for folder in SHIPPED.glob("[!.]*"):
        stored = json.loads((folder / "configuration.json").read_bytes())
        if stored.pop("format") == FORMAT:
            assert Configuration(**stored).id == folder.name


def test_weights_of_the_run_s_own_seed_give_the_run_its_usual_name():
    usual, same, other = (configure("quick", seed=3, init_seed=i) for i in (None, 3, 4))
    assert same == usual and same.id == usual.id != other.id
    assert (usual.weights_seed, other.weights_seed) == (3, 4)
    assert configure("quick", init_seed=0) == configure("quick")


def test_a_configuration_knows_the_names_of_earlier_records_of_its_training():
    for file in sorted(SHIPPED.glob("*/configuration.json"))[:60]:
        stored = json.loads(file.read_bytes())
        if stored.pop("format") != 2:
            continue
        fields = {f: v for f, v in stored.items() if f not in DROPPED_AFTER_FORMAT_2}
        c = Configuration(**fields)
        assert file.parent.name in c.earlier_ids
        usual = c.model_copy(update={"evaluations": 7, "evaluation_images": 64})
        assert (file.parent.name in usual.earlier_ids) == (
            (c.evaluations, c.evaluation_images) in itertools.product((7, 12), (64, 256))
        )


def test_seeds_are_counted_from_the_one_that_an_experiment_sets(tmp_path):
    (tmp_path / "mine.yml").write_text("set: {seed: 5}")
    assert [c.seed for c in experiment(str(tmp_path / "mine.yml"), seeds=2)] == [5, 6]
