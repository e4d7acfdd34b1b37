"""The benchmarks count, compare and report rightly; how fast anything is, is not tested."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import click
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from benchmarks import __main__ as main
from benchmarks import many, measure, peers, recipes, suite
from benchmarks.measure import Crew, Measured
from torch.nn.attention import SDPBackend, sdpa_kernel

from bump_diffusion.book.figures.performance import describe_limits
from bump_diffusion.book.performance_results import Results, read_results
from bump_diffusion.config import configure
from bump_diffusion.data.bumps import bump_height, render_bumps
from bump_diffusion.errors import UserError
from bump_diffusion.files import ROOT
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.models.unet import build_model

from .test_project import LOCK, pins

INSTALLED = ["ours", "diffusers"]
if importlib.util.find_spec("denoising_diffusion_pytorch"):
    INSTALLED.append("denoising-diffusion-pytorch")

needs_scikit_image = pytest.mark.skipif(
    importlib.util.find_spec("skimage") is None, reason="the peers are installed by make bench"
)


# Counting


def test_operations_of_known_layers():
    x = torch.randn(3, 5, 8, 8, requires_grad=True)
    convolution = torch.nn.Conv2d(5, 7, 3, padding=1)
    product = 2 * 3 * 7 * 8 * 8 * 5 * 9
    assert measure.flops(convolution, x) == (product, 3 * product)
    q = torch.randn(2, 4, 10, 16, requires_grad=True)
    products = 2 * (2 * 2 * 4 * 10 * 10 * 16)
    attention = measure.flops(F.scaled_dot_product_attention, q, q, q)
    assert attention == (products, 3 * products)


@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("profile", suite.SHAPES)
def test_the_peers_networks_are_nearly_ours(name, profile):
    c = suite.shape(profile)
    ours, network = build_model(c), peers.CONTENDERS[name](c).network
    parameters = [sum(p.numel() for p in m.parameters()) for m in (ours, network)]
    assert parameters[1] == pytest.approx(parameters[0], rel=0.1)


@pytest.mark.parametrize("name", INSTALLED)
def test_attention_of_every_contender_is_counted(name):
    """The count is the same where attention is made of plain matrix products."""
    made = peers.CONTENDERS[name](suite.shape("quick"))
    x, t = torch.zeros(1, 1, 16, 16), torch.zeros(1, dtype=torch.long)
    counted = measure.flops(made.forward, x, t)
    for module in made.network.modules():
        if hasattr(module, "flash"):  # denoising-diffusion-pytorch's switch
            module.flash = False
    with sdpa_kernel(SDPBackend.MATH):
        assert measure.flops(made.forward, x, t) == counted


@pytest.mark.parametrize("name", INSTALLED)
def test_every_contender_trains_and_samples(name):
    made = peers.CONTENDERS[name](configure("quick", batch_size=16))
    before = [p.detach().clone() for p in made.network.parameters()]
    made.train(3)
    after = list(made.network.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.isfinite().all() for p in after)
    made.sample(2)


def test_a_recipe_trains_the_network_and_hands_out_its_average(monkeypatch):
    monkeypatch.setattr(recipes, "EVERY", 64)
    monkeypatch.setattr(recipes, "MOST_IMAGES", 128)
    for name in ("ours", "diffusers"):
        curve, _ = recipes.learn(name, configure("smoke", timesteps=50))
        assert curve["images"] == [64, 128]
        assert 0 < curve["seconds"][0] < curve["seconds"][1]
        assert all(0 <= accuracy < recipes.ENOUGH for accuracy in curve["accuracy"])


# The loop of scikit-image


@needs_scikit_image
def test_the_loop_sorts_known_images_as_ours_does():
    from benchmarks.loop import sort_images_by_loop

    def bump(*position):
        return bump_height(render_bumps(torch.tensor([position]), 32, 1.0))[0]

    heights = torch.stack(
        [
            torch.zeros(32, 32),
            bump(5.0, 5.0) + bump(20.0, 20.0),
            bump(5.0, 20.0),
            bump(20.4, 19.3),
        ]
    )
    requested = torch.full((4, 2), 20.0)
    by_loop = sort_images_by_loop(heights.double().numpy(), requested.numpy(), 1.0)
    assert [OUTCOMES[k] for k in by_loop] == ["none", "several", "misplaced", "correct"]
    assert suite.classify_images(heights, requested, 1.0).kind.tolist() == by_loop.tolist()
    heights, requested = suite.scenes(100, 32, 1.0, 0.05)
    by_loop = sort_images_by_loop(heights.double().numpy(), requested.numpy(), 1.0)
    ours = suite.classify_images(heights, requested, 1.0).kind.numpy()
    assert (by_loop == ours).mean() >= 0.98


# Rows


def test_a_row_takes_the_better_peer_and_judges_by_it():
    rate = suite.row(
        "a", "images/s", Measured([3.0, 4, 5]), {"b": Measured([1]), "c": Measured([2])}, 2.0
    )
    assert (rate["better_peer"], rate["ratio"], rate["met"]) == ("c", 2.0, True)
    assert rate["ours"] == {
        "median": 4.0,
        "low": 3.0,
        "high": 5.0,
        "repetitions": 3,
        "peak_mib": None,
    }
    seconds = suite.row("a", "s", Measured([4.0]), {"b": Measured([6]), "c": Measured([9])}, 1.8)
    assert (seconds["better_peer"], seconds["ratio"], seconds["met"]) == ("b", 1.5, False)
    share = suite.row("a", "%", Measured([9.0]), most=10.0)
    assert (share["ratio"], share["met"]) == (None, True)
    assert suite.row("a", "s", Measured([9.0]))["met"] is None


@pytest.mark.minutes
def test_crews_take_turns_and_their_rates_are_of_all_their_processes():
    measured = measure.throughput(
        {"one": Crew(10, pausing), "two": Crew(10, pausing, processes=2)}, 2, 0.1
    )
    assert [len(m.values) for m in measured.values()] == [2, 2]
    assert measured["two"].median == pytest.approx(2 * measured["one"].median, rel=0.5)


def pausing():
    return lambda times: time.sleep(0.02 * times)


def test_a_contender_that_fails_says_why():
    crew = Crew(1, failing)
    with pytest.raises(ZeroDivisionError):
        crew.ready()


def failing():
    return 1 / 0


def test_a_contender_that_is_killed_is_missed():
    with pytest.raises(click.ClickException, match="ended from outside"):
        Crew(1, ending).ready()


def ending():
    os._exit(1)


@pytest.mark.minutes
def test_many_runs_are_timed_where_there_is_a_gpu(monkeypatch):
    """Here on the CPU, two of the smoke profile for all; the peers are let off."""
    assert suite.many_runs() == []
    short = {"d_x": 8.0, "d_y": 0.7, "evaluation_images": 20, "compared_steps": ()}
    monkeypatch.setattr(many, "configure", lambda profile, **f: configure(profile, **short, **f))
    timed = many.main("smoke", 2, "smoke")
    assert timed.keys() == {"one", "many", "long"} and all(s > 0 for s in timed.values())
    output = json.dumps({"one": 1.0, "many": 2.0, "long": 3.0})
    job = suite.stacked_job(2)
    job(1)
    measured = {name: Measured([10.0 if name == "ours" else 2.0]) for name in ("ours", "diffusers")}
    monkeypatch.setattr(suite, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(suite, "command", lambda _: (Measured([9.0]), output))
    monkeypatch.setattr(suite, "Crew", lambda *_: None)
    monkeypatch.setattr(suite, "throughput", lambda *_: measured)
    one, all_at_once, long, training = suite.many_runs()
    assert [one["most"], all_at_once["most"], long["most"]] == [10, 153.6, 480]
    assert training["ratio"] == 5 and training["met"]


def test_a_commands_output_seconds_and_memory_are_told():
    one_more = "print('x'); hundred = bytearray(100 * 2**20)"
    measured, output = measure.command([sys.executable, "-c", one_more])
    assert output == "x\n"
    assert 100 < measured.peak_mib < 200
    assert measured.median > 0


# The command


def benchmarks(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_an_unknown_group_is_refused():
    refused = benchmarks("--only", "traning")
    assert refused.returncode == 2
    assert "did you mean 'training'?" in refused.stderr and "Traceback" not in refused.stderr


def test_the_peers_pins_do_not_touch_the_projects():
    own = pins((ROOT / "benchmarks" / "requirements.lock").read_text("utf-8").splitlines())
    assert own["denoising-diffusion-pytorch"] and not own.keys() & LOCK.keys()


# The results that are shipped


def test_the_shipped_results_have_every_row():
    results = read_results("cpu")
    assert {row["group"] for row in results.rows} == set(suite.GROUPS) - {"many_runs"}
    for row in results.rows:
        assert row.keys() >= suite.row("", "", Measured([1.0])).keys()
        for summary in (row["ours"], *row["peers"].values()):
            assert 0 <= summary["low"] <= summary["median"] <= summary["high"]
    (agreement,) = [row["agreement"] for row in results.rows if "agreement" in row]
    assert agreement >= 0.98
    names = [network["network"] for network in results.content["networks"]]
    assert names == list(peers.CONTENDERS) * len(suite.SHAPES)


def test_every_aim_is_judged_in_a_table():
    results = read_results("cpu")
    judged = [row["met"] for row in results.rows if row["met"] is not None]
    assert len(judged) >= 7
    said = pd.concat([results.tabulate_rows(with_libraries=own) for own in (True, False)])["aim"]
    assert said.str.endswith(": met").sum() == sum(judged)
    assert said.str.endswith(": not met").sum() == len(judged) - sum(judged)
    assert "matrix product" in describe_limits(results).data


def test_an_interrupted_benchmark_goes_on_after_the_last_finished_group(tmp_path, monkeypatch):
    called = []

    def group(name, fails=False):
        def rows():
            called.append(name)
            if fails:
                raise KeyboardInterrupt
            return [suite.row(name, "s", Measured([len(called)]))]

        return rows

    kept = tmp_path / "kept.json"
    monkeypatch.setattr(main, "commit", lambda: "0123456789ab")
    monkeypatch.setattr(main, "networks", list)  # a peer is not installed for the tests
    monkeypatch.setattr(main, "GROUPS", {"one": group("one"), "two": group("two", fails=True)})
    with pytest.raises(KeyboardInterrupt):
        main.measure(["one", "two"], {"numpy": "1"}, kept)
    monkeypatch.setattr(main, "GROUPS", {"one": group("one"), "two": group("two")})
    results = main.measure(["one", "two"], {"numpy": "1"}, kept)
    assert called == ["one", "two", "two"]
    assert [row["ours"]["median"] for row in results.rows] == [1, 3]
    # Other versions are another measurement.
    main.measure(["one"], {"numpy": "2"}, kept)
    assert called == ["one", "two", "two", "one"]


def test_the_table_shows_what_was_not_reached():
    row = suite.row(
        "to 90 %",
        "images",
        Measured([10.0]),
        {"diffusers": Measured([20.0])},
        reached={"ours": True, "diffusers": False},
        curves={"diffusers": {"accuracy": [0.25]}},
    )
    table = Results({"rows": [row]}).tabulate_rows(with_libraries=True)
    assert table["diffusers"].tolist() == ["not after 20 (25% correct)"]
    assert table["ratio"].tolist() == ["> 2.00"]


def test_a_device_that_was_not_measured_is_refused():
    with pytest.raises(UserError, match="'abacus' is not a device that has been measured"):
        read_results("abacus")
