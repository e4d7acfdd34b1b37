"""The chapter *Larger images*: where bumps go if a layer is exchanged."""

import itertools

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.patches import Rectangle

from bump_diffusion.analysis.frame import gather
from bump_diffusion.errors import UserError
from bump_diffusion.metrics.interventions import shift_half_frame
from bump_diffusion.metrics.outcomes import TOLERANCE
from bump_diffusion.page.colours import QUIET
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.papers.semantics.palette import FOUND
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.record import Record


def sort_by_size(profiles: list[str]) -> list[str]:
    """Sort profiles by the size of their images; raise UserError if two have the same."""
    sizes = {p: next(iter(experiment("larger-images", p))).N for p in profiles}
    if len(set(sizes.values())) < len(profiles):
        found = ", ".join(str(sizes[p]) for p in profiles)
        raise UserError(
            f"profile is {profiles}, they must differ in the size of their images (here {found} "
            "pixels)."
        )
    return sorted(profiles, key=sizes.get)


def transfer_fractions(records: list[Record]) -> pd.DataFrame:
    """Compute, beside `Record.patching`, how far each bump is from its request to the other's.

    `fraction_x` and `fraction_y` are 0 where its own request is and 1 where the other's is, which
    lies half a frame away along each axis; NaN for images that have not exactly one bump.
    """
    table = gather(records, "patching")
    if "differ" in table:  # from format 3 on there are bumps of earlier checkpoints too
        final = (table["step"] == table["steps"]) & (table["differ"] == "xy")
        table = table[table["differ"].isna() | final].copy()
    for axis in "xy":
        requested = table[f"mu_{axis}"]
        distance = shift_half_frame(requested, table["N"]) - requested
        table[f"fraction_{axis}"] = (table[axis] - requested) / distance
    return table


@drawn
def transfers_by_layer(records: list[Record]) -> Drawn:
    """Draw where bumps lie between the requests of their pair, if a layer is exchanged, by run."""
    table = transfer_fractions(records)
    shape = (table["seed"].nunique(), table["layer"].nunique())
    figure, axes = plt.subplots(
        *shape, figsize=(WIDTH, 1.25 * shape[0] + 1.3), sharex=True, sharey=True, squeeze=False
    )
    runs = table.groupby(["seed", "layer"], sort=False)
    for ax, ((seed, layer), part) in zip(axes.flat, runs, strict=True):
        reach = TOLERANCE / (part["N"].iloc[0] / 2)
        for x, y in itertools.product((0, 1), repeat=2):
            corner = (x - reach, y - reach)
            box = Rectangle(corner, 2 * reach, 2 * reach, fill=False, ec=QUIET, zorder=3)
            ax.add_patch(box)
        x, y = part["fraction_x"], part["fraction_y"]
        ax.plot(x, y, "o", ms=2.5, mew=0, alpha=0.5, color=FOUND)
        above = f"{layer or 'nothing'}\nexchanged\n" if ax in axes[0] else ""
        ax.set_title(f"{above}single: {x.notna().mean():.0%}")
        ax.set(xlim=(-0.6, 1.6), ylim=(-0.6, 1.6), xticks=[0, 1], yticks=[0, 1], aspect="equal")
        if ax in axes[:, 0]:
            ax.set_ylabel(f"seed {seed}")
    figure.supxlabel("way along x, from the own request (0) to the other's (1)")
    figure.supylabel("way along y")
    followed = tabulate_transfers(records).query("exchanged == 'layer4'")["follow it"]
    return figure, (
        "Each image's bump between its own request (0) and the other's (1), a row a run, a column "
        f"an exchanged layer. Axes that follow layer 4, by run: {'; '.join(followed)}."
    )


def tabulate_transfers(records: list[Record]) -> pd.DataFrame:
    """Tabulate how far bumps go to the other's place if layer 3 or layer 4 is exchanged, by run.

    The median of `transfer_fractions` along each axis with its quartiles, over images that have one
    bump, and the axes that follow the layer: along which most bumps go more than half of the way.
    """
    table = transfer_fractions(records).query("layer in ['layer3', 'layer4']")
    rows = []
    for (seed, layer), part in table.groupby(["seed", "layer"], sort=False):
        fractions = part[["fraction_x", "fraction_y"]].set_axis(["x", "y"], axis=1)
        quartiles = fractions.quantile([0.25, 0.5, 0.75]).round(2) + 0.0  # not -0
        follow = ", ".join(quartiles.columns[quartiles.loc[0.5] > 0.5])
        rows.append(
            {"seed": seed, "exchanged": layer, "one bump": f"{fractions['x'].notna().mean():.0%}"}
            | {
                f"along {axis}": f"{median:.2f} ({low:.2f} to {high:.2f})"
                for axis, (low, median, high) in quartiles.items()
            }
            | {"follow it": follow or "neither"}
        )
    return pd.DataFrame(rows)
