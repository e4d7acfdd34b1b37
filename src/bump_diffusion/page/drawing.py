"""A figure on a page: image, text alternative, source, provenance.

A figure function takes records, or what else it draws, and returns the figure with its text
alternative; the decorator `drawn` makes of that a `Drawing`, which a notebook shows with a link to
the function and, folded, the provenance of the records. Figures are drawn 5.4 inches wide, to be
read in print and on a phone.
"""

import base64
import functools
import io
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from bump_diffusion.page.tables import Page
from bump_diffusion.runs.record import Record

WIDTH = 5.4
"""Width of a figure, inches."""

CSS_PIXELS_PER_INCH = 130
PROVENANCE_FIELDS = (
    *("N", "d_x", "d_y", "sigma", "axes", "width", "precision", "conditioning", "clip_sample"),
    *("steps", "seed"),
)
"""Fields of a record's configuration that stand under each of its figures."""


@runtime_checkable
class Measured(Protocol):
    """Something that is not a record and says in a sentence where it comes from."""

    @property
    def origin(self) -> str: ...


class Drawing(Page):
    """A figure as a notebook shows it: image, text alternative, source, provenance.

    `moving` is the same as an SVG document that moves, `sources` what the `function` drew it from.
    """

    def __init__(
        self,
        function: Callable,
        sources: Sequence[Any],
        figure: Figure,
        alt: str,
        moving: str | None = None,
    ):
        self.alt = alt
        png = io.BytesIO()
        figure.savefig(png, format="png")
        plt.close(figure)
        pictures = [("dark-light", "image/png", png.getvalue())]
        if moving is not None:  # the still takes its place in print
            pictures = [("dark-light still", "image/png", png.getvalue())]
            pictures.append(("dark-light moving", "image/svg+xml", moving.encode()))
        super().__init__(
            "figure",
            [source for source in sources if isinstance(source, Record)],
            images=[(*kind, base64.b64encode(content).decode()) for *kind, content in pictures],
            alt=alt,
            width=round(figure.get_figwidth() * CSS_PIXELS_PER_INCH),
            function=f"{function.__module__}.{function.__name__}",
            link=f"{function.__module__.replace('.', '/')}.html#{function.__name__}",
            fields=PROVENANCE_FIELDS,
            origin=next((s.origin for s in sources if isinstance(s, Measured)), ""),
        )


def drawn(function: Callable[..., tuple[Figure, str]]) -> Callable[..., Drawing]:
    """Make a function that returns a figure and its text alternative return a `Drawing`.

    It may return a third thing: the same as a moving picture, an SVG document.
    """

    @functools.wraps(function)
    def wrapper(*arguments: Any, **named: Any) -> Drawing:
        given = (*arguments, *named.values())
        sources = [s for a in given for s in (a if isinstance(a, list) else [a])]
        # One thread, in which sums are taken in the same order on every machine.
        with plt.style.context("bump_diffusion.page.book"), threadpool_limits(1):
            return Drawing(function, sources, *function(*arguments, **named))

    return wrapper
