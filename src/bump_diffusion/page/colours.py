"""The ink and the ground of figures, which follow the page's theme, dark or light.

What is drawn in one of these has it as a CSS variable in the figure's SVG. A browser hands the
page's theme on to its images (`prefers-color-scheme` in an image is the `color-scheme` around it),
so that one picture serves both. All other colours are the same on both grounds.
"""

INK = "#222832"
"""Text, axes and what is drawn in no colour of a palette."""

QUIET = "#5f6875"
"""Lines of reference and frames."""

GRID = "#dcdfe4"

GROUND = "#fefefe"
"""Edges between cells, and what is behind words on top of a drawing."""

ON_DARK = {INK: "#ced6dd", QUIET: "#98a1ad", GRID: "#343a44", GROUND: "#121212"}
"""What each is in the dark theme."""

STYLE = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color"), INK),
    "grid.color": GRID,
}


def follow_theme(svg: str) -> str:
    """Let what is drawn in ink, or as ground, have its colour by the theme around the image."""
    for colour in ON_DARK:
        svg = svg.replace(colour, f"var(--{colour[1:]})")
    light, dark = (
        "svg{" + "".join(f"--{name[1:]}:{colour};" for name, colour in pairs) + "}"
        for pairs in (zip(ON_DARK, ON_DARK, strict=True), ON_DARK.items())
    )
    style = f"<style>{light}@media (prefers-color-scheme: dark){{{dark}}}</style>"
    return svg.replace("</svg>", f"{style}</svg>")
