"""The form on a chapter's page that writes the command with which others make it anew."""

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import nbformat
import papermill

from bump_diffusion.book.parameters import TYPES, declared_types
from bump_diffusion.config import PROFILES, Configuration
from bump_diffusion.page.html import render

FIELDS = {"spacing": "d_x", "spacings": "d_x", "spreads": "sigma"}
"""Parameters that set a field of a run by another name."""


@dataclass(frozen=True)
class Parameter:
    """A chapter's parameter: its value in the notebook, and what else it may be."""

    name: str
    type: type
    default: Any

    @property
    def is_list(self) -> bool:
        return get_origin(self.type) is list

    @property
    def kind(self) -> str:
        """The type of a single value."""
        return (get_args(self.type)[0] if self.is_list else self.type).__name__

    @property
    def choices(self) -> list[str]:
        """The words that it may be, if they are few."""
        return ["own", *PROFILES] if self.name == "profile" else self._schema.get("enum", [])

    @property
    def least(self) -> float | str:
        """The least number that it may be, "" without one."""
        if self.name.endswith("seeds"):
            return 1
        return self._schema.get("minimum", self._schema.get("exclusiveMinimum", ""))

    @property
    def most(self) -> float | str:
        return self._schema.get("maximum", self._schema.get("exclusiveMaximum", ""))

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        words = TYPES[self.type]
        if self.choices:
            return f"{words}: {', '.join(self.choices)}"
        limits = [f"{name} {limit}" for name, limit in (("from", self.least), ("to", self.most))]
        return " ".join([words, *(limit for limit in limits if not limit.endswith(" "))])

    @property
    def _schema(self) -> dict[str, Any]:
        """What the field of a run that it sets may be, in JSON Schema; empty if it sets none."""
        fields = Configuration.model_json_schema()["properties"]
        return fields.get(FIELDS.get(self.name, self.name), {})


def render_form(notebook: Path, repository: str = "") -> str:
    """Write the form for an executed notebook's parameters, "" for a notebook without.

    `repository` is the address of the public repository, if there is one.
    """
    types = declared_types(nbformat.read(notebook, as_version=4))
    if not types:
        return ""
    found = papermill.inspect_notebook(str(notebook))
    parameters = [
        Parameter(name, types[name], ast.literal_eval(about["default"]))
        for name, about in found.items()
    ]
    command = f"bump-diffusion book {notebook.stem}"
    return render("rerun", command=command, parameters=parameters, repository=repository)
