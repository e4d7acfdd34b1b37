"""The built book when it is built again: what is kept, and what becomes of failures."""

import os
import random
import shutil
import signal
import subprocess

import click
import nbformat
import pytest

from bump_diffusion.book import build
from bump_diffusion.book.site import PDF
from bump_diffusion.errors import UserError

from .conftest import BIN, SMOKE, Site
from .test_live import needs_chromium
from .test_page import Tags


def modified(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.fixture
def own_book(tmp_path, monkeypatch, site):
    """This process's book: a copy of the sources and of what the session has built."""
    shutil.copytree(build.SOURCE, tmp_path / "book")
    shutil.copytree(site.folder / "build", tmp_path / "build")
    monkeypatch.setattr(build, "SOURCE", tmp_path / "book")
    monkeypatch.setattr(build, "BUILD", tmp_path / "build")
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(site.folder / "store"))
    return tmp_path


def test_a_second_build_runs_nothing_and_keeps_the_site(site):
    before = modified(site.html)
    output = site.build(*SMOKE)
    assert output.count("unchanged") == len(build.notebooks())
    assert "running" not in output and "building" not in output
    assert modified(site.html) == before


@needs_chromium
def test_the_book_is_printed_once_and_offered_as_a_pdf(own_book):
    build.print_book()
    html = own_book / "build" / "html"
    pdf = (html / PDF).read_bytes()
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page\n") > len(build.chapters())
    first = html / "book" / f"{build.chapters()[0]}.html"
    (link,) = [a for tag, a in Tags(first.read_text("utf-8")).tags if a.get("class") == "pdf"]
    assert (first.parent / link["href"]).resolve() == html / PDF
    before = modified(html)
    build.build("about")
    build.print_book()
    assert modified(html) == before


def change_cell(path, find, source):
    notebook = nbformat.read(path, as_version=4)
    (cell,) = [c for c in notebook.cells if find in c.source]
    cell.source = source
    nbformat.write(notebook, path)


def test_a_failing_notebook_names_itself_and_leaves_the_last_good_site(own_book):
    before = (own_book / "build" / "html" / "book" / "data.html").read_bytes()
    change_cell(own_book / "book" / "data.ipynb", "label_grids", "1 / 0")
    with pytest.raises(click.ClickException) as caught:
        build.build("data")
    assert "Chapter data failed in cell 4 ('1 / 0'): ZeroDivisionError" in caught.value.message
    assert (own_book / "build" / "html" / "book" / "data.html").read_bytes() == before


def test_a_refused_parameter_names_the_chapter(own_book):
    with pytest.raises(UserError, match="Chapter data: N is 15"):
        change_cell(
            own_book / "book" / "data.ipynb",
            "check_parameters",
            "from bump_diffusion.config import configure\nconfigure('quick', N=15)",
        )
        build.build("data")


@pytest.mark.minutes
def test_killed_at_any_moment_a_build_ends_as_if_it_had_not_been(site, tmp_path):
    """kill -9 at three random moments of building one chapter anew and the site."""
    own = Site(tmp_path)
    shutil.copytree(site.folder, tmp_path, dirs_exist_ok=True)
    for file in (tmp_path / "build" / "executed").glob("data.*"):
        file.unlink()
    shutil.rmtree(own.html)
    command = [str(BIN / "bump-diffusion"), "book", "data"]
    rng, killed = random.Random(0), 0
    # The shortest first: a build that has ended leaves nothing to interrupt.
    for moment in (rng.uniform(start, start + 4) for start in (2, 6, 10)):
        process = subprocess.Popen(
            command,
            env=own.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert not own.html.exists() or (own.html / "index.html").exists()
    assert killed > 0
    own.build("data")
    for page in site.pages():
        assert (own.html / page.relative_to(site.html)).read_bytes() == page.read_bytes(), page
