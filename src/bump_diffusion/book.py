"""The book: notebooks run by papermill into a staging tree, the site built from there.

Everything is written below `_build`: `executed/` holds the notebooks as they were last run, each
with what it was made from; `stage/` the book as Jupyter Book reads it; `sites/` the built site, to
which `html` points. A notebook or a site takes its place only when it is complete, so that an
interrupted or failed build leaves the last good one.
"""

import ast
import hashlib
import html
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import loky
import nbformat
import pandas as pd
import papermill
import yaml
from filelock import FileLock
from IPython import get_ipython
from IPython.display import HTML
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from .config import configure, distinguishing, profile_of
from .errors import UserError, choose
from .experiments import EXPERIMENTS
from .phases import grouped
from .store import (
    BENCHMARKS,
    MANIFEST,
    ROOT,
    Record,
    Store,
    default_store,
    folder_named_by,
    make_writable,
    sha256,
    to_json,
    write_atomically,
)
from .sweeps import Processes
from .train import PACKAGES, cpu_name

SOURCE = ROOT / "book"
BUILD = folder_named_by("BUMP_DIFFUSION_BUILD") or ROOT / "_build"
SITE = BUILD / "html"
AT_ONCE = min(2, loky.cpu_count())
"""Notebooks that run side by side; no more, as each may train on all cores."""

PROVENANCE = "bump_diffusion"
"""Key of an output's metadata under which the records it was made from are listed."""


def chapters() -> list[str]:
    """The names of all pages in the order of `_toc.yml`."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text("utf-8"))
    entries = [c for part in toc["parts"] for c in part["chapters"]]
    return [Path(entry["file"]).name for entry in ({"file": toc["root"]}, *entries)]


def notebooks() -> list[str]:
    """The names of the pages that are notebooks."""
    return [name for name in chapters() if (SOURCE / f"{name}.ipynb").exists()]


def check_parameters() -> None:
    """Refuse injected parameters that the notebook does not have, or not of this kind.

    Called in a notebook's first cell after its parameters. A single value for a list becomes a list
    of one. Raises UserError for a misspelt name, which papermill itself only warns of, and for a
    value that is not of the default's kind.
    """
    namespace = get_ipython().user_ns
    cells = [source for source in namespace["In"] if source]
    defaults = _assigned(cells[0])
    for source in cells:
        if source.startswith("# Parameters\n"):
            for name in _assigned(source):
                choose("a parameter of this chapter", name, defaults)
                if namespace[name] == []:
                    raise UserError(f"{name} is [], it must have at least one value.")
                default = defaults[name]
                if isinstance(default, list) and _kind(namespace[name]) == _kind(default[0]):
                    namespace[name] = [namespace[name]]
                wanted = _kind(default)
                if _kind(namespace[name]) != wanted:
                    raise UserError(f"{name} is {namespace[name]!r}, it must be {wanted}.")


def _kind(value: Any) -> str:
    if isinstance(value, list):
        return "a list of numbers" if all(_kind(v) == "a number" for v in value) else "a list"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "a number"
    return "a word" if isinstance(value, str) else type(value).__name__


def _assigned(source: str) -> dict[str, Any]:
    """The names that a cell of parameters assigns, with their values where they are literals."""
    assigned = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            try:
                value = ast.literal_eval(statement.value)
            except ValueError:  # float('inf'), which papermill writes for an infinity
                value = None
            assigned[statement.targets[0].id] = value
    return assigned


def shipped_records() -> HTML:
    """The book's records by experiment, and each with its provenance, as a page shows them.

    These are the shipped ones, or all of the store that BUMP_DIFFUSION_STORE names; of their
    configurations the fields in which they differ. A record that several experiments share counts
    in each, and is listed under the first.
    """
    store = _listed_store()
    records = {id: Record(store.folder(id)) for id in store.ids()}
    first_used_by: dict[str, str] = {}
    experiments = []
    for name, found in EXPERIMENTS.items():
        own = [c.id for c in found.configurations() if c.id in records]
        for id in own:
            first_used_by.setdefault(id, name)
        if own:
            hours = sum(records[id].provenance["wall_seconds"] for id in own) / 3600
            row = {"experiment": name, "what for": found.about, "runs": len(own)}
            experiments.append(row | {"core hours": f"{hours:.1f}"})
    listed = [records[id] for id in dict.fromkeys([*first_used_by, *records])]
    fields = distinguishing(record.configuration for record in listed)
    table = pd.DataFrame(
        {
            "experiment": first_used_by.get(record.id, ""),
            "record": record.id,
            **{field: str(getattr(record.configuration, field)) for field in fields},
            "final accuracy": f"{record.checkpoints['accuracy'].iloc[-1]:.1%}",
            "minutes": f"{record.provenance['wall_seconds'] / 60:.1f}",
            "device": record.provenance["device"],
            "made": record.provenance["finished"][:10],
        }
        for record in listed
    )
    summary = f"<summary>Each of the {len(listed)} records</summary>"
    page = Page(
        f"{table_html(pd.DataFrame(experiments))}<details>{summary}{table_html(table)}</details>",
        listed,
    )
    page.made_from["all"] = True  # of the store: one more makes the page old
    return page


def _listed_store() -> Store:
    return Store(default_store().roots[-1])


def environment() -> HTML:
    """The versions and the processor of this build, as a page shows them."""
    rows = [("Python", platform.python_version()), ("processor", cpu_name())]
    rows += [(name, version(name)) for name in ("jupyter-book", "papermill", *PACKAGES)]
    table = pd.DataFrame(rows, columns=["", "version"])
    return Table(table)


class Page(HTML):
    """HTML that tells, in its output's metadata, the records it was made from."""

    def __init__(self, content: str, records: Sequence[Record] = ()):
        super().__init__(content)
        self.made_from = {"records": {record.id: record.digest for record in records}}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        # Metadata of HTML alone would be filed under its type.
        return {"text/html": self.data}, {"text/html": {}, PROVENANCE: self.made_from}


def made_with(records: Sequence[Record]) -> Page:
    """Of which profiles a chapter's runs are, and how to choose another, in a line."""
    said = []
    for profile, own in grouped(records, lambda r: profile_of(r.configuration)).items():
        c = configure(profile)
        said.append(
            f"{len(own)} of the profile <code>{profile}</code> ({c.N} × {c.N} pixels, width "
            f"{c.width}, {c.steps:,} steps of {c.batch_size} images)"
        )
    return Page(
        f'<p class="made-with">Runs shown here: {"; ".join(said)}. With another of '
        '<a href="model.html">the profiles</a>: <code>bump-diffusion book CHAPTER -p '
        "profile=NAME</code> (<code>own</code> is each experiment's own); missing runs are "
        "trained.</p>",
        records,
    )


def table_html(table: pd.DataFrame) -> str:
    """A table as HTML; what is in parentheses, as the range behind a value, stays on one line."""

    def unbroken(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return re.sub(r"\([^()]*\)", lambda found: found[0].replace(" ", "\u00a0"), value)

    return f'<div class="wide">{table.map(unbroken).to_html(index=False, border=0)}</div>'


class Table(Page):
    """A table on a page, with the records it was made from and a note below."""

    def __init__(self, table: pd.DataFrame, records: Sequence[Record] = (), note: str = ""):
        super().__init__(f"{table_html(table)}<p>{html.escape(note)}</p>", records)


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
    package = Path(__file__).parent
    files = sorted(f for f in package.iterdir() if f.suffix in (".py", ".yml", ".mplstyle"))
    files += [SOURCE / f"{name}.ipynb", ROOT / "requirements.lock", MANIFEST]
    files += sorted(BENCHMARKS.glob("*.json"))
    digests = {file.name: sha256(file) for file in files if file.exists()}
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
    if content["all"] and _listed_store().ids() != sorted(content["records"]):
        return False
    return all(
        (folder := default_store().folder(id)) and sha256(folder / "checksums.json") == digest
        for id, digest in content["records"].items()
    )


def _run_notebooks(parameters: dict[str, dict[str, Any]]) -> None:
    """Run the notebooks that are not current, `AT_ONCE` at a time, each with its parameters.

    The first that fails stops the others.
    """
    stale = []
    for name, own in parameters.items():
        inputs = _inputs_digest(name, own)
        if _is_current(name, inputs):
            click.echo(f"{name}: unchanged")
        else:
            stale.append((name, own, inputs))
    if min(len(stale), AT_ONCE) <= 1:
        for notebook in stale:
            _run_notebook(*notebook)
        return
    pool = Processes(AT_ONCE)
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
    for file in Path(__file__).parent.glob("*.yml"):  # shown on the page of the code
        shutil.copy(file, stage / "book")
    for name in notebooks():
        executed = BUILD / "executed" / f"{name}.ipynb"
        if executed.exists():
            shutil.copy(executed, stage / "book")
    content = {str(f.relative_to(stage)): sha256(f) for f in stage.rglob("*") if f.is_file()}
    content |= {f.name: sha256(f) for f in Path(__file__).parent.glob("*.py")}
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
