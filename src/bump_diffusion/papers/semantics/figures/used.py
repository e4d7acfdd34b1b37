"""The page *Is it used?*: what is drawn when a layer is exchanged between two requests."""

import pandas as pd
from IPython.display import Markdown

from bump_diffusion.page.axes import legend_above, panels
from bump_diffusion.page.diagram import arrow, box, bump, draw, ring, text
from bump_diffusion.page.drawing import Drawn, drawn
from bump_diffusion.page.tables import Lead, Page
from bump_diffusion.page.words import spell_layer
from bump_diffusion.papers.semantics.figures.order import FATES, draw_fates, gather_fates
from bump_diffusion.papers.semantics.figures.sentences import name_runs
from bump_diffusion.papers.semantics.figures.x_and_y import NEAR, find_third_places
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment
from bump_diffusion.runs.record import Record

EXCHANGED = ("", "layer2", "layer3", "layer4", "bottleneck", "up3", "up2")
"""The layers that are shown; those left out carry the noise too, and spoil every image."""

DOWN = ("layer2", "layer3", "layer4")
"""Of `EXCHANGED`, the layers on the way down."""

FIRST, SECOND = "#D55E00", "#0072B2"
"""The colours of the two requests of a drawing, as of the live exchange below it."""


def average_fates(records: list[Record]) -> pd.DataFrame:
    """Average what becomes of images when the outputs of a layer are exchanged, over runs.

    A row per image size N and layer ("" for nothing), a column for each of `order.FATES`.
    """
    table = gather_fates(records)
    table = table[table["intervention"].isin(["nothing", "other features"])]
    return table.groupby(["N", "layer"])[list(FATES)].mean()


@drawn
def fates_by_layer(records: list[Record]) -> Drawn:
    """Draw what becomes of images when a layer is exchanged, a panel for each size of image."""
    mean = average_fates(records)
    sizes = mean.index.unique("N")
    figure, axes = panels([f"{N} × {N} pixels" for N in sizes], 3.3)
    for ax, N in zip(axes, sizes, strict=True):
        draw_fates(ax, range(len(EXCHANGED)), mean.loc[N].reindex(EXCHANGED))
        ax.set_xlabel("share of images")
    names = [spell_layer(layer) or "nothing" for layer in EXCHANGED]
    axes[0].set_yticks(range(len(EXCHANGED)), names)
    axes[0].invert_yaxis()
    legend_above(figure, dict(FATES.values()), ncols=2)
    stay = [f"{mean.loc[(N, 'layer4'), 'correct']:.0%} on {N} by {N} pixels" for N in sizes]
    return figure, (
        "What becomes of images when the output of one layer is exchanged between two requests. "
        f"With layer 4 exchanged these stay at their own place: {', '.join(stay)}."
    )


def describe_use(records: list[Record]) -> Lead:
    """Say which layer has a say in the place of a bump, by size of image, and if layer 4 has; and
    how many bumps go to where the other request is.
    """
    mean = average_fates(records)
    chosen = _choose_layers(mean)
    sides = {N: count_values(N, layers[0]) for N, layers in chosen.items()}
    which = "it" if len(set(sides.values())) == 1 else "a layer"
    parts = []
    for N, layers in chosen.items():
        untouched = mean.loc[(N, ""), "correct"]
        for layer in layers:
            side, change = count_values(N, layer), mean.loc[(N, layer), "correct"]
            size = "" if side == sides[N] else f", there {side} × {side},"
            parts.append(
                f"with {spell_layer(layer)}{size} on {N} × {N} pixels it "
                f"{_name_change(untouched, change)}"
            )
    taken = " and ".join(
        f"{mean.loc[(N, layers[0]), 'at_other']:.0%} of the images of {N} × {N} pixels "
        f"({spell_layer(layers[0])})"
        for N, layers in chosen.items()
    )
    return Lead(
        conclude(mean),
        f"If {which} is exchanged between two requests, the share of images that are right "
        f"changes: {'; '.join(parts)}. An exchange moves all that a layer holds, not its order "
        f"alone. It takes the bump to the other's place, within a pixel, in {taken}; on the larger "
        f"ones many bumps move along one axis alone ({name_runs(records)}).",
    )


def conclude(mean: pd.DataFrame) -> str:
    """Say without which layer on the way down images go wrong, from `average_fates`."""
    needed = _find_needed(mean)
    if not any(needed.values()):
        return "Images go right, whichever layer on the way down is exchanged."
    named = ", ".join(
        f"{spell_layer(layer) if layer else 'none'} on {N} × {N} pixels"
        for N, layer in needed.items()
    )
    values = {count_values(N, layer) for N, layer in needed.items() if layer}
    side = f" of {min(values)} × {min(values)} values" if len(values) == 1 else ""
    return (
        f"Networks go wrong without their layer{side} ({named}). Whether the order in it is what "
        "counts is not known."
    )


def _choose_layers(mean: pd.DataFrame) -> dict[int, list[str]]:
    """Choose by N the layer of `_find_needed`, if there is one, and layer 4."""
    needed = _find_needed(mean)
    return {N: list(dict.fromkeys(filter(None, [needed[N], "layer4"]))) for N in needed}


def _find_needed(mean: pd.DataFrame) -> dict[int, str]:
    """Find by N the last layer on the way down whose exchange leaves less than half right."""
    found = {}
    for N in sorted(mean.index.unique("N"), reverse=True):
        correct = mean.loc[N, "correct"]
        needed = [layer for layer in DOWN if correct[layer] < correct[""] / 2]
        found[N] = needed[-1] if needed else ""
    return found


def count_values(N: int, layer: str) -> int:
    """Count the values along a side of what a layer on the way down gives for images of N pixels.

    The first has as many as the image, each further one half of them.
    """
    return N >> (int(layer.removeprefix("layer")) - 1)


def _name_change(before: float, after: float) -> str:
    """Say from where to where a share goes; the verb comes first."""
    first, then = f"{before:.0%}", f"{after:.0%}"
    return f"stays at {first}" if first == then else f"goes from {first} to {then}"


def describe_bottleneck(records: list[Record]) -> Markdown:
    """Say what the paper reports of the bottleneck beside what its exchange does here.

    And whether any experiment begins at the full learning rate on the larger images.
    """
    mean, parts = average_fates(records), []
    sizes = sorted({record.configuration.N for record in records}, reverse=True)
    for N in sizes:
        untouched, exchanged = (mean.loc[(N, layer), "correct"] for layer in ("", "bottleneck"))
        much = "much" if exchanged < untouched / 2 else "little"
        parts.append(
            f"{much} on {N} × {N} pixels, where the share of correct images "
            f"{_name_change(untouched, exchanged)} if it is exchanged"
        )
    planned = [c for name in EXPERIMENTS for c in experiment(name) if c.axes == "xy"]
    largest = sizes[0]
    full_rate = sum(c.warmup == 0 for c in planned if largest == c.N)
    on_these = f"on {largest} × {largest} pixels"
    if full_rate:
        known = f"{full_rate} runs {on_these} begin at the full rate."
    else:
        known = (
            f"no run {on_these} begins at the full rate, so what it would do there is not known."
        )
    return Markdown(
        "The paper says that little can be read from its bottleneck, the layer behind layer 4. An "
        "exchange asks another question, whether layer 4's way leads "
        f"through it. By this measure ours carries {', but '.join(parts)}. "
        "These networks raise the learning rate slowly at the start of training (*warm-up*). "
        "Without it the bottleneck "
        f"[shuts](bottleneck.ipynb) on small images; in this book {known}"
    )


def describe_fates(records: list[Record], patched: list[Record]) -> Markdown:
    """Say what to see in `fates_by_layer`; `patched` tell where third places are."""
    mean = average_fates(records)
    largest = max(mean.index.unique("N"))
    at_other = mean.loc[largest, "at_other"]
    follows = at_other.idxmax()
    near, one_axis = find_third_places(patched)
    return Markdown(
        "What becomes of images when one layer's output is exchanged between two requests. Each "
        "bar is all images with one layer exchanged. In the green part the bump stays where it was "
        "asked for, in the purple part it lies within a pixel of where the other request asks for "
        "it, in the blue part at neither place; what is left shows several bumps or none. With "
        f"layer 4 exchanged on {largest} × {largest} pixels {at_other['layer4']:.0%} are purple "
        f"and {mean.loc[(largest, 'layer4'), 'elsewhere']:.0%} blue: {near:.0%} of those miss the "
        f"other's place by at most {NEAR} pixels, and {one_axis:.0%} have moved along one axis "
        "alone, which the next page follows. "
        f"{spell_layer(follows).capitalize()}, which comes later and has all that the "
        f"layers before it know, takes {at_other[follows]:.0%} to the other's place. The "
        "bottleneck is fed by layer 4 alone, so that exchanging either does the same."
    )


def draw_exchange(caption: Markdown) -> Page:
    """Draw the two interventions: a layer exchanged between two requests, and a label ablated."""
    parts = [text(8, 20, "exchange", 16, "start"), text(318, 20, "ablate", 16, "start")]
    places = (0.25, 0.3), (0.75, 0.7)
    for y, name, colour, place, other, drawn_for in (
        (40, "1", FIRST, *places, SECOND),
        (150, "2", SECOND, *places[::-1], FIRST),
    ):
        parts += [text(22, y + 42, name, 18), arrow((36, y + 36), (60, y + 36))]
        parts += [box(60, y + 8, 56, 56, colour), text(88, y + 41, "layer 4", 14)]
        parts += [box(190, y + 8, 20, 56), bump(236, y, 66, other, drawn_for)]
        parts += [ring(236, y, 66, place, colour)]
        parts += [arrow((210, y + 36), (236, y + 36))]
    parts += [arrow((116, 76), (150, 76), (150, 200), (190, 200), colour=FIRST)]
    parts += [arrow((116, 186), (162, 186), (162, 62), (190, 62), colour=SECOND)]
    parts += [text(180, 242, "later layers", 14), text(269, 242, "image", 14)]
    parts += [text(395, 60, "label (x, y)", 14), arrow((395, 68), (395, 92), dashed="3 4")]
    parts += [text(395, 112, "×", 24), text(395, 140, "mean label", 14)]
    parts += [arrow((395, 148), (395, 176)), box(365, 176, 60, 44), text(395, 203, "block", 14)]
    return draw(
        draw_exchange,
        (480, 250),
        parts,
        "Left, exchange: the output of layer 4 for request 1 goes on in the network that draws "
        "request 2, and the other way round; if the bump follows layer 4, each image shows a bump "
        "at the other's place, away from the ring at its own. Right, ablate: a block is given the "
        "mean of all labels in place of its own.",
        caption,
    )
