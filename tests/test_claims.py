"""Intervals against their textbook formulas, verdicts against what they must be."""

import itertools
import json
import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from docutils.nodes import make_id
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from bump_diffusion.analysis.frame import frame, setting
from bump_diffusion.analysis.intervals import estimate, estimate_index
from bump_diffusion.book.build import notebooks
from bump_diffusion.config import configure
from bump_diffusion.files import ROOT
from bump_diffusion.papers.semantics.claims import BY_CONTROL, CLAIMS, decide
from bump_diffusion.papers.semantics.figures.claims import (
    describe_verdict,
    render_claims,
    render_scoreboard,
)
from bump_diffusion.papers.semantics.figures.order import describe_which_is_first
from bump_diffusion.papers.semantics.quantities import CRITERIA
from bump_diffusion.papers.semantics.verdicts import decide_axes, decide_networks
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment, unite
from bump_diffusion.runs.load import load_or_run

IDS = itertools.count()

NUMBERS = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


@given(NUMBERS)
def test_the_interval_of_a_mean_is_students(values):
    assume(np.std(values) > 1e-3)
    mean, low, high = estimate(values, "mean")
    expected = stats.t.interval(0.95, len(values) - 1, np.mean(values), stats.sem(values))
    assert (low, high) == pytest.approx(expected)
    assert mean == pytest.approx(np.mean(values))


@given(st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=2, max_size=8))
def test_the_interval_of_an_index_ends_where_students_test_begins_to_tell(seeds):
    joint, separate = np.array(seeds).T
    assume(min(np.std(joint), np.std(separate), abs(separate.mean())) > 1e-2)
    estimate, low, high = estimate_index(joint, separate, np.full(len(joint), 0.5))
    assert estimate == pytest.approx(1 - joint.mean() / separate.mean())
    unknown = stats.ttest_1samp(separate, 0).pvalue
    assume(abs(unknown - 0.05) > 1e-3)
    if unknown > 0.05:
        assert (low, high) == (-math.inf, math.inf)
        return
    assert low <= estimate <= high
    for end in (low, high):
        rest = joint - (1 - end) * separate
        assume(np.std(rest) > 1e-6)
        assert stats.ttest_1samp(rest, 0).pvalue == pytest.approx(0.05, rel=1e-3)


def test_an_index_that_is_undefined_for_a_seed_leaves_it_out():
    known = np.array([[0.1, 0.2, 0.4], [1.0, 1.1, 1.3], [0.5] * 3])
    more = np.hstack([known, [[9.0], [9.0], [math.nan]]])
    assert estimate_index(*more) == estimate_index(*known)
    assert np.isnan(estimate_index(*known[:2], np.full(3, math.nan))).all()
    estimate, *ends = estimate_index(*known[:, :1])
    assert estimate == pytest.approx(0.9) and np.isnan(ends).all()


def test_an_interval_ends_where_the_quantity_does():
    near, wide = [0.99, 1.0, 0.7], [-0.9, 0.0, 0.9]
    _, low, high = estimate(near, "mean")
    assert high > 1
    necessary = decide("order-necessary", "", near)
    assert (necessary.low, necessary.high) == (pytest.approx(low), 1)
    agree, first = decide("sides-agree", "", wide), decide("order-first", "", wide)
    assert (agree.low, agree.high) == (-1, 1)
    assert first.high > 2  # doublings know no limit


@given(st.integers(0, 9), st.integers(1, 9))
def test_the_interval_of_a_share_is_wilsons(successes, runs):
    assume(successes <= runs)
    values = [1.0] * successes + [0.0] * (runs - successes)
    p, z = successes / runs, stats.norm.ppf(0.975)
    middle = (p + z**2 / (2 * runs)) / (1 + z**2 / runs)
    half = z / (1 + z**2 / runs) * math.sqrt(p * (1 - p) / runs + z**2 / (4 * runs**2))
    assert estimate(values, "share") == pytest.approx((p, middle - half, middle + half), abs=1e-9)


def test_five_runs_that_agree_decide_a_share_and_three_do_not():
    assert decide("generation-phases", "", [1.0] * 5).verdict == "reproduced"
    assert decide("generation-phases", "", [0.0] * 5).verdict == "not reproduced"
    assert decide("generation-phases", "", [1.0] * 3).verdict == "undecided"
    assert decide("generation-phases", "", [1.0, 1.0, 1.0, 1.0, 0.0]).verdict == "undecided"


def test_two_runs_decide_nothing_even_if_they_are_alike():
    assert decide("order-necessary", "", [1.0] * 2).verdict == "undecided"
    assert decide("order-necessary", "", [1.0, 1.0, math.nan]).verdict == "undecided"
    assert decide("order-necessary", "", [1.0] * 3).verdict == "reproduced"


@pytest.mark.parametrize("name", CLAIMS)
def test_a_verdict_depends_on_the_side_of_the_threshold(name):
    claim = CLAIMS[name]
    sign = 1 if claim.above is not None else -1
    if claim.kind == "share":
        beyond, short = [(1.0 + sign) / 2] * 4, [(1.0 - sign) / 2] * 4
        assert decide(name, "", beyond).verdict == "reproduced"
        assert decide(name, "", short).verdict == "not reproduced"
        return
    beyond = [claim.threshold + sign * d for d in (0.1, 0.11, 0.12)]
    short = [claim.threshold - sign * d for d in (0.1, 0.11, 0.12)]
    assert decide(name, "", beyond).verdict == "reproduced"
    assert decide(name, "", short).verdict == "not reproduced"
    assert decide(name, "", [*beyond, *short]).verdict == "undecided"
    assert decide(name, "", beyond[:1]).verdict == "not judged"
    assert decide(name, "", [math.nan] * 3).verdict == "not judged"


def test_the_table_of_verdicts_has_each_under_its_condition():
    settings = {"scalar": 1.0, "table": 0.0}
    judged = [
        decide(name, where, [value] * 5)
        for name in ("generation-phases", "order-necessary")
        for where, value in settings.items()
    ]
    judged.append(decide("costly", "d_x = 1", [0.1, -0.1, 0.0]))
    page = render_scoreboard(judged).data
    for table, heads, words in zip(
        page.split("</table>"),
        (list(settings), ["d_x = 1"]),
        (["reproduced", "not reproduced"] * 2, ["undecided"]),
        strict=False,
    ):
        assert re.findall("<th>(.*?)</th>", table)[1 : 1 + len(heads)] == heads
        assert re.findall("<td .*?>(.*?)</td>", table) == words
    assert page.count('href="order.html#does-accuracy-need-order"') == 1


@pytest.mark.parametrize(("name", "passing"), [("order-necessary", 1.0), ("order-first", -0.5)])
def test_a_verdict_that_the_control_earns_too_says_so(name, passing):
    values = [passing + d for d in (-0.02, -0.01, 0.0)]
    plain = decide(name, "scalar", values)
    empty = plain._replace(setting="table", control=passing)
    too = f"met by the untrained network too, which says nothing of {CLAIMS[name].not_evidence_for}"
    assert describe_verdict([plain, plain._replace(control=-passing)]) == "reproduced"
    assert empty.outcome == BY_CONTROL and describe_verdict([empty]) == too
    assert describe_verdict([plain, empty]) == f"reproduced under settings (scalar); {too} (table)"


def test_axes_that_rise_together_in_the_reference_too_say_nothing_of_coupling():
    judged = decide("rise-together", "d_x = 0.1 and d_y = 1", [0.04, 0.05, 0.05])
    sentence = "met by the factorized reference too, which says nothing of coupling"
    assert describe_verdict([judged._replace(control=0.09)]) == sentence
    assert describe_verdict([judged._replace(control=0.11)]) == "reproduced"


def record(accuracy, order, control=0.0, single=1.0, manifold=None, N=16, **columns):
    """A stand-in for a run, whose first checkpoint is untrained; the manifold is as the order."""
    steps = np.arange(len(accuracy)) * 100
    accuracy = np.array(accuracy)
    features = {"ablated": (order if manifold is None else manifold, order)}
    features["untrained, ablated"] = [[control] * len(steps)] * 2
    probes = [
        (step, name, "direct", target, axis, r2)
        for name, values in features.items()
        for target, of_target in zip(("generated", "requested"), values, strict=True)
        for step, r2 in zip(steps, of_target, strict=True)
        for axis in "xy"
    ]
    checkpoints = {"step": steps, "images_seen": steps * 32, "accuracy": accuracy}
    checkpoints |= {"correct": accuracy, "misplaced": single - accuracy}
    checkpoints |= {"accuracy_x": accuracy, "accuracy_y": accuracy, **columns}
    interventions = {"intervention": ["other features"], "layer": ["layer4"]}
    return SimpleNamespace(
        id=str(next(IDS)),
        configuration=configure("quick", N=N),
        checkpoints=pd.DataFrame(checkpoints),
        probes=pd.DataFrame(
            probes, columns=["step", "features", "reduction", "target", "axis", "r2"]
        ),
        interventions=pd.DataFrame(interventions | {"at_other": accuracy[-1]}),
    )


def quantity(name, run):
    """A claim's quantity of a stand-in."""
    return CRITERIA[name].quantity(frame([run]).query("step > 0"))


def run_of(shares, order=None):
    """A stand-in for a run: (single, placed) at the trained checkpoints; order as placed."""
    single, placed = np.array([(0.0, 0.0), *shares]).T
    order = placed if order is None else [0.0, *order]
    return record(single * placed, order, single=single, manifold=single)


def test_the_verdict_over_conditions():
    yes = decide("sides-agree", "scalar", [0.8, 0.81, 0.82])
    no = decide("sides-agree", "table", [0.1, 0.11, 0.12])
    open_ = decide("sides-agree", "sinusoidal", [0.1, 0.9, 0.7])
    assert describe_verdict([yes, yes]) == "reproduced"
    why = CLAIMS["sides-agree"].against.rstrip(".")
    mixed = f"reproduced under settings (scalar); not reproduced (table): {why}"
    assert describe_verdict([yes, no]) == mixed
    assert describe_verdict([no, no]) == f"not reproduced: {CLAIMS['sides-agree'].against}"
    nothing = decide("coupled", "d_x = 0.1 and d_y = 1", [math.nan] * 3)
    assert describe_verdict([nothing]) == f"not judged: {CLAIMS['coupled'].undefined}"
    assert describe_verdict([no, open_]) == f"not reproduced (table): {why}; undecided (sinusoidal)"


def find(decisions, name):
    (decision,) = [one for one in decisions if one.name == name]
    return decision


def test_a_verdict_that_hinges_on_a_threshold_says_with_which_it_changes():
    # The single bumps of the second checkpoint, 0.45 of the images, are most with 0.4 alone.
    hinges = [run_of([(0.0, 0.0), (0.45, 0.1), (0.9, 0.9)]) for _ in range(5)]
    judged = find(decide_networks(hinges), "generation-phases")
    assert judged.verdict == "not reproduced"
    others = {at: verdict for at, verdict in judged.moved.items() if verdict != judged.verdict}
    assert others == {"single 0.4": "reproduced"}
    assert len(judged.moved) == 4
    clear = [run_of([(0.0, 0.0), (0.8, 0.1), (0.9, 0.9)]) for _ in range(5)]
    judged = find(decide_networks(clear), "generation-phases")
    assert set(judged.moved.values()) == {"reproduced"}


def test_order_is_enough_where_it_comes_with_accuracy_and_not_where_it_comes_alone():
    together = [(0.0, 0.0), (0.9, 0.2), (0.9, 0.9)]
    assert quantity("order-sufficient", run_of(together)) == 1
    assert quantity("order-necessary", run_of(together)) == 1
    alone = run_of(together, order=[0.0, 0.9, 0.9])
    assert quantity("order-sufficient", alone) == 0.5
    assert quantity("order-necessary", alone) == 1
    never = run_of(together, order=[0.0, 0.0, 0.1])
    assert quantity("order-necessary", never) == 0
    assert math.isnan(quantity("order-sufficient", never))


def test_every_claim_has_its_quantity_runs_and_chapter():
    assert list(CRITERIA) == list(CLAIMS)
    for name, claim in CLAIMS.items():
        criterion = CRITERIA[name]
        assert (claim.above is None) != (claim.below is None)
        assert bool(criterion.control) == bool(claim.control) == bool(claim.not_evidence_for)
        assert claim.experiment in EXPERIMENTS
        assert claim.chapter in notebooks()
        cells = json.loads((ROOT / "book" / f"{claim.chapter}.ipynb").read_text())["cells"]
        lines = [line for cell in cells for line in cell["source"]]
        headings = {make_id(line.lstrip("# ")) for line in lines if line.startswith("#")}
        assert claim.section in headings
    assert {claim.number for claim in CLAIMS.values()} == {1, 2, 3, 4}


def test_the_quantities_on_runs_made_for_them():
    # Generation B, B, C, C; representation A, B by its own threshold of both probes: A, A, C, C.
    run = record([0, 0, 0.2, 0.6, 0.9], [0, 0, 0.1, 0.8, 0.9], control=0.3)
    quantities = {
        name: quantity(name, run)
        for name, claim in CLAIMS.items()
        if claim.experiment == "three-phases" or name == "rise-together"
    }
    assert quantities["generation-phases"] == 0  # no A
    assert quantities["representation-phases"] == 0  # no B
    assert quantities["order-learned"] == pytest.approx(0.6)
    assert quantities["order-necessary"] == 1
    assert quantities["order-first"] < 0  # 0.5 of 0.1 to 0.8 lies before 0.5 of 0.2 to 0.6
    assert quantities["rise-together"] == 0
    # Two checkpoints agree (C, C), two do not (B, A): by chance a quarter would.
    assert quantities["sides-agree"] == pytest.approx((0.5 - 0.25) / (1 - 0.25))


def test_accuracy_without_order_counts_against_it():
    run = record([0, 0, 0.2, 0.6, 0.9], [0, 0, 0.1, 0.1, 0.1])
    assert quantity("order-necessary", run) == 0
    assert quantity("order-first", run) > 0
    ordered = record([0, 0, 0.1, 0.1, 0.1], [0, 0, 0.2, 0.6, 0.9])
    assert quantity("order-first", ordered) < 0
    assert math.isnan(quantity("order-necessary", ordered))
    assert math.isnan(quantity("order-first", record([0, 0, 0.1], [0, 0, 0.1])))


def test_axes_that_do_not_rise_do_not_rise_together():
    alone = record([0, 0, 0.1, 0.1], [0] * 4, accuracy_x=[0, 0, 0.5, 0.9])
    assert quantity("rise-together", alone) == pytest.approx(0.8)
    assert math.isnan(quantity("rise-together", record([0, 0, 0.1, 0.1], [0] * 4)))
    apart = record([0, 0, 0.1, 0.6], [0] * 4, accuracy_x=[0, 0, 0.7, 0.9])
    assert quantity("rise-together", apart) == pytest.approx(0.6)


def test_which_comes_first_is_told_only_between_different_checkpoints():
    between_the_same = record([0, 0, 0.2, 0.6, 0.9], [0, 0, 0.4, 0.7, 0.9])
    accuracy_first = record([0, 0, 0.6, 0.6, 0.9], [0, 0, 0.4, 0.7, 0.9])
    never = record([0, 0, 0.1, 0.1, 0.1], [0, 0, 0.4, 0.7, 0.9])
    sentence = describe_which_is_first([between_the_same, accuracy_first, never]).data
    # Steps 100, 200, 300, 400.
    assert sentence.startswith(
        f"Checkpoints lie {math.log2(1.5):.2f} doublings of the images apart"
    )
    assert "In 1 of the 2 runs" in sentence


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, "sinusoidal with warm-up"),
        ({"warmup": 0, "conditioning": "table"}, "table at full rate"),
        ({"d_x": 2.0, "d_y": 2.0, "N": 32}, "sinusoidal with warm-up at d = 2 on 32 × 32 pixels"),
        ({"precision": "bfloat16"}, "sinusoidal with warm-up in bfloat16"),
        ({"d_x": 0.1, "d_y": 1.0}, "d_x = 0.1 and d_y = 1"),
        (
            {"d_x": 0.1, "d_y": 1.0, "conditioning": "scalar", "sigma": 2.0},
            "d_x = 0.1 and d_y = 1 with scalar at sigma = 2",
        ),
    ],
)
def test_a_condition_names_what_is_not_as_usual(fields, named):
    assert setting(configure("quick", **fields)) == named


def test_what_had_been_seen_are_conditions_of_the_books_runs():
    made = {setting(c) for e in EXPERIMENTS.values() for c in e.configurations()}
    for claim in CLAIMS.values():
        assert set(claim.seen) <= made


def test_each_size_of_image_is_judged_by_itself():
    ordered, accurate = [0, 0, 0.7, 0.8, 0.9], [0, 0, 0.6, 0.7, 0.8]
    small = [record(accurate, ordered, control=0.6) for _ in range(4)]
    large = [record(accurate, [0] * 5, control=0.6, N=32) for _ in range(4)]
    found = {
        (one.name, one.setting): one for one in decide_networks([*large, *small], [*large, *small])
    }
    usual, larger = "sinusoidal with warm-up", "sinusoidal with warm-up on 32 × 32 pixels"
    assert found["order-necessary", usual].verdict == "reproduced"
    assert found["order-necessary", larger].verdict == "not reproduced"
    assert found["order-necessary", larger].control == 1
    assert found["order-necessary", usual].seen
    assert not found["order-necessary", larger].seen
    assert found["order-used", larger].values == [0.8] * 4
    assert found["order-learned", larger].estimate == pytest.approx(-0.6)
    assert {name for name, _ in found} == {n for n, c in CLAIMS.items() if c.number < 4}


@pytest.mark.usefixtures("shipped_only")
def test_several_sizes_are_decided_as_each_size_alone():
    def decide_sizes(*profiles):
        runs = [
            load_or_run(unite(*(experiment(f"larger-{kind}", p, seeds) for p in profiles)))
            for kind, seeds in {"images": 2, "controls": 1, "imbalance": 1, "lines": 1}.items()
        ]
        found = [*decide_networks(*runs[:2]), *decide_axes(*runs[2:])]
        behind = {(one.name, one.setting): {r.id for r in one.records} for one in found}
        values = {(one.name, one.setting): str(one.values) for one in found}
        return values, behind, "larger.html" in render_claims(found).data

    both, small, large = (
        decide_sizes(*profiles) for profiles in (["quick", "medium"], ["quick"], ["medium"])
    )
    for of_both, of_small, of_large in zip(both[:2], small[:2], large[:2], strict=True):
        assert of_both == of_small | of_large and not of_small.keys() & of_large.keys()
        assert {name for name, _ in of_large} == set(CLAIMS)
    assert [both[2], small[2], large[2]] == [True, False, False]
