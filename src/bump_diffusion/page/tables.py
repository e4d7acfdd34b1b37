"""Tables and other HTML on a page, with the records that they were made from."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from IPython.display import HTML

from bump_diffusion.page.html import render
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import default_store

PROVENANCE = "bump_diffusion"
"""Key of an output's metadata under which the records it was made from are listed."""


class Page(HTML):
    """A filled template that lists, in its output's metadata, the records it was made from.

    `made_from` adds what else it depends on: `missing` and `all`, as in `book.build.MadeFrom`, and
    `weights`, the files that a live element loads.
    """

    def __init__(
        self,
        template: str,
        records: Sequence[Record] = (),
        made_from: Mapping[str, Any] | None = None,
        **values: Any,
    ):
        super().__init__(render(template, records=records, **values))
        # A record that is in no store, as of a model trained for one page, cannot change.
        roots = default_store().roots
        known = {r.id: r.digest for r in records if r.folder.parent in roots}
        self.made_from = {"records": known, **(made_from or {})}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        # Metadata of HTML alone would be filed under its type.
        return {"text/html": self.data}, {"text/html": {}, PROVENANCE: self.made_from}


class Lead(NamedTuple):
    """What a page begins with."""

    verdict: str
    "One sentence or two that a newcomer understands."
    text: str = ""
    "The numbers behind it."


class Answer(Page):
    """A page's lead, with the records that it was computed from.

    Runs that are `missing` will change it: it is computed again when one of them is there.
    """

    def __init__(self, lead: Lead, records: Sequence[Record] = (), missing: Sequence[str] = ()):
        super().__init__("answer", records, {"missing": list(missing)}, **lead._asdict())


class Table(Page):
    """A table on a page, with the records it was made from and a note below."""

    def __init__(self, table: pd.DataFrame, records: Sequence[Record] = (), note: str = ""):
        super().__init__("table", records, table=table, note=note)
