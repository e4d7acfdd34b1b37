"""What a chapter's outputs depend on, its records apart: files, by what its imports reach."""

import ast
import functools
import hashlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grimp
import nbformat
from IPython.core.inputtransformer2 import TransformerManager

from bump_diffusion.files import ROOT, sha256, to_json

PACKAGE = Path(__file__).parents[1]
DATA = ("*.yml", "*.mplstyle", "templates/*", "frozen/*")
"""Files beside a module that it may read."""

READ_ELSEWHERE = {
    "bump_diffusion.runs.experiments": (PACKAGE, "papers/*/experiments.yml"),
    "bump_diffusion.book.figures.citations": (ROOT, "CITATION.cff"),
    "bump_diffusion.book.performance_results": (ROOT / "data" / "benchmarks", "*.json"),
}
"""Files that a module reads elsewhere: a folder and a pattern."""

RUNS_ALL = "bump_diffusion.book.kernel"
"""The module that runs every notebook."""


def digest_inputs(notebook: Path, parameters: dict[str, Any]) -> str:
    """Hash all that the outputs of a notebook depend on, except its records.

    That is the notebook, its parameters, the modules of the package that its imports reach, the
    data files of these, the versions of what is installed, and Python's.
    """
    files = {ROOT / "requirements.lock", *files_reached(notebook)}
    digests = {file.relative_to(ROOT).as_posix(): sha256(file) for file in files}
    inputs = [sha256(notebook), parameters, digests, platform.python_version()]
    return hashlib.sha256(to_json(inputs)).hexdigest()


def files_reached(notebook: Path) -> set[Path]:
    """Find the files that a notebook's imports reach in the package, directly or not."""
    graph = _import_graph()
    imported = graph.modules.intersection([RUNS_ALL, *_imported_names(notebook)])
    files = set()
    for module in imported.union(*map(graph.find_upstream_modules, imported)):
        path = PACKAGE.joinpath(*module.split(".")[1:])
        if path.is_dir():
            files.add(path / "__init__.py")
        else:
            files.add(path.with_suffix(".py"))
            for pattern in DATA:
                files.update(path.parent.glob(pattern))
        if module in READ_ELSEWHERE:
            folder, pattern = READ_ELSEWHERE[module]
            files.update(folder.glob(pattern))
    return files


@functools.cache
def _import_graph() -> grimp.ImportGraph:
    graph = grimp.build_graph("bump_diffusion", exclude_type_checking_imports=True, cache_dir=None)
    for module in graph.modules - {"bump_diffusion"}:  # before a module Python imports its package
        graph.add_import(importer=module, imported=module.rpartition(".")[0])
    return graph


def _imported_names(notebook: Path) -> Iterator[str]:
    """What the cells of a notebook import: modules, and names that may be modules."""
    without_magics = TransformerManager().transform_cell
    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        try:
            statements = ast.walk(ast.parse(without_magics(cell.source)))
        except SyntaxError:  # in which the notebook will end
            continue
        for node in statements:
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
