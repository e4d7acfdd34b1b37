"""The shipped networks as a page runs them: what it draws and says is what the metrics say."""

import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import expect

from bump_diffusion.data.bumps import bump_height
from bump_diffusion.data.splits import in_core
from bump_diffusion.data.tasks import task_of
from bump_diffusion.live import build
from bump_diffusion.live.elements import REQUESTS
from bump_diffusion.live.export import write_files
from bump_diffusion.metrics.bumps import find_bumps
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.sampling import classify
from bump_diffusion.papers.semantics.figures import compose, live
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.store import default_store

from .test_live import browser, needs_chromium, open_page  # noqa: F401
from .test_live_page import picture, wait_for_another

pytestmark = needs_chromium


def test_the_page_says_where_the_bump_of_an_exchange_is(browser, tmp_path):  # noqa: F811
    """In a shipped network: as the bump finder, from the images that are shown."""
    (record,) = load_or_run(experiment("trajectories", conditioning="sinusoidal"))
    element, N = live.exchange_layers(record), record.configuration.N
    write_files(tmp_path / "_static" / "live", element.made_from["weights"], default_store())
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "page.html").write_text("<!doctype html><body>" + element.data)
    places = torch.tensor(REQUESTS) * N
    said, tops = [], set()
    with open_page(browser, tmp_path / "book" / "page.html") as page:
        results = page.locator(".live-result")
        expect(results.nth(1)).to_be_visible()
        for layer in ("up3", "layer1", "layer4"):
            before = picture(results.nth(1))
            page.locator(".live-layer").select_option(layer)
            wait_for_another(results.nth(1), before)
            tops |= {result.bounding_box()["y"] for result in results.all()}
            said += page.locator(".live-reading").all_inner_texts()
            images = torch.tensor(np.stack([read_pixels(result) for result in results.all()]))
            outcomes = classify(record.configuration, images, places)
            found, kinds = outcomes.position, [OUTCOMES[kind] for kind in outcomes.kind]
            for own, text in enumerate(said[-2:]):
                distance = (found[own] - places).abs().amax(dim=1)  # NaN without a single bump
                assert (kinds[own] == "several") == ("bumps" in text), (layer, text)
                assert (kinds[own] == "none") == (text == "no bump"), (layer, text)
                assert "stays" not in text or distance[own] <= 1.5, (layer, text)
                assert "other's place" not in text or distance[1 - own] <= 1.5, (layer, text)
    assert len(tops) == 1  # however long the readings are
    assert said[:2] == ["its bump goes to the other's place"] * 2
    assert said[2] == "two bumps"  # spoilt
    assert said[4:] == ["its bump stays"] * 2


def test_the_page_finds_the_bumps_that_the_metrics_find(browser, tmp_path):  # noqa: F811
    """In the images of all phases that a shipped record keeps."""
    (record,) = load_or_run(experiment("trajectories", conditioning="scalar"))
    N, sigma = record.configuration.N, record.configuration.sigma
    images = torch.tensor(record.arrays["images"].reshape(-1, N, N) / 127.5 - 1).float()
    expected = find_bumps(bump_height(images[:, None]), sigma)
    (tmp_path / "page.html").write_text("<!doctype html>")
    with open_page(browser, tmp_path / "page.html") as page:
        page.add_script_tag(content=(Path(build.__file__).parent / "bumps.js").read_text("utf-8"))
        found = page.evaluate(
            """([values, N, sigma, images]) => Array.from({ length: images },
                (_, i) => findBumps(Float32Array.from(values), N, sigma, i))""",
            [images.flatten().tolist(), N, sigma, len(images)],
        )
        told = page.evaluate(
            """[[], [[3, 3]], [[3.9, 3]], [[3, 4.5]], [[1, 1], [5, 5]], Array(7)].map(
                (bumps) => tellBump(bumps, [3, 3]))"""
        )
    counts = np.array([min(len(bumps), 2) for bumps in found])
    assert set(counts) == {0, 1, 2}
    assert (counts == expected.counts.clamp(max=2).numpy()).mean() > 0.98
    single = (counts == 1) & (expected.counts == 1).numpy()
    positions = np.array([bumps[0] for bumps, alone in zip(found, single, strict=True) if alone])
    off = np.abs(positions - expected.single_positions().numpy()[single])
    assert np.quantile(off, 0.99) < 0.1
    assert told == [
        "no bump",
        "0.0 px off: right",
        "0.9 px off: right",
        "1.5 px off: misplaced",
        "two bumps",
        "7 bumps",
    ]


def test_of_what_was_never_trained_the_page_draws_what_the_records_say(browser, tmp_path):  # noqa: F811
    """The shipped networks: without a bias nearly all are wrong, with lines nearly all right."""
    records = [load_or_run(experiment(name))[0] for name in ("cure-live", "cure-live-lines")]
    c = records[0].configuration
    element = compose.ask_beside(dict(zip(("no bias", "lines"), records, strict=True)))
    write_files(tmp_path / "_static" / "live", element.made_from["weights"], default_store())
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "page.html").write_text("<!doctype html><body>" + element.data)
    held = task_of(c).held_out_labels()
    labels = held[in_core(held, task_of(c).labels())][::9]
    drawn = []
    with open_page(browser, tmp_path / "book" / "page.html") as page:
        pads, said = page.locator(".live-pad"), page.locator(".live-combination")
        expect(pads.nth(1)).to_be_visible()
        box = pads.nth(0).bounding_box()
        for x, y in (labels + 0.5).tolist():
            before = picture(pads.nth(1))  # the second to be drawn
            at = {"x": x / c.N * box["width"], "y": y / c.N * box["height"]}
            pads.nth(0).click(position=at, force=True)
            wait_for_another(pads.nth(1), before)
            expect(said).to_contain_text("never trained")
            drawn.append([read_pixels(pad) for pad in pads.all()])
        pads.nth(0).click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.25})
        expect(said).to_contain_text("was in the training data")
    without, lines = (
        classify(c, torch.tensor(np.stack(images)), labels).metrics()["accuracy"]
        for images in zip(*drawn, strict=True)
    )
    assert without < 0.2 and lines > 0.8


def read_pixels(pad):
    """The image (1, N, N) of a pad, from -1 to 1."""
    png = base64.b64decode(picture(pad).partition(",")[2])
    return np.array(Image.open(io.BytesIO(png)).convert("L"), dtype=np.float32)[None] / 127.5 - 1
