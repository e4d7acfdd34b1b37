"""Elements of a page: what they show is escaped, and they list what they were made from."""

import base64
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from bump_diffusion.page.axes import at_all_checkpoints, curve, means_at_end
from bump_diffusion.page.colours import GRID, GROUND, INK, ON_DARK, QUIET
from bump_diffusion.page.drawing import Drawing, drawn
from bump_diffusion.page.html import format_table
from bump_diffusion.page.tables import PROVENANCE, Table
from bump_diffusion.runs.record import Record

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&amp;"


class Tags(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


@drawn
def line(records, title):
    figure, ax = plt.subplots()
    ax.plot([0, 1])
    return figure, f"A line, called {title}."


def hostile_copy(smoke_record):
    record = Record(smoke_record.folder)
    made = {
        **record.provenance,
        **dict.fromkeys(("device", "python", "commit", "threads"), HOSTILE),
    }
    record.provenance = {**made, "versions": {HOSTILE: HOSTILE}}
    return record


def test_a_figure_escapes_all_that_records_and_functions_say(smoke_record):
    page = line([hostile_copy(smoke_record)], HOSTILE)._repr_mimebundle_()[0]["text/html"]
    parsed = Tags(page)
    tags = [tag for tag, _ in parsed.tags]
    assert "script" not in tags and tags.count("img") == 1
    (image,) = [attributes for tag, attributes in parsed.tags if tag == "img"]
    assert image["alt"] == f"A line, called {HOSTILE}." and "onerror" not in image
    assert parsed.text.count(HOSTILE) == 6  # device, threads, Python, a version's name, it, commit


@drawn
def crowded(small):
    figure, ax = plt.subplots()
    ax.plot([0, 1], color=QUIET)
    ax.text(0, 0, "small", fontsize=small, bbox={"facecolor": GROUND})
    figure.supxlabel("a label of many words that is wider than its figure " * 4)
    return figure, "A line and small words."


def picture(drawing):
    (source,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', drawing.data)
    return ET.fromstring(base64.b64decode(source))


def test_a_figure_has_no_ground_and_follows_the_theme_in_ink_alone():
    svg = picture(crowded(8))
    for ground in ("patch_1", "patch_2"):  # of the figure and of its axes
        (path,) = svg.findall(f".//*[@id='{ground}']/*")
        assert "fill: none" in path.get("style")
    text = ET.tostring(svg, "unicode")
    inside, _, style = text.rpartition("<ns0:style>")
    for colour in (INK, QUIET, GRID, GROUND):
        assert f"var(--{colour[1:]})" in inside and colour not in inside
        assert style.count(f"--{colour[1:]}:") == 2 and ON_DARK[colour] in style


@pytest.mark.parametrize("size", [6, 8, 11])
def test_a_figure_is_so_wide_that_its_smallest_type_has_eleven_pixels(size):
    drawing = crowded(size)
    width = float(picture(drawing).get("viewBox").split()[2])
    least = int(re.search(r"min-width: (\d+)px", drawing.data)[1])
    assert 10.9 < size * least / width < 11.1
    assert size < 11 or least <= 390  # of a phone


def test_a_label_below_a_figure_is_broken_where_the_figure_ends():
    figure, _ = crowded.__wrapped__(8)
    unbroken = figure.get_supxlabel()
    Drawing(crowded, [], figure, "It.")
    figure.draw_without_rendering()
    extent = figure._supxlabel.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.x1
    assert figure.get_supxlabel().split() == unbroken.split()


def test_a_figure_takes_its_arguments_by_name_too(smoke_record):
    by_name = line(title="this", records=[smoke_record])
    assert by_name.alt == "A line, called this."
    assert by_name.data == line([smoke_record], "this").data and smoke_record.id in by_name.data


def test_a_table_and_its_note_are_escaped():
    page = Table(pd.DataFrame({HOSTILE: [HOSTILE]}), note=HOSTILE).data
    parsed = Tags(page)
    assert {tag for tag, _ in parsed.tags}.isdisjoint({"script", "img"})
    assert parsed.text.count(HOSTILE) == 3


def test_a_table_keeps_a_range_on_one_line_and_no_words():
    words = "(share of right images of trained labels minus that of held-out ones)"
    page = format_table(pd.DataFrame({"a": ["1.5 (1 to 2); never in 1 of 3", words]}))
    assert "1.5 (1\u00a0to\u00a02); never in 1 of 3" in page and words in page


def test_a_figure_shows_its_records_provenance_and_lists_those_of_the_store(
    smoke_record, monkeypatch
):
    record = Record(smoke_record.folder)
    kept = {"records": {record.id: record.digest}}
    for store, listed in ((record.folder.parent, kept), ("elsewhere", {"records": {}})):
        monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(store))
        content, metadata = line([record], "it")._repr_mimebundle_()
        assert metadata[PROVENANCE] == listed
    text = re.sub(r"\s+", " ", Tags(content["text/html"]).text)
    c = record.configuration
    assert "Provenance: 1 recordDrawn by tests.test_page.line." in text
    assert f"{record.id}: N {c.N}, d_x {c.d_x}," in text
    assert f"steps {c.steps}, seed {c.seed}, clip_sample {c.clip_sample}; made 20" in text
    assert text.count(f", torch {record.provenance['versions']['torch']},") == 1


def test_a_figure_of_something_measured_says_where_that_comes_from():
    class Measured:
        origin = f"Measured on {HOSTILE}."

    text = Tags(line(Measured(), "it").data).text
    assert text.endswith(f"Drawn by tests.test_page.line. Measured on {HOSTILE}.")
    assert Tags(line([], "it").data).text.endswith("from no record: it needs no training.")


def test_a_mean_over_runs_has_all_of_them_at_every_checkpoint():
    """Straight lines in the logarithm, so that what is between checkpoints is known."""
    few, many = [1, 100, 10_000], [1, 10, 100, 1000, 10_000]
    lines = {"b": (few, 0.0), "a": (many, 1.0), "c": (many[1:4], 2.0)}
    table = pd.concat(
        pd.DataFrame({"record": name, "images_seen": seen, "r2": np.log10(seen) + shift})
        for name, (seen, shift) in lines.items()
    )
    aligned = at_all_checkpoints(table, "r2", ["record"])
    assert aligned["record"].unique().tolist() == [*lines]  # the order of the legend
    for name, (seen, shift) in lines.items():
        of_run = aligned[aligned["record"] == name]
        assert of_run["images_seen"].tolist() == [n for n in many if seen[0] <= n <= seen[-1]]
        assert of_run["r2"].to_numpy() == pytest.approx(np.log10(of_run["images_seen"]) + shift)
    _, ax = plt.subplots()
    curve(ax, table[table["record"] != "c"], "r2")
    assert ax.lines[0].get_ydata() == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5])
    plt.close()


def test_means_at_the_end_are_those_of_every_run_whenever_it_ends():
    table = pd.DataFrame({"record": ["a", "a", "b"], "step": [1, 2, 1], "order": [0.0, 0.2, 0.6]})
    assert means_at_end(table, {"order": "order"}) == "order 0.40"
