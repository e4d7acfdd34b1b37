"""What the comparing figures compute before they draw."""

import itertools
import re
import xml.etree.ElementTree as ElementTree
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import special_ortho_group

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import PHASES
from bump_diffusion.config import LAYERS, configure
from bump_diffusion.errors import UserError
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.sampling import choose_shown
from bump_diffusion.papers.semantics.claims import CLAIMS, decide
from bump_diffusion.papers.semantics.confirm import placement_coupling
from bump_diffusion.papers.semantics.figures import (
    claims,
    comparisons,
    confirmed,
    gallery,
    phases,
    watch,
)
from bump_diffusion.papers.semantics.figures.bottleneck import tabulate_variation
from bump_diffusion.papers.semantics.figures.comparisons import (
    describe_learning,
)
from bump_diffusion.papers.semantics.figures.gallery import (
    align_embeddings,
    animate_points,
    choose_moving_run,
    find_failures,
)
from bump_diffusion.papers.semantics.figures.imbalance import (
    placed_given_one_bump,
    tabulate_couplings,
    times_by_data_set,
)
from bump_diffusion.papers.semantics.figures.larger import (
    sort_by_size,
    tabulate_transfers,
    transfer_fractions,
)
from bump_diffusion.papers.semantics.figures.learned import read_order_added
from bump_diffusion.papers.semantics.figures.order import tabulate_order_by_timestep
from bump_diffusion.papers.semantics.figures.phases import count_phases_by_threshold
from bump_diffusion.papers.semantics.figures.spread import phases_at_the_end

SVG = "{http://www.w3.org/2000/svg}"


def test_embeddings_that_differ_by_a_turn_and_a_shift_stand_still():
    points = np.random.default_rng(0).normal(size=(40, 3)) * [3, 2, 1]
    turns = special_ortho_group.rvs(3, size=6, random_state=0)
    turned = np.stack([points @ turn * size + size for size, turn in enumerate(turns, 1)])
    paths = align_embeddings(turned)
    assert paths.shape == (6, 40, 2)
    assert np.abs(paths - paths[0]).max() < 1e-6
    assert paths[0].std() > 0.3


def test_the_moving_picture_moves_every_point_through_every_checkpoint():
    paths = {name: np.random.default_rng(i).normal(size=(5, 7, 2)) for i, name in enumerate("ab")}
    colours = np.full((7, 4), 0.5)
    root = ElementTree.fromstring(animate_points(paths, colours, list("12345")))
    panels = root.findall(f"{SVG}g")
    width, height = map(float, root.get("viewBox").split()[2:])
    for panel, path in zip(panels, paths.values(), strict=True):
        circles = panel.findall(f"{SVG}circle")
        assert len(circles) == 7
        middle = np.array(re.findall(r"\d+", panel.get("transform")), dtype=float)
        moves = [
            [np.array(a.get("values").split(";"), dtype=float) for a in circle.findall("*")]
            for circle in circles
        ]
        positions = np.array(moves).transpose(2, 0, 1)
        assert positions.shape == path.shape
        assert np.corrcoef(positions.ravel(), path.ravel())[0, 1] > 0.999
        assert ((positions + middle >= 0) & (positions + middle <= [width, height])).all()


IDS = itertools.count()


def run(single, placed):
    """A stand-in for a record with the given order parameters of generation."""
    steps = np.arange(len(single)) * 10
    correct = np.array(single) * np.array(placed)
    checkpoints = pd.DataFrame({"step": steps, "correct": correct})
    checkpoints["misplaced"] = np.array(single) - correct
    probes = [
        (step, "ablated", "direct", target, axis, r2)
        for step, r2 in zip(steps, single, strict=True)
        for target in ("requested", "generated")
        for axis in "xy"
    ]
    columns = ["step", "features", "reduction", "target", "axis", "r2"]
    configuration = configure("quick")
    checkpoints["images_seen"] = steps * configuration.batch_size
    return SimpleNamespace(
        id=str(next(IDS)),
        configuration=configuration,
        checkpoints=checkpoints,
        probes=pd.DataFrame(probes, columns=columns),
    )


def test_a_data_set_stands_for_the_one_with_its_axes_exchanged():
    record = run([0, 0.2, 0.6, 0.6, 0.9, 0.9], [0, 0, 0.1, 0.2, 0.7, 0.9])
    batch = record.configuration.batch_size
    record.configuration = record.configuration.model_copy(update={"d_x": 0.5, "d_y": 2.0})
    record.checkpoints["accuracy_x"] = [0, 0.5, 0.9, 0.9, 0.9, 0.9]
    record.checkpoints["accuracy_y"] = [0, 0.1, 0.1, 0.1, 0.1, 0.1]
    table = times_by_data_set([record]).set_index(["d_x", "d_y", "milestone"])
    assert len(table) == 2 * 8
    one, other = table.loc[(0.5, 2.0)], table.loc[(2.0, 0.5)]
    for data_set in (one, other):
        images = data_set["images"]
        assert images["C begins, generation"] == pytest.approx(1200**0.5 * batch)
        assert images["A ends, generation"] == pytest.approx(200**0.5 * batch)
        assert data_set["otherwise"]["C begins, representation"] == "ends in C"
    for data_set, early, late in ((one, "x", "y"), (other, "y", "x")):
        images = data_set["images"]
        assert images[f"half placed right in {early}"] == 10 * batch
        assert images[f"90 % placed right in {early}"] == pytest.approx(20 * batch)
        assert np.isnan(images[f"half placed right in {late}"])
        assert data_set["otherwise"][f"half placed right in {late}"] == "never in\n1 of 1"


def test_the_end_is_that_of_most_seeds():
    ends = {(1.0, 1.0): [(0.9, 0.9), (0.9, 0.8), (0.6, 0.1)], (2.0, 0.5): [(0.9, 0.1)]}
    records = []
    for (spacing, sigma), last in ends.items():
        for single, placed in last:
            record = run([0, 0.1, single], [0, 0, placed])
            fields = {"d_x": spacing, "d_y": spacing, "sigma": sigma}
            record.configuration = record.configuration.model_copy(update=fields)
            records.append(record)
    figure, _ = phases_at_the_end.__wrapped__(records)
    cells = [[(*text.xy, text.get_text()) for text in ax.texts] for ax in figure.axes]
    plt.close(figure)
    # From the left d = 1 and 2, from below sigma = 0.5 and 1; the mean of 0.81, 0.72 and 0.06.
    assert cells[0] == [(0.5, 1.5, "C\n0.53"), (1.5, 0.5, "B\n0.09")]
    assert cells[1] == [(0.5, 1.5, "C\n0.80"), (1.5, 0.5, "C\n0.90")]


OF_ONE_RUN = (
    watch.samples_over_training,
    phases.embedding_over_training,
    gallery.embedding_moving,
)
OF_RUNS = (
    watch.loss_curve,
    watch.outcomes_over_training,
    phases.probes_over_training,
    phases.order_parameters_over_training,
    phases.phase_bars,
    phases.phase_agreement,
    phases.geometry_over_training,
    gallery.failures,
)
BY_FIELD = (
    comparisons.learning_by_setting,
    comparisons.phase_diagram,
    comparisons.boundaries,
)


@pytest.mark.parametrize("draw", [*OF_ONE_RUN, *OF_RUNS, *BY_FIELD])
def test_a_text_alternative_is_short_and_leaves_out_what_is_undefined(draw, smoke_record):
    """After a few steps no image shows one bump: much of what is drawn is undefined."""
    records = smoke_record if draw in OF_ONE_RUN else [smoke_record]
    alt = (draw(records, "sigma") if draw in BY_FIELD else draw(records)).alt
    assert 40 < len(alt) <= 300
    assert not re.search(r"\bnan\b", alt)


@pytest.mark.parametrize("conditions", [1, 3])
def test_no_text_leaves_a_figure_of_effects(shipped_only, conditions):
    judged, records = confirmed.load()
    names = [*confirmed.FROZEN.conditions][:conditions]
    undefined = [decide(name, "setting of more words than fit", [0.5]) for name in CLAIMS]
    with plt.style.context("bump_diffusion.page.book"):
        figures = (
            confirmed.effects.__wrapped__(judged, records, *names)[0],
            claims.effects.__wrapped__(undefined, [])[0],
        )
        for figure in figures:
            figure.draw_without_rendering()
            drawn, whole = figure.get_tightbbox(), figure.bbox_inches
            plt.close(figure)
            assert drawn.x0 > -0.02 and drawn.x1 < whole.x1 + 0.02


@pytest.mark.parametrize("kind", ["none", "several", "misplaced"])
def test_the_gallery_shows_what_its_metrics_found(smoke_record, kind):
    kept = choose_shown(len(smoke_record.arrays["labels"])).numpy()
    trained = smoke_record.arrays["kind"][1:][:, kept]
    table = frame([smoke_record])
    failures = [f for phase in PHASES for f in find_failures([smoke_record], table, phase, kind)]
    assert len(failures) == (trained == OUTCOMES.index(kind)).sum()
    for _, _, bumps in failures:
        assert bumps.shape[1] == 2
        assert len(bumps) == {"none": 0, "several": max(2, len(bumps)), "misplaced": 1}[kind]


def test_the_moving_run_is_the_first_to_pass_through_all_phases_on_both_sides():
    straight = run([0, 0.1, 0.9, 0.9], [0, 0, 0.9, 0.9])
    through = run([0, 0.1, 0.6, 0.9], [0, 0, 0.1, 0.9])
    through.probes.loc[
        (through.probes["target"] == "requested") & (through.probes["step"] == 20), "r2"
    ] = 0.2
    assert choose_moving_run([straight, through, through]) is through
    assert choose_moving_run([straight]) is straight


def test_a_phase_that_hinges_on_a_threshold_is_counted_with_each():
    nearly_b = run([0, 0.1, 0.45, 0.9], [0, 0, 0.1, 0.9])
    clearly_b = run([0, 0.1, 0.8, 0.9], [0, 0, 0.1, 0.9])
    table = count_phases_by_threshold([nearly_b, clearly_b], "sigma")
    counted = table[table["side"] == "generation"].set_index("threshold")["1"].to_dict()
    assert counted == {
        "all as stated": "1 of 2",
        "single 0.4": "2 of 2",
        "single 0.6": "1 of 2",
        "placed 0.4": "1 of 2",
        "placed 0.6": "1 of 2",
    }


SHARE = st.floats(0.1, 0.9)


@given(st.lists(st.tuples(SHARE, SHARE), min_size=1, max_size=6))
def test_placement_is_coupled_between_nothing_and_all(shares):
    table = pd.DataFrame(shares, columns=["x", "y"])
    table["product"] = table["x"] * table["y"]
    together = table[["x", "y"]].min(axis=1)
    for coupled, both in ((0, table["product"]), (1, together)):
        assert placement_coupling(table.assign(both=both)) == pytest.approx(coupled, abs=1e-9)
    assert np.isnan(placement_coupling(table.assign(x=1.0, y=1.0, product=1.0, both=1.0)))


def test_placement_is_read_where_enough_images_show_one_bump():
    checkpoints = pd.DataFrame(
        {
            "step": [0, 10, 20],
            "correct": [0.9, 0.1, 0.2],
            "misplaced": [0.0, 0.05, 0.2],  # at step 10 one bump in 38 of 256 images
            "accuracy_x": [0.9, 0.12, 0.3],
            "accuracy_y": [0.9, 0.13, 0.28],
        }
    )
    c = configure("quick", evaluation_images=256)
    run = SimpleNamespace(configuration=c, checkpoints=checkpoints)
    (row,) = placed_given_one_bump(run).to_dict("records")
    assert row == pytest.approx({"x": 0.75, "y": 0.7, "both": 0.5, "product": 0.525})


def test_variation_is_tabulated_by_setting_and_by_network():
    def measured(id, share, **fields):
        rows = [
            (layer, t, network, s)
            for layer in LAYERS
            for t in (0, 500)
            for network, s in (("trained", share), ("untrained", 0.2))
        ]
        table = pd.DataFrame(rows, columns=["layer", "timestep", "network", "variation"])
        return SimpleNamespace(id=id, configuration=configure("quick", **fields), variation=table)

    runs = [measured("a", 0.01, warmup=0), measured("b", 0.4), measured("c", 0.6)]
    table = tabulate_variation(runs, "variation")
    assert table["layer"].tolist() == list(LAYERS)
    assert set(table["untrained"]) == {"20 %"}
    assert set(table["sinusoidal at full rate"]) == {"1 %"}
    assert set(table["sinusoidal with warm-up"]) == {"50 % (40 to 60)"}


def test_order_by_timestep_is_that_of_the_worse_axis_and_never_below_0():
    def probed(id, in_x, in_y):
        r2 = {"ablated": (in_x, in_y), "untrained, ablated": (-0.5, 0.9), "trained": (1.0, 1.0)}
        rows = [
            (seen, timestep, layer, features, target, axis, value if layer == "layer4" else 0.99)
            for seen, timestep in itertools.product(("sample", "bump"), (0, 250))
            for layer in ("layer4", "up1")
            for features, values in r2.items()
            for target, axis, value in (
                ("requested", "x", values[0]),
                ("requested", "y", values[1]),
                ("generated", "x", 0.01),
            )
        ]
        rows.append(("noise", 999, "layer4", "ablated", "requested", "x", 0.01))
        columns = ["input", "timestep", "layer", "features", "target", "axis", "r2"]
        layers = pd.DataFrame(rows, columns=columns)
        return SimpleNamespace(id=id, configuration=configure("quick"), layers=layers)

    table = tabulate_order_by_timestep([probed("a", 0.5, 0.7), probed("b", 0.8, 0.6)])
    assert table["timestep"].tolist() == [0, 250]
    for image in ("sample", "bump"):
        assert set(table[f"{image}, trained"]) == {"0.55 (0.5 to 0.6)"}
        assert set(table[f"{image}, untrained"]) == {"0"}


def test_couplings_beside_lines_are_tabulated_with_their_cost_and_beside_images_without():
    runs = pd.DataFrame({"d_x": 0.5, "d_y": 2.0, "T_x": [1e4, 3e4], "T_y": 2e4, "index": np.nan})
    beside_images = runs.assign(T_x_2d=5e3, T_y_2d=[np.nan, 5e3])
    (row,) = tabulate_couplings(beside_images).to_dict("records")
    assert row["mean (range of seeds)"] == "d_x = 0.5, d_y = 2"
    assert row["coupling index"] == "undefined in 2 of 2"
    assert row["images to 50 % in x"] == "20k (10 to 30)"
    assert row["y, both axes as y"] == "5k; never in 1 of 2"
    assert not any("cost" in title or "lines" in title for title in row)
    beside_lines = runs.assign(T_x_1d=1e3, T_y_1d=2e3, cost=[1, 3], images=256, lines=1040)
    beside_lines["index"] = [0.661, 0.713]
    (row,) = tabulate_couplings(beside_lines).to_dict("records")
    assert row["examples to 90 %, images over lines"] == "2 (1 to 3)"
    assert row["different lines, x + y"] == "1,040"
    assert row["coupling index"] == "0.69 (0.66 to 0.71)"


def patched(table):
    """A stand-in for a run on larger images with the places of its bumps."""
    return SimpleNamespace(id="run", configuration=configure("medium"), patching=table)


@given(st.lists(st.tuples(st.floats(0, 31.9), st.floats(0, 31.9)), min_size=1, max_size=5))
def test_the_transfer_fraction_is_1_at_the_other_request(requests):
    """Along x the bump is at the other's place, half a frame away, along y halfway to it."""
    mu_x, mu_y = np.array(requests).T
    found = {"x": mu_x + np.where(mu_x < 16, 16, -16), "y": mu_y + np.where(mu_y < 16, 8, -8)}
    table = transfer_fractions([patched(pd.DataFrame({"mu_x": mu_x, "mu_y": mu_y, **found}))])
    assert table["fraction_x"].to_numpy() == pytest.approx(1)
    assert table["fraction_y"].to_numpy() == pytest.approx(0.5)


def test_an_axis_follows_a_layer_along_which_most_bumps_go_most_of_the_way():
    def placed(layer, x, y):
        return pd.DataFrame({"layer": layer, "mu_x": 4.0, "mu_y": 20.0, "x": x, "y": y})

    layers = [
        placed("layer3", [4.0, 5.0, 4.0, np.nan], [4.5, 4.0, 12.5, np.nan]),
        placed("layer4", [20.0, 12.5, 4.0, 5.0], [20.0, 20.0, 4.0, 19.0]),
    ]
    table = tabulate_transfers([patched(pd.concat(layers))]).set_index("exchanged")
    assert table["follow it"].to_dict() == {"layer3": "y", "layer4": "neither"}
    assert table["one bump"].to_dict() == {"layer3": "75%", "layer4": "100%"}
    assert table.loc["layer3", "along y"].startswith("0.97 (")


def test_what_one_spacing_adds_to_the_differences_between_them_is_said():
    def at(spacing, images, accuracy=0.5):
        seen = [images, 2 * images]
        checkpoints = {"step": [1, 2], "images_seen": seen, "accuracy": [accuracy, accuracy]}
        return SimpleNamespace(
            id=str(next(IDS)),
            configuration=configure("quick", d_x=spacing, d_y=spacing),
            checkpoints=pd.DataFrame(checkpoints | {"misplaced": 0, "correct": accuracy}),
            probes=pd.DataFrame(),
        )

    text = describe_learning(
        [at(1.0, 10_000), at(1.0, 15_000), at(2.0, 12_000), at(4.0, 5_000)], "d_x"
    ).data
    assert "between 5k (d = 4) and 12.5k (d = 1), a factor of 2.5 (1.0 without d = 4)" in text
    assert "of one d by factors of up to 1.5" in text
    # 12.5k images are 48.8 times 256, 5k are 312 times 16.
    assert "48.8 (d = 1) to 312 (d = 4), a factor of 6.4, where" in text
    assert "differ in size by one of 16." in text
    assert "without" not in describe_learning([at(1.0, 10_000), at(2.0, 12_000)], "d_x").data
    assert "epochs" not in describe_learning([at(1.0, 10_000), at(1.0, 12_000)], "sigma").data
    slow = [at(1.0, 10_000), at(2.0, 12_000), at(2.0, 12_000, accuracy=0.4)]
    lacking = "Left out: runs never get there (1 of 2 at d = 2)."
    assert describe_learning(slow, "d_x").data.endswith(lacking)
    assert describe_learning(slow[1:], "d_x").data.startswith("At no d do all runs")


def test_profiles_are_told_apart_by_the_size_of_their_images():
    assert sort_by_size(["medium", "smoke", "quick"]) == ["smoke", "quick", "medium"]
    with pytest.raises(UserError, match=r"must differ in the size .* \(here 16, 16 pixels\)"):
        sort_by_size(["quick", "full-rate"])


def test_order_that_training_adds_is_beyond_the_untrained_network_on_the_same_images():
    """Noise is the same at each step: there the untrained network is looked at in step 0 alone."""
    rows = []
    for step, axis in itertools.product((0, 10, 20), "xy"):
        for timestep, trained in ((0, step / 40), (999, 0.3 + step / 100)):
            about = (timestep, "up3", 64, "direct", "requested", axis, step)
            rows.append((*about, "trained", trained + 0.1 * (axis == "x")))
            if timestep == 0:
                rows.append((*about, "untrained", step / 100 - 0.1 * (axis == "y")))
            rows.append((*about, "ablated", 0.9))
    columns = ["timestep", "layer", "points", "reduction", "target", "axis", "step"]
    probes = pd.DataFrame(rows, columns=[*columns, "features", "r2"])
    c = configure("quick")
    record = SimpleNamespace(id="run", configuration=c, probes=probes)
    added = read_order_added([record]).set_index(["timestep", "step"])["added"].to_dict()
    expected = {(0, 10): 0.25, (0, 20): 0.4, (999, 10): 0.1, (999, 20): 0.2}
    assert added == pytest.approx(expected)
