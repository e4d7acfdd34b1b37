"""The pages as the site shows them: figures numbered, captions gathered, code in one fold."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

NUMBER = re.compile(r'<p class="caption"><strong class="figure-number">Figure</strong>(.*?)</p>')
"""A caption in an output that has no number yet."""


def arrange_pages(paths: Sequence[Path]) -> None:
    """Number the figures with captions through executed notebooks, in order, and list them.

    The list takes the place of the Markdown cells that are tagged "captions". All code of a page is
    shown in one fold at its end.
    """
    notebooks = {path: nbformat.read(path, as_version=4) for path in paths}
    listed: list[str] = []
    for path, notebook in notebooks.items():
        number = functools.partial(_number, path.stem, listed)
        for output in (o for cell in notebook.cells for o in cell.get("outputs", [])):
            if "text/html" in output.get("data", {}):
                output["data"]["text/html"] = NUMBER.sub(number, output["data"]["text/html"])
    for path, notebook in notebooks.items():
        for cell in notebook.cells:
            if "captions" in cell.metadata.get("tags", []):
                cell.source = (
                    "<details><summary>All figures, with what they show</summary>"
                    f'<ul class="captions">{"".join(listed)}</ul></details>'
                )
        _fold_code(notebook, path.stem)
        nbformat.write(notebook, path)


def _number(page: str, listed: list[str], caption: re.Match) -> str:
    number = len(listed) + 1
    link = f'<a href="{page}.html#figure-{number}">Figure {number}</a>'
    listed.append(f"<li>{link}. {caption[1].strip()}</li>")
    return (
        f'<p class="caption" id="figure-{number}">'
        f'<strong class="figure-number">Figure {number}.</strong>{caption[1]}</p>'
    )


def _fold_code(notebook: NotebookNode, name: str) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not code:
        return
    for cell in code:  # that with the parameters that were given too
        tags = {*cell.metadata.get("tags", []), "remove-input"} - {"hide-input"}
        cell.metadata["tags"] = sorted(tags)
    source = "\n\n".join(cell.source for cell in code)
    notebook.cells.append(
        nbformat.v4.new_markdown_cell(
            f"````{{dropdown}} Code and parameters of this page\n```python\n{source}\n```\n````",
            id=f"{name}-code",
        )
    )
