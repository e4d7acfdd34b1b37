"""Routing: by which layer networks pass on x and y, on simulated records with known routes."""

import itertools
import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from bump_diffusion.config import configure
from bump_diffusion.papers.semantics import routing
from bump_diffusion.papers.semantics.confirmed import judge, plan_next
from bump_diffusion.papers.semantics.criteria import ROUTING
from bump_diffusion.papers.semantics.figures import routing as page
from bump_diffusion.papers.semantics.routing import QUANTITIES, find_routes, find_settled, follow
from bump_diffusion.runs.store import SHIPPED, Store

STEPS = (500, 1000, 2000, 4000)
JOINT = {("layer4", "x"): 0.9, ("layer4", "y"): 0.9}
SPLIT = {("layer4", "x"): 0.9, ("layer3", "y"): 0.9}
MIRRORED = {("layer3", "x"): 0.9, ("layer4", "y"): 0.9}


def simulated(shares=JOINT, settled=1000, right=2000, gap=0.2, bumps=64, **fields):
    """A record in which shares of bumps go with layers from a step on, and in x alone before it."""
    c = configure("medium", **fields)
    rng = np.random.default_rng([c.seed, bumps])
    tables = []
    for step, layer in itertools.product(STEPS, ("", *routing.ROUTES)):
        labels = rng.integers(0, c.N, (bumps, 2)).astype(float)
        at = labels.copy()
        for i, axis in enumerate("xy"):
            share = shares.get((layer, axis), 0) if step >= settled or axis == "x" else 0
            moved = np.arange(bumps) < round(share * bumps)
            at[moved, i] = (labels[moved, i] + c.N / 2) % c.N
        table = pd.DataFrame(np.hstack([labels, at]), columns=["mu_x", "mu_y", "x", "y"])
        tables.append(table.assign(step=step, layer=layer, differ="xy"))
    checkpoints = pd.DataFrame({"step": STEPS, "images_seen": np.array(STEPS) * c.batch_size})
    accuracy = np.select([checkpoints["step"] >= right], [0.9], 0.0)
    images = pd.DataFrame({"mu_x": 3.0, "mu_y": 5.0, "set": "trained"}, index=range(200))
    images.loc[100:, "set"] = "held-out"
    wrong = np.arange(200) >= 200 - 100 * gap
    return SimpleNamespace(
        configuration=c,
        patching=pd.concat(tables, ignore_index=True),
        checkpoints=checkpoints.assign(accuracy=accuracy),
        images=images.assign(step=c.steps, speckled=False),
        bumps=pd.DataFrame(
            {"image": range(200), "x": 3.0 + 3 * wrong, "y": 5.0, "amplitude": 1.0, "step": c.steps}
        ),
    )


def effect(name, run, *others):
    return QUANTITIES[name](run, dict(enumerate(others))).effect


def test_planted_routes_are_found():
    joint, split = simulated(), simulated(SPLIT)
    assert routing.last_route(joint) == ("layer4", "layer4")
    assert routing.last_route(split) == ("layer4", "layer3")
    assert follow(split).loc[4000, ("y", "layer3")] == pytest.approx(0.9, abs=0.01)
    assert [effect("held-apart", run) for run in (joint, split)] == [0, 1]
    assert effect("routes-alike", split, split) == effect("routes-alike", joint, joint) == 1
    assert effect("routes-alike", split, joint) == 0
    assert effect("routes-alike", split, simulated(MIRRORED)) == 0
    nowhere = simulated({("layer4", "x"): 0.9})
    assert routing.last_route(nowhere) == ("layer4", "neither")
    assert effect("routes-alike", nowhere, split) == effect("held-apart", nowhere) == 0
    assert math.isnan(effect("settled-first", nowhere))
    few = simulated(bumps=7)
    assert routing.last_route(few) == ("unknown", "unknown")
    assert [effect(name, few) for name in ("held-apart", "settled-first")] == pytest.approx(
        [math.nan] * 2, nan_ok=True
    )


def test_what_bumps_do_when_nothing_is_exchanged_does_not_count():
    run = simulated()
    run.patching.loc[run.patching["layer"] == "", "x"] += 16
    run.patching["x"] %= 32
    shares = follow(run)
    assert (shares["x"] == 0).all(axis=None)
    assert find_routes(shares).loc[4000].tolist() == ["neither", "layer4"]


@pytest.mark.parametrize(("settled", "right", "doublings"), [(1000, 2000, 1), (4000, 2000, -1)])
def test_a_route_is_settled_when_it_changes_no_more(settled, right, doublings):
    run = simulated(settled=settled, right=right)
    assert find_settled(run) == settled * 32

    assert effect("settled-first", run) == pytest.approx(doublings - 4 / 9, abs=0.01)
    back = simulated(settled=500)
    early = back.patching["step"] == 1000
    back.patching.loc[early & (back.patching["layer"] != "layer3"), "y"] = back.patching["mu_y"]
    assert find_settled(back) == 2000 * 32


def test_of_a_pair_the_gap_of_the_one_that_is_less_even_is_compared():
    fields = {"held_out": "latin-32"}
    split, joint = simulated(SPLIT, gap=0.1, **fields), simulated(gap=0.4, **fields)
    assert effect("apart-composes", split, joint) == pytest.approx(0.3)
    assert effect("apart-composes", joint, split) == pytest.approx(0.3)
    assert effect("apart-composes", simulated(SPLIT, gap=0.6, **fields), joint) < 0
    assert math.isnan(effect("apart-composes", joint, joint))


@pytest.mark.parametrize(("decides", "verdict"), [(True, "shown"), (False, "negligible")])
def test_planted_causes_are_shown_and_absent_ones_negligible(decides, verdict):
    known = simulated(SPLIT, seed=103)
    routes = [SPLIT if decides or k == 5 else JOINT for k in range(12)]
    runs = {name: [] for name in ROUTING.conditions}
    runs["same-weights"] = [
        (simulated(route, seed=300 + k, init_seed=103), {1.0: known})
        for k, route in enumerate(routes)
    ]
    runs["larger"] = [(simulated(route, seed=300 + k), {}) for k, route in enumerate(routes)]
    table = judge(runs, ROUTING).set_index(["condition", "criterion"])["verdict"]
    assert table["same-weights", "routes-alike"] == verdict
    assert table["larger", "held-apart"] == ("shown" if decides else "not yet")
    assert (table["same-data"] == "not yet").all()


def test_runs_share_one_seed_with_a_known_network_and_no_other_draw():
    for name, shared, other in (
        ("same-weights", "weights_seed", "seed"),
        ("same-data", "seed", "weights_seed"),
    ):
        plan = ROUTING.conditions[name].plan()
        assert len(plan) == ROUTING.conditions[name].cap
        for run, lines in plan:
            ((c,), (line,)) = run, lines
            assert getattr(c, shared) == getattr(line, shared) == line.seed
            assert line.seed < 300 <= getattr(c, other)
            assert c.model_copy(update={"seed": line.seed, "init_seed": None}) == line.model_copy(
                update={"evaluation_images": c.evaluation_images}
            )


def test_known_networks_are_shipped_and_split():
    store = Store(SHIPPED)
    for _, lines in ROUTING.conditions["same-weights"].plan()[:3]:
        ((line, extras),) = lines.items()
        assert effect("held-apart", store.get(line, extras)) == 1


def test_pairs_are_of_neighbouring_seeds_that_are_used_once():
    plan = ROUTING.conditions["combinations"].plan()
    seeds = [tuple(c.seed for part in pair for c in part) for pair in plan]
    assert seeds == [(seed, seed + 1) for seed in range(300, 380, 2)]
    assert {c.split for pair in plan for part in pair for c in part} == {300}
    table = judge({name: [] for name in ROUTING.conditions}, ROUTING)
    wanted = [len(plan) for plan in plan_next(table, ROUTING)]
    assert wanted == [2] * 8 + [1] * 4 + [2] * 4


def as_records(*runs):
    """Simulated records with the names that figures tell them by."""
    for i, run in enumerate(runs):
        run.id, run.format, run.extras = f"run-{i}", 3, {"patching"}
    return list(runs)


def test_the_page_counts_networks_of_one_seed_by_where_x_and_y_are():
    other = simulated(SPLIT, seed=4, init_seed=1)
    records = as_records(simulated(SPLIT, seed=1), simulated(seed=2), simulated(seed=3), other)
    networks = page.measure_networks(records)
    assert networks.loc["run-0", ["x", "y"]].tolist() == pytest.approx([0.9, -0.9], abs=0.01)
    assert page.select_plain(networks)["seed"].tolist() == [1, 2, 3]
    assert page.select_plain(networks)["split"].tolist() == [True, False, False]
    assert networks["settled"].tolist() == pytest.approx([5 / 9] * 4)


def test_the_page_compares_networks_with_the_one_that_they_share_a_seed_with(monkeypatch):
    known, like, unlike = as_records(
        simulated(SPLIT, seed=103),
        simulated(SPLIT, seed=300, init_seed=103),
        simulated(seed=103, init_seed=300),
    )
    runs = {"same-weights": [(like, {1.0: known})], "same-data": [(unlike, {1.0: known})] * 2}
    monkeypatch.setattr(page, "find_runs", lambda name, frozen: runs[name])
    monkeypatch.setattr(page, "Answer", lambda lead, *others: SimpleNamespace(data=lead.text))
    relatives, records = page.compare_relatives(), [known, like, unlike]
    assert relatives["known"].tolist() == [103] * 3
    assert relatives["alike"].tolist() == [True, False, False]
    networks = page.measure_networks(records)
    text = page.describe_routes(networks, relatives, records).data
    assert "1 of 1 networks with the same initial weights" in text
    assert "none of 2 networks with the same data" in text
    figure, alt = page.relatives_of_split.__wrapped__(records, networks, relatives)
    assert len(figure.axes) == 1 and "1 of 1" in alt and "0 of 2" in alt


@pytest.mark.usefixtures("shipped_only")
def test_the_page_s_numbers_are_those_of_the_shipped_networks():
    records = page.load([16, 32])
    networks = page.measure_networks(records)
    plain = page.select_plain(networks)
    assert {0, 1, 2, 3, 4, 100, 101, 102, 103} <= set(plain["seed"])
    split = plain.loc[plain["split"], "seed"].tolist()
    assert {0, 3, 103} <= set(split)
    text = page.describe_routes(networks, page.compare_relatives(), records).data
    assert f"In {len(split)} of {len(plain)} networks" in text
    watched = page.select_watched(records)
    assert {r.configuration.seed for r in watched} >= {100, 101, 102, 103}
    assert "all 4" in page.describe_settling(watched[:4]).data


@pytest.mark.parametrize("count", [1, 2, 9])
def test_no_label_of_a_corner_meets_another_or_a_mark(count):
    far = np.linspace(0.6, 1, count)
    split = [(-at, at) for at in far] + [(at, -at) for at in far]
    networks = pd.DataFrame(split, columns=["x", "y"]).assign(
        N=32, conditioning="scalar", held_out="none", split=True
    )
    networks["seed"] = networks["weights_seed"] = np.arange(len(split)) + 100
    figure, _ = page.places.__wrapped__([], networks)
    figure.canvas.draw()
    (ax,) = figure.axes
    marks = ax.transData.transform(networks[["x", "y"]])
    labels = [text.get_window_extent() for text in ax.texts]
    assert len(labels) == 2 and not labels[0].overlaps(labels[1])
    assert not any(label.padded(4).contains(*mark) for label in labels for mark in marks)
    assert all(str(seed) in "".join(t.get_text() for t in ax.texts) for seed in networks["seed"])


def test_the_page_says_so_where_nothing_has_been_trained():
    networks = page.measure_networks([])
    answer = page.describe_routes(networks, page.compare_relatives().head(0), [])
    assert "has been trained yet" in answer.data
    (c,) = ROUTING.conditions["larger"].plan()[0][0]
    assert c.id in answer.made_from["missing"]
