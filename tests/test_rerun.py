"""The form on a chapter's page writes a command that the command line takes."""

import shlex

import nbformat
import pytest

from bump_diffusion.book import build
from bump_diffusion.book.parameters import check_values, declared_types
from bump_diffusion.book.rerun import render_form
from bump_diffusion.cli import parse_settings

from .test_live import browser, needs_chromium, open_page  # noqa: F401

SCRIPT = build.SOURCE / "_static" / "book.js"


def write_page(folder, chapter):
    page = folder / "page.html"
    form = render_form(build.SOURCE / f"{chapter}.ipynb")
    page.write_text(f"<!doctype html><body>{form}<script>{SCRIPT.read_text()}</script>")
    return page


@pytest.fixture
def form(browser, tmp_path):  # noqa: F811
    with open_page(browser, write_page(tmp_path, "imbalance")) as page:
        page.locator("summary").click()
        yield page


def command(page):
    return shlex.split(page.locator(".command").inner_text())


@needs_chromium
def test_a_form_writes_what_was_changed_as_the_command_line_reads_it(form):
    assert command(form) == ["bump-diffusion", "book", "imbalance"]
    form.locator("[name=seeds]").fill("2")
    form.locator("[name=spacings]").fill("0.5,1 , 2")
    form.locator("[name=conditioning]").select_option("table")
    *start, first, seeds, second, spacings, third, conditioning = command(form)
    assert start == ["bump-diffusion", "book", "imbalance"] and first == second == third == "-p"
    notebook = nbformat.read(build.SOURCE / "imbalance.ipynb", as_version=4)
    given = check_values(parse_settings([seeds, spacings, conditioning]), declared_types(notebook))
    assert given == {"seeds": 2, "spacings": [0.5, 1, 2], "conditioning": "table"}
    form.locator("[name=seeds]").fill("5")  # as it stands in the notebook
    assert "seeds" not in " ".join(command(form))


@needs_chromium
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spacings", "0.5, 65"),
        ("spacings", "0.5,"),
        ("sigma", "0.1"),
        ("sigma", "wide"),
        ("fewer_seeds", "0"),
        ("fewer_seeds", "1.5"),
        ("sigma", "1; rm"),
    ],
)
def test_a_form_says_what_a_parameter_must_be(form, name, value):
    field = form.locator(f"[name={name}]")
    field.fill(value)
    assert form.locator(".fault").inner_text().startswith(f"{name} must be a")
    assert command(form) == ["bump-diffusion", "book", "imbalance"]
    assert field.get_attribute("aria-invalid") == "true"
    field.fill("1")
    assert form.locator(".fault").inner_text() == ""


def test_every_chapter_with_parameters_has_a_form_that_names_them():
    for name in build.notebooks():
        path = build.SOURCE / f"{name}.ipynb"
        form = render_form(path)
        types = declared_types(nbformat.read(path, as_version=4))
        assert bool(form) == bool(types)
        assert all(f'name="{parameter}"' in form for parameter in types), name
        assert "\n\n" not in form
