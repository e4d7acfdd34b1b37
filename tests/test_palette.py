"""Colours: seen on both grounds, apart for the colour-blind, and none in two palettes."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from bump_diffusion.page.colours import GROUND, INK, ON_DARK, QUIET
from bump_diffusion.papers.semantics import palette

PALETTES = {
    "outcomes": {**palette.OUTCOME_COLOURS, "at the other": palette.AT_OTHER},
    "schemes": palette.SCHEME_COLOURS,
    "axes": palette.AXIS_COLOURS,
    "features": {colour: colour for _, colour, _ in palette.FEATURE_STYLES.values()},
    "verdicts": palette.VERDICT_COLOURS,
}
APART = 0.08
"""Within a palette, for every reader: four times what is just noticeable in Oklab."""

OTHER = 0.05
"""Between palettes, greys apart, which stand for nothing in several."""

# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as the colour-blind see it.
READERS = {
    "all colours": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
TO_CONES = [[0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
TO_OKLAB = [[0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip


def linear(colour):
    """Linear RGB of a colour (IEC 61966-2-1)."""
    rgb = np.array(mpl.colors.to_rgb(colour))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """WCAG 2.2's contrast ratio."""
    low, high = sorted(linear(c) @ [0.2126, 0.7152, 0.0722] for c in (one, other))
    return (high + 0.05) / (low + 0.05)


def oklab(colour, reader="all colours"):
    seen = np.clip(np.array(READERS[reader]) @ linear(colour), 0, 1)
    return TO_OKLAB @ np.cbrt(TO_CONES @ seen)


def distance(one, other, reader="all colours"):
    return np.linalg.norm(oklab(one, reader) - oklab(other, reader))


def test_the_measures_are_right():
    assert contrast("white", "black") == pytest.approx(21)
    assert contrast("#767676", "white") == pytest.approx(4.54, abs=0.01)
    assert oklab("white") == pytest.approx([1, 0, 0], abs=1e-4)
    assert distance("#ff0000", "#007a00", "deuteranopia") < 0.5 * distance("#ff0000", "#007a00")


def all_colours():
    with plt.style.context("bump_diffusion.page.book"):
        yield from plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for colours in PALETTES.values():
        yield from colours.values()
    yield from palette.setting_colours(range(7)).values()
    yield from palette.position_colours(16 * np.random.default_rng(0).random((50, 2)), 16)[:, :3]


def test_every_colour_is_seen_on_both_grounds():
    for colour in all_colours():
        assert contrast(colour, GROUND) >= 3, colour
        in_dark = contrast(on_dark(colour), ON_DARK[GROUND])
        assert in_dark >= (4.5 if on_dark(colour) != mpl.colors.to_hex(colour) else 3), colour


def on_dark(colour):
    """What a colour is in the dark theme."""
    colour = mpl.colors.to_hex(colour)
    return ON_DARK.get(colour, colour)


@pytest.mark.parametrize("colours", [palette.SCHEME_COLOURS, palette.AXIS_COLOURS])
def test_lines_stand_out_in_the_dark(colours):
    for colour in colours.values():
        assert contrast(on_dark(colour), ON_DARK[GROUND]) >= 4.5

    for ink, least in ((INK, 7), (QUIET, 4.5)):
        assert contrast(ink, GROUND) >= least and contrast(ON_DARK[ink], ON_DARK[GROUND]) >= least


def test_words_are_read_on_every_phase():
    assert all(contrast(palette.ON_PHASE[p], c) >= 4.5 for p, c in palette.PHASE_COLOURS.items())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", PALETTES)
def test_colours_of_a_palette_are_apart_for_every_reader(name, reader):
    for one, other in itertools.combinations(PALETTES[name].values(), 2):
        assert distance(one, other, reader) >= APART, (one, other)


@pytest.mark.parametrize("reader", READERS)
def test_settings_in_order_are_apart(reader):
    light = list(palette.setting_colours(range(6)).values())
    for colours in (light, list(map(on_dark, light))):
        for one, other in itertools.pairwise(colours):
            assert distance(one, other, reader) >= 0.06
        assert distance(colours[0], colours[-1], reader) >= 2 * APART


def test_no_colour_means_two_things():
    for (name, some), (_, others) in itertools.combinations(PALETTES.items(), 2):
        for one, other in itertools.product(some.values(), others.values()):
            grey = max(np.ptp(mpl.colors.to_rgb(c)) for c in (one, other)) < 0.08
            assert grey or distance(one, other) >= OTHER, (name, one, other)
