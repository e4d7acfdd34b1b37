"""The live elements of a page: networks that a reader asks, and exchanges between two requests.

A notebook shows what `show_networks` or `show_exchange` return. The files that they load
(`live.js`, `live.css` and one of weights for each checkpoint) are written by `export.write_files`
into the folder `ASSETS`; for the book's site, its build does that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from markupsafe import Markup

from bump_diffusion.config import BLOCKS, LAYERS, Configuration
from bump_diffusion.page.drawing import PROVENANCE_FIELDS
from bump_diffusion.page.tables import Page
from bump_diffusion.page.words import spell_layer
from bump_diffusion.runs.record import Record

ASSETS = "../_static/live"
"""The folder of the elements' files, as the book's pages see it."""

STEPS = 20
"""DDIM steps: nearly as accurate as many more, and fast enough to follow a finger."""

FRAMES = 7
"""Images of a film strip."""

MAP = np.array([300, 200])
"""Width and height of a map, in units of its drawing."""

KINDS = {
    "other features": ("the output of a layer is exchanged", LAYERS),
    "other label": ("a block is given the other request", BLOCKS),
    "no label": ("a block is given the mean request", BLOCKS),
    "label here alone": ("only here the label is kept", BLOCKS),
}
"""What `interventions.intervene` does, in a reader's words, and where it can be done."""


Requests = tuple[tuple[float, float], tuple[float, float]]

REQUESTS: Requests = ((0.25, 0.3), (0.7, 0.65))
"""Between which something is exchanged at first, in shares of N."""


@dataclass(frozen=True)
class Embedding:
    """Where a network, read in one way, holds each label of the map."""

    points: Float[np.ndarray, "n 2"]
    caption: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a network, as a page shows it."""

    record: Record
    'A record with the extra "trajectory".'
    step: int
    "One of the trajectory's."
    title: str
    "What the slider says of it, such as its steps and its phase."
    maps: Mapping[str, Embedding] = field(default_factory=dict)
    "By the names of what is read, between which a reader chooses."
    shares: Mapping[str, float] = field(default_factory=dict)
    "The share of images of each outcome."

    @property
    def weights(self) -> str:
        """The name of its file of weights."""
        return f"{self.record.id}-{self.step}"


@dataclass(frozen=True)
class LabelMap:
    """What the points of all checkpoints' maps stand for."""

    title: str
    note: str
    "What to know of them."
    labels: Float[np.ndarray, "n 2"]
    "Positions, pixels."
    colours: Sequence[str]
    corners: Sequence[str]
    "The colours of an image's corners, from left to right, then down."


def show_networks(
    networks: Mapping[str, Sequence[Checkpoint]],
    still: Page,
    label_map: LabelMap | None = None,
    outcomes: Mapping[str, str] | None = None,
    together: bool = False,
    held_out: Bool[np.ndarray, "N N"] | None = None,
    start: tuple[float, float] = (0.3, 0.6),
    assets: str = ASSETS,
) -> Page:
    """Networks, by name, that draw a bump where a reader requests one, at every checkpoint.

    All have images of one size; where one has fewer checkpoints than others, its last stands for
    the rest. One at a time is shown, or, `together`, all side by side. `label_map` says what the
    checkpoints' points are, `outcomes` gives the colour of each share. The labels (by y and x) that
    are `held_out` are outlined. The first request is at `start`, in shares of N. `still`, a
    drawing, stands where the network cannot run.
    """
    checkpoints = [checkpoint for each in networks.values() for checkpoint in each]
    c = checkpoints[0].record.configuration
    shown = [
        {"name": name, "checkpoints": [_describe(checkpoint) for checkpoint in each]}
        for name, each in networks.items()
    ]
    config = _common(c, assets) | {
        "element": "Networks",
        "id": f"live-{checkpoints[0].weights}",
        "networks": shown,
        "frames": FRAMES,
        "label": [share * c.N for share in start],
        "heldOut": held_out is not None and held_out.tolist(),
        "map": label_map
        and {
            "labels": np.asarray(label_map.labels, dtype=float).round(2).tolist(),
            "colours": list(label_map.colours),
        },
    }
    return Page(
        "live",
        list({checkpoint.record.id: checkpoint.record for checkpoint in checkpoints}.values()),
        {"weights": [checkpoint.weights for checkpoint in checkpoints]},
        fields=PROVENANCE_FIELDS,
        config=config,
        views=len(networks) if together else 1,
        label_map=label_map,
        outcomes=outcomes or {},
        still=Markup(still.data),
    )


def show_exchange(
    checkpoint: Checkpoint,
    still: Page,
    layer: str = "layer4",
    requests: Requests = REQUESTS,
    assets: str = ASSETS,
) -> Page:
    """Two requests, and what is drawn when a layer, or a block's label, is exchanged between them.

    `layer` is chosen at first, and the `requests` are in shares of N; `still` is that of
    `show_networks`.
    """
    c = checkpoint.record.configuration
    config = _common(c, assets) | {
        "element": "Exchange",
        "weights": checkpoint.weights,
        "labels": [[share * c.N for share in request] for request in requests],
        "layers": {kind: layers for kind, (_, layers) in KINDS.items()},
    }
    return Page(
        "live_exchange",
        [checkpoint.record],
        {"weights": [checkpoint.weights]},
        fields=PROVENANCE_FIELDS,
        config=config,
        kinds={kind: words for kind, (words, _) in KINDS.items()},
        layers={name: spell_layer(name) for name in LAYERS},
        selected=layer,
        still=Markup(still.data),
    )


def _common(c: Configuration, assets: str) -> dict[str, Any]:
    return {"assets": assets, "N": c.N, "sigma": c.sigma, "steps": STEPS}


def _describe(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "weights": checkpoint.weights,
        "title": checkpoint.title,
        "maps": {
            name: {"points": _fit(embedding.points), "caption": embedding.caption}
            for name, embedding in checkpoint.maps.items()
        },
        "shares": dict(checkpoint.shares),
    }


def _fit(points: Float[np.ndarray, "n 2"]) -> list[int]:
    """Points in units of a map of `MAP` about its middle, x and y by turns."""
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.maximum(high - low, 1e-9)
    return ((points - (low + high) / 2) * (MAP / size).min()).round().astype(int).ravel().tolist()
