"""The built site is whole or is built anew, whatever is done to its folder."""

import os
import shutil
import subprocess
import sys

import click
import matplotlib.pyplot as plt
import nbformat
import pytest
import yaml

from bump_diffusion.book import site
from bump_diffusion.book.finish import fold_sections, join_numbers

from .conftest import BIN


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of two pages, and a stand-in for Jupyter Book that copies them and counts its runs."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("one", "two"):
        (source / f"{name}.md").write_text(f"Page {name}.")

    class Book:
        folder, html, runs = tmp_path / "_build", tmp_path / "_build" / "html", 0

        def build(self):
            site.build_site(source, [], self.folder)
            return {f.name: f.read_text() for f in self.html.rglob("*") if f.is_file()}

        def change(self, text):
            (source / "one.md").write_text(text)

    def run_jupyter_book(stage, output):
        Book.runs += 1
        pages = output / "pages"
        if pages.exists():
            shutil.rmtree(pages)
        shutil.copytree(stage / "book", pages)
        (pages / "index.html").write_text("Index.")
        return pages

    monkeypatch.setattr(site, "_run_jupyter_book", run_jupyter_book)
    return Book()


def empty(html):
    for path in html.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def replace_by_link(html):
    moved = html.rename(html.with_name("elsewhere"))
    html.symlink_to(moved)
    (moved / "one.md").write_text("Another tool's page.")


def replace_by_file(html):
    shutil.rmtree(html)
    html.write_text("A file.")


@pytest.mark.parametrize(
    "damage",
    [
        lambda html: (html / "index.html").unlink(),
        lambda html: (html / "one.md").write_text("A page of another tool."),
        lambda html: (html / "more.html").write_text("Left by another tool."),
        lambda html: html.with_name("site.json").write_text("[1"),
        lambda html: html.with_name("site.json").unlink(),
        empty,
        shutil.rmtree,
        replace_by_link,
        replace_by_file,
    ],
)
def test_a_site_that_was_changed_is_built_anew(book, damage):
    whole = book.build()
    assert book.build() == whole and book.runs == 1
    damage(book.html)
    assert book.build() == whole and book.runs == 2
    assert book.html.is_dir() and not book.html.is_symlink()


class Killed(BaseException):
    pass


def test_killed_at_any_moment_of_its_replacement_a_site_is_whole_after_the_next_build(
    book, monkeypatch
):
    """What a kill does is done by an exception at each file operation in turn."""
    first = book.build()
    moments = 0
    while True:
        before, left = book.build(), moments
        with monkeypatch.context() as patch:

            def killing(function):
                def call(*arguments, **options):
                    nonlocal left
                    left -= 1
                    if left < 0:
                        raise Killed
                    return function(*arguments, **options)

                return call

            for module, name in ((os, "replace"), (os, "unlink"), (os, "rmdir"), (os, "mkdir")):
                patch.setattr(module, name, killing(getattr(module, name)))
            book.change("Changed.")
            try:
                book.build()
            except Killed:
                moments += 1
            else:
                break
        if book.html.exists():
            assert (book.html / "index.html").exists()
        book.change("Page one.")
        assert book.build() == before == first
    assert moments > 5


def test_a_changed_page_or_module_builds_the_site_anew(book, tmp_path, monkeypatch):
    book.build()
    book.change("Changed.")
    assert book.build()["one.md"] == "Changed." and book.runs == 2
    package = tmp_path / "repository" / "src" / "bump_diffusion"
    shutil.copytree(site.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("_config.yml", "_toc.yml", "README.md", "CITATION.cff", "requirements.lock"):
        shutil.copy(site.ROOT / name, tmp_path / "repository")
    monkeypatch.setattr(site, "ROOT", tmp_path / "repository")
    monkeypatch.setattr(site, "PACKAGE", package)
    book.build()
    assert book.runs == 2  # in another folder it is the same
    for module in ("data/bumps.py", "papers/semantics/claims.yml", "profiles.yml"):
        before = book.runs
        with (package / module).open("a") as file:
            file.write("# One line more.\n")
        book.build()
        assert book.runs == before + 1, module


def test_it_is_copied_packed_and_cleaned_by_usual_tools(book, tmp_path):
    whole = book.build()
    subprocess.run(["cp", "-r", book.html, tmp_path / "copy"], check=True)
    subprocess.run(["tar", "-cf", tmp_path / "html.tar", "-C", book.folder, "html"], check=True)
    shutil.unpack_archive(tmp_path / "html.tar", tmp_path / "unpacked")
    for copy in (tmp_path / "copy", tmp_path / "unpacked" / "html"):
        assert {f.name: f.read_text() for f in copy.rglob("*") if f.is_file()} == whole
    command = [sys.executable, BIN / "jupyter-book", "clean", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    assert not book.html.exists()
    assert book.build() == whole


def test_a_site_built_anew_offers_no_pdf_of_the_last_one(book):
    book.change("<article><h1>One</h1></article>")
    first = book.build()
    site.add_pdf(book.folder, book.html / "one.md", b"%PDF")
    assert site.PDF in (book.html / "one.md").read_text()
    assert (book.html / site.PDF).read_bytes() == b"%PDF"
    book.change("<article><h1>Changed</h1></article>")
    assert book.build() == {**first, "one.md": "<article><h1>Changed</h1></article>"}


@pytest.mark.parametrize(
    ("output", "sentence"),
    [
        (
            "Traceback (most recent call last):\n  File\nOSError: [Errno 28] No space left\n",
            "OSError: [Errno 28] No space left",
        ),
        ("one.md:3: WARNING: nowhere\nbuilding\n", "one.md:3: WARNING: nowhere"),
        ("It says\nsomething else.\n", "It says\nsomething else."),
    ],
)
def test_if_jupyter_book_fails_its_reasons_are_shown_without_a_traceback(
    monkeypatch, tmp_path, output, sentence
):
    done = subprocess.CompletedProcess([], 1, stdout="", stderr=output)
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: done)
    with pytest.raises(click.ClickException) as caught:
        site._run_jupyter_book(tmp_path / "stage", tmp_path / "output")
    assert caught.value.message == f"The site was not built.\n{sentence}"


@pytest.fixture
def small_book(tmp_path, monkeypatch):
    """The sources of one page and one notebook, of which Jupyter Book itself builds a site."""
    root, source = tmp_path / "repository", tmp_path / "repository" / "book"
    shutil.copytree(site.ROOT / "book" / "_static", source / "_static")
    toc = {"format": "jb-book", "root": "book/one", "chapters": [{"file": "book/two"}]}
    (root / "_toc.yml").write_text(yaml.safe_dump(toc))
    for name in ("_config.yml", "README.md", "CITATION.cff", "requirements.lock"):
        shutil.copy(site.ROOT / name, root)
    shutil.copy(site.ROOT / "book" / "references.bib", source)
    (source / "one.md").write_text("# One\n")
    new = nbformat.v4
    parameters = new.new_code_cell("seeds = 3", metadata={"tags": ["parameters"]})
    check = new.new_code_cell("check_parameters(seeds=int)")
    notebook = new.new_notebook(
        cells=[new.new_markdown_cell("# Two"), parameters, check],
        metadata=nbformat.read(site.ROOT / "book" / "data.ipynb", as_version=4).metadata,
    )
    nbformat.write(notebook, source / "two.ipynb")
    monkeypatch.setattr(site, "ROOT", root)
    monkeypatch.setattr(site, "PACKAGE", root)
    return source


def test_a_page_that_sphinx_warns_of_leaves_the_last_good_site(small_book, tmp_path):
    html = tmp_path / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("The last good site.")
    (small_book / "one.md").write_text("# One\n\nSee [nowhere](nowhere.md).\n")
    with pytest.raises(click.ClickException, match="nowhere"):
        site.build_site(small_book, [small_book / "two.ipynb"], tmp_path / "_build")
    assert [file.read_text() for file in html.iterdir()] == ["The last good site."]


@pytest.mark.parametrize("public", [True, False])
def test_buttons_and_a_card_are_there_when_the_addresses_are(small_book, tmp_path, public):
    settings = yaml.safe_load((site.ROOT / "_config.yml").read_text())
    if public:
        settings["sphinx"]["config"]["html_theme_options"]["repository_url"] = (
            "https://github.com/someone/companion"
        )
        settings["html"]["baseurl"] = "https://someone.github.io/companion/"
    (site.ROOT / "_config.yml").write_text(yaml.safe_dump(settings))
    site.build_site(small_book, [small_book / "two.ipynb"], tmp_path / "_build")
    page = (tmp_path / "_build" / "html" / "book" / "two.html").read_text()
    starts = (
        "https://mybinder.org/v2/gh/someone/companion/main?urlpath=lab/tree/book/two.ipynb",
        "https://colab.research.google.com/github/someone/companion/blob/main/book/two.ipynb",
        "git clone --depth 1 https://github.com/someone/companion",
        'content="https://someone.github.io/companion/_static/card.png" property="og:image"',
    )
    for start in starts:
        assert (start in page) == public, start
    assert "bump-diffusion book two" in page and 'name="seeds" value="3"' in page
    card = tmp_path / "_build" / "html" / site.CARD
    assert card.exists() == public and (not public or plt.imread(card).shape[:2] == (630, 1200))
    for name in ("binder", "colab", "og:image"):
        assert public or name not in page, name


def test_numbers_and_their_units_stay_on_a_line_and_code_as_it_is():
    prose = "about 58.5 % of 16 × 16 × 3 values, d = 0.1, in 4 of 5 networks"
    joined = join_numbers(f'<p title="{prose}">{prose}</p>')
    lines = joined.partition(">")[2].removesuffix("</p>").split(" ")
    assert {"58.5\u00a0%", "16\u00a0×\u00a016\u00a0×\u00a03", "d\u00a0=\u00a00.1,"} <= {*lines}
    assert joined.replace("\u00a0", " ") == f'<p title="{prose}">{prose}</p>'
    for kept in ("<pre>x = 3 %</pre>", "<code>x = 3</code>", r"\(x = 3\)", '<a title="x = 3">'):
        assert join_numbers(kept) == kept


def test_sections_are_folded_whole_and_the_last_one_is_not():
    link = '<a class="headerlink" href="#a">#</a>'
    inner = "<section id='aa'><h3>AA</h3>deep</section>"
    first = f'<section id="a"><span id="also"></span>\n<h2>A{link}</h2>text{inner}</section>'
    last = '<section id="what-this-shows"><h2>What this shows</h2>end</section>'
    page = fold_sections(f'<section id="page"><h1>Page</h1>start{first}{last}</section>')
    folded = '<details class="section"><summary><h2>A</h2></summary>text'
    begin = '<section id="page"><h1>Page</h1>start<section id="a"><span id="also"></span>'
    assert page == f"{begin}{folded}{inner}</details></section>{last}</section>"
