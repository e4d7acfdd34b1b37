"""The book: notebooks run by papermill into a staging tree, the site built from there.

Everything is written below `_build`: `executed/` holds the notebooks as they were last run, each
with what it was made from; `stage/` the book as Jupyter Book reads it; `sites/` the built site, to
which `html` points. A notebook or a site takes its place only when it is complete, so that an
interrupted or failed build leaves the last good one.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import FIRST_EXCEPTION, wait
from pathlib import Path
from typing import Any

import click
import loky
import nbformat
import papermill
import yaml
from filelock import FileLock
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from bump_diffusion.book.figures.about import listed_store
from bump_diffusion.book.parameters import _assigned
from bump_diffusion.book.performance_results import BENCHMARKS
from bump_diffusion.errors import UserError, choose
from bump_diffusion.files import (
    ROOT,
    folder_named_by,
    make_writable,
    sha256,
    to_json,
    write_atomically,
)
from bump_diffusion.page.tables import PROVENANCE
from bump_diffusion.runs.pools import Processes
from bump_diffusion.runs.shipped import MANIFEST
from bump_diffusion.runs.store import default_store

SOURCE = ROOT / "book"
PACKAGE = Path(__file__).parents[1]


BUILD = folder_named_by("BUMP_DIFFUSION_BUILD") or ROOT / "_build"


SITE = BUILD / "html"
MAX_CONCURRENT = min(2, loky.cpu_count())
"""Notebooks that run side by side; no more, as each may train on all cores."""


def chapters() -> list[str]:
    """The names of all pages in the order of `_toc.yml`."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    entries = [c for part in toc["parts"] for c in part["chapters"]]
    return [Path(entry["file"]).name for entry in ({"file": toc["root"]}, *entries)]


def notebooks() -> list[str]:
    """The names of the pages that are notebooks."""
    return [name for name in chapters() if (SOURCE / f"{name}.ipynb").exists()]


def build(chapter: str | None = None, parameters: dict[str, Any] | None = None) -> None:
    """Run the notebooks that need it and build the site; with `chapter`, run only that one.

    `parameters` replace those of the chapter, or of every chapter that has them. Raises UserError
    for a chapter or parameter that does not exist and for what a notebook refuses; ClickException,
    which names the chapter and the cell, for a notebook that fails.
    """
    parameters = parameters or {}
    running = notebooks()
    if chapter is not None:
        running = [choose("a chapter that is a notebook", chapter, running)]
    own = {name: _parameters(name) for name in running}
    for name in parameters:
        known = set().union(*own.values())
        if not known:
            raise UserError(f"{name!r} is not a parameter of chapter {chapter}, which has none.")
        choose(f"a parameter of {f'chapter {chapter}' if chapter else 'any chapter'}", name, known)
    make_writable(BUILD, "build folder")
    with FileLock(BUILD / ".lock"):
        given = {
            name: {key: value for key, value in parameters.items() if key in own[name]}
            for name in running
        }
        _run_notebooks(given)
        _build_site()
    page = SITE / "index.html"
    click.echo(f"The book is built. Open {page} in a browser, for example: xdg-open {page}")


def _parameters(chapter: str) -> list[str]:
    notebook = nbformat.read(SOURCE / f"{chapter}.ipynb", as_version=4)
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    return list(_assigned(tagged[0].source)) if tagged else []


def _inputs_digest(name: str, parameters: dict[str, Any]) -> str:
    """A hash of all that a notebook's outputs depend on, the records apart."""
    files = sorted(f for f in PACKAGE.rglob("*") if f.suffix in (".py", ".yml", ".mplstyle"))
    files += [SOURCE / f"{name}.ipynb", ROOT / "requirements.lock", MANIFEST]
    files += sorted(BENCHMARKS.glob("*.json"))
    digests = {str(file.relative_to(ROOT)): sha256(file) for file in files if file.exists()}
    return hashlib.sha256(to_json([digests, parameters])).hexdigest()


def _records_used(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """From a notebook's outputs: the digests of the `records` behind them, by name, and whether
    these are `all` of the store.
    """
    used: dict[str, Any] = {"records": {}, "all": False}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            made_from = output.get("metadata", {}).get(PROVENANCE, {})
            used["records"] |= made_from.get("records", {})
            used["all"] |= made_from.get("all", False)
    return used


def _is_current(name: str, inputs: str) -> bool:
    made_from = BUILD / "executed" / f"{name}.json"
    if not (made_from.exists() and made_from.with_suffix(".ipynb").exists()):
        return False
    content = json.loads(made_from.read_bytes())
    if content["inputs"] != inputs:
        return False
    if content["all"] and listed_store().ids() != sorted(content["records"]):
        return False
    return all(
        (folder := default_store().folder(id)) and sha256(folder / "checksums.json") == digest
        for id, digest in content["records"].items()
    )


def _run_notebooks(parameters: dict[str, dict[str, Any]]) -> None:
    """Run the notebooks that are not current, `MAX_CONCURRENT` at a time, each with its parameters.

    The first that fails stops the others.
    """
    stale = []
    for name, own in parameters.items():
        inputs = _inputs_digest(name, own)
        if _is_current(name, inputs):
            click.echo(f"{name}: unchanged")
        else:
            stale.append((name, own, inputs))
    if min(len(stale), MAX_CONCURRENT) <= 1:
        for notebook in stale:
            _run_notebook(*notebook)
        return
    pool = Processes(MAX_CONCURRENT)
    try:
        running = [pool.submit(_run_notebook, *notebook) for notebook in stale]
        for future in wait(running, return_when=FIRST_EXCEPTION).done:
            future.result()
    except BaseException:
        pool.stop()
        raise


def _run_notebook(name: str, parameters: dict[str, Any], inputs: str) -> None:
    click.echo(f"{name}: running")
    start = time.monotonic()
    target = BUILD / "executed" / f"{name}.ipynb"
    running = BUILD / "running" / f"{name}.ipynb"
    running.parent.mkdir(parents=True, exist_ok=True)
    try:
        # Each kernel has sockets of its own: by default those of two side by side are the same.
        with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
            executed = papermill.execute_notebook(
                SOURCE / f"{name}.ipynb",
                running,
                parameters=parameters,
                cwd=SOURCE,
                kernel_name="python3",
                progress_bar=False,
                stderr_file=sys.stderr,
                config=Config(KernelManager={"transport": "ipc", "ip": f"{sockets}/socket"}),
            )
    except UserError as error:
        raise UserError(f"Chapter {name}: {error.message}") from None
    except PapermillExecutionError as error:
        first_line = error.source.strip().splitlines()[0]
        raise click.ClickException(
            f"Chapter {name} failed in cell {error.exec_count} ({first_line!r}): "
            f"{error.ename}: {error.evalue}. The notebook as it stopped: {running}"
        ) from None
    made_from = {"inputs": inputs, **_records_used(executed)}
    # The description goes first and comes back last: between the two the notebook counts as old.
    target.with_suffix(".json").unlink(missing_ok=True)
    write_atomically(target, running.read_bytes())
    write_atomically(target.with_suffix(".json"), to_json(made_from))
    click.echo(f"{name}: done in {time.monotonic() - start:.0f} s")


def _build_site() -> None:
    """Build the site from the executed notebooks; a notebook never run is shown as it is."""
    stage = BUILD / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    ignore = shutil.ignore_patterns(".ipynb_checkpoints")
    shutil.copytree(SOURCE, stage / "book", ignore=ignore)
    for name in ("_config.yml", "_toc.yml", "README.md"):  # the last for what it finds
        shutil.copy(ROOT / name, stage)
    for file in PACKAGE.rglob("*.yml"):  # shown on the page of the code
        shutil.copy(file, stage / "book")
    for name in notebooks():
        executed = BUILD / "executed" / f"{name}.ipynb"
        if executed.exists():
            shutil.copy(executed, stage / "book")
    content = {str(f.relative_to(stage)): sha256(f) for f in stage.rglob("*") if f.is_file()}
    content |= {str(f.relative_to(PACKAGE)): sha256(f) for f in PACKAGE.rglob("*.py")}
    digest = hashlib.sha256(to_json(content)).hexdigest()[:12]
    site = BUILD / "sites" / digest
    if not site.exists():
        click.echo("site: building")
        output = BUILD / "sphinx"
        shutil.rmtree(output, ignore_errors=True)
        command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(stage)]
        command += ["--path-output", str(output), "--warningiserror", "--keep-going", "--quiet"]
        run = subprocess.run(command, capture_output=True, text=True, env=_sphinx_environment())
        if run.returncode != 0:
            raise click.ClickException(f"The site was not built.\n{run.stdout}{run.stderr}")
        site.parent.mkdir(exist_ok=True)
        os.replace(output / "_build" / "html", site)
    link = BUILD / ".html"
    link.unlink(missing_ok=True)
    link.symlink_to(site.relative_to(BUILD))
    os.replace(link, SITE)
    for old in site.parent.iterdir():
        if old != site:
            shutil.rmtree(old)


def _sphinx_environment() -> dict[str, str]:
    # A Python warning of a dependency is not a warning of the book.
    return {**os.environ, "PYTHONWARNINGS": "ignore"}
