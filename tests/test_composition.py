"""What networks draw of held-out combinations, from simulated records whose bumps are known."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from bump_diffusion.analysis.composition import (
    DESTINATIONS,
    classify_requests,
    score_regions,
    share_destinations,
)
from bump_diffusion.config import configure
from bump_diffusion.data.splits import in_core
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.papers.semantics import gaps
from bump_diffusion.papers.semantics.confirmed import judge, plan_next
from bump_diffusion.papers.semantics.criteria import CURE
from bump_diffusion.papers.semantics.cure import QUANTITIES, classify_last, region_accuracy
from bump_diffusion.papers.semantics.figures import answer, biases, compose

C = configure("quick", held_out="quadrants")


def drawn(c, places, step=None):
    """The tables of images with one bump at the `place` (x, y) for each request, or more, or none.

    `places` maps a request to the places of its bumps.
    """
    step = c.steps if step is None else step
    images = pd.DataFrame(list(places), columns=["mu_x", "mu_y"]).assign(step=step)
    held = {tuple(label) for label in task_of(c).held_out_labels().tolist()}
    images["set"] = ["held-out" if request in held else "trained" for request in places]
    rows = [(i, *at) for i, found in enumerate(places.values()) for at in found]
    bumps = pd.DataFrame(rows, columns=["image", "x", "y"]).assign(step=step)
    return images, bumps


def test_regions_and_destinations_are_those_of_the_map():
    """Of quadrants with x < 8 and y < 8 (or neither) held out, (3, 6) is nearest to (3, 8)."""
    places = {
        (3.0, 6.0): [(3.4, 6.4)],
        (2.0, 6.0): [(2.0, 8.3)],
        (4.0, 5.0): [(4.2, 12.0)],
        (5.0, 2.0): [(13.0, 2.0)],
        (1.0, 1.0): [(5.0, 5.0)],
        (6.0, 1.0): [],
        (2.0, 2.0): [(2.0, 2.0), (9.0, 9.0)],
        (7.0, 3.0): [(7.6, 3.0)],
        (9.0, 1.0): [(9.0, 1.0)],
        (9.0, 2.0): [(11.0, 2.0)],
    }
    images, bumps = drawn(C, places)
    table = classify_requests(C, images, bumps)
    assert table["region"].tolist() == ["core"] * 7 + ["rim"] + ["trained"] * 2
    assert table["destination"].tolist() == [
        *("requested", "nearest trained", "same x", "same y", "elsewhere"),
        *("no single bump", "no single bump", "requested", "", ""),
    ]
    assert table[["correct_x", "correct_y"]][:7].sum().tolist() == [3, 2]
    scores = score_regions(table).to_dict()
    assert scores == pytest.approx({"core": 1 / 7, "rim": 1, "trained": 0.5})
    assert share_destinations(table).loc["core"].sum() == pytest.approx(1)
    half = score_regions(classify_requests(C, images, bumps, tolerance=0.5)).to_dict()
    assert half == pytest.approx({"core": 1 / 7, "rim": 0, "trained": 0.5})


@pytest.mark.parametrize("held_out", ["quadrants", "donut", "corner", "band", "latin-32"])
def test_a_copy_of_the_nearest_trained_bump_is_right_on_the_rim_alone(held_out):
    """Within a pixel: which is why the core is judged."""
    c = C.model_copy(update={"held_out": held_out})
    held, trained = task_of(c).held_out_labels(), task_of(c).labels()
    copies = trained[torch.cdist(held, trained).argmin(dim=1)]
    places = {tuple(h): [tuple(t)] for h, t in zip(held.tolist(), copies.tolist(), strict=True)}
    classified = classify_requests(c, *drawn(c, places, step=0))
    assert score_regions(classified).to_dict() == {"core": 0, "rim": 1}
    assert len(classified) == len(held)
    shares = share_destinations(classified)
    assert list(shares) == list(DESTINATIONS)
    assert shares.loc["core", "nearest trained"] == 1


def test_on_the_full_grid_the_regions_of_another_configuration_are_scored():
    labels = task_of(configure("quick")).labels()
    places = {tuple(label): [tuple(label)] for label in labels.tolist()}
    images, bumps = drawn(configure("quick"), places)
    classified = classify_requests(C, images, bumps)
    core = int(in_core(task_of(C).held_out_labels(), task_of(C).labels()).sum())
    assert (classified["region"] == "core").sum() == core == 98
    assert score_regions(classified)["core"] == 1
    assert set(classify_requests(configure("quick"), images, bumps)["region"]) == {"trained"}


def simulated(c, accuracy, trained=1.0, off=0.0):
    """A record that draws shares of the held-out and of the trained labels rightly, but `off`."""
    rng = np.random.default_rng([c.seed, *c.id.encode()])
    task, places = task_of(c), {}
    for labels, share in ((task.labels(), trained), (task.held_out_labels(), accuracy)):
        for label in labels.tolist():
            right = rng.random() < share
            places[tuple(label)] = [(label[0] + off, label[1])] if right else []
    images, bumps = drawn(c, places)
    digest = f"{c.id} {accuracy} {trained} {off}"  # scores are kept by it
    return SimpleNamespace(configuration=c, images=images, bumps=bumps, digest=digest)


def test_planted_effects_are_found_and_judged():
    def pairs(accuracy, without, count=8, **options):
        seeds = [C.model_copy(update={"seed": seed}) for seed in range(200, 200 + count)]
        return [(simulated(c, accuracy, **options), {1.0: simulated(c, without)}) for c in seeds]

    (run, baseline), *_ = pairs(0.9, 0.3)
    found = {name: quantity(run, baseline) for name, quantity in QUANTITIES.items()}
    assert found["composes"].effect == found["draws-trained"].effect == 1
    assert found["composes"].control == pytest.approx(0.9, abs=0.1)
    assert found["composes-more"] == pytest.approx((0.6, 0.3), abs=0.15)
    (beside, baseline), *_ = pairs(0.9, 0.3, off=0.7)
    assert QUANTITIES["composes"](beside, baseline).effect == 1
    assert QUANTITIES["composes-at-half-pixel"](beside, baseline).effect == 0

    runs = {name: [] for name in CURE.conditions}
    runs["quadrants-lines"] = pairs(0.95, 0.02)
    runs["quadrants-axes"] = pairs(0.02, 0.02)
    runs["quadrants-stripes"] = pairs(0.4, 0.02, trained=0.5)
    table = judge(runs, CURE).set_index(["condition", "criterion"])["verdict"].unstack()
    names = ["composes", "composes-more", "draws-trained"]
    assert table.loc["quadrants-lines", names].tolist() == ["shown"] * 3
    assert table.loc["quadrants-axes", names].tolist() == ["negligible", "negligible", "shown"]
    assert table.loc["quadrants-stripes", names].tolist() == ["negligible", "shown", "negligible"]
    assert (table.loc["donut-lines", names] == "not yet").all()


def test_five_seeds_of_each_condition_come_first_and_each_beside_its_baseline():
    table = judge({name: [] for name in CURE.conditions}, CURE)
    wanted = list(plan_next(table, CURE))
    assert len(wanted) == 5 * len(CURE.conditions)
    assert {c.seed for plan in wanted[:5] for c in plan} == set(range(200, 205))
    for run, *others in (list(plan) for plan in wanted):
        for other in (other for other in others if other.axes == "xy"):
            assert (run.seed, run.held_out, run.steps) == (other.seed, other.held_out, other.steps)
            assert (other.rendering, other.injection, other.stripes) == ("none", "global", 0.0)


def test_the_page_scores_what_the_frozen_criteria_judge():
    classified, records = gaps.load()
    scores = gaps.score_biases(classified)
    assert len(records) == len(scores) >= 2 * len(gaps.COMPARED)
    for region in ("trained", "core"):
        judged = sorted(region_accuracy(record, region) for record in records)
        assert sorted(scores[region]) == pytest.approx(judged)
    planes, records = gaps.load_planes()
    text = compose.describe_plane(planes).data
    for bias in gaps.COMPARED:  # the first share is of the same gap
        assert f"{bias} {scores.loc[bias, 'core'].mean():.0%}, " in text
    assert {r.id for r in records} == set(planes["record"])


def test_a_reader_s_own_networks_stand_in_place_of_the_judged_ones(tmp_path, monkeypatch):
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(tmp_path))
    assert gaps.load_planes()[1] == gaps.load("corner")[1] == []
    classified, records = gaps.load("corner", "smoke", seeds=2)
    made = {(r.configuration.rendering, r.configuration.seed) for r in records}
    ways = ("none", "lines", "profiles")
    assert made == {(way, seed) for way in ways for seed in (900, 901)}
    assert {r.configuration.held_out for r in records} == {"corner"}
    assert gaps.average_core(classified).index.tolist() == list(gaps.COMPARED)
    said = compose.describe_composition(classified, records, *gaps.load_larger(), []).data
    assert "(exploratory runs, seeds 900 to 901)" in said
    with pytest.raises(UserError, match="seeds is -1"):
        gaps.load(seeds=-1)
    with pytest.raises(UserError, match="N is 8"):  # half of all combinations are trained
        gaps.load("latin-32", "smoke", seeds=1)


def test_all_that_the_frozen_file_holds_out_has_a_name():
    held_out = {c.where.get("held_out") for c in CURE.conditions.values()} - {None}
    assert held_out == gaps.EVERY_GAP.keys()


def test_a_geometry_without_runs_is_refused():
    with pytest.raises(UserError, match="'band-9' is not a geometry"):
        gaps.load("band-9")
    with pytest.raises(UserError, match="'larger' is not a geometry"):
        gaps.load("larger")  # conditions begin so, but it is no shape


def test_the_table_of_other_shapes_has_those_of_the_first_figure_where_it_shows_another():
    classified, records = gaps.load()
    table = compose.tabulate_elsewhere("donut")
    assert set(table.made_from["records"]) >= {record.id for record in records}
    core = f"{gaps.average_core(classified)['lines only']:.2f}"
    row = re.search(r"two quarters</td>\s*<td>lines only</td>\s*<td>([\d.]+)", table.data)
    assert row[1] == core


@pytest.mark.parametrize(("off", "right"), [(0.0, 0.0), (0.4, 1.0)])
def test_a_copy_of_a_trained_neighbour_saves_no_data(off, right):
    """Bumps at the nearest trained label are not right; those near the request are."""
    c = configure("quick", held_out="latin-128")
    held, trained = task_of(c).held_out_labels(), task_of(c).labels()
    nearest = trained[torch.cdist(held, trained).argmin(dim=1)]
    at = held + off if off else nearest
    places = dict(zip(map(tuple, held.tolist()), ([place] for place in at.tolist()), strict=True))
    images, bumps = drawn(c, places)
    record = SimpleNamespace(configuration=c, images=images, bumps=bumps)
    grown = answer.grow([record])
    assert grown[["N", "per_value", "right"]].to_numpy().tolist() == [[16, 8, right]]
    assert answer.average_right(grown).tolist() == [right]


def test_no_bias_that_is_told_the_geometry_is_named_among_those_that_are_not():
    """Lines beside a vector are right most often, and are told where pixels are."""
    told = {
        "no bias": "nothing",
        "lines only": "where pixels lie",
        "profiles only": "where pixels lie, and the shape",
        "lines + vector": "where pixels lie",
        "stripes among the images": "of two axes",
        "x vector times y vector": "of two axes",
    }
    rows = [
        {"bias": bias, "told": told[bias], "held_out": gap, "seed": 0, "step": 1, "region": region}
        | {"correct": bias != "x vector times y vector" or gap == "donut"}
        for bias in told
        for region in ("trained", "core")
        for gap in ("quadrants", "donut")
    ]
    others = gaps.average_without_geometry(pd.DataFrame(rows))
    assert others.loc["quadrants"].to_dict() == {
        "stripes among the images": 1.0,
        "x vector times y vector": 0.0,
    }
    assert (others.loc["donut"] == 1).all()


def test_where_biases_that_tell_less_help_is_told_by_what_is_left_out():
    verdicts = {
        "quadrants-lines": "shown",  # told where pixels lie
        "quadrants-stripes": "shown",
        "donut-stripes": "shown",
        "quadrants-axes": "negligible",
        "donut-axes": "shown",
        "latin-32-axes": "not yet",
        "donut-low-rank": "negligible",
        "full-grid": "shown",
    }
    judged = pd.DataFrame({"condition": verdicts.keys(), "verdict": verdicts.values()})
    judged = judged.assign(criterion="composes", seeds=8)
    told = answer.tell_where_others_compose(judged)
    assert told == (
        "Of biases that tell less, “stripes among the images” lets them do so for all 2 gaps "
        "tried; “x by column, y by row” for the middle, not for two quarters (scattered: open)."
    )
    assert "none" in answer.tell_where_others_compose(judged[judged["verdict"] != "shown"])


def test_axes_learned_apart_are_told_for_each_network_that_has_runs():
    row = {"criterion": "axes-still-apart", "control": 0.5, "verdict": "not yet"}
    row |= {"low": -0.1, "high": 0.6}
    judged = pd.DataFrame(
        [
            {**row, "condition": "imbalanced-baseline", "seeds": 3, "estimate": 0.21},
            {**row, "condition": "imbalanced-lines", "seeds": 0, "estimate": math.nan},
        ]
    )
    text = answer.describe_imbalance(judged).data
    assert "0.50" in text and "0.21" in text and "nan" not in text and "lines" not in text
    assert answer.describe_imbalance(judged[judged["seeds"] == 0]).data.startswith("No network")


def test_the_figure_of_biases_has_a_row_for_each_and_a_column_for_each_gap():
    classified, records = gaps.load_gaps()
    figure, described = biases.accuracy_by_bias.__wrapped__(records, classified)
    scores = gaps.score_biases(classified).reset_index()
    columns = figure.axes[len(figure.axes) // 2 :]
    rows = [t.get_text().replace("\n", " ") for t in columns[0].get_yticklabels()]
    headings = set(biases.GROUPS)
    assert max(map(len, rows)) <= 27  # longer names would leave no room for the columns
    assert set(rows) - headings == set(scores["bias"])
    assert len(columns) == scores["held_out"].nunique()
    for group in " | ".join(rows).split("told ")[1:]:  # the best first
        shares = scores.groupby("bias")["core"].mean()[group.strip(" |").split(" | ")[1:]]
        assert shares.is_monotonic_decreasing
    core = scores.groupby(["bias", "held_out"])["core"].mean()
    for (bias, gap), share in core.items():
        assert f"{bias}, {gaps.EVERY_GAP[gap]} {share:.2f}" in described
    for bias in ("no bias", "lines only", "stripes among the images"):
        heading = next(r for r in rows[rows.index(bias) :: -1] if r in headings)
        told = scores.set_index("bias")["told"][bias].iloc[0]
        assert f"told {told}".startswith(heading)


def test_what_biases_are_shown_to_do_is_told_by_criterion_and_verdict():
    cells = [
        ("composes", "quadrants-lines", "shown"),
        ("composes", "quadrants-baseline", "negligible"),
        ("composes-more", "quadrants-lines", "shown"),
        ("composes-more", "quadrants-axes", "not yet"),
    ]
    untried = ("composes", "donut-lines", "not yet")
    judged = pd.DataFrame([*cells, untried], columns=["criterion", "condition", "verdict"])
    judged = judged.assign(seeds=[8] * len(cells) + [0], rejected=judged["verdict"] == "shown")
    text = answer.describe_verdicts(judged.assign(high=0.41)).data
    assert "5 frozen tests 3" in text and " 2 hold " in text and "41%" in text
    table = answer.tabulate_verdicts(judged).set_index("bias")
    asked = answer.QUESTIONS
    assert table.loc["lines only", asked["composes"]] == "yes 1"
    assert table.loc["no bias", asked["composes"]] == "no 1"
    assert table.loc["x by column, y by row", asked["composes-more"]] == "open 1"
    assert (table[asked["draws-trained"]] == "").all()


def test_what_is_right_everywhere_and_still_rises_is_told():
    planes, records = gaps.load_planes()
    text = compose.describe_limits(planes, records, []).data
    usual = planes[(planes["bias"] == "no bias") & (planes["region"] != "trained")]
    right = (usual["outcome"] == "correct").groupby(usual["held_out"]).mean()
    core = usual[usual["region"] == "core"]
    at_end = (core["outcome"] == "correct").groupby(core["held_out"]).mean()
    assert f"{right.min():.0%} to {right.max():.0%} right" in text
    for gap, name in gaps.GAPS.items():
        assert f"to {at_end[gap]:.0%} ({name})" in text
    longer = compose.load_longer()
    core = score_regions(classify_last(longer[0]))["core"]
    told = compose.describe_limits(planes, records, longer[:1]).data
    name = gaps.GAPS[longer[0].configuration.held_out]
    assert f"10,000 steps, it is {core:.0%} ({name}, 1 network)." in told
