"""The networks that a reader asks in the page, of records with the extra "trajectory"."""

import matplotlib as mpl

from bump_diffusion.analysis.frame import frame
from bump_diffusion.live.elements import Checkpoint, LabelMap, Live, show_exchange, show_networks
from bump_diffusion.live.export import read_trajectory
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.papers.semantics.figures.gallery import COLOUR_KEY, align_embeddings
from bump_diffusion.papers.semantics.figures.watch import samples_over_training
from bump_diffusion.papers.semantics.palette import OUTCOME_COLOURS, position_colours
from bump_diffusion.runs.record import Record


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
        title = f"UMAP embedding of {c.probe_layer}. {COLOUR_KEY}."
        label_map = LabelMap(title, labels, colours)
    networks = {r.configuration.conditioning: describe_checkpoints(r) for r in records}
    still = samples_over_training(first)
    return show_networks(networks, still, label_map, OUTCOME_COLOURS)


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
            f"{row['step']:,} steps, phase {row['phase_generation']}",
            None if paths is None else paths[i],
            {outcome: row[outcome] for outcome in OUTCOMES},
        )
        for i, row in kept.iterrows()
    ]


def exchange_layers(record: Record, layer: str = "layer4") -> Live:
    """Show two requests between which a layer of a record's trained network is exchanged."""
    last = describe_checkpoints(record)[-1]
    return show_exchange(last, samples_over_training(record), layer)
