"""The chapter *A gallery of failures*, and the moving embedding."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import PHASES, THRESHOLDS, first_phases, pass_in_order
from bump_diffusion.data.bumps import bump_height
from bump_diffusion.metrics.bumps import find_bumps
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.sampling import choose_shown
from bump_diffusion.page.axes import IMAGES_SEEN, hide_ticks, show_pixels, thousands
from bump_diffusion.page.colours import INK
from bump_diffusion.page.drawing import WIDTH, Drawn, drawn
from bump_diffusion.page.html import render
from bump_diffusion.papers.semantics.palette import FOUND, REQUESTED, position_colours
from bump_diffusion.runs.record import Record


@drawn
def failures(records: list[Record]) -> Drawn:
    """Show samples of each kind of failure from each phase of generation.

    The request is marked by a cross, every bump that the metrics find by a ring.
    """
    kinds = [kind for kind in OUTCOMES if kind != "correct"]
    table, columns = frame(records), 8
    heights = ([1] * len(kinds) + [0.45]) * len(PHASES)  # a low empty row parts the phases
    figure, axes = plt.subplots(
        len(heights), columns, figsize=(WIDTH, WIDTH * 1.15), height_ratios=heights
    )
    for ax in axes.flat:
        ax.axis("off")
        ax.set_box_aspect(1)
    counts = []
    for phase, rows in zip(PHASES, axes.reshape(len(PHASES), -1, columns), strict=True):
        rows[0, 0].set_title(f"phase {phase}", loc="left")
        for row, kind in zip(rows, kinds, strict=False):
            row[0].text(-0.15, 0.5, kind, transform=row[0].transAxes, ha="right", va="center")
            samples = find_failures(records, table, phase, kind)
            counts.append(len(samples))
            for ax, (image, request, bumps) in zip(row, samples, strict=False):
                ax.axis("on")
                show_pixels(ax, image, 0, 255)
                ax.plot(*request, "+", color=REQUESTED, markersize=7)
                ax.plot(*bumps.T, "o", mfc="none", color=FOUND, markersize=9)
                side = len(image)  # a mark at the edge must not widen the image
                ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
    figure.supxlabel("+ requested, o found; blank where no more were kept")
    return figure, (
        f"Images of kinds {', '.join(kinds)} (rows) from each phase of generation, request and "
        f"bumps marked. Number of images kept, row by row: {', '.join(map(str, counts))}."
    )


def find_failures(
    records: list[Record], table: pd.DataFrame, phase: str, kind: str
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find the kept images of a kind from trained checkpoints in a phase of generation.

    `table` is the `frame` of the records. Returns of each the image, the request (2,) and the bumps
    found (n, 2); one from each run in turn, so that no single one fills the row.
    """
    by_run = []
    for record in records:
        arrays, sigma = record.arrays, record.configuration.sigma
        kept = choose_shown(len(arrays["labels"])).numpy()
        run = table[table["record"] == record.id]
        in_phase = ((run["step"] > 0) & (run["phase_generation"] == phase)).to_numpy()
        of_kind = arrays["kind"][:, kept] == OUTCOMES.index(kind)
        samples = []
        for checkpoint, i in np.argwhere(of_kind & in_phase[:, None]):
            image = arrays["images"][checkpoint, i]
            bumps = arrays["position"][checkpoint, [kept[i]]]
            if kind == "several":  # a record keeps positions of single bumps alone
                levels = torch.from_numpy(image)[None, None] / 127.5 - 1
                height = bump_height(levels, record.configuration.polarity)
                bumps = find_bumps(height, sigma).position.numpy()
            samples.append((image, arrays["labels"][kept[i]], bumps[~np.isnan(bumps).any(axis=1)]))
        by_run.append(samples)
    turns = itertools.zip_longest(*by_run)
    return [sample for turn in turns for sample in turn if sample is not None]


COLOUR_KEY = "Colour: the request, blue to orange along x, dark to light along y"


def choose_moving_run(records: list[Record]) -> Record:
    """Choose the first run that passes A, B and C in order from both sides; else the first."""
    table = frame(records)
    passes = [pass_in_order(first_phases(table, side)) for side in THRESHOLDS]
    return next((r for r in records if all(of[r.id] for of in passes)), records[0])


@drawn
def embedding_moving(record: Record) -> Drawn:
    """Draw the UMAP embedding of the probed layer moving over training, as published and ablated.

    Each checkpoint's embedding is rotated onto the one before it (orthogonal Procrustes), as UMAP
    turns and mirrors at will. Coloured by the requested position; the still has the middle
    checkpoint of each phase of the representation.
    """
    colours = position_colours(record.arrays["labels"], record.configuration.N)
    paths = {
        "as published": align_embeddings(record.arrays["umap_trained"][1:]),
        "label ablated": align_embeddings(record.arrays["umap_ablated"][1:]),
    }
    run = frame([record]).query("step > 0").reset_index()
    labels = [
        f"{thousands(row.images_seen)} images seen: generation {row.phase_generation}, "
        f"representation {row.phase_representation}"
        for row in run.itertuples()
    ]
    groups = [run.index[run["phase_representation"] == phase] for phase in PHASES]
    stills = [group[(len(group) - 1) // 2] for group in groups if len(group)]
    shared = {"figsize": (WIDTH, 4.6), "sharex": True, "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(2, len(stills), **shared)
    for row, (title, path) in zip(axes, paths.items(), strict=True):
        for ax, still in zip(row, stills, strict=True):
            ax.scatter(*path[still].T, c=colours, s=6, lw=0)
            ax.set_aspect("equal")
            hide_ticks(ax)
        row[0].set_ylabel(title)
    for ax, still in zip(axes[0], stills, strict=True):
        title = labels[still].replace(" images seen", "").replace(", ", ",\n")
        ax.set_title(title)
    figure.supxlabel(f"{IMAGES_SEEN} (top). {COLOUR_KEY}")
    alt = (
        f"UMAP embedding of {record.configuration.probe_layer} moving through {len(labels)} "
        f"checkpoints, as published and with the label ablated. From {labels[0]}, to {labels[-1]}."
    )
    return figure, alt, animate_points(paths, colours, labels)


def align_embeddings(embeddings: np.ndarray) -> np.ndarray:
    """Centre embeddings (checkpoints, n, 3), scale them alike, rotate each onto the one before.

    Returns their two main axes at the last checkpoint (checkpoints, n, 2).
    """
    points = embeddings.astype(float)
    points -= points.mean(axis=1, keepdims=True)
    size = np.sqrt((points**2).sum(axis=(1, 2), keepdims=True) / points.shape[1])
    points /= np.where(size > 0, size, 1)
    for before, now in itertools.pairwise(points):
        now[:] = now @ orthogonal_procrustes(now, before)[0]
    return points @ PCA(2).fit(points[-1]).components_.T


def animate_points(paths: dict[str, np.ndarray], colours: np.ndarray, labels: list[str]) -> str:
    """Write an SVG document that loops through checkpoints, a second each.

    `paths` are the points of each panel (checkpoints, n, 2) by its title, `colours` theirs (n, 4);
    `labels` stand above, one for each checkpoint.
    """
    reach = max(np.abs(path).max() for path in paths.values())
    fills = [mpl.colors.to_hex(colour) for colour in colours]
    panels = {}
    for title, path in paths.items():
        x, y = (path / reach * 141).round().astype(int).T.tolist()
        panels[title] = list(zip(fills, x, y, strict=True))
    return render("moving_points", ink=INK, panels=panels, labels=labels, caption=COLOUR_KEY)
