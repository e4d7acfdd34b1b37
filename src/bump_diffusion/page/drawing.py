"""A figure on a page: image, text alternative, source, provenance.

A figure function takes records, or what else it draws, and returns the figure with its text
alternative; the decorator `drawn` makes of that a `Drawing`, which a notebook shows with a link to
the function and, folded, the provenance of the records. Figures are drawn 5.4 inches wide, to be
read in print and on a phone.
"""

import base64
import functools
import html
import io
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bump_diffusion.book.performance_results import Results
from bump_diffusion.page.tables import PROVENANCE
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import default_store
from bump_diffusion.training.device import one_thread

WIDTH = 5.4
CSS_PIXELS_PER_INCH = 130
PROVENANCE_FIELDS = (
    *("N", "d_x", "d_y", "sigma", "axes", "width", "precision", "conditioning", "clip_sample"),
    *("steps", "seed"),
)


class Drawing:
    """A figure as a notebook shows it: image, text alternative, source, provenance."""

    def __init__(
        self,
        figure: Figure,
        alt: str,
        function: Callable,
        records: Sequence[Record],
        provenance: str,
        moving: str | None = None,
    ):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        plt.close(figure)
        self.png = buffer.getvalue()
        self.width = round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)
        self.alt = alt
        self.moving = moving
        self.function = function
        self.provenance = provenance
        # A record that is in no store, as of a model trained for one page, cannot change.
        roots = default_store().roots
        self.records = {r.id: r.digest for r in records if r.folder.parent in roots}

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None):
        name = self.function.__name__
        module = self.function.__module__
        source = f"../_modules/{module.replace('.', '/')}.html#{name}"
        images = self._image("dark-light", "image/png", self.png)
        if self.moving is not None:  # the still takes its place in print
            images = self._image("dark-light still", "image/png", self.png)
            images += self._image("dark-light moving", "image/svg+xml", self.moving.encode())
        page = (
            f'<figure class="drawing">{images}<figcaption>Drawn by <a href="{source}">'
            f"<code>{module}.{name}</code></a>{self.provenance}</figcaption></figure>"
        )
        return (
            {"text/html": page, "text/plain": f"<Drawing {name}: {self.alt}>"},
            {"text/html": {}, PROVENANCE: {"records": self.records}},
        )

    def _image(self, style: str, kind: str, content: bytes) -> str:
        encoded = base64.b64encode(content).decode()
        return (
            f'<img class="{style}" alt="{html.escape(self.alt)}" style="max-width: '
            f'min(100%, {self.width}px)" src="data:{kind};base64,{encoded}">'
        )


def drawn(function: Callable[..., tuple[Figure, str]]) -> Callable[..., Drawing]:
    """Make a function that returns a figure and its text alternative return a `Drawing`.

    It may return a third thing: the same as a moving picture, an SVG document.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Any) -> Drawing:
        records = [
            record
            for argument in arguments
            for record in (argument if isinstance(argument, list) else [argument])
            if isinstance(record, Record)
        ]
        measured = [a for a in arguments if isinstance(a, Results)]
        provenance = provenance_html(records)
        if measured:
            provenance = f". {html.escape(measured[0].provenance)}"
        style = files(__package__) / "book.mplstyle"
        with as_file(style) as path, plt.style.context(path), one_thread():
            figure, alt, *moving = function(*arguments)
            return Drawing(figure, alt, function, records, provenance, *moving)

    return wrapper


def provenance_html(records: Sequence[Record]) -> str:
    """Folded lines on how each record was made; without records, nothing."""
    if not records:
        return " from no record: it needs no training."
    rows = []
    for record in records:
        made = record.provenance
        changed = ", ".join(
            f"{name} {value}"
            for name, value in record.configuration.model_dump().items()
            if name in PROVENANCE_FIELDS
        )
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        rows.append(
            f"<li><code>{record.id}</code>: {html.escape(changed)}; made {made['finished'][:10]} "
            f"in {made['wall_seconds'] / 60:.1f} min on {html.escape(made['device'])}, "
            f"{made['threads']} thread(s), Python {made['python']}, {versions}, "
            f"commit <code>{made['commit']}</code></li>"
        )
    count = "1 record" if len(records) == 1 else f"{len(records)} records"
    return (
        f"<details><summary>Provenance: {count}</summary><ul>{''.join(rows)}</ul>"
        "<p>Every field of a configuration, and the versions, stand in the record's folder.</p>"
        "</details>"
    )
