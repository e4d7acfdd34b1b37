"""Verdicts recomputed from records by what `frozen/rules.md` says, and by nothing else."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from bump_diffusion.files import ROOT
from bump_diffusion.papers.semantics.confirmed import find_runs, judge
from bump_diffusion.papers.semantics.criteria import CURE, EDITIONS, FROZEN
from bump_diffusion.papers.semantics.figures import rules

pytestmark = pytest.mark.usefixtures("shipped_only")

LARGER = {"N": 32, "steps": 4000, "evaluation_images": 256, "held_out": "none", "width": 16}


def find_folders(**fields):
    """The folders with these fields, by seed from 100 on, up to the first missing."""
    found = {}
    for path in ROOT.glob("data/records/*/configuration.json"):
        of_run = json.loads(path.read_bytes())
        if all(of_run.get(field, value) == value for field, value in fields.items()):
            found[of_run["seed"]] = path.parent
    seeds = range(100, 100 + FROZEN.conditions["larger"].cap)
    missing = next((seed for seed in seeds if seed not in found), seeds.stop)
    return [found[seed] for seed in range(100, missing)]


def time_to_half(seen, values):
    """Images seen when a value is first one half; the last if it never is."""
    at_least = [i for i, value in enumerate(values) if value >= 0.5]
    if not at_least:
        return seen[-1]
    i = at_least[0]
    if i == 0 or math.isnan(values[i - 1]):
        return seen[i]
    part = (0.5 - values[i - 1]) / (values[i] - values[i - 1])
    return math.exp((1 - part) * math.log(seen[i - 1]) + part * math.log(seen[i]))


def disordered_phase(folder):
    probes = pd.read_parquet(folder / "probes.parquet")
    checkpoints = pd.read_parquet(folder / "checkpoints.parquet")
    seen = checkpoints[checkpoints["step"] > 0].set_index("step")["images_seen"]
    chosen = probes[
        (probes["input"] == "sample")
        & (probes["layer"] == "layer4")
        & (probes["reduction"] == "direct")
        & (probes["points"] == probes["points"].min())
    ]
    lasts = []
    for features in ("ablated", "untrained, ablated"):
        series = {}
        for target in ("generated", "requested"):
            of_target = chosen[(chosen["features"] == features) & (chosen["target"] == target)]
            axes = of_target.pivot(index="step", columns="axis", values="r2").loc[seen.index]
            series[target] = np.where(axes.isna().any(axis=1), np.nan, axes.min(axis=1))
        times = [time_to_half(seen.tolist(), series[t].tolist()) for t in series]
        occurs = (series["generated"] >= 0.5).any()
        lasts.append(max(math.log2(times[1] / times[0]), 0) if occurs else 0)
    return lasts[0] - lasts[1]


def order_used_x(folder):
    places = pd.read_parquet(folder / "places.parquet")
    places = places[(places["step"] == 4000) & (places["differ"] == "xy") & places["x"].notna()]
    assert (places["y"].notna()).all()
    share = {}
    for layer in ("", "layer4"):
        rows = places[places["layer"] == layer]
        if len(rows) < 16:
            return math.nan
        share[layer] = (abs(rows["x"] - (rows["mu_x"] + 16) % 32) <= 1).mean()
    return max(share["layer4"] - share[""], 0)


def is_mean_inside(m, values, resolution):
    n, g = len(values), 4
    if n == 1:
        return True
    t = math.sqrt(n) * (np.mean(values) - m) / max(np.std(values, ddof=1), resolution)
    ratio = (1 + t**2 / (n - 1)) / (1 + t**2 / ((n - 1) * (1 + n * g)))
    return (1 + n * g) ** (-1 / 2) * ratio ** (n / 2) < 20


def is_share_inside(m, values):
    n, S = len(values), sum(values)
    beta = math.exp(math.lgamma(S + 1) + math.lgamma(n - S + 1) - math.lgamma(n + 2))
    return beta / (m**S * (1 - m) ** (n - S)) < 20


def intersect(inside, values, grid):
    """The ends of what the intervals after each seed have in common, and of the last, on a grid."""
    of_each = np.array([[inside(m, values[:n]) for m in grid] for n in range(1, len(values) + 1)])
    common, last = grid[of_each.all(axis=0)], grid[of_each[-1]]
    return (common.min(), common.max()), (last.min(), last.max())


def give_verdict(interval, last, mean, smallest):
    verdicts = {
        "shown" if low > smallest else "negligible" if high < smallest else "not yet"
        for low, high in (interval, last)
    }
    is_within = interval[0] <= mean <= interval[1]
    return verdicts.pop() if len(verdicts) == 1 and is_within else "not yet"


@pytest.fixture(scope="module")
def judged():
    runs = dict.fromkeys(FROZEN.conditions, ())
    runs["larger"] = find_runs("larger")
    table = judge(runs)
    return table[table["condition"] == "larger"].set_index("criterion")


@pytest.mark.parametrize(
    ("criterion", "quantity", "inside", "grid"),
    [
        (
            "disordered-phase",
            disordered_phase,
            lambda m, values: is_mean_inside(m, values, 0.1),
            np.arange(-4, 4, 0.001),
        ),
        ("order-used-x", order_used_x, is_share_inside, np.arange(0.0005, 1, 0.001)),
    ],
)
def test_a_verdict_is_recomputed_from_the_files_of_the_records(
    judged, criterion, quantity, inside, grid
):
    book = judged.loc[criterion]
    values = [quantity(folder) for folder in find_folders(**LARGER)]
    known = [value for value in values if not math.isnan(value)]
    assert len(values) == book["seeds"] >= 4
    assert known == pytest.approx(book["values"], abs=1e-9)
    interval, last = intersect(inside, known, grid)
    assert interval == pytest.approx((book["low"], book["high"]), abs=0.0011)
    mean = np.mean(known)
    assert give_verdict(interval, last, mean, book["smallest"]) == book["verdict"]


def test_a_conditions_fields_are_listed_for_each_frozen_file():
    table = rules.tabulate_conditions().data
    for edition in EDITIONS.values():
        assert all(f"{name}</" in table for name in edition.conditions)
    for fields in (
        "N 32, steps 4000, evaluation_images 256, seed 100 to 119<",
        "held_out latin-32, rendering lines, injection none, split the seed, seed 200 to 211<",
        "axes x, seed 100 to 111, d_x 0.1, 1.0<",
        "N 32, steps 4000, seed 300 to 307, init_seed 103, 0, 3<",
        "held_out latin-32, split 300, seed 301, 303 to 379<",
    ):
        assert fields in table, fields


def test_few_tests_cannot_hold_in_the_whole_table():
    """55 cells: alone an e-value of 1,100 is asked, 100 with ten others, 20 with all."""
    cells = len([c for criterion in FROZEN.criteria.values() for c in criterion.conditions])
    judged = pd.DataFrame({"verdict": "not yet", "e": 1.0, "rejected": False}, range(cells))
    judged.loc[:2, ["verdict", "e"]] = ["negligible", 50.0]
    text = rules.describe_whole_table(judged).data
    assert cells == 55 and "1,100 if no other" in text and "100 if 11 have, 20 if all" in text
    assert "22 tests would need" in text and "3 are decided" in text


def test_a_mean_of_all_or_nothing_is_called_negligible_too_often():
    table = rules.simulate_all_or_nothing(12, CURE.first, 0.2, 0.02, shares=[0.22, 0.8])
    assert table["true mean"].tolist() == pytest.approx([0.2156, 0.784])
    assert 0.25 < table["negligible"][0] < 0.35 and table["negligible"][1] < 0.01
    np.testing.assert_allclose(table[["shown", "negligible", "not yet"]].sum(axis=1), 1)
    assert (table["wrong if all seeds are run"] < 0.1).all()
