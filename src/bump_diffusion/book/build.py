"""The book: notebooks run by papermill into a staging tree, the site built from there.

Everything is written below `_build`: `executed/` holds the notebooks as they were last run, each
with what it was made from; `stage/` the book as Jupyter Book reads it; `html/` the built site. A
notebook or a site takes its place only when it is complete, so that an interrupted or failed build
leaves the last good one.
"""

import os
import shlex
import time
from concurrent.futures import FIRST_EXCEPTION, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import click
import loky
import nbformat
import yaml
from filelock import FileLock
from nbformat.reader import NotJSONError
from pydantic import BaseModel, ValidationError

from bump_diffusion.book.inputs import digest_inputs
from bump_diffusion.book.kernel import run_notebook
from bump_diffusion.book.parameters import check_values, declared_types
from bump_diffusion.book.pdf import print_pages
from bump_diffusion.book.site import PDF, add_pdf, build_site
from bump_diffusion.errors import UserError, choose
from bump_diffusion.files import (
    ROOT,
    folder_named_by,
    require_repository,
    sha256,
    system_errors_in_a_sentence,
    to_json,
    write_atomically,
)
from bump_diffusion.page.tables import PROVENANCE
from bump_diffusion.runs.pools import Processes
from bump_diffusion.runs.store import default_store, listed_store

SOURCE = ROOT / "book"
BUILD = folder_named_by("BUMP_DIFFUSION_BUILD") or ROOT / "_build"
MAX_CONCURRENT = min(2, loky.cpu_count())
"""Notebooks that run side by side; no more, as each may train on all cores."""


class MadeFrom(BaseModel):
    """What an executed notebook was made from, in a file beside it."""

    notebook: str
    "Digest of the executed notebook."
    inputs: str
    "Digest of all that its outputs depend on, the records apart (`inputs.digest_inputs`)."
    records: dict[str, str] = {}
    "Digests of the records behind its outputs, by name."
    missing: list[str] = []
    "Names of records that were looked for and not there: when one comes, the outputs are old."
    all: bool = False
    "Whether these are all records of the store."


def chapters() -> list[str]:
    """List the names of all pages in the order of `_toc.yml`."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    entries = [c for part in toc["parts"] for c in part["chapters"]]
    return [Path(entry["file"]).name for entry in ({"file": toc["root"]}, *entries)]


def notebooks() -> list[str]:
    """List the names of the pages that are notebooks."""
    return [name for name in chapters() if (SOURCE / f"{name}.ipynb").exists()]


def build(chapter: str | None = None, parameters: dict[str, Any] | None = None) -> None:
    """Run the notebooks that need it and build the site; with `chapter`, run only that one.

    `parameters` replace those of the chapter, or of every chapter that has them. Raises UserError
    for a chapter or parameter that does not exist, for what a notebook refuses and if files cannot
    be written; ClickException, which names the chapter and the cell, for a notebook that fails.
    """
    require_repository()
    given = _distribute(chapter, parameters or {})
    default_store()  # refused, and named by an absolute path, before notebooks run in their folder
    failed = f"The book in {BUILD} was not built: "
    with system_errors_in_a_sentence(failed):
        BUILD.mkdir(parents=True, exist_ok=True)
        with FileLock(BUILD / ".lock"):
            _run_notebooks(given)
            executed = [_executed(name) for name in notebooks() if _read_made_from(name)]
            build_site(SOURCE, executed, BUILD)
    page = BUILD / "html" / "index.html"
    opening = f"xdg-open {shlex.quote(str(page))}"
    click.echo(f"The book is built. Open {page} in a browser, for example: {opening}")


def print_book() -> None:
    """Print the site into one PDF, which its first page then offers, unless it has one already.

    Raises UserError without a browser that prints; ClickException if it does not.
    """
    site = BUILD / "html"
    pages = [site / "book" / f"{name}.html" for name in chapters()]
    with system_errors_in_a_sentence("The book was not printed: "), FileLock(BUILD / ".lock"):
        if not (site / PDF).exists():
            click.echo("site: printing")
            add_pdf(BUILD, pages[0], print_pages(pages))
    click.echo(f"The book as a PDF: {site / PDF}")


def _distribute(chapter: str | None, parameters: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parameters of each chapter that is to run, checked."""
    running = notebooks()
    if chapter is not None:
        running = [choose("a chapter that is a notebook", chapter, running)]
    types = {name: _read_types(name) for name in running}
    known = set().union(*types.values())
    for name in parameters:
        if not known:
            raise UserError(f"{name!r} is not a parameter of chapter {chapter}, which has none.")
        choose(f"a parameter of {f'chapter {chapter}' if chapter else 'any chapter'}", name, known)
    given = {}
    for name in running:
        values = {key: value for key, value in parameters.items() if key in types[name]}
        try:
            given[name] = check_values(values, types[name])
        except UserError as error:
            raise UserError(f"Chapter {name}: {error.message}") from None
    return given


def _read_types(name: str) -> dict[str, type]:
    try:
        return declared_types(nbformat.read(SOURCE / f"{name}.ipynb", as_version=4))
    except (NotJSONError, UnicodeDecodeError):
        raise UserError(f"Chapter {name} is not a notebook; its file is damaged.") from None


def _run_notebooks(parameters: dict[str, dict[str, Any]]) -> None:
    """Run the notebooks that are not current, `MAX_CONCURRENT` at a time, each with its parameters.

    The first that fails stops the others.
    """
    stale = []
    for name, values in parameters.items():
        inputs = digest_inputs(SOURCE / f"{name}.ipynb", values)
        if _is_current(name, inputs):
            click.echo(f"{name}: unchanged")
        else:
            stale.append((SOURCE / f"{name}.ipynb", BUILD, values, inputs))
    if min(len(stale), MAX_CONCURRENT) <= 1:
        for arguments in stale:
            _run(*arguments)
        return
    pool = Processes(MAX_CONCURRENT)
    try:
        running = [pool.submit(_run, *arguments) for arguments in stale]
        for future in wait(running, return_when=FIRST_EXCEPTION).done:
            future.result()
    except BrokenProcessPool:
        raise click.ClickException(
            "A process that ran a chapter was killed, perhaps for want of memory; "
            "the same command goes on with the chapters that are not done."
        ) from None
    except BaseException:
        pool.stop()
        raise


def _is_current(name: str, inputs: str) -> bool:
    made = _read_made_from(name)
    if made is None or made.inputs != inputs:
        return False
    if made.all and listed_store().ids() != sorted(made.records):
        return False
    if any(default_store().folder(id) for id in made.missing):
        return False
    folders = {id: default_store().folder(id) for id in made.records}
    sums = {id: folder / "checksums.json" for id, folder in folders.items() if folder}
    return made.records == {id: sha256(file) for id, file in sums.items() if file.is_file()}


def _read_made_from(name: str) -> MadeFrom | None:
    """What a chapter was last made from; None if it never was, or if that was damaged."""
    try:
        made = MadeFrom.model_validate_json(_executed(name).with_suffix(".json").read_bytes())
        return made if made.notebook == sha256(_executed(name)) else None
    except (OSError, ValidationError):
        return None


def _executed(name: str) -> Path:
    return BUILD / "executed" / f"{name}.ipynb"


def _run(source: Path, folder: Path, parameters: dict[str, Any], inputs: str) -> None:
    """Run a notebook and put it, with what it was made from, in the build folder's `executed`."""
    click.echo(f"{source.stem}: running")
    start = time.monotonic()
    running, target = folder / "running" / source.name, folder / "executed" / source.name
    for path in (running, target):
        path.parent.mkdir(exist_ok=True)
    notebook = run_notebook(source, running, parameters)
    made = MadeFrom(notebook=sha256(running), inputs=inputs)
    for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
        described = output.get("metadata", {}).get(PROVENANCE, {})
        made.records |= described.get("records", {})
        made.missing += described.get("missing", [])
        made.all |= described.get("all", False)
    os.replace(running, target)
    write_atomically(target.with_suffix(".json"), to_json(made.model_dump()))
    click.echo(f"{source.stem}: done in {time.monotonic() - start:.0f} s")
