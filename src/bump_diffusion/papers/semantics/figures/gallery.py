"""The chapter *A gallery of failures*, and the moving embedding."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.linalg import orthogonal_procrustes

from bump_diffusion.analysis.phases import PHASES, phases_over_training
from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import bump_height
from bump_diffusion.metrics.bumps import find_bumps
from bump_diffusion.metrics.evaluation import shown
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.page.axes import IMAGES_SEEN, show_pixels, thousands
from bump_diffusion.page.drawing import WIDTH, drawn
from bump_diffusion.papers.semantics.palette import position_colours
from bump_diffusion.runs.record import Record


@drawn
def failures(records: list[Record]) -> tuple[Figure, str]:
    """Samples of each kind of failure from each phase of generation, found by the metrics.

    The request is marked by a cross, every bump that is found by a ring.
    """
    kinds = [kind for kind in OUTCOMES if kind != "correct"]
    each = 8
    # A low empty row parts the phases.
    ratios = ([1] * len(kinds) + [0.45]) * len(PHASES)
    figure, axes = plt.subplots(
        len(ratios), each, figsize=(WIDTH, WIDTH * 1.15), height_ratios=ratios, squeeze=False
    )
    for ax in axes.flat:
        ax.axis("off")
        ax.set_box_aspect(1)
    counts = []
    for start, phase in enumerate(PHASES):
        rows = axes[start * len(ratios) // len(PHASES) :]
        for row, kind in zip(rows, kinds, strict=False):
            found = _of_kind(records, phase, OUTCOMES.index(kind))
            counts.append(f"{len(found)} of kind {kind} in {phase}")
            for ax, (image, request, bumps) in zip(row, found[:each], strict=False):
                ax.axis("on")
                show_pixels(ax, image, 0, 255)
                ax.plot(*request, "+", color="#D55E00", markersize=7)
                ax.plot(*bumps.T, "o", mfc="none", color="#0072B2", markersize=9)
                side = len(image)  # a mark at the edge must not widen the image
                ax.set(xlim=(-0.5, side - 0.5), ylim=(side - 0.5, -0.5))
            row[0].text(-0.15, 0.5, kind, transform=row[0].transAxes, ha="right", va="center")
        rows[0, 0].set_title(f"phase {phase}", loc="left")
    figure.supxlabel("+ requested, o found; blank where no more were kept", fontsize=8)
    return figure, f"Failures by phase of generation. Among the images kept: {', '.join(counts)}."


def _bumps_in(image: np.ndarray, c: Configuration) -> np.ndarray:
    """Positions (bumps, 2) of all bumps in an image as a record keeps it, in 256 levels."""
    height = bump_height(torch.from_numpy(image)[None, None].float() / 127.5 - 1, c.polarity)
    return find_bumps(height, c.sigma).position.numpy()


def _of_kind(
    records: list[Record], phase: str, kind: int
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Kept images of a kind from checkpoints in a phase: image, request, bumps found (n, 2).

    One from each run in turn, so that no single one fills the row.
    """
    waiting = []
    for record in records:
        own = []
        phases = phases_over_training(record)["generation"]
        kept = shown(len(record.arrays["labels"])).numpy()
        for place, step in enumerate(record.checkpoints["step"]):
            if step == 0 or phases[step] != phase:
                continue
            images, labels = record.arrays["images"][place], record.arrays["labels"][kept]
            single = record.arrays["position"][place][kept]
            for i in np.flatnonzero(record.arrays["kind"][place][kept] == kind):
                bumps = single[i : i + 1][~np.isnan(single[i : i + 1]).any(axis=1)]
                if OUTCOMES[kind] == "several":  # a record keeps positions of single bumps alone
                    bumps = _bumps_in(images[i], record.configuration)
                own.append((images[i], labels[i], bumps))
        waiting.append(own)
    longest = max((len(own) for own in waiting), default=0)
    return [own[i] for i in range(longest) for own in waiting if i < len(own)]


SECONDS_A_CHECKPOINT = 1.0
COLOUR_KEY = "Colour: the request, blue to orange along x, dark to light along y"


@drawn
def embedding_moving(record: Record) -> tuple[Figure, str, str]:
    """The UMAP embedding of the probed layer over training, moving: as published, and ablated.

    Each checkpoint's embedding is rotated onto the one before it (orthogonal Procrustes), as UMAP
    turns and mirrors at will. Coloured by the requested position; the still has the middle
    checkpoint of each phase of the representation.
    """
    c = record.configuration
    colours = position_colours(record.arrays["labels"], c.N)
    features = {"trained": "as published", "ablated": "label ablated"}
    paths = {name: _aligned(record.arrays[f"umap_{name}"][1:]) for name in features}
    checkpoints = record.checkpoints.query("step > 0")
    phases = phases_over_training(record)
    labels = [
        f"{thousands(images)} images seen: generation {phases.loc[step, 'generation']}, "
        f"representation {phases.loc[step, 'representation']}"
        for step, images in zip(checkpoints["step"], checkpoints["images_seen"], strict=True)
    ]
    passed = phases["representation"].to_numpy()
    stills = [
        places[(len(places) - 1) // 2] for p in PHASES if len(places := np.flatnonzero(passed == p))
    ]
    figure, axes = plt.subplots(
        2, len(stills), figsize=(WIDTH, 4.6), sharex=True, sharey=True, squeeze=False
    )
    for row, (name, title) in zip(axes, features.items(), strict=True):
        for ax, place in zip(row, stills, strict=True):
            ax.scatter(*paths[name][place].T, c=colours, s=6, lw=0)
            ax.set(xticks=[], yticks=[], aspect="equal")
            ax.grid(False)
        row[0].set_ylabel(title)
    for ax, place in zip(axes[0], stills, strict=True):
        ax.set_title(
            f"{thousands(checkpoints['images_seen'].iloc[place])}: generation "
            f"{phases['generation'].iloc[place]},\nrepresentation {passed[place]}",
            fontsize=9,
        )
    figure.supxlabel(f"{IMAGES_SEEN} (top). {COLOUR_KEY}", fontsize=8)
    alt = (
        f"UMAP embedding of {c.probe_layer} moving through {len(labels)} checkpoints, as published "
        f"and with the label ablated. From {labels[0]}, to {labels[-1]}."
    )
    return figure, alt, _svg(list(features.values()), list(paths.values()), colours, labels)


def _aligned(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (checkpoints, n, 3) centred, of one size, rotated onto each other; two axes."""
    points = embeddings.astype(float)
    points -= points.mean(axis=1, keepdims=True)
    size = np.sqrt((points**2).sum(axis=(1, 2), keepdims=True) / points.shape[1])
    points /= np.where(size > 0, size, 1)
    for before, now in itertools.pairwise(range(len(points))):
        rotation, _ = orthogonal_procrustes(points[now], points[before])
        points[now] = points[now] @ rotation
    axes = np.linalg.svd(points[-1], full_matrices=False)[2][:2]
    return points @ axes.T


def _svg(titles: list[str], paths: list[np.ndarray], colours: np.ndarray, labels: list[str]) -> str:
    """Panels of moving points, (checkpoints, n, 2) each, as an SVG document that loops."""
    side, top, bottom = 300, 50, 24
    seconds = SECONDS_A_CHECKPOINT * len(labels)
    timing = f'dur="{seconds:g}s" repeatCount="indefinite"'
    reach = max(float(np.abs(path).max()) for path in paths)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side * len(paths)} '
        f'{side + top + bottom}" '
        'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>'
    ]
    for panel, (title, path) in enumerate(zip(titles, paths, strict=True)):
        places = (path / reach * 0.47 + 0.5) * side + [panel * side, top]
        middle = panel * side + side / 2
        parts.append(
            f'<text x="{middle}" y="44" font-size="13" text-anchor="middle">{title}</text>'
        )
        for i, colour in enumerate(colours):
            moves = "".join(
                f'<animate attributeName="c{axis}" {timing} '
                f'values="{";".join(f"{v:.0f}" for v in places[:, i, k])}"/>'
                for k, axis in enumerate("xy")
            )
            x, y = places[-1, i]
            fill = mpl.colors.to_hex(colour)
            parts.append(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="3" fill="{fill}">{moves}</circle>')
    parts.append(
        f'<text x="{side * len(paths) / 2}" y="{side + top + 16}" font-size="12" '
        f'text-anchor="middle">{COLOUR_KEY}</text>'
    )
    for place, label in enumerate(labels):
        shows = ";".join("1" if p == place else "0" for p in range(len(labels)))
        parts.append(
            f'<text x="{side * len(paths) / 2}" y="20" font-size="15" text-anchor="middle" '
            f'opacity="{int(place == len(labels) - 1)}">{label}<animate attributeName="opacity" '
            f'calcMode="discrete" {timing} values="{shows}"/></text>'
        )
    return "".join([*parts, "</svg>"])
