"""What makes a chapter old: exactly what it depends on. Nothing is run here but imports."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from bump_diffusion.files import ROOT

IMPORTED = """
import ast, json, os, sys
from pathlib import Path
import matplotlib.pyplot, nbformat, pandas, papermill, scipy.stats, seaborn, sklearn, torch

def run_imports(notebook):
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type == "code":
            imports = [n for n in ast.parse(cell.source).body if "Import" in type(n).__name__]
            exec(compile(ast.Module(imports, []), notebook, "exec"), {})
    if "bump_diffusion.runs.load" in sys.modules:
        import bump_diffusion.runs.sweep  # as it does where a record is missing
    return [name for name in sys.modules if name.startswith("bump_diffusion")]

imported = {}
for notebook in Path("book").glob("*.ipynb"):
    read, written = os.pipe()
    if os.fork() == 0:  # the libraries are imported once
        os.write(written, json.dumps(run_imports(notebook)).encode())
        os._exit(0)
    os.close(written)
    os.wait()
    imported[notebook.stem] = json.loads(os.fdopen(read).read())
print(json.dumps(imported))
"""
"""Prints, by chapter, the modules of the package that its imports load."""

CHANGES = """
import json, sys
from pathlib import Path
from bump_diffusion.book import inputs

def digest():
    return {n.stem: inputs.digest_inputs(n, {}) for n in Path("book").resolve().glob("*.ipynb")}

before, old = digest(), {}
for file in sys.argv[1:]:
    content = Path(file).read_bytes()
    Path(file).write_bytes(content + b"\\n")
    old[file] = [chapter for chapter, now in digest().items() if now != before[chapter]]
    Path(file).write_bytes(content)
assert digest() == before
print(json.dumps(old))
"""
"""Prints, by file, the chapters that a line more in it makes old."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the repository, and a function that runs a program there and reads its output."""
    copy = tmp_path_factory.mktemp("tree") / "copy"
    ignored = shutil.ignore_patterns("records", "local", "__pycache__", "_build", ".*")
    shutil.copytree(ROOT, copy, ignore=ignored)

    def run(program, *arguments, folder=copy):
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(folder / "src")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.folder = copy
    return run


@pytest.fixture(scope="module")
def imported(tree):
    return {chapter: set(modules) for chapter, modules in tree(IMPORTED).items()}


def test_a_line_more_in_a_module_makes_old_the_chapters_that_import_it_and_no_other(tree, imported):
    """Of every sub-package, the first module and the last."""
    source = tree.folder / "src"
    files = set()
    for package in (source / "bump_diffusion").rglob("__init__.py"):
        modules = sorted(package.parent.glob("*.py"))
        files |= {modules[0], modules[-1], package}
    found = tree(CHANGES, *(str(file.relative_to(tree.folder)) for file in files))
    for file, chapters in found.items():
        module = ".".join((tree.folder / file).relative_to(source).with_suffix("").parts)
        module = module.removesuffix(".__init__")
        importing = {chapter for chapter, modules in imported.items() if module in modules}
        assert set(chapters) == importing, file
    assert {len(chapters) for chapters in found.values()} > {0, 1, len(imported)}


def test_a_change_of_another_file_makes_old_the_chapters_that_read_it(tree, imported):
    package = "src/bump_diffusion/"
    of_module = {
        package + "page/book.mplstyle": "page.",
        package + "page/templates/figure.html.j2": "page.",
        package + "papers/semantics/claims.yml": "papers.semantics.(?!figures)",
        package + "papers/semantics/experiments.yml": "runs.experiments",
        "data/benchmarks/cpu.json": "book.performance_results",
    }
    of_chapters = {
        "book/data.ipynb": {"data"},
        "book/code.md": set(),
        "data/manifest.json": set(),
        "README.md": set(),
        "Makefile": set(),
        "requirements.lock": set(imported),
        package + "book/kernel.py": set(imported),
    }
    found = tree(CHANGES, *of_module, *of_chapters)
    for file, module in of_module.items():  # or any that is directly in a package
        wanted = re.compile(rf"bump_diffusion\.{module}\w*$")
        reading = {chapter for chapter, names in imported.items() if any(map(wanted.match, names))}
        assert set(found[file]) == reading != set(), file
    for file, chapters in of_chapters.items():
        assert set(found[file]) == chapters, file


def test_in_another_folder_the_same_is_unchanged(tree):
    """Digests name files by relative paths."""
    program = """
import json
from pathlib import Path
from bump_diffusion.book.inputs import digest_inputs
print(json.dumps(digest_inputs(Path("book/data.ipynb").resolve(), {"N": PARAMETER})))
"""
    first = tree(program.replace("PARAMETER", "16"))
    assert tree(program.replace("PARAMETER", "32")) != first
    moved = tree.folder.rename(tree.folder.with_name("moved"))
    try:
        assert tree(program.replace("PARAMETER", "16"), folder=moved) == first
    finally:
        moved.rename(tree.folder)
