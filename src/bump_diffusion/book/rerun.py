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
        if self.name == "profile":
            return ["own", *PROFILES]
        annotation = getattr(self._field, "annotation", None)
        return [word for word in get_args(annotation) if isinstance(word, str)]

    @property
    def least(self) -> float | str:
        """The least number that it may be, "" without one."""
        return 1 if self.name.endswith("seeds") else self._limit("ge", "gt")

    @property
    def most(self) -> float | str:
        return self._limit("le", "lt")

    @property
    def expected(self) -> str:
        """What it must be, in words."""
        words = TYPES[self.type]
        if self.choices:
            return f"{words}: {', '.join(self.choices)}"
        limits = [f"{name} {limit}" for name, limit in (("from", self.least), ("to", self.most))]
        return " ".join([words, *(limit for limit in limits if not limit.endswith(" "))])

    @property
    def _field(self) -> Any:
        return Configuration.model_fields.get(FIELDS.get(self.name, self.name))

    def _limit(self, *names: str) -> float | str:
        """The bound of the field that has one of these names, "" without one."""
        bounds = getattr(self._field, "metadata", ())
        limits = (getattr(bound, name, None) for bound in bounds for name in names)
        return next((limit for limit in limits if limit is not None), "")


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
