"""The short pages: their sentences say what the records hold, their figures are numbered."""

import itertools
import re
from functools import cache

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from IPython.display import Markdown
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from bump_diffusion.analysis.intervals import estimate_index
from bump_diffusion.book.captions import arrange_pages
from bump_diffusion.config import configure
from bump_diffusion.metrics.geometry import intrinsic_dimension
from bump_diffusion.models.hooks import read_layers
from bump_diffusion.models.unet import Block, build_model
from bump_diffusion.page.tables import Lead
from bump_diffusion.papers.semantics import factorized, reading
from bump_diffusion.papers.semantics.confirm import axes_pulled_together
from bump_diffusion.papers.semantics.confirmed import find_runs, find_unreachable, judge_cell
from bump_diffusion.papers.semantics.criteria import CURE, FROZEN
from bump_diffusion.papers.semantics.figures import (
    confirmed,
    introduction,
    learned,
    live,
    phase_diagrams,
    rules,
    task,
    three_phases,
    used,
    watch,
    x_and_y,
)
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.store import default_store

from .conftest import load
from .test_page import Tags, line

pytestmark = pytest.mark.usefixtures("shipped_only")


load_judged = cache(confirmed.load)
PLANTED = "order-added", "order-used-x"


def numbers(about):
    """The numbers in a text, in order; 5 % is 0.05. Of a lead, those behind its verdict."""
    text = about.text if isinstance(about, Lead) else about.data
    found = re.findall(r"(-?\d+(?:\.\d+)?)(%?)", text.replace(",", ""))
    return [float(number) / (100 if percent else 1) for number, percent in found]


def says(markdown, *values, within=0.006):
    """Whether the values occur in a text, in this order, as it rounds them."""
    left = iter(numbers(markdown))
    return all(any(abs(number - value) <= within for number in left) for value in values)


@pytest.fixture(scope="module")
def images():
    return load("larger-images")


@pytest.fixture(scope="module")
def patched():
    return load("larger-patching")


def test_phases_are_counted_as_they_first_occur(images):
    def passes(record):
        table = record.checkpoints.query("step > 0")
        single = table["misplaced"] + table["correct"]
        placed = table["correct"] / single
        phase = np.where(single < 0.5, "A", np.where(placed < 0.5, "B", "C")).tolist()
        return {*phase} == {*"ABC"} and sorted({*phase}, key=phase.index) == [*"ABC"]

    verdict, text = three_phases.describe_phases(images)
    assert len(images) > sum(map(passes, images)) > len(images) / 2 and "most networks" in verdict
    assert text.startswith(f"In {sum(map(passes, images))} of {len(images)} networks")
    judged = [run for run, _ in find_runs("larger")]
    assert f" {sum(map(passes, judged))} of {len(judged)} draw all three" in text
    assert "exploratory" in text and "confirmatory" not in text


def test_a_factor_without_an_interval_yet_says_so():
    cells = load_judged()[0].query("criterion == 'misplaced-phase'")
    (cell, *_) = cells.assign(estimate=1.0, low=-np.inf, high=np.inf).itertuples()
    factor = confirmed.describe_interval(cell, lambda doublings: f"{2**doublings:.1f}")
    assert factor == "2.0 (no interval yet)"


def read(records, layer, input, timestep, features):
    """The mean over runs of R^2 along the worse axis."""
    chosen = [
        r.layers[
            (r.layers[["layer", "input", "features", "target"]] == about).all(axis=1)
            & (r.layers["timestep"] == timestep)
        ]
        for r in records
        for about in [[layer, input, features, "requested"]]
    ]
    return np.mean([max(rows["r2"].min(), 0) for rows in chosen])


def test_what_is_learned_is_told_beside_what_an_untrained_network_has():
    larger, controls = load("larger-controls"), load("controls", conditioning="table")
    text = learned.describe_learned(larger, controls)
    features = ("ablated", "untrained, ablated", "trained", "untrained")
    last = [read_last(larger, "direct")[f] for f in features]
    umap = (read_last(larger, "umap")[f] for f in features[2:])
    noise = (read(controls, "up3", "noise", 999, f) for f in ("untrained", "trained"))
    (test,) = (
        load_judged()[0].query("criterion == 'order-added' and condition == 'larger'").itertuples()
    )
    assert test.values == judge_cell("order-added", "larger").values
    tested = test.seeds, test.estimate, test.low, test.high
    assert says(text, *last[:2], *tested, *last[2:], *umap, *noise)


def read_last(runs, reduction):
    """The mean over runs of R^2 in drawn images along the worse axis, by features."""
    last = [r.probes[r.probes["step"] == r.configuration.steps] for r in runs]
    chosen = pd.concat(last, keys=range(len(runs)), names=["run"]).query(
        "reduction == @reduction and target == 'requested'"
    )
    return chosen.groupby(["run", "features"])["r2"].min().groupby("features").mean().clip(0)


def test_order_is_tabulated_in_all_ways_in_which_it_is_read():
    runs = load("larger-controls")
    table = (
        learned.tabulate_readings(runs)
        .set_index("read from")
        .rename(columns={name: features for features, name in learned.LEGEND.items()})
    )
    for of, reduction in (("drawn images", "direct"), ("drawn images, after UMAP", "umap")):
        shown = table.loc[of, list(learned.LEGEND)]
        expected = read_last(runs, reduction)[list(learned.LEGEND)]
        assert shown.to_numpy(float) == pytest.approx(expected.to_numpy(), abs=0.006)
    clean = [read(runs, "layer4", "bump", 0, f) for f in learned.LEGEND]
    shown = table.loc["true bumps", list(learned.LEGEND)]
    assert shown.to_numpy(float) == pytest.approx(np.array(clean), abs=0.006)


def change(before, after):
    """What is told of a share that changes: it once if it stays."""
    return [before] if f"{before:.0%}" == f"{after:.0%}" else [before, after]


def test_where_images_go_with_layer_4_exchanged_is_told_by_size():
    larger, small = load("larger-controls"), load("controls", conditioning="sinusoidal")

    def share(records, column, *row):
        tables = [r.interventions.set_index(["intervention", "layer"]) for r in records]
        return np.mean([table.loc[row, column] for table in tables])

    def told(records, layer):
        untouched, exchanged = (
            share(records, "correct", *row) for row in (("nothing", ""), ("other features", layer))
        )
        return change(untouched, exchanged)

    text = used.describe_use([*small, *larger])
    layer4, layer3, unused = told(larger, "layer4"), told(small, "layer3"), told(small, "layer4")
    assert says(text, 4, 32, *layer4, 3, 16, *layer3, 4, 2, 2, 16, *unused)
    assert "layer of 4 × 4 values (layer 4 on 32 × 32 pixels, layer 3 on 16 × 16" in text.verdict
    assert says(text, *(share(r, "at_other", "other features", layer)
                        for r, layer in ((larger, "layer4"), (small, "layer3"))))  # fmt: skip


@pytest.mark.parametrize("N", [16, 32])
def test_the_values_of_a_layer_are_those_of_the_network(N):
    c = configure("smoke", N=N)
    model = build_model(c)
    inputs = (
        torch.zeros(1, 1, N, N),
        torch.zeros(1, dtype=torch.long),
        model.conditioning(torch.zeros(1, 2)),
    )
    outputs = read_layers(model, used.DOWN, *inputs)
    for layer in used.DOWN:
        assert outputs[layer].shape[-1] == used.count_values(N, layer)


def test_the_bottleneck_is_told_by_size_beside_what_the_paper_says():
    larger, small = load("larger-controls"), load("controls", conditioning="sinusoidal")
    values = []
    for records in (larger, small):
        tables = [r.interventions.set_index(["intervention", "layer"])["correct"] for r in records]
        rows = ("nothing", ""), ("other features", "bottleneck")
        values += [np.mean([table.loc[row] for table in tables]) for row in rows]
    text = used.describe_bottleneck([*small, *larger])
    assert says(text, 32, *change(*values[:2]), 16, *change(*values[2:]))
    assert "no run on 32 × 32 pixels begins at the full rate" in text.data


def test_signs_are_told_without_more_than_the_intervals_say():
    judged = confirmed.load()[0]
    cells = judged[judged["criterion"] == "order-first"].head(2)
    told = [
        confirmed.describe_order_first(
            cells.assign(estimate=estimates, low=low, high=high, seeds=8, values=[[0.1] * 8] * 2)
        ).data
        for estimates, low, high in (
            ([0.3, -0.1], -0.5, 0.6),
            ([0.3, 0.1], [0.2, -0.2], 0.6),
        )
    ]
    assert "signs differ, and no interval leaves out 0" in told[0]
    assert "signs agree, and 1 of 2 intervals leave out 0" in told[1]


def test_third_places_are_near_the_other_s_or_on_one_axis_of_it(patched):
    third, near, one_axis = 0, 0, 0
    for record in patched:
        half = record.configuration.N / 2
        for row in record.patching.query("layer == 'layer4'").dropna().itertuples():
            own = np.abs([row.x - row.mu_x, row.y - row.mu_y])
            others = [(mu + half) % (2 * half) for mu in (row.mu_x, row.mu_y)]
            other = np.abs(np.subtract([row.x, row.y], others))
            if min(own.max(), other.max()) > 1:
                third += 1
                near += other.max() <= 2
                one_axis += sum(other < own) == 1
    shares = near / third, one_axis / third
    assert x_and_y.find_third_places(patched) == pytest.approx(shares, abs=0.005)
    assert says(used.describe_fates(load("larger-controls"), patched), *shares)


def test_routes_are_those_that_most_bumps_take(patched):
    split = []
    for record in patched:
        half = record.configuration.N / 2
        table = record.patching.dropna(subset=["x", "y"])
        takes = {}
        for axis in "xy":
            other = (table[f"mu_{axis}"] + half) % (2 * half)
            nearer = (table[axis] - other).abs() < (table[axis] - table[f"mu_{axis}"]).abs()
            shares = nearer.groupby(table["layer"]).mean()
            takes[axis] = (shares["layer3"] >= 0.5, shares["layer4"] >= 0.5)
        if {*takes.values()} == {(True, False), (False, True)}:
            split.append(record.configuration.seed)
    text = x_and_y.describe_routes(patched)
    assert f"In {len(patched) - len(split)} of" in text and f"in {len(split)} of" in text


def test_coupling_is_told_where_axes_alone_differ():
    names = ("judged", "wide")
    records = load(*(f"imbalance-{name}" for name in names), seeds=3)
    lines = load(*(f"lines-{name}" for name in names), seeds=3)
    couplings = factorized.couple_to_lines(records, lines)
    text = x_and_y.describe_coupling(couplings, records)
    wide = couplings[(couplings["d_x"] == 1) & (couplings["d_y"] == 4)]
    ratios = (np.exp(wide[column].mean()) for column in ("separate", "joint"))
    index = estimate_index(*(wide[name].to_numpy() for name in ("joint", "separate", "index")))
    assert index[0] == pytest.approx(wide["index"].mean())
    newer = [axes_pulled_together(*run) for run in find_runs("imbalanced-wide")]
    shares = [v.effect / v.control for v in newer]
    told = (np.mean(shares), len(newer), min(shares), max(shares))
    assert says(text, 1, 4, *ratios, *index, len(wide), *told, 0.1, 1)
    assert "one cannot tell" in text.data.partition("At spacings of 0.1 ")[2]
    assert "no dependence was seen" in x_and_y.describe_placing(records).data


def test_spread_changes_learning_times_and_spacing_does_not():
    density, spread = load("density"), load("spread")
    factors = []
    for records, field in ((density, "d_x"), (spread, "sigma")):
        times = phase_diagrams.range_of_times(records, field)
        inner = [times[value] for value in sorted(times)[1:-1]]
        factors += [max(of) / min(of) for of in (times.values(), inner)]
    assert factors[1] < 1.3 < factors[0] < 2 < factors[2]
    text = phase_diagrams.describe_both(density, spread)
    assert says(text, factors[0], 0.1, 4, *factors[1:3], 0.5, 4, factors[3], within=0.06)


def test_the_start_has_an_answer_to_each_claim(images):
    larger = load("larger-controls")
    judged = load_judged()[0].assign(verdict="not yet")
    judged.loc[judged["criterion"] == "order-added", ["verdict", "supports"]] = "shown", True
    (cells, _), (call, _) = confirmed.load(), confirmed.load(CURE)
    whole = introduction.describe_whole(images, larger, cells, call)
    assert (
        "much of the order" in whole.verdict and "drawn badly if they fill a whole" in whole.verdict
    )
    answers = dict.fromkeys(range(1, 6), "An answer.")
    rendered = introduction.render_claims(answers, cells, call, images).data
    page = Tags(rendered)
    assert [tag for tag, _ in page.tags].count("li") == 5 == len(confirmed.TITLES) + 1
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert links == [f"{name}.html" for name in introduction.PAGES.values()]
    by_name = {(c.criterion, c.condition): c for c in (*cells.itertuples(), *call.itertuples())}
    for criterion, condition, *_ in itertools.chain(*introduction.TESTS.values()):
        cell = by_name[criterion, condition]
        effect = f"{cell.estimate:.2f} ({cell.low:.2f} to {cell.high:.2f})"
        assert f"{effect}; {cell.smallest:g} would matter" in rendered, criterion
        assert f"{cell.seeds} networks" in rendered
    # What the scoreboard says cannot be told is not told here either.
    denied = cells.assign(verdict="negligible", control=0.97)
    told = introduction.render_claims(answers, denied, call, images).data
    verdicts = re.findall(r"<strong>([^<]*)</strong></small>", told)
    by_name |= {(c.criterion, c.condition): c for c in denied.itertuples()}
    tests = itertools.chain(*introduction.TESTS.values())
    assert verdicts == [confirmed.name_verdict(by_name[test[:2]]) for test in tests]
    assert reading.EMPTY in verdicts
    standing = introduction.describe_standing(judged)
    assert says(standing, len(judged), 4, 0, len(judged) - 4 - 8)


def test_without_the_label_maps_become_ordered_and_with_it_they_begin_so():
    """What stands beside the maps of the first page, of the networks that it shows."""
    for record in load("trajectories"):
        first, *_, last = live.describe_checkpoints(record)
        texts = [at.maps[name].caption for at in (first, last) for name in live.SOURCES]
        removed, left_in, *ends = [float(re.search(r"R² (\S+)", text)[1]) for text in texts]
        assert removed < 0.1 and ends[0] > 0.5
        assert (left_in < 0.1) if record.configuration.conditioning == "table" else (left_in > 0.9)


def test_a_network_is_shown_with_the_shares_of_its_own_bumps():
    """They say that x goes with one layer and y with another, as the page does."""
    (record,) = load("trajectories-larger")
    table = record.patching.query("step == step.max() and differ == 'xy'").dropna()
    shares = []
    for axis in "xy":
        own = (table[axis] - table[f"mu_{axis}"]).abs()
        other = (table[axis] - (table[f"mu_{axis}"] + 16) % 32).abs()
        shares += [(other < own)[table["layer"] == layer].mean() for layer in ("layer3", "layer4")]
    assert shares[1] > 0.9 > 0.1 > shares[0] and shares[2] > 0.7 > 0.2 > shares[3]
    text = live.describe_split(record).data
    assert re.findall(r"layer \d in (\d+)%", text) == [f"{100 * share:.0f}" for share in shares]


def test_the_network_is_drawn_with_an_arrow_into_every_block():
    c = next(iter(experiment("larger-images")))
    parts = dict(build_model(c).named_children())
    blocks = [name for name, part in parts.items() if isinstance(part, Block)]
    page = Tags(task.draw_network(Markdown("A caption.")).data)
    arrows = [a for tag, a in page.tags if tag == "polygon" and a["fill"] == task.LABEL_COLOUR]
    assert len(arrows) == len(blocks) == 6
    for name in parts.keys() - {"conditioning", "output"}:
        assert re.sub(r"(\d)", r" \1", name) in page.text


@pytest.mark.parametrize("draw", [task.draw_network, used.draw_exchange])
def test_type_in_a_drawing_has_eleven_pixels_on_a_phone(draw):
    """On one of 390 pixels, from one edge to the other (`book.css`)."""
    tags = Tags(draw(Markdown("A caption.")).data).tags
    width = float(next(a["viewbox"] for tag, a in tags if tag == "svg").split()[2])
    sizes = [float(a["font-size"]) for tag, a in tags if tag == "text"]
    assert min(sizes) * 390 / width >= 11


def test_an_untrained_network_says_how_many_numbers_layer_4_gives():
    c = next(iter(experiment("larger-images")))
    channels, side = 4 * c.width, c.N // 8
    values = (c.N, c.N, 4, channels, side, side, channels * side**2)
    assert set(values) <= {*numbers(task.describe_probed_layer(c))}


def test_pages_draw_what_a_new_record_holds(smoke_record):
    drawing = three_phases.embedding_and_outcomes(
        smoke_record, caption=three_phases.describe_embedding(smoke_record)
    )
    assert 'class="caption"' in drawing.data
    assert (
        watch.describe_samples(smoke_record).data
        in watch.samples_over_training(
            smoke_record, caption=watch.describe_samples(smoke_record)
        ).data
    )


def test_a_training_is_told_by_its_kinds_of_images(images):
    record = images[0]
    run = record.checkpoints.query("step > 0")
    peak, end = run.loc[run["misplaced"].idxmax()], run.iloc[-1]
    shares = [peak["misplaced"], peak["correct"], end["misplaced"], end["correct"]]
    told = watch.describe_outcomes(record)
    assert says(Markdown(re.sub(r"after \S+ images", "", told.data)), *shares)


def notebook(path, *captions, tags=()):
    """A notebook, executed, whose figures have these captions (None is none)."""
    code = new_code_cell("a = 1", metadata={"tags": list(tags)})
    figures = [line([], "it", caption=c and Markdown(c)) for c in captions]
    outputs = [new_output("display_data", {"text/html": figure.data}) for figure in figures]
    shown = new_code_cell("show()", outputs=outputs)
    heading = new_markdown_cell("listed here", metadata={"tags": ["captions"]})
    nbformat.write(new_notebook(cells=[heading, code, shown]), path)
    return path


def test_figures_with_captions_are_numbered_over_the_book_and_listed(tmp_path):
    first = notebook(tmp_path / "first.ipynb", "One & all.", None, tags=["remove-input"])
    second = notebook(tmp_path / "second.ipynb", "Two.")
    arrange_pages([first, second])
    pages = [nbformat.read(path, as_version=4) for path in (first, second)]
    shown = [[o["data"]["text/html"] for o in page.cells[2].outputs] for page in pages]
    assert ["Figure 1." in shown[0][0], "Figure 2." in shown[1][0]] == [True, True]
    assert 'id="figure-2"' in shown[1][0] and "figure-" not in shown[0][1]
    for page in pages:
        listed = Tags(page.cells[0].source)
        links = [attributes["href"] for tag, attributes in listed.tags if tag == "a"]
        assert links == ["first.html#figure-1", "second.html#figure-2"]
        assert "One & all." in listed.text and "Two." in listed.text


@pytest.mark.parametrize("tag", ["remove-input", "hide-input"])
def test_code_is_in_one_fold_at_the_end(tmp_path, tag):
    page = notebook(tmp_path / "page.ipynb", tags=["parameters", tag])
    arrange_pages([page])
    cells = nbformat.read(page, as_version=4).cells
    tags = [set(c.metadata.tags) for c in cells if c.cell_type == "code"]
    assert all("remove-input" in each and "hide-input" not in each for each in tags)
    assert "a = 1\n\nshow()" in cells[-1].source


def test_a_scoreboard_is_old_when_a_run_that_it_lacks_comes():
    judged, records = load_judged()
    page = confirmed.render_scoreboard(judged, records, "larger")
    planned = {c.id for run in confirmed.FROZEN.conditions["larger"].plan() for c in run[0]}
    there = set(default_store().ids())
    assert planned - there == planned & set(page.made_from["missing"]) != set()
    assert there.isdisjoint(page.made_from["missing"])  # it would be old at once


def test_a_test_that_the_control_leaves_no_room_for_is_named():
    judged = load_judged()[0].query("condition == 'larger'").assign(verdict="not yet")
    full = judged[judged["criterion"] == "order-added"].assign(control=0.97, seeds=1)
    gap = judged[judged["criterion"] == "order-added"].assign(control=0.5, seeds=1)
    told = [
        "leaves no room" in confirmed.render_scoreboard(table, [], "larger").data
        for table in (full, gap)
    ]
    assert told == [True, False]


def test_a_share_that_its_cap_keeps_from_a_verdict_is_named():
    """All zeros, the surest way to negligible, take 22 seeds at 0.25 and 69 at 0.1."""
    criterion = confirmed.FROZEN.criteria["order-used-x"]
    for smallest, seeds in ((0.25, 22), (0.1, 69)):
        of = criterion.model_copy(update={"smallest": smallest})
        assert find_unreachable([0.0], of, seeds, 0.05) == []
        assert find_unreachable([0.0], of, seeds - 1, 0.05) == ["negligible"]
    assert find_unreachable([0.0] * 6, criterion, 7, 0.05) == ["shown", "negligible"]
    assert find_unreachable([], confirmed.FROZEN.criteria["order-added"], 1, 0.05) == []
    judged = load_judged()[0].query("criterion == 'order-used-x' and condition == 'table'")
    cell = judged.assign(values=[[0.0] * 4], seeds=4, verdict="not yet", more=np.inf)
    page = confirmed.render_scoreboard(cell, [], "table").data
    assert "could not be negligible with 12 seeds; unlikely to be decided" in page
    assert "could not be negligible with 12 seeds" in confirmed.tabulate(cell, []).data


@pytest.mark.parametrize("verdict", ["shown", "negligible", "not yet"])
def test_what_the_paper_does_not_claim_neither_supports_it_nor_opposes_it(verdict):
    judged = load_judged()[0].assign(verdict=verdict, supports=True, control=np.nan)
    apart = judged["criterion"].isin(["routed-apart", "placed-together", "held-out-gap"])
    for is_claimed in (True, False):
        cells = judged[apart != is_claimed]
        page = confirmed.render_scoreboard(cells, [], *cells["condition"].unique()).data
        assert ("supports the paper" in page) == is_claimed
        decided = is_claimed and verdict != "not yet"
        assert ("For the paper: " in confirmed.describe_claims(cells).data) == decided


@pytest.mark.parametrize(
    ("criterion", "verdict", "supports", "control", "side"),
    [
        ("order-added", "shown", True, 0.5, reading.FOR),
        ("order-added", "negligible", False, 0.5, reading.ALIKE),
        ("order-added", "negligible", False, 0.97, reading.EMPTY),
        ("sides-agree", "negligible", False, 0.87, reading.EMPTY),
        ("sides-agree", "negligible", False, 0.6, reading.ALIKE),
        ("misplaced-phase", "negligible", False, np.nan, reading.AGAINST),
        ("axes-still-apart", "shown", False, 0.5, reading.AGAINST),
        ("axes-still-apart", "not yet", False, 0.5, reading.OPEN),
        ("two-dimensional", "shown", False, 2.8, reading.EMPTY),
        ("held-out-gap", "shown", True, 1.0, reading.BESIDE),
    ],
)
def test_what_a_verdict_says_of_the_paper(criterion, verdict, supports, control, side):
    judged = load_judged()[0]
    cell = judged[judged["criterion"] == criterion].iloc[:1]
    cell = cell.assign(verdict=verdict, supports=supports, control=control)
    assert reading.read_side(next(cell.itertuples())) == side


def test_a_perfect_sheet_on_a_grid_is_not_two_dimensional_by_two_neighbours():
    """Points at random are; those near the nodes of a grid are not, though they fill a plane."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0)), -1).reshape(-1, 2)
    scattered = rng.uniform(0, 16, grid.shape)
    near = grid + rng.normal(scale=0.2, size=grid.shape)
    assert 1.8 < intrinsic_dimension(scattered) < 2.2 < 3 < intrinsic_dimension(near)


def test_the_perfect_sheet_has_bumps_where_the_network_s_are():
    (run, _), *_ = find_runs("sinusoidal")
    bumps = run.bumps[run.bumps["step"] == run.configuration.steps].set_index("image")
    sets = run.images[run.images["step"] == run.configuration.steps]["set"].tolist()
    single = [i for i in range(len(sets)) if sets[i] == "trained" and (bumps.index == i).sum() == 1]
    i = np.arange(16)
    sheet = [
        np.outer(np.exp(-((i - y) ** 2) / 2), np.exp(-((i - x) ** 2) / 2)).ravel()
        for x, y in bumps.loc[single, ["x", "y"]].to_numpy()
    ]
    assert rules.measure_perfect_sheet(run) == pytest.approx(
        intrinsic_dimension(np.array(sheet)), rel=0.01
    )


def test_each_claim_has_its_line_with_the_tests_that_speak_of_it():
    judged = load_judged()[0].assign(verdict="not yet")
    first, last = (judged.index[judged["criterion"] == name][0] for name in PLANTED)
    judged.loc[first, ["verdict", "supports", "control"]] = "shown", True, 0.1
    judged.loc[last, ["verdict", "supports", "control"]] = "negligible", False, 0.1
    lines = confirmed.describe_claims(judged).data.splitlines()
    assert len(lines) == len(confirmed.TITLES)
    for line_, side, name in ((lines[0], "For", PLANTED[0]), (lines[2], "Against", PLANTED[1])):
        assert f"{side} the paper: “{confirmed.NAMES[name]}” (" in line_
    assert not any(" the paper: " in line_ for line_ in (lines[1], lines[3]))


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-0.78, 0.48, "or opposite;"), (-0.9, -0.6, "opposite;"), (-0.4, 0.4, "")],
)
def test_a_negligible_effect_that_may_be_opposite_is_named(low, high, words):
    judged = load_judged()[0].query("criterion == 'disordered-phase'").iloc[:1]
    cell = judged.assign(verdict="negligible", low=low, high=high)
    page = confirmed.render_scoreboard(cell, [], *cell["condition"]).data
    assert f"<small>{words}" in page and ("opposite" in page) == bool(words)
    assert ("opposite" in confirmed.tabulate(cell, []).data) == bool(words)


def test_no_test_is_decided_before_any_is():
    judged = load_judged()[0].assign(verdict="not yet")
    assert "of the 0" not in confirmed.render_answer(judged, []).data
    assert confirmed.NAMES.keys() == confirmed.FROZEN.criteria.keys()


def test_what_tests_could_say_of_the_paper_is_counted_before_their_runs():
    """All of a criterion that bumps follow cannot be negligible with the seeds that it may have."""
    judged = load_judged()[0]
    counts = {
        name: [
            reading.count_possible(cells.itertuples(), side, FROZEN)
            for side in (reading.FOR, reading.AGAINST)
        ]
        for name, cells in judged.groupby("criterion")
    }
    assert counts["misplaced-phase"] == [4, 4]
    assert counts["order-used-x"] == [4, 0]
    assert counts["order-added"] == [4, 0]
    assert counts["two-dimensional"] == counts["held-out-gap"] == [0, 0]
    text = confirmed.render_answer(judged, []).data
    for_it, against = (sum(column) for column in zip(*counts.values(), strict=True))
    assert f"{for_it} can come out for the paper and {against} against it" in text
