"""What the laboratory notebook concludes in words, against the shipped records.

Thresholds are what such words can bear, not those of the criteria.
"""

import numpy as np
import pytest

from bump_diffusion.analysis.frame import frame, gather, split
from bump_diffusion.analysis.learning import explain_on_grid, learning_times, overlap_times
from bump_diffusion.analysis.phases import ORDER, first_phases
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.papers.semantics.claims import BY_CONTROL
from bump_diffusion.papers.semantics.confirm import placement_coupling
from bump_diffusion.papers.semantics.figures.claims import group_by_claim
from bump_diffusion.papers.semantics.figures.imbalance import placed_given_one_bump
from bump_diffusion.papers.semantics.figures.larger import (
    tabulate_transfers,
    transfer_fractions,
)
from bump_diffusion.papers.semantics.verdicts import decide_claims

from .conftest import load

pytestmark = pytest.mark.usefixtures("shipped_only")


@pytest.fixture(scope="module")
def judged():
    """The decisions on the shipped runs: by claim, then by setting."""
    decisions = group_by_claim(decide_claims("own", 5, 3, ["sinusoidal", "scalar", "table"]))
    return {name: {one.setting: one for one in group} for name, group in decisions.items()}


def trained(*names, **fields):
    """The trained checkpoints of experiments."""
    return frame(load(*names, **fields)).query("step > 0")


def share_with_b(table):
    return first_phases(table, "generation")["B"].notna().mean()


def order_at_end(table):
    """The order of each run at the end, of the trained and of the untrained network."""
    last = table.groupby("record", sort=False).tail(1)
    columns = [column for column in last if column.startswith("order")]
    return last.set_index("record")[columns].clip(lower=0)


def test_single_misplaced_bumps_come_between():
    three_phases = trained("full-rate", "three-phases")
    for _, table in three_phases.groupby("record"):
        misplaced, correct = (table[kind].to_numpy() for kind in ("misplaced", "correct"))
        assert table["several"].iloc[0] + table["none"].iloc[0] > 0.5
        assert misplaced.max() > 0.3
        if correct[-1] >= 0.9:
            assert misplaced.argmax() < correct.argmax() and misplaced[-1] < 0.1
    shares = {name: share_with_b(runs) for name, runs in split(three_phases, "setting").items()}
    assert shares["scalar with warm-up"] > 0.5 > shares["sinusoidal with warm-up"]
    assert shares["sinusoidal at full rate"] < 0.5
    assert share_with_b(trained("spread", sigma=4)) > 0.5


def test_an_untrained_network_has_most_of_the_order_at_dense_spacings():
    for spacing, runs in trained("density").groupby("d_x"):
        order = order_at_end(runs).mean()
        if spacing <= 1:
            assert order["order_untrained"] > order["order"] / 2
        else:
            assert order["order"] > ORDER > order["order_untrained"]
            assert order["order"] - order["order_untrained"] > 0.3


def test_in_noise_all_order_was_learned():
    layers = gather(load("full-rate-controls", "controls", "larger-controls"), "layers")
    probed = layers.query("layer == 'layer4' and target == 'requested' and input == 'bump'")
    order = probed.groupby(["setting", "record", "timestep", "features"])["r2"].min().unstack()
    at_250, at_500 = (order.xs(timestep, level="timestep") for timestep in (250, 500))
    assert max(table["untrained, ablated"].max() for table in (at_250, at_500)) < 0.03
    assert at_500["ablated"].max() < 0.03
    assert at_250["ablated"].groupby("setting").mean().min() > 0.05


def test_as_published_order_is_there_from_the_first_checkpoint():
    table = trained("three-phases", "full-rate", "larger-images")
    published = ["r2_trained_umap_requested_x", "r2_trained_umap_requested_y"]
    table["published"] = table[published].mean(axis=1)
    with_table = table["conditioning"] == "table"
    assert table[with_table]["published"].max() < 0.1
    ends = table[~with_table].groupby("record", sort=False)
    first, last = ends.head(1), ends.tail(1)
    assert first["published"].min() > 0.7
    assert first["accuracy"].max() < 0.05
    fall = first.set_index("record")["published"] - last.set_index("record")["published"]
    sinusoidal = first.set_index("record")["setting"] == "sinusoidal with warm-up"
    assert fall[sinusoidal].median() > 0.2


def test_order_is_learned_also_where_nothing_of_layer_4_reaches_the_image():
    for _, runs in trained("full-rate").groupby("conditioning"):
        order = order_at_end(runs).mean()
        assert order["order"] - order["order_untrained"] > 0.05


def test_exchanging_layer_4_moves_nothing():
    table = gather(load("full-rate-controls", "controls"), "interventions")
    groups = table.groupby(["intervention", "layer", "setting"])[["at_other", "correct"]].mean()
    exchanged, untouched = groups.loc["other features", "layer4"], groups.loc["nothing", ""]
    assert exchanged["at_other"].max() < 0.02
    lost = 1 - exchanged["correct"] / untouched["correct"]
    assert 1 / 8 < lost.pop("table with warm-up") < 1 / 6
    assert lost.max() < 0.03


def test_where_the_position_enters():
    table = gather(load("full-rate-controls", "controls"), "interventions")
    table = table[table["intervention"] == "other label"]
    right = table.groupby(["warmup", "conditioning", "layer"])["correct"].mean()
    for (warmup, scheme), by_layer in right.groupby(["warmup", "conditioning"]):
        most_harm = set(by_layer.nsmallest(2).index.get_level_values("layer"))
        if warmup:
            assert "layer3" in most_harm, scheme
        else:
            assert most_harm == {"layer2", "up3"}, scheme


def test_bumps_are_learned_by_their_width():
    table = trained("spread", "density", "spread-and-spacing")
    explained = explain_on_grid(table, "accuracy").mean()
    assert explained["sigma"] > 0.9 and explained["d"] < 0.1 and explained["overlap"] < 0.5
    times = overlap_times(table, "accuracy").groupby(["sigma", "d"])["time"].mean()
    by_spread = times.xs(1.0, level="d")
    assert by_spread.loc[:2.0].is_monotonic_decreasing
    assert by_spread[4.0] == pytest.approx(by_spread[2.0], rel=0.1)
    for measure in ("single", "order"):
        sooner = overlap_times(table, measure).groupby(["sigma", "d"])["time"].mean()
        assert sooner[4.0, 1.0] < 0.9 * sooner[2.0, 1.0]
    by_spacing = times.xs(1.0, level="sigma").loc[:2.0]
    assert by_spacing.max() < 1.3 * by_spacing.min()


def test_the_axes_are_learned_at_the_same_time(judged):
    where, wide = "d_x = 0.1 and d_y = 1", "d_x = 1 and d_y = 4"
    larger = f"{where} on 32 × 32 pixels"
    together = judged["rise-together"][where]
    assert together.verdict == "undecided" and 0.08 < together.estimate < 0.12
    assert together.control == pytest.approx(together.estimate, abs=0.03)
    on_larger = judged["rise-together"][larger]
    assert on_larger.verdict == "undecided"
    assert max(on_larger.values) < 0.07 < 0.1 < on_larger.control
    for name in ("coupled", "coupled-in-images"):
        assert judged[name][larger].verdict == "not judged"
    assert judged["coupled"][where].verdict == "not judged"
    for name in ("coupled", "coupled-in-images"):
        assert judged[name][wide].estimate > 0.5 and judged[name][wide].verdict == "undecided"
    assert judged["costly"][where].low < 0 < judged["costly"][where].high
    costs = judged["costly"][larger]
    assert costs.low < 0 < min(costs.values)


def test_within_an_image_the_axes_are_placed_independently():
    for name in ("imbalance-judged", "larger-imbalance"):
        excess = [placement_coupling(placed_given_one_bump(record)) for record in load(name)]
        assert abs(np.nanmean(excess)) < 0.1


def test_order_and_accuracy_come_together_as_in_an_untrained_network(judged):
    for name in ("order-necessary", "order-sufficient"):
        for one in judged[name].values():
            if "pixels" not in one.setting and one.verdict != "undecided":
                assert one.outcome == BY_CONTROL, (name, one.setting)


def test_networks_with_a_table_often_end_before_they_are_accurate():
    table = trained("full-rate", "three-phases", conditioning="table")
    assert learning_times(table, "accuracy", 0.5).isna().mean() >= 0.3


def test_several_bumps_are_a_failure_of_phase_a():
    outcomes = ["none", "several", "misplaced"]
    by_phase = trained("three-phases").groupby("phase_generation")[outcomes].mean()
    assert by_phase.loc["A", "several"] > 0.3 > 0.06 > by_phase.loc["B", "several"]
    assert by_phase.loc["C", "several"] < 0.01
    assert by_phase.loc["B", ["none", "misplaced"]].sum() > 0.5


def test_bfloat16_lowers_the_order_of_layer_4_and_not_accuracy():
    exact, mixed = (trained("precision", precision=p) for p in ("float32", "bfloat16"))
    accuracies = [table.groupby("seed")["accuracy"].last() for table in (exact, mixed)]
    assert accuracies[0].to_numpy() == pytest.approx(accuracies[1].to_numpy(), abs=0.02)
    of_exact, of_mixed = (order_at_end(table) for table in (exact, mixed))
    lost = of_exact["order"].to_numpy() - of_mixed["order"].to_numpy()
    learned = of_exact["order"] - of_exact["order_untrained"]
    assert lost.min() > 0
    assert lost.mean() == pytest.approx(learned.mean(), abs=0.02)


def test_samplers_differ_under_way_and_not_at_the_end():
    table = gather(load("samplers"), "samplers")
    mean = table.groupby(["step", "sampler", "sampler_steps"])[list(OUTCOMES)].mean()
    assert mean["correct"].xs(mean.index.levels[0].max()).min() > 0.95
    assert (mean.groupby("step").max() - mean.groupby("step").min()).max().max() > 0.7


def test_on_larger_images_layer_4_is_ordered_and_used(judged):
    larger = "sinusoidal with warm-up on 32 × 32 pixels"
    assert judged["order-used"][larger].outcome == "undecided"
    for record in load("larger-controls"):
        rows = record.interventions.set_index(["intervention", "layer"])
        for intervention in ("other features", "other label"):
            exchanged = rows.loc[(intervention, "layer4")]
            assert exchanged["correct"] < 0.1 and exchanged["at_other"] < 0.35
        assert rows.loc[("other features", "up3"), "at_other"] > rows["at_other"].max() / 2 > 0.25
    phased = judged["generation-phases"][larger]
    assert phased.values == [1.0, 0.0, 1.0, 1.0, 0.0]
    for record, has_b in zip(phased.records, phased.values, strict=True):
        if not has_b:
            wrong = record.checkpoints.query("correct < 0.5")
            assert (wrong["several"] + wrong["none"]).min() > 0.5
    necessary = judged["order-necessary"][larger]
    assert necessary.verdict == necessary.outcome == "reproduced"
    first = judged["order-first"][larger]
    assert max(first.values) < 0 and first.outcome == BY_CONTROL
    assert first.estimate < first.control
    assert judged["order-learned"][larger].outcome == "reproduced"
    assert judged["order-learned"]["sinusoidal with warm-up"].outcome == "undecided"
    order = order_at_end(trained("larger-images"))
    assert (order["order_umap"] > order["order_untrained_umap"]).all()
    assert judged["order-sufficient"][larger].estimate == pytest.approx(0.6, abs=0.04)
    assert judged["order-sufficient"][larger].outcome == "not reproduced"
    assert judged["sides-agree"][larger].outcome == "undecided"


def test_on_larger_images_two_layers_hold_an_axis_each_or_one_holds_both():
    runs = load("larger-patching")
    table = tabulate_transfers(runs).pivot(index="seed", columns="exchanged", values="follow it")
    assert sorted(zip(table["layer3"], table["layer4"], strict=True)) == [
        *[("neither", "x, y")] * 3,
        ("x", "y"),
        ("y", "x"),
    ]
    single = transfer_fractions(runs).dropna(subset=["fraction_x"])
    for (seed, layer), part in single.groupby(["seed", "layer"]):
        follow = table.loc[seed]
        for axis in "xy":
            there = float(layer == "up3" or axis in follow.get(layer, "").split(", "))
            off = (part[f"fraction_{axis}"] - there).abs() * part["N"] / 2
            assert off.median() < (2 if follow["layer4"] == "x, y" else 3)
    for record in runs:
        apart = record.checkpoints["accuracy_x"] - record.checkpoints["accuracy_y"]
        assert apart.abs().max() < 0.15
