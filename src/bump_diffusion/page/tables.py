"""Tables and other HTML on a page, with the records that they were made from."""

import html
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd
from IPython.display import HTML

from bump_diffusion.runs.record import Record

PROVENANCE = "bump_diffusion"
"""Key of an output's metadata under which the records it was made from are listed."""


class Page(HTML):
    """HTML that tells, in its output's metadata, the records it was made from."""

    def __init__(self, content: str, records: Sequence[Record] = ()):
        super().__init__(content)
        self.made_from = {"records": {record.id: record.digest for record in records}}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        # Metadata of HTML alone would be filed under its type.
        return {"text/html": self.data}, {"text/html": {}, PROVENANCE: self.made_from}


def table_html(table: pd.DataFrame) -> str:
    """A table as HTML; what is in parentheses, as the range behind a value, stays on one line."""

    def unbroken(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return re.sub(r"\([^()]*\)", lambda found: found[0].replace(" ", "\u00a0"), value)

    return f'<div class="wide">{table.map(unbroken).to_html(index=False, border=0)}</div>'


class Table(Page):
    """A table on a page, with the records it was made from and a note below."""

    def __init__(self, table: pd.DataFrame, records: Sequence[Record] = (), note: str = ""):
        super().__init__(f"{table_html(table)}<p>{html.escape(note)}</p>", records)
