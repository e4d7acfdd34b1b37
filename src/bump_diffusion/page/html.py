"""HTML from templates, in which every value is escaped."""

import re
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """Fill `templates/TEMPLATE.html.j2`; values are escaped, tables by `{{ value | table }}`."""
    return _ENVIRONMENT.get_template(f"{template}.html.j2").render(values)


def format_table(table: pd.DataFrame) -> Markup:
    """A table as HTML; what is in parentheses, as the range behind a value, stays on one line."""

    def unbroken(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return re.sub(r"\([^()]{,20}\)", lambda found: found[0].replace(" ", "\u00a0"), value)

    html = table.map(unbroken).to_html(index=False, border=0)  # which escapes the values
    return Markup(f'<div class="wide">{html}</div>')


_ENVIRONMENT = Environment(
    loader=PackageLoader(__package__), autoescape=True, undefined=StrictUndefined
)
_ENVIRONMENT.filters["table"] = format_table
