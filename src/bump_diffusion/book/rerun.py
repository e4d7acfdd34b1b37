"""The form on a chapter's page that writes the command with which others make it anew."""

import ast
from pathlib import Path
from typing import Any, get_args, get_origin

import nbformat
import papermill

from bump_diffusion.book.parameters import TYPES, declared_types
from bump_diffusion.config import PROFILES, Configuration
from bump_diffusion.page.html import render

FIELDS = {"spacing": "d_x", "spacings": "d_x", "spreads": "sigma"}
"""Parameters that set a field of a run by another name."""


def describe(name: str, wanted: type, default: Any) -> dict[str, Any]:
    """Say of a chapter's parameter its value in the notebook, and what else it may be.

    `kind` is the type of a single value, `choices` are the words that it may be, if they are few,
    `least` and `most` the numbers, "" without a limit, and `expected` is all that in words.
    """
    # What the field of a run that it sets may be; nothing is known of one that sets none.
    schema = Configuration.model_json_schema()["properties"].get(FIELDS.get(name, name), {})
    choices = ["own", *PROFILES] if name == "profile" else schema.get("enum", [])
    least = schema.get("minimum", schema.get("exclusiveMinimum", ""))
    least = 1 if name.endswith("seeds") else least
    most = schema.get("maximum", schema.get("exclusiveMaximum", ""))
    limits = "".join(f" {word} {n}" for word, n in (("from", least), ("to", most)) if n != "")
    return {
        "name": name,
        "kind": (*get_args(wanted), wanted)[0].__name__,
        "is_list": get_origin(wanted) is list,
        "default": default,
        "choices": choices,
        "least": least,
        "most": most,
        "expected": TYPES[wanted] + (f": {', '.join(choices)}" if choices else limits),
    }


def render_form(notebook: Path, repository: str = "") -> str:
    """Write the form for an executed notebook's parameters, "" for a notebook without.

    `repository` is the address of the public repository, if there is one.
    """
    types = declared_types(nbformat.read(notebook, as_version=4))
    if not types:
        return ""
    found = papermill.inspect_notebook(str(notebook))
    parameters = [
        describe(name, types[name], ast.literal_eval(about["default"]))
        for name, about in found.items()
    ]
    command = f"bump-diffusion book {notebook.stem}"
    return render("rerun", command=command, parameters=parameters, repository=repository)
