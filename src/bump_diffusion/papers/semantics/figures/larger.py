"""The chapter *Larger images*: where bumps go if a layer is exchanged."""

import itertools

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bump_diffusion.metrics.interventions import EXCHANGED_LAYERS, half_a_frame_further
from bump_diffusion.metrics.outcomes import TOLERANCE
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.runs.record import Record


def transfer_fractions(record: Record) -> pd.DataFrame:
    """`Record.patching`, and how far each bump lies on its way from one request to the other.

    `way_x` and `way_y` are 0 where its own request is and 1 where the other's is, which lies half a
    frame away along each axis; NaN for images that have not exactly one bump.
    """
    N = record.configuration.N
    table = record.patching.copy()
    for axis in "xy":
        own = table[f"mu_{axis}"]
        table[f"way_{axis}"] = (table[axis] - own) / (half_a_frame_further(own, N) - own)
    return table


@drawn
def exchanged_places(records: list[Record]) -> tuple[Figure, str]:
    """Where bumps lie between the requests of their pair, if a layer is exchanged, in every run."""
    exchanged = ("", *EXCHANGED_LAYERS)
    figure, axes = plt.subplots(
        len(records),
        len(exchanged),
        figsize=(WIDTH, 1.25 * len(records) + 0.7),
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for row, record in zip(axes, records, strict=True):
        c = record.configuration
        table = transfer_fractions(record)
        reach = TOLERANCE / (c.N / 2)
        for ax, layer in zip(row, exchanged, strict=True):
            for x, y in itertools.product((0, 1), repeat=2):
                corner = (x - reach, y - reach)
                box = Rectangle(corner, 2 * reach, 2 * reach, fill=False, ec="#555555", zorder=3)
                ax.add_patch(box)
            part = table[table["layer"] == layer]
            ax.plot(part["way_x"], part["way_y"], "o", ms=2.5, mew=0, alpha=0.5, color="#0072B2")
            single = part["way_x"].notna().mean()
            ax.set_title(f"one bump: {single:.0%}", fontsize=7)
            ax.set(xlim=(-0.6, 1.6), ylim=(-0.6, 1.6), xticks=[0, 1], yticks=[0, 1], aspect="equal")
            ax.tick_params(labelsize=7)
        row[0].set_ylabel(f"seed {c.seed}", fontsize=8)
    for ax, layer in zip(axes[0], exchanged, strict=True):
        ax.set_title(f"{layer or 'nothing'} exchanged\n{ax.get_title()}", fontsize=7)
    figure.supxlabel("way along x, from the own request (0) to the other's (1)", fontsize=8)
    figure.supylabel("way along y", fontsize=8)
    said = "; ".join(
        f"seed {row['seed']}, {row['exchanged']}: {row['along x']} and {row['along y']}"
        for row in exchanged_places_table(records).to_dict("records")
    )
    return figure, (
        "Each image's bump on the way from its own request to the other's along x and y. Median "
        f"ways (quartiles) along x and y: {said}."
    )


def exchanged_places_table(records: list[Record]) -> pd.DataFrame:
    """For every run, layer 3 and layer 4: how far bumps go to the other's place if it is exchanged.

    The median way (`transfer_fractions`) along each axis with its quartiles, over images that have one
    bump, and the axes that follow the layer: along which most bumps go more than half of the way.
    """
    rows = []
    for record in records:
        table = transfer_fractions(record)
        for layer in ("layer3", "layer4"):
            part = table[table["layer"] == layer]
            quarters = part[["way_x", "way_y"]].quantile([0.25, 0.5, 0.75]).round(2) + 0.0  # not -0
            follow = [axis for axis in "xy" if quarters.loc[0.5, f"way_{axis}"] > 0.5]
            rows.append(
                {
                    "seed": record.configuration.seed,
                    "exchanged": layer,
                    "one bump": f"{part['way_x'].notna().mean():.0%}",
                }
                | {
                    f"along {axis}": "{1:.2f} ({0:.2f} to {2:.2f})".format(*quarters[f"way_{axis}"])
                    for axis in "xy"
                }
                | {"follow it": ", ".join(follow) or "neither"}
            )
    return pd.DataFrame(rows)
