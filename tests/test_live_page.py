"""The live elements as a reader meets them: opened from a folder, without a network."""

import json
import re

import nbformat
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

from bump_diffusion.book import site
from bump_diffusion.config import configure
from bump_diffusion.errors import UserError
from bump_diffusion.live.elements import (
    Checkpoint,
    Embedding,
    LabelMap,
    show_exchange,
    show_networks,
)
from bump_diffusion.live.export import read_trajectory, write_files
from bump_diffusion.page.tables import Table
from bump_diffusion.papers.semantics.figures import live
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.run import train
from bump_diffusion.runs.store import Store

from .test_live import browser, needs_chromium, open_page  # noqa: F401

pytestmark = needs_chromium

STILL = Table(pd.DataFrame({"drawn": ["before"]}))
OUTCOMES = {"correct": "#009E73", "misplaced": "#56B4E9"}
LABELS = np.array([[0, 0], [7, 0], [0, 7], [7, 7]])


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A folder with a page of two elements, and the record behind them."""
    folder = tmp_path_factory.mktemp("book")
    store = Store(folder / "store")
    networks = {}
    maps = {"as it is": Embedding(LABELS, "R² 1"), "turned": Embedding(LABELS[:, ::-1], "R² 0")}
    for scheme in ("sinusoidal", "scalar"):
        c = configure("smoke", steps=4, compared_steps=(), conditioning=scheme)
        record = train(c, store, ["trajectory"])
        steps = [min(read_trajectory(record)), max(read_trajectory(record))]
        networks[scheme] = [
            Checkpoint(record, s, f"{s} steps", maps, {"correct": 1, "misplaced": s}) for s in steps
        ]
    colours = ["#f00", "#0f0", "#00f", "#fff"]
    label_map = LabelMap("Where it is held", "A note", LABELS, colours, colours)
    given = {"still": STILL, "assets": "live"}
    elements = [
        show_networks(networks, label_map=label_map, outcomes=OUTCOMES, **given),
        show_exchange(networks["scalar"][-1], layer="up3", **given),
    ]
    fewer = {"sinusoidal": networks["sinusoidal"], "scalar": networks["scalar"][1:]}
    together = show_networks(fewer, together=True, held_out=np.eye(8) > 0, **given)
    weights = [name for element in elements for name in element.made_from["weights"]]
    write_files(folder / "live", weights, store)
    head = '<!doctype html><meta name="viewport" content="width=device-width"><body>'
    (folder / "page.html").write_text(head + "".join(element.data for element in elements))
    (folder / "together.html").write_text(head + together.data)
    return folder


def picture(locator):
    return locator.locator("canvas").evaluate("canvas => canvas.toDataURL()")


def swipe(locator, *points):
    """Move a finger over points given in shares of an element's sides."""
    box, finger = locator.bounding_box(), locator.page.context.new_cdp_session(locator.page)
    for kind, (x, y) in zip(["Start", *["Move"] * (len(points) - 1)], points, strict=True):
        point = {"x": box["x"] + x * box["width"], "y": box["y"] + y * box["height"]}
        finger.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": [point]})
    finger.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def wait_for_another(locator, before):
    expect(locator).to_be_visible()
    for _ in range(100):
        if picture(locator) != before:
            return picture(locator)
        locator.page.wait_for_timeout(50)
    pytest.fail("the picture stays as it was")


def test_a_notebook_shows_records_with_a_trajectory(tmp_path):
    """Their maps and shares are those of the same checkpoints."""
    c = configure("smoke", steps=8, compared_steps=())
    record = train(c, Store(tmp_path), ["trajectory", "umap"])
    element = live.ask_networks([record])
    found = re.search(r'class="live-data">(.*?)</script>', element.data)[1]
    ((network,), label_map) = (json.loads(found)[name] for name in ("networks", "map"))
    assert network["name"] == "sines (sinusoidal)" and len(label_map["labels"]) == 64
    table = record.checkpoints.set_index("step")
    for checkpoint in network["checkpoints"]:
        step = int(checkpoint["weights"].removeprefix(f"{record.id}-"))
        assert checkpoint["shares"]["correct"] == pytest.approx(table["correct"][step])
        for name, features in live.SOURCES.items():
            shown = np.reshape(checkpoint["maps"][name]["points"], (64, 2))
            embedding = live.align_embeddings(record.arrays[f"umap_{features}"])
            aligned = embedding[table.index.get_loc(step)]
            assert np.corrcoef(shown.T.ravel(), (aligned - aligned.mean(0)).T.ravel())[0, 1] > 0.9
    assert element.made_from["weights"] == [c["weights"] for c in network["checkpoints"]]
    assert f"{record.id}-8" in live.exchange_layers(record).data


@pytest.mark.parametrize("without", ["", "delete globalThis.Worker;"])
def test_a_bump_is_requested_by_keys_and_finger(browser, book, without):  # noqa: F811
    """On a phone, in a worker and, where there is none, in the page."""
    phone = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
    # The page listens to no touch: Chromium may say this of itself while it scrolls.
    own = "^Ignored attempt to cancel a touchmove event"
    with open_page(browser, book / "page.html", without, own, **phone) as page:
        pad = page.get_by_role("slider", name="Requested position")
        expect(pad).to_have_attribute("aria-valuetext", "x 2.4, y 4.8 of 8 pixels")
        expect(pad).to_be_visible()
        expect(page.locator(".live-still").first).to_be_hidden()
        expect(page.locator(".live-how")).to_contain_text("Drag the ring")
        assert not any(keys.is_visible() for keys in page.locator(".live-keys").all())
        first = picture(pad)
        pad.focus()
        assert pad.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowUp")
        expect(pad).to_have_attribute("aria-valuetext", "x 2.9, y 2.8 of 8 pixels")
        moved = wait_for_another(pad, first)
        pad.scroll_into_view_if_needed()
        scrolled = page.evaluate("scrollY")
        mark = [(value + 0.5) / 8 for value in (2.9, 2.8)]
        swipe(pad, mark, (0.7, 0.3), (0.95, 0.05))
        expect(pad).to_have_attribute("aria-valuetext", re.compile("x 7.0, y 0.0"))
        wait_for_another(pad, moved)
        assert page.evaluate("scrollY") == scrolled
        # A finger that begins beside the mark scrolls the page; if it stays, it requests.
        swipe(pad, *((0.3, 0.9 - 0.2 * step) for step in range(4)))
        page.wait_for_function(f"scrollY > {scrolled}")
        expect(pad).to_have_attribute("aria-valuetext", re.compile("x 7.0, y 0.0"))
        box = pad.bounding_box()
        pad.tap(position={"x": box["width"] * 3.5 / 8, "y": box["height"] * 5.5 / 8})
        expect(pad).to_have_attribute("aria-valuetext", re.compile("x 3.0, y 5.0"))
        for key, place in (("End", "x 7.0, y 5"), ("PageDown", "x 7.0, y 7"), ("Home", "x 0.0")):
            pad.press(key)
            expect(pad).to_have_attribute("aria-valuetext", re.compile(place))
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_on_a_phone_the_slider_stays_in_view_over_all_that_it_moves(browser, book):  # noqa: F811
    with open_page(browser, book / "page.html", viewport={"width": 390, "height": 700}) as page:
        slider = page.locator(".live-training")
        for moved in (".live-pad", ".live-strip", ".live-shares"):
            part = page.locator(moved).first
            expect(part).to_be_visible()
            part.evaluate("e => e.scrollIntoView({block: 'end'})")
            expect(slider).to_be_in_viewport(ratio=1)
            expect(part).to_be_in_viewport(ratio=0.9)


def test_on_a_phone_the_slider_hides_no_words_about_the_images(browser, book):  # noqa: F811
    with open_page(browser, book / "together.html", viewport={"width": 390, "height": 600}) as page:
        pad, slider = page.locator(".live-pad").first, page.locator(".live-slider")
        expect(pad).to_be_visible()
        page.locator("section").evaluate("e => e.style.padding = '300px 0 600px'")
        name = page.locator(".live-name").first  # above the image that it names
        name.evaluate("e => scrollTo(0, e.getBoundingClientRect().top + scrollY - 110)")
        bar = slider.bounding_box()
        assert bar["y"] == 56  # it sticks
        for words in (".live-name", ".live-reading", ".live-combination"):
            box = page.locator(words).first.bounding_box()
            assert bar["y"] + bar["height"] <= box["y"] < 600 - box["height"], words


def test_image_controls_and_map_fit_a_screen_below_a_title(browser, book):  # noqa: F811
    with open_page(browser, book / "page.html", viewport={"width": 704, "height": 470}) as page:
        for part in (".live-pad", ".live-choices", ".live-slider", ".live-map", ".live-colours"):
            expect(page.locator(part).first).to_be_in_viewport(ratio=1)
    with open_page(browser, book / "page.html", viewport={"width": 390, "height": 470}) as page:
        expect(page.locator(".live-pad").first).to_be_in_viewport(ratio=1)


def test_a_reader_goes_back_in_training_and_to_another_network(browser, book):  # noqa: F811
    with open_page(browser, book / "page.html") as page:
        pad = page.get_by_role("slider", name="Requested position")
        training = page.locator(".live-training")
        expect(pad).to_be_visible()
        shares, trained = page.locator(".live-shares dd").all_inner_texts(), picture(pad)
        training.focus()
        page.keyboard.press("ArrowLeft")
        expect(training).to_have_attribute("aria-valuetext", "0 steps")
        untrained = wait_for_another(pad, trained)
        assert page.locator(".live-shares dd").all_inner_texts() != shares
        expect(page.locator(".live-drawn .live-reading")).to_contain_text(re.compile("bump|px off"))
        page.get_by_label("scalar").check()
        other = wait_for_another(pad, untrained)
        page.locator(".live-noise").first.click()
        wait_for_another(pad, other)


def test_training_is_played_from_its_beginning_to_its_end(browser, book):  # noqa: F811
    with open_page(browser, book / "page.html") as page:
        training, play = page.locator(".live-training"), page.locator(".live-play")
        expect(play).to_be_visible()
        steps = training.get_attribute("aria-valuetext")
        play.click()
        expect(training).to_have_attribute("aria-valuetext", "0 steps")
        expect(play).to_have_text("Stop")
        expect(play).to_have_text("Play training")
        expect(training).to_have_attribute("aria-valuetext", steps)
        play.click()
        play.click()
        expect(play).to_have_text("Play training")
        expect(training).to_have_attribute("aria-valuetext", "0 steps")


def test_a_map_shows_what_a_reader_chooses(browser, book):  # noqa: F811
    with open_page(browser, book / "page.html") as page:
        caption, first = page.locator(".live-caption"), page.locator(".live-map circle").nth(1)
        expect(caption).to_have_text("R² 1")
        before = first.evaluate("e => e.style.transform")
        assert before == "translate(100px, -100px)"  # the label at the right, above
        page.get_by_label("turned").check()
        expect(caption).to_have_text("R² 0")
        assert first.evaluate("e => e.style.transform") == "translate(-100px, 100px)"
        key = page.locator(".live-colours").bounding_box()
        ring = page.locator(".live-colours .live-marker").bounding_box()
        middle = (ring["x"] + ring["width"] / 2 - key["x"]) / key["width"]
        assert middle == pytest.approx((2.4 + 0.5) / 8, abs=0.02)


def test_what_is_exchanged_changes_the_lower_images_alone(browser, book):  # noqa: F811
    with open_page(browser, book / "page.html") as page:
        asked = page.get_by_role("slider", name="Request 1")
        changed = page.get_by_role("img", name="Request 1, as drawn")
        expect(changed).to_be_visible()
        before, exchanged = picture(asked), picture(changed)
        assert exchanged != before
        page.locator(".live-kind").select_option("no label")
        wait_for_another(changed, exchanged)
        assert picture(asked) == before
        layers = page.locator(".live-layer option")
        enabled = layers.evaluate_all("all => all.filter(o => !o.disabled).map(o => o.value)")
        assert enabled == ["layer2", "layer3", "layer4", "up3", "up2", "up1"]
        expect(layers.first).to_have_text("layer 1 (gets no label)")


def test_networks_side_by_side_are_asked_the_same(browser, book):  # noqa: F811
    with open_page(browser, book / "together.html") as page:
        pads = page.locator(".live-pad")
        expect(pads.nth(1)).to_be_visible()
        pads.nth(1).press("ArrowDown")
        for i in (0, 1):
            expect(pads.nth(i)).to_have_attribute("aria-valuetext", "x 2.4, y 5.3 of 8 pixels")
        assert picture(pads.nth(0)) != picture(pads.nth(1))


@pytest.mark.parametrize("obstacle", ["no JavaScript", "no SIMD", "no weights"])
def test_where_the_network_cannot_run_its_picture_stays(
    browser,  # noqa: F811
    book,
    tmp_path,
    obstacle,
):
    runtime = (book / "live" / "live.js").read_text("utf-8")
    (tmp_path / "page.html").write_text((book / "page.html").read_text("utf-8"))
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "live.css").write_bytes((book / "live" / "live.css").read_bytes())
    if obstacle == "no SIMD":  # an instruction that the browser does not know
        runtime = re.sub(r'(startLive\(".{4000})....', r"\1////", runtime)
        for file in (book / "live").glob("*-*.js"):
            (tmp_path / "live" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "live" / "live.js").write_text(runtime)
    javascript = obstacle != "no JavaScript"
    expected = r"ERR_FILE_NOT_FOUND" if obstacle == "no weights" else "$^"
    with open_page(
        browser, tmp_path / "page.html", expected=expected, java_script_enabled=javascript
    ) as page:
        page.wait_for_timeout(300)
        assert [still.is_visible() for still in page.locator(".live-still").all()] == [True, True]
        assert not any(parts.is_visible() for parts in page.locator(".live-parts").all())


def test_the_site_has_the_weights_that_its_pages_show(book, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "default_store", lambda: Store(book / "store"))
    (tmp_path / "book").mkdir()
    weights = min((book / "live").glob("*-4.js")).stem
    record = Record(book / "store" / weights.removesuffix("-4"))
    element = show_exchange(Checkpoint(record, 4, "4 steps"), STILL)
    data, metadata = element._repr_mimebundle_()
    output = nbformat.v4.new_output("display_data", data, metadata=metadata)
    cell = nbformat.v4.new_code_cell(outputs=[output])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "page.ipynb")
    site._stage(tmp_path / "book", [tmp_path / "page.ipynb"], tmp_path / "stage")
    staged = tmp_path / "stage" / "book" / "_static" / "live"
    assert {file.name for file in staged.iterdir()} == {"live.js", "live.css", f"{weights}.js"}
    for file in staged.iterdir():
        assert file.read_bytes() == (book / "live" / file.name).read_bytes()


def test_a_record_without_a_trajectory_is_refused(smoke_record, tmp_path):
    with pytest.raises(UserError, match="has no trajectory; make it again with --extra trajectory"):
        write_files(tmp_path, [f"{smoke_record.id}-20"], Store(smoke_record.folder.parent))
