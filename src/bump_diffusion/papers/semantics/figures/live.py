"""The networks that a reader asks in the page, of records with the extra "trajectory"."""

import matplotlib as mpl
import numpy as np
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.live.elements import (
    REQUESTS,
    Checkpoint,
    Embedding,
    LabelMap,
    Requests,
    show_exchange,
    show_networks,
)
from bump_diffusion.live.export import read_trajectory
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.page.tables import Page
from bump_diffusion.page.words import spell_layer
from bump_diffusion.papers.semantics.figures.gallery import align_embeddings
from bump_diffusion.papers.semantics.figures.watch import samples_over_training
from bump_diffusion.papers.semantics.palette import OUTCOME_COLOURS, position_colours
from bump_diffusion.papers.semantics.routing import ROUTES, follow
from bump_diffusion.runs.record import Record

DRAWN = {"A": "A (no single bump)", "B": "B (wrong places)", "C": "C (right places)"}
"""Phases of generation with what most images show."""

SCHEMES = {
    "sinusoidal": "sines (sinusoidal)",
    "scalar": "two numbers (scalar)",
    "table": "a code per pair (table)",
}
"""Ways in which the label enters, as a reader chooses between them."""

SOURCES = {"label removed": "ablated", "label left in (as in the paper)": "trained"}
"""What the map is of, by the reader's choice, the first at first: the features of the record."""

HALF_A_FRAME = ((0.3125, 0.625), (0.8125, 0.125))
"""Requests as far apart as those of which `routing.follow` counts where the bumps go."""

NOTE = (
    "Left in, the layer has the label from the first step on (in order, unless it is a code per "
    "pair), and UMAP may tear it. Removed, only what it reads from the image is left."
)


def ask_networks(records: list[Record]) -> Page:
    """Show networks, one of each conditioning, that draw what a reader requests.

    At each checkpoint of their trajectories stand its phase of generation, the outcomes of its
    evaluation and, of records with the extra "umap", the embedding of the probed layer.
    """
    first = records[0]
    label_map = None
    if "umap" in first.extras:
        labels, c = first.arrays["labels"], first.configuration
        corners = np.array([[0, 0], [c.N, 0], [0, c.N], [c.N, c.N]])
        colours, corner_colours = (
            [mpl.colors.to_hex(colour) for colour in position_colours(positions, c.N)]
            for positions in (labels, corners)
        )
        title = f"UMAP of {spell_layer(c.probe_layer)}: each point is a request"
        label_map = LabelMap(title, NOTE, labels, colours, corner_colours)
    networks = {
        SCHEMES.get(scheme := r.configuration.conditioning, scheme): describe_checkpoints(r)
        for r in records
    }
    still = samples_over_training(first)
    return show_networks(networks, still, label_map, OUTCOME_COLOURS)


def describe_checkpoints(record: Record) -> list[Checkpoint]:
    """Say of each checkpoint of a record's trajectory what a page shows beside its images."""
    table = frame([record])
    kept = table[table["step"].isin(read_trajectory(record))]
    maps: list[dict[str, Embedding]] = [{} for _ in table.index]
    if "umap" in record.extras:
        layer = spell_layer(record.configuration.probe_layer)
        for name, features in SOURCES.items():
            read = table[[f"r2_{features}_direct_requested_{axis}" for axis in "xy"]].min(axis=1)
            paths = align_embeddings(record.arrays[f"umap_{features}"])
            for at, points, r2 in zip(maps, paths, read.clip(0), strict=True):
                at[name] = Embedding(
                    points, f"Position read linearly from {layer}: R² {r2:.2f} (1 is all)."
                )
    return [
        Checkpoint(
            record,
            row["step"],
            f"{row['step']:,} steps, phase {DRAWN[row['phase_generation']]}",
            maps[i],
            {outcome: row[outcome] for outcome in OUTCOMES},
        )
        for i, row in kept.iterrows()
    ]


def exchange_layers(record: Record, layer: str = "layer4", requests: Requests = REQUESTS) -> Page:
    """Show two requests between which a layer of a record's trained network is exchanged."""
    last = describe_checkpoints(record)[-1]
    return show_exchange(last, samples_over_training(record), layer, requests)


def describe_split(record: Record) -> Markdown:
    """Say how many bumps follow an exchanged layer of a record's trained network, axis by axis."""
    shares = follow(record).loc[record.configuration.steps]
    if shares.isna().any():
        return Markdown(
            "So few of its images show one bump that one cannot tell which way x takes."
        )
    of_axis = [
        f"{axis} goes with "
        + " and with ".join(
            f"{spell_layer(layer)} in {shares[axis, layer]:.0%}" for layer in ROUTES
        )
        for axis in "xy"
    ]
    return Markdown(
        f"Of this network's bumps, for many pairs half a frame apart, {', and '.join(of_axis)}. A "
        "coordinate goes with a layer if it ends up nearer to the other's request than to its own; "
        "not every bump gets all the way."
    )
