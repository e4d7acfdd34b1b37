"""A chapter's parameters: their names and types, and the check of their values."""

import inspect
import math
import re
from typing import Any, get_args, get_origin

import nbformat
from IPython import get_ipython

from bump_diffusion.errors import UserError, choose

TYPES = {
    int: "a whole number",
    float: "a number",
    str: "a word",
    list[int]: "a list of whole numbers",
    list[float]: "a list of numbers",
    list[str]: "a list of words",
}
"""What a parameter may be, in words."""


def check_parameters(**types: type) -> None:
    """Check the parameters of a notebook, by name and type, after the cell that sets them.

    They may have been edited there, or injected by papermill. A single value for a list becomes a
    list of one. Raises UserError for a value that is not of its type.
    """
    namespace = get_ipython().user_ns
    values = {name: namespace[name] for name in types if name in namespace}
    namespace.update(check_values(values, types))


def check_values(values: dict[str, Any], types: dict[str, type]) -> dict[str, Any]:
    """Return the values of parameters, single ones for a list as a list of one.

    Raises UserError for a name that is not among the types and a value that is not of its type.
    """
    checked = {}
    for name, value in values.items():
        wanted = types[choose("a parameter of this chapter", name, types)]
        if get_origin(wanted) is list and not isinstance(value, list):
            value = [value]
        if value == []:
            raise UserError(f"{name} is [], it must have at least one value.")
        if not _fits(value, wanted):
            raise UserError(f"{name} is {values[name]!r}, it must be {TYPES[wanted]}.")
        checked[name] = value
    return checked


def _fits(value: Any, wanted: type) -> bool:
    if get_origin(wanted) is list:
        return isinstance(value, list) and all(_fits(v, *get_args(wanted)) for v in value)
    if wanted is float:
        return _fits(value, int) or (isinstance(value, float) and math.isfinite(value))
    return isinstance(value, wanted) and not isinstance(value, bool)


def declared_types(notebook: nbformat.NotebookNode) -> dict[str, type]:
    """Return a notebook's parameters with their types, which its call of `check_parameters` names.

    They are empty for a notebook without such a call.
    """
    by_name = {inspect.formatannotation(known): known for known in TYPES}
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    call = re.search(r"check_parameters\((.*?)\)", code, re.DOTALL)
    named = re.findall(r"(\w+)=([\w\[\]]+)", call[1]) if call else []
    return {name: by_name[choose("a type", text, by_name)] for name, text in named}
