"""A figure on a page: image, text alternative, source, provenance.

A figure function takes records, or what else it draws, and returns the figure with its text
alternative; the decorator `drawn` makes of that a `Drawing`, which a notebook shows with, folded, a
link to the function and the provenance of the records. Figures are drawn 5.4 inches wide on no
ground, to be read in print and on a phone, in light and dark.
"""

import base64
import functools
import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.text import Text
from threadpoolctl import threadpool_limits

from bump_diffusion.page.colours import STYLE, follow_theme
from bump_diffusion.page.tables import Page
from bump_diffusion.runs.record import Record

WIDTH = 5.4
"""Width of a figure, inches."""

CSS_PIXELS_PER_INCH = {"wide": 112, "tall": 96}
"""A figure that is taller than wide is less enlarged, to be seen at once."""

LEAST_TYPE = 11
"""The smallest type of a figure on a page, CSS pixels; of 11 points, it fits a phone of 390."""

LETTERS_PER_LINE = 66
"""Of the label below a figure."""

PROVENANCE_FIELDS = (
    *("N", "d_x", "d_y", "sigma", "axes", "width", "precision", "conditioning", "clip_sample"),
    *("held_out", "injection", "rendering", "steps", "seed"),
)
"""Fields of a record's configuration that stand under each of its figures."""

Drawn = tuple[Figure, str] | tuple[Figure, str, str]
"""A figure, its text alternative and, if it moves, the same as an SVG document."""


class Drawing(Page):
    """A figure as a notebook shows it: image, text alternative, source, provenance.

    `moving` is the same as an SVG document that moves, `sources` what the `function` drew it from:
    records, or what has an `origin`, a sentence that says where it comes from. `caption` says what
    to see in it and what follows: the site numbers the figures that have one.
    """

    def __init__(
        self,
        function: Callable,
        sources: Sequence[Any],
        figure: Figure,
        alt: str,
        moving: str | None = None,
        caption: Markdown | None = None,
    ):
        self.alt = alt
        if label := figure.get_supxlabel():
            if len(label) > LETTERS_PER_LINE:
                label = label.replace("; ", ";\n", 1)
            lines = (textwrap.fill(line, LETTERS_PER_LINE) for line in label.splitlines())
            figure.supxlabel("\n".join(lines))
        width, height = figure.get_size_inches()
        svg = io.StringIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
        plt.close(figure)
        pictures = {"still": svg.getvalue(), "moving": moving}
        super().__init__(
            "figure",
            [source for source in sources if isinstance(source, Record)],
            images={
                name: base64.b64encode(follow_theme(picture).encode()).decode()
                for name, picture in pictures.items()
                if picture is not None
            },
            alt=alt,
            caption=caption and caption.data,
            width=round(width * CSS_PIXELS_PER_INCH["tall" if height > width else "wide"]),
            least_width=round(LEAST_TYPE / _smallest_type(figure) * width),
            function=function,
            fields=PROVENANCE_FIELDS,
            origin=next((s.origin for s in sources if hasattr(s, "origin")), ""),
        )


def drawn(function: Callable[..., Drawn]) -> Callable[..., Drawing]:
    """Make a function that returns what is `Drawn` return a `Drawing`.

    What it is called with besides, as `caption`, is that of the `Drawing`.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Any, caption: Markdown | None = None, **named: Any) -> Drawing:
        given = (*arguments, *named.values())
        sources = [s for a in given for s in (a if isinstance(a, list) else [a])]
        # One thread, in which sums are taken in the same order on every machine.
        with plt.style.context(["bump_diffusion.page.book", STYLE]), threadpool_limits(1):
            made = function(*arguments, **named)
            return Drawing(function, sources, *made, caption=caption)

    return wrapper


def _smallest_type(figure: Figure) -> float:
    """The size of a drawn figure's smallest type, inches."""
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]
    return min((text.get_fontsize() for text in texts), default=72) / 72
