"""The colours of figures that follow the page's theme, dark or light.

What is drawn in one of these has it as a CSS variable in the figure's SVG. A browser hands the
page's theme on to its images (`prefers-color-scheme` in an image is the `color-scheme` around it),
so that one picture serves both. All other colours are the same on both grounds.
"""

import matplotlib as mpl
import numpy as np

INK = "#222832"
"""Text, axes and what is drawn in no colour of a palette."""

QUIET = "#5f6875"
"""Lines of reference and frames."""

GRID = "#dcdfe4"

GROUND = "#fefefe"
"""Edges between cells, and what is behind words on top of a drawing."""

ON_DARK = {INK: "#ced6dd", QUIET: "#98a1ad", GRID: "#343a44", GROUND: "#121212"}
"""What each is in the dark theme; palettes add theirs (`lighten`)."""

PIXELS = "pixels"
"""The name, in a figure's SVG, of images in grey, which would glare in the dark theme."""

CONTRAST = 4.5
"""Of a line in the dark theme to the ground, at least (WCAG 2.2)."""

STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    "grid.color": GRID,
}


def lighten(*colours: str) -> None:
    """Let colours be mixed with white in the dark theme, until they have the `CONTRAST` there."""
    least = CONTRAST * (_luminance(ON_DARK[GROUND]) + 0.05) - 0.05
    for colour in colours:
        rgb = np.array(mpl.colors.to_rgb(colour))
        mixed = (mpl.colors.to_hex(rgb + (1 - rgb) * i / 50) for i in range(51))
        light = next(mix for mix in mixed if _luminance(mix) >= least)
        ON_DARK[mpl.colors.to_hex(colour)] = light


def _luminance(colour: object) -> float:
    """The relative luminance of WCAG 2.2."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def follow_theme(svg: str) -> str:
    """Let what is drawn in a colour of `ON_DARK` have it by the theme around the image."""
    pairs = [(colour, dark) for colour, dark in ON_DARK.items() if colour in svg]
    for colour, _ in pairs:
        svg = svg.replace(colour, f"var(--{colour[1:]})")
    light, dark = (
        "svg{" + "".join(f"--{names[0][1:]}:{names[theme]};" for names in pairs) + "}"
        for theme in (0, 1)
    )
    dim = f"image[id={PIXELS}]{{filter:brightness(0.8)}}"
    style = f"<style>{light}@media (prefers-color-scheme: dark){{{dark}{dim}}}</style>"
    return svg.replace("</svg>", f"{style}</svg>")
