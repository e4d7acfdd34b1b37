"""A chapter's parameters: what its cell names, and the check of the values it was given."""

import ast
from typing import Any

from IPython import get_ipython

from bump_diffusion.errors import UserError, choose


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
