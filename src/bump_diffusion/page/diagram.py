"""Drawings of boxes and arrows, as SVG in the page: in the text's colour, dark or light."""

from collections.abc import Callable, Sequence

from IPython.display import Markdown
from markupsafe import Markup

from bump_diffusion.page.tables import Page


def draw(
    function: Callable, size: tuple[int, int], parts: Sequence[Markup], alt: str, caption: Markdown
) -> Page:
    """Draw `parts` (what the functions below return) on a page, with their text alternative."""
    return Page("diagram", size=size, parts=parts, alt=alt, caption=caption.data, function=function)


def box(x: float, y: float, width: float, height: float, colour: str = "none") -> Markup:
    """A box with its upper left corner at x and y, filled with a tint of the colour."""
    return Markup(
        '<rect x="{}" y="{}" width="{}" height="{}" rx="4" fill="{}" fill-opacity="0.3" '
        'stroke="currentColor" stroke-width="1.5"/>'
    ).format(x, y, width, height, colour)


def text(x: float, y: float, words: str, size: int = 15, anchor: str = "middle") -> Markup:
    """Words whose baseline is at y and whose middle (or `anchor`) is at x."""
    return Markup(
        '<text x="{}" y="{}" font-size="{}" text-anchor="{}" fill="currentColor">{}</text>'
    ).format(x, y, size, anchor, words)


def arrow(*points: tuple[float, float], colour: str = "currentColor", dashed: str = "") -> Markup:
    """A line through the points, with a head at the last; `dashed` gives its dashes."""
    (x0, y0), (x, y) = points[-2:]
    length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
    u, v = 7 * (x - x0) / length, 7 * (y - y0) / length
    head = [(x, y), (x - u - v / 2, y - v + u / 2), (x - u + v / 2, y - v - u / 2)]
    line, tip = (" ".join(f"{a:g},{b:g}" for a, b in each) for each in (points, head))
    return Markup(
        '<polyline points="{}" fill="none" stroke="{}" stroke-width="1.8" stroke-dasharray="{}"/>'
        '<polygon points="{}" fill="{}"/>'
    ).format(line, colour, dashed, tip, colour)


def bump(x: float, y: float, side: float, at: tuple[float, float], colour: str) -> Markup:
    """A square image with one bump at a place given in shares of its side."""
    circle = Markup('<circle cx="{}" cy="{}" r="{}" fill="{}"/>')
    return box(x, y, side, side) + circle.format(*_within(x, y, side, at), side / 10, colour)


def ring(x: float, y: float, side: float, at: tuple[float, float], colour: str) -> Markup:
    """A mark at a place in an image, as `bump` has it."""
    circle = Markup('<circle cx="{}" cy="{}" r="{}" fill="none" stroke="{}" stroke-width="2.5"/>')
    return circle.format(*_within(x, y, side, at), side / 8, colour)


def _within(x: float, y: float, side: float, at: tuple[float, float]) -> tuple[float, float]:
    return x + side * at[0], y + side * at[1]
