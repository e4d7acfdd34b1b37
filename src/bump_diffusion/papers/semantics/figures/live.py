"""The networks that a reader asks in the page, of records with the extra "trajectory"."""

import matplotlib as mpl
from IPython.display import Markdown

from bump_diffusion.analysis.frame import frame
from bump_diffusion.live.elements import Checkpoint, LabelMap, Live, show_exchange, show_networks
from bump_diffusion.live.export import read_trajectory
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.page.words import spell_layer
from bump_diffusion.papers.semantics.figures.gallery import COLOUR_KEY, align_embeddings
from bump_diffusion.papers.semantics.figures.watch import samples_over_training
from bump_diffusion.papers.semantics.palette import OUTCOME_COLOURS, position_colours
from bump_diffusion.runs.record import Record

DRAWN = {"A": "A (no single bump)", "B": "B (wrong places)", "C": "C (right places)"}
"""Phases of generation with what most images show."""


def ask_networks(records: list[Record]) -> Live:
    """Show networks, one of each conditioning, that draw what a reader requests.

    At each checkpoint of their trajectories stand its phase of generation, the outcomes of its
    evaluation and, of records with the extra "umap", the embedding of the probed layer.
    """
    first = records[0]
    label_map = None
    if "umap" in first.extras:
        labels, c = first.arrays["labels"], first.configuration
        colours = [mpl.colors.to_hex(colour) for colour in position_colours(labels, c.N)]
        title = (
            f"A point a request: where UMAP puts what {spell_layer(c.probe_layer)} gives for it. "
            f"{COLOUR_KEY}."
        )
        label_map = LabelMap(title, labels, colours)
    networks = {r.configuration.conditioning: describe_checkpoints(r) for r in records}
    still = samples_over_training(first)
    return show_networks(networks, still, label_map, OUTCOME_COLOURS)


def describe_map(records: list[Record]) -> Markdown:
    """Say what the maps of `ask_networks` are of, and why they may be torn where images are right.

    R^2 is of the requested position along the worse axis, label present, at the end of training.
    """
    last = frame(records).groupby("record", sort=False).tail(1)
    read = {
        source: last[[f"r2_trained_{source}_requested_{axis}" for axis in "xy"]].min(axis=1).clip(0)
        for source in ("direct", "umap")
    }
    c = records[0].configuration
    networks = [
        f"{row.conditioning}: R² {direct:.2f} from {spell_layer(c.probe_layer)}, {umap:.2f} from "
        f"the map, {row.correct:.0%} of the images right"
        for row, direct, umap in zip(last.itertuples(), *read.values(), strict=True)
    ]
    return Markdown(
        f"These networks draw images of {c.N} × {c.N} pixels. Requests that "
        f"{spell_layer(c.probe_layer)} treats alike lie side by side on the map; the label is left "
        "in, as in the paper. The map is no picture of how well the network draws, nor of all that "
        "the layer holds: UMAP keeps what is nearest together and may tear the rest into clumps. "
        "How much of the position can be read at the end of training (R², 0 nothing, 1 all): "
        f"{'; '.join(networks)}."
    )


def describe_checkpoints(record: Record) -> list[Checkpoint]:
    """Say of each checkpoint of a record's trajectory what a page shows beside its images."""
    table = frame([record])
    kept = table[table["step"].isin(read_trajectory(record))]
    has_map = "umap" in record.extras
    paths = align_embeddings(record.arrays["umap_trained"]) if has_map else None
    return [
        Checkpoint(
            record,
            row["step"],
            f"{row['step']:,} steps, phase {DRAWN[row['phase_generation']]}",
            None if paths is None else paths[i],
            {outcome: row[outcome] for outcome in OUTCOMES},
        )
        for i, row in kept.iterrows()
    ]


def exchange_layers(record: Record, layer: str = "layer4") -> Live:
    """Show two requests between which a layer of a record's trained network is exchanged."""
    last = describe_checkpoints(record)[-1]
    return show_exchange(last, samples_over_training(record), layer)
