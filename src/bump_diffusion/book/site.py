"""The site: built by Jupyter Book from staged pages, and replaced as a whole.

`site.json` lists the site's files with their digests, and what it was built from: a site that was
changed, half removed or half replaced is built anew.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import nbformat
import yaml

from bump_diffusion.book.captions import arrange_pages
from bump_diffusion.book.finish import finish_pages
from bump_diffusion.book.inputs import PACKAGE
from bump_diffusion.book.rerun import render_form
from bump_diffusion.files import (
    ROOT,
    discard,
    publish_folder,
    sha256,
    to_json,
    write_atomically,
)
from bump_diffusion.page.tables import PROVENANCE
from bump_diffusion.runs.store import default_store

PDF = "bump-diffusion.pdf"
"""In the site's folder, where the book was printed."""

CARD = "_static/card.png"
"""The picture by which a link to the site is shown elsewhere."""


def build_site(source: Path, executed: Iterable[Path], folder: Path) -> None:
    """Build `folder/html` from the pages in `source`, executed notebooks in place of theirs.

    Nothing is done if it is there as it was built from the same. Raises ClickException, and leaves
    the last site, if Jupyter Book fails or warns.
    """
    executed = list(executed)
    stage, site, listing = folder / "stage", folder / "html", folder / "site.json"
    _stage(source, executed, stage)
    read = [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.j2"), ROOT / "requirements.lock"]
    content = _digest_files(stage) | {str(f.relative_to(ROOT)): sha256(f) for f in read}
    inputs = hashlib.sha256(to_json(content)).hexdigest()
    if _read(listing) == {"inputs": inputs, "files": _digest_files(site)}:
        return
    click.echo("site: building")
    built = _run_jupyter_book(stage, folder / "sphinx")
    repository = _settings()["sphinx"]["config"]["html_theme_options"]["repository_url"]
    forms = {path.stem: render_form(path, repository) for path in executed}
    finish_pages(built, forms, _list_behind(stage))
    write_atomically(listing, to_json({"inputs": inputs, "files": _digest_files(built)}))
    publish_folder(built, site)


def _list_behind(stage: Path) -> set[str]:
    """List the chapters behind those of the first part, which a reader looks things up in."""
    parts = yaml.safe_load((stage / "_toc.yml").read_text("utf-8")).get("parts", [])[1:]
    return {Path(chapter["file"]).stem for part in parts for chapter in part["chapters"]}


def _stage(source: Path, executed: Iterable[Path], stage: Path) -> None:
    """Lay out the book as Jupyter Book reads it, with the files that its pages of code show."""
    discard(stage)
    shutil.copytree(source, stage / "book", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shown = [ROOT / name for name in ("_toc.yml", "README.md", "CITATION.cff")]
    for file in (*shown, *PACKAGE.rglob("*.yml"), *PACKAGE.glob("config.py")):
        target = stage / file.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    _write_code_pages(stage / "book" / "code")
    _configure(stage)
    for notebook in executed:
        shutil.copy(notebook, stage / "book")
    arrange_pages([stage / "book" / notebook.name for notebook in executed])
    weights = set().union(*map(_shown_weights, executed))
    if weights:
        from bump_diffusion.live.export import write_files  # imports torch, which takes seconds

        write_files(stage / "book" / "_static" / "live", weights, default_store())


def _write_code_pages(folder: Path) -> None:
    """Write a page for each sub-package: its docstring, the title first, and then its modules."""
    folder.mkdir(exist_ok=True)
    for package in PACKAGE.glob("*/__init__.py"):
        parts = [f"# {ast.get_docstring(ast.parse(package.read_text('utf-8')))}\n"]
        for file in sorted(package.parent.rglob("[!_]*.py")):
            name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
            directive = f"```{{eval-rst}}\n.. automodule:: bump_diffusion.{name}\n```"
            parts.append(f"## {name}\n\n{directive}\n")
        (folder / f"{package.parent.name}.md").write_text("\n".join(parts), "utf-8")


def _configure(stage: Path) -> None:
    """Write the staged book's `_config.yml`: of ours what the addresses in it allow."""
    settings = _settings()
    config = settings["sphinx"]["config"]
    if not config["html_theme_options"]["repository_url"]:  # of which the buttons are made
        del config["html_theme_options"]["launch_buttons"]
    if address := settings["html"]["baseurl"]:
        # Imports what draws, which takes seconds that a build without changes can do without.
        from bump_diffusion.book.card import draw_card

        (stage / "book" / CARD).write_bytes(draw_card(settings["title"]))
        config["myst_html_meta"]["property=og:image"] = f"{address.rstrip('/')}/{CARD}"
    (stage / "_config.yml").write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")


def add_pdf(folder: Path, first: Path, pdf: bytes) -> None:
    """Put the book as a PDF into `folder/html`, and offer it on the site's first page.

    It stays until the site is built anew.
    """
    site, listing = folder / "html", folder / "site.json"
    write_atomically(site / PDF, pdf)
    size = f"{len(pdf) / 1e6:.1f} MB"
    link = f'</h1><p><a class="pdf" href="../{PDF}">This book as a PDF</a> ({size})</p>'
    before, article, after = first.read_text("utf-8").partition("<article")
    write_atomically(first, f"{before}{article}{after.replace('</h1>', link, 1)}".encode())
    write_atomically(listing, to_json({**_read(listing), "files": _digest_files(site)}))


def _shown_weights(notebook: Path) -> set[str]:
    """The files of weights that an executed notebook's live elements load."""
    cells = nbformat.read(notebook, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    made_from = [output.get("metadata", {}).get(PROVENANCE, {}) for output in outputs]
    return {name for made in made_from for name in made.get("weights", [])}


def _run_jupyter_book(stage: Path, output: Path) -> Path:
    """Build the staged book and return the folder of its pages."""
    discard(output)
    # By this interpreter, as the script may name one that was moved.
    command = [sys.executable, str(Path(sys.executable).with_name("jupyter-book")), "build"]
    command += [str(stage.absolute()), "--path-output", str(output.absolute())]
    command += ["--warningiserror", "--keep-going", "--quiet"]
    # A Python warning of a dependency is not a warning of the book.
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    # Sphinx looks for the search's scorer in the current folder.
    run = subprocess.run(command, cwd=stage, capture_output=True, text=True, env=environment)
    if run.returncode != 0:
        lines = (run.stdout + run.stderr).splitlines()
        causes = [line for line in lines if re.search(r"WARNING|ERROR|^\w+Error: \S", line)]
        raise click.ClickException("\n".join(["The site was not built.", *(causes or lines)]))
    return output / "_build" / "html"


def _settings() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))


def _digest_files(folder: Path) -> dict[str, str]:
    return {str(f.relative_to(folder)): sha256(f) for f in folder.rglob("*") if f.is_file()}


def _read(listing: Path) -> object:
    try:
        return json.loads(listing.read_bytes())
    except (OSError, ValueError):
        return None
