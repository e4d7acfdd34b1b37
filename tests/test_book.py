"""The book, built from notebooks run with the smoke profile, as a reader meets it."""

import json
import re
import subprocess
from os.path import normpath
from pathlib import Path

import nbformat

from bump_diffusion.book import build
from bump_diffusion.config import Configuration
from bump_diffusion.files import ROOT
from bump_diffusion.papers.semantics.criteria import EDITIONS
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment
from bump_diffusion.runs.store import Store

from .conftest import BIN, Site
from .test_page import Tags


def test_all_experiments_are_made_in_one_sweep_each_run_once_with_all_extras(site):
    made = [line.split()[0] for line in site.made.splitlines()]
    assert len(made) == len(set(made))
    store = Store(site.folder / "store")
    judged = set().union(*(frozen.experiments for frozen in EDITIONS.values()))
    for name in EXPERIMENTS.keys() - judged:
        plan = EXPERIMENTS[name]
        for c in experiment(name, profile="smoke", seeds=1, compared_steps=[2]):
            assert plan.on_demand or store.get(c, plan.extras) is not None
            assert (c.id in made) != plan.on_demand


def test_every_chapter_has_its_page(site):
    made = [str(page.relative_to(site.html / "book").with_suffix("")) for page in site.pages()]
    assert {name for name in made if not name.startswith("code/")} == set(build.chapters())
    assert (site.html / "index.html").exists()


def test_the_pages_of_the_code_have_every_module_once(site):
    pages = (site.html / "book" / "code").glob("*.html")
    modules = [m for p in pages for m in re.findall(r'id="module-(\S+?)"', p.read_text("utf-8"))]
    files = [f.relative_to(ROOT / "src") for f in (ROOT / "src" / "bump_diffusion").rglob("*.py")]
    names = {".".join(f.with_suffix("").parts) for f in files if f.name != "__init__.py"}
    assert sorted(modules) == sorted(names - {"bump_diffusion.cli"})  # that has --help


def test_every_page_lists_all_pages(site):
    (source, *_) = (site.html / "_modules").rglob("bumps.html")
    for page in (*site.pages(), source):
        beside = re.search(r'<nav class="bd-links.*?</nav>', page.read_text("utf-8"), re.DOTALL)[0]
        links = re.findall(r'<a class="[^"]*internal" href="([^"]*)"', beside)
        listed = [page if link == "#" else normpath(page.parent / link) for link in links]
        assert sorted(map(Path, listed)) == site.pages(), page


def test_no_page_fetches_anything_from_elsewhere(site):
    for page in site.html.rglob("*.html"):
        for tag, attributes in Tags(page.read_text("utf-8")).tags:
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
    for page in site.pages():
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
    for page in site.pages():
        text = page.read_text("utf-8")
        tags = Tags(text).tags
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
