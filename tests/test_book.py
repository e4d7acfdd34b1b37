"""The book, built from notebooks run with the smoke profile, as a reader meets it."""

import gzip
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import matplotlib.pyplot as plt
import nbformat
import pytest
from playwright.sync_api import sync_playwright

from bump_diffusion.book import build
from bump_diffusion.config import Configuration
from bump_diffusion.files import ROOT
from bump_diffusion.papers.semantics.confirmed import EDITIONS
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment
from bump_diffusion.runs.store import Store

from .conftest import BIN, Site

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Tags(HTMLParser):
    """All tags of a page with their attributes."""

    def __init__(self, page: Path):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, {name: value or "" for name, value in attrs}))


def pages(site):
    return sorted((site.html / "book").rglob("*.html"))


def test_all_experiments_are_made_in_one_sweep_each_run_once_with_all_extras(site):
    made = [line.split()[0] for line in site.made.splitlines()]
    assert len(made) == len(set(made))
    store = Store(site.folder / "store")
    judged = set().union(*(frozen.experiments for frozen in EDITIONS.values()))
    for name in EXPERIMENTS.keys() - judged - {"live"}:
        plan = EXPERIMENTS[name]
        for c in experiment(name, profile="smoke", seeds=1):
            assert c.id in made and store.get(c, plan.extras) is not None


def test_every_chapter_has_its_page(site):
    made = [str(page.relative_to(site.html / "book").with_suffix("")) for page in pages(site)]
    assert {name for name in made if not name.startswith("code/")} == set(build.chapters())
    assert (site.html / "index.html").exists()


def test_no_page_fetches_anything_from_elsewhere(site):
    for page in site.html.rglob("*.html"):
        for tag, attributes in Tags(page).tags:
            if tag in ("script", "link", "img", "iframe", "source"):
                fetched = attributes.get("src", "") + attributes.get("href", "")
                assert not fetched.startswith(("http:", "https:", "//")), (page, fetched)
    for style in site.html.rglob("*.css"):
        assert "url(http" not in style.read_text("utf-8"), style


def test_a_constant_is_described_by_its_whole_sentence(site):
    """Also beyond a colon, before which a type would stand in another style of docstrings."""
    code = (site.html / "book" / "code" / "runs.html").read_text("utf-8")
    assert "Runs of one experiment at most: all are held in memory." in code


def test_no_page_names_a_folder_of_the_machine(site):
    """As the default of an argument may, or a path in an output."""
    for page in (*site.html.rglob("*.html"), site.html / "_static" / "texts.js"):
        text = page.read_text("utf-8")
        for folder in (ROOT, site.folder):
            assert str(folder) not in text, (page, folder)


def test_no_page_shows_an_object_in_place_of_its_text(site):
    """As an empty Markdown output does."""
    for page in pages(site):
        assert "IPython.core.display" not in page.read_text("utf-8"), page


def test_a_configuration_s_fields_are_explained_one_by_one(site):
    page = (site.html / "book" / "code" / "package.html").read_text("utf-8")
    assert "Annotated[int, Ge(" not in page  # as pydantic's signature is
    assert all(f">{name}</span>" in page for name in Configuration.model_fields)


def test_every_module_that_is_listed_has_its_page(site):
    index = site.html / "_modules" / "index.html"
    links = re.findall(r'<li><a href="(\w[^"]*)"', index.read_text("utf-8"))
    assert len(links) > 30 and all((index.parent / link).exists() for link in links)


def test_every_figure_has_alt_text_its_function_and_provenance(site):
    figures = 0
    for page in pages(site):
        text = page.read_text("utf-8")
        tags = Tags(page).tags
        images = [attributes for tag, attributes in tags if tag == "img"]
        figures += len(images)
        assert all(len(image.get("alt", "")) > 40 for image in images), page
        links = [a["href"] for tag, a in tags if tag == "a" and "_modules/" in a.get("href", "")]
        drawn = [link for link in links if re.search(r"/figures/\w+\.html#", link)]
        images = [image for image in images if "moving" not in image.get("class", "")]
        assert text.count('class="drawing"') == len(images)
        diagrams = [a for tag, a in tags if tag == "svg" and a.get("role") == "img"]
        assert all(len(a.get("aria-label", "")) > 40 for a in diagrams), page
        # The map of a live network is not drawn by a function of its own.
        figures_drawn = [*images, *(a for a in diagrams if a.get("class") != "live-map")]
        assert "code" in page.parent.name or len(drawn) == len(figures_drawn)
        for link in drawn:
            target, _, anchor = link.partition("#")
            assert f'id="{anchor}"' in (page.parent / target).resolve().read_text("utf-8")
    assert figures >= 30
    phases = (site.html / "book" / "phases.html").read_text("utf-8")
    assert phases.count("<summary>Provenance: 3 records</summary>") >= 5
    assert phases.count("<summary>Provenance: 1 record</summary>") >= 6


def test_another_list_of_spacings_makes_the_run_that_is_missing_and_no_other(tmp_path):
    site = Site(tmp_path)

    def run(spacings):
        parameters = f"{{profile: smoke, seeds: 1, spacings: {spacings}}}"
        done = subprocess.run(
            [BIN / "papermill", "density.ipynb", tmp_path / "out.ipynb", "-y", parameters],
            cwd=build.SOURCE,
            env=site.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        files = [path for path in (tmp_path / "store").glob("*/*.*") if path.is_file()]
        return {path: path.stat().st_mtime_ns for path in files}

    before = run([4])
    after = run([4, 8])
    assert before.items() <= after.items()
    (made,) = {path.parent for path in after.keys() - before.keys()}
    assert json.loads((made / "configuration.json").read_text())["d_x"] == 8
    assert made.name in (tmp_path / "out.ipynb").read_text("utf-8")


needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: apt-get install chromium"
)


def find_barriers(page, path, width, scheme):
    """What axe-core calls serious or critical; the contrast, which takes longest, is that of a
    theme whatever the width, and all else that of a width whatever the theme.
    """
    from axe_playwright_python.sync_playwright import Axe

    if path.parent.name == "code" and path.stem != "book":  # all alike: one is looked at
        return []
    contrast = width > 1000
    if scheme == "light":
        rules = {"rules": {"color-contrast": {"enabled": contrast}}}
    elif contrast:
        rules = {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
    else:
        return []
    options = {"resultTypes": ["violations"], "preload": False, **rules}  # files are not fetched
    found = Axe().run(page, options=options).response["violations"]
    return [
        (path.name, one["id"], node["html"][:200])
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@needs_chromium
@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_every_page_in_a_browser_without_a_network(site, width, height):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        schemes = ("light", "dark") if width > 1000 else ("dark", "light")
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=schemes[0],
            reduced_motion="reduce",  # what folds out is measured at once
        )
        context.set_offline(True)
        page = context.new_page()
        complaints = []
        page.on("console", lambda m: complaints.append(m.text))
        page.on("pageerror", lambda e: complaints.append(str(e)))
        page.on("requestfailed", lambda r: complaints.append(r.url))
        for path in pages(site):
            page.goto(path.as_uri())
            page.wait_for_load_state("networkidle")
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            page.evaluate("new Promise(r => requestAnimationFrame(() => setTimeout(r)))")  # drawn
            formulas = page.locator("span.math, div.math").count()
            if formulas:
                page.locator("mjx-container svg, mjx-container mjx-math").first.wait_for()
                assert page.locator("mjx-container").count() == formulas, path
            assert page.locator("h1").count() >= 1
            for scheme in schemes:
                page.emulate_media(color_scheme=scheme)
                page.locator(f"html[data-theme={scheme}]").wait_for()
                check_appearance(page, path, scheme)
                assert find_barriers(page, path, width, scheme) == []
        browser.close()
        assert complaints == []


def check_appearance(page, path, scheme):
    widths = page.evaluate(
        """[...document.querySelectorAll("img")]
            .filter(i => i.checkVisibility({visibilityProperty: true}))
            .map(i => i.complete && i.naturalWidth > 0 && i.getBoundingClientRect().width)"""
    )
    assert all(width > 250 for width in widths), (path, widths)
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0, (path, overflow)
    # What scrolls says so; on a phone tables of many columns need not, unless headers are nested.
    hidden = page.evaluate(
        """[...document.querySelectorAll("div.wide, .output, .scrolls, div:has(> table)")]
            .filter(e => e.scrollWidth > e.clientWidth && getComputedStyle(e).overflowX === "auto")
            .map(e => [e.querySelector("table.columns") !== null, getComputedStyle(e, "::before")])
            .map(([columns, sign]) => [columns, sign.content])"""
    )
    is_phone = page.viewport_size["width"] < 577
    for columns, sign in hidden:
        assert "scroll" in sign and not (is_phone and columns), (path, hidden)
    # The theme puts outputs on a light ground, in the dark too.
    grounds = page.evaluate(
        """[...document.querySelectorAll(".text_html")].map(
            e => getComputedStyle(e).backgroundColor)"""
    )
    assert set(grounds) <= {"rgba(0, 0, 0, 0)"}, (path, grounds)
    for figure in page.locator("figure.drawing .scrolls:visible").all()[:1]:
        corner = plt.imread(io.BytesIO(figure.screenshot()))[-3, -3, :3]
        assert corner.max() < 0.1 if scheme == "dark" else corner.min() == 1, path


@needs_chromium
def test_the_first_page_loads_less_than_400_kB_before_a_network_s_weights(site):
    """All that a browser asks for, as compressed by gzip; icons are shown, from the font."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        asked = set()
        page.on("request", lambda r: r.url.startswith("file:") and asked.add(urlsplit(r.url).path))
        page.goto((site.html / "book" / f"{build.chapters()[0]}.html").as_uri())
        page.wait_for_load_state("networkidle")
        icon = page.locator("button i.fa-solid:visible").first
        font = icon.evaluate("i => getComputedStyle(i, '::before').fontFamily")
        assert "Font Awesome" in font and icon.bounding_box()["width"] > 8
        browser.close()
    paths = (Path(unquote(path)) for path in asked)
    files = [path for path in paths if not re.fullmatch(r"[0-9a-f]+-\d+\.js", path.name)]
    loaded = {f.name: len(gzip.compress(f.read_bytes())) for f in files}
    assert len(loaded) > 10 and sum(loaded.values()) < 400_000, loaded


@needs_chromium
def test_search_finds_prose_first_with_excerpts_from_a_folder(site):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        complaints = []
        page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
        page.goto(f"{(site.html / 'search.html').as_uri()}?q=noise")
        page.get_by_text("Search finished").wait_for()
        found = [item.get_attribute("href") for item in page.locator("ul.search li > a").all()]
        code = ["book/code" in link for link in found]
        assert not code[0] and code[-1] and code == sorted(code), found
        assert "noise" in page.locator("ul.search li p.context").first.inner_text().lower()
        browser.close()
        assert complaints == []


def test_notebooks_are_committed_bare_and_with_one_cell_of_parameters():
    for name in build.notebooks():
        notebook = nbformat.read(build.SOURCE / f"{name}.ipynb", as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in code), name
        tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
        # It would fold a figure with its code, without a name.
        assert not any("hide-cell" in cell.metadata.get("tags", []) for cell in code), name
        if name != "about":
            assert tagged == code[:1], name
            assert "check_parameters(" in code[1].source, name


def test_every_page_has_a_title_of_its_own():
    titles = [
        nbformat.read(build.SOURCE / f"{name}.ipynb", as_version=4).cells[0].source.splitlines()[0]
        for name in build.notebooks()
    ]
    assert len(set(titles)) == len(titles) and all(title.startswith("# ") for title in titles)
