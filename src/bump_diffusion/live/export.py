"""Networks as scripts that a page loads: weights in eight bits, and what a sampler must know."""

import base64
import json
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path

import safetensors.torch
from torch import Tensor

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.files import write_atomically
from bump_diffusion.live.build import WASM
from bump_diffusion.metrics.evaluation import mean_embedding
from bump_diffusion.models.quantize import SCALE, restore_state
from bump_diffusion.models.unet import TIME_FEATURES, build_model
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import Store

SCRIPTS = ("unet.js", "bumps.js", "elements.js")
"""What the runtime consists of, beside the compiled network."""

CONDITIONING = "conditioning."
"""What the names of the tensors begin with that embed labels."""

SCHEMES = {
    "conditioning": ("sinusoidal", "scalar", "table"),
    "rendering": ("none", "lines", "profiles"),
    "injection": ("global", "none"),
}
"""Ways in which a label can enter the networks of a page."""


def write_files(folder: Path, weights: Iterable[str], store: Store) -> None:
    """Write what live elements load: the runtime, its style, and the files of weights.

    `weights` are named RECORD-STEP (`elements.Checkpoint.weights`); their records are in `store`.
    Raises UserError for a record that has no trajectory.
    """
    write_atomically(folder / "live.js", runtime_script().encode())
    write_atomically(folder / "live.css", (WASM.parent / "live.css").read_bytes())
    split = sorted(name.split("-") for name in set(weights))
    for id, names in groupby(split, key=lambda parts: parts[0]):
        if (found := store.folder(id)) is None:
            raise UserError(f"Record {id}, whose network a page shows, is not in the store.")
        record = Record(found)
        states = read_trajectory(record)
        for _, step in names:
            script = weights_script(f"{id}-{step}", record.configuration, states[int(step)])
            write_atomically(folder / f"{id}-{step}.js", script.encode())


def runtime_script() -> str:
    """All that a page runs, in one script: a page that has it twice runs it once."""
    wasm = base64.b64encode(WASM.read_bytes()).decode()
    parts = [(WASM.parent / name).read_text("utf-8") for name in SCRIPTS]
    start = f'globalThis.bumpWeights = bumpWeights;\nstartLive("{wasm}");'
    return f"if (!globalThis.bumpWeights) (() => {{\n{''.join(parts)}{start}\n}})();\n"


def read_trajectory(record: Record) -> dict[int, dict[str, Tensor]]:
    """Read the eight-bit states of a record's checkpoints, by step.

    Raises UserError for a record without the extra "trajectory".
    """
    if "trajectory" not in record.extras:
        raise UserError(
            f"Record {record.id} has no trajectory; make it again with --extra trajectory."
        )
    states: dict[int, dict[str, Tensor]] = {}
    tensors = safetensors.torch.load_file(record.folder / "trajectory.safetensors")
    for name, tensor in tensors.items():
        step, _, rest = name.partition(".")
        states.setdefault(int(step), {})[rest] = tensor
    return dict(sorted(states.items()))


def weights_script(name: str, c: Configuration, state: Mapping[str, Tensor]) -> str:
    """A network as JavaScript that calls `bumpWeights`; `state` is of `quantize.quantize_state`.

    `name` is how the page calls it. Raises UserError for a width, or a way in which the label
    enters, that unet.c does not know.
    """
    for field, known in SCHEMES.items():
        if (value := getattr(c, field)) not in known:
            allowed = " or ".join(map(repr, known))
            raise UserError(f"{field} is {value!r}, it must be {allowed} for a page.")
    if c.width % 16 and c.width not in (8, 24):
        raise UserError(f"width is {c.width}, it must be 8, 24 or a multiple of 16 for a page.")
    model = build_model(c)
    model.load_state_dict(restore_state(dict(state)))
    order = list(model.state_dict())
    parts = {
        "conditioning": [name for name in order if name.startswith(CONDITIONING)],
        "network": [name for name in order if not name.startswith(CONDITIONING)],
    }
    task = task_of(c)
    counts = [len(axis.unique()) for axis in task.grid().unbind(1)]
    features = model.layer2.features
    mean = mean_embedding(c, model)[: features - TIME_FEATURES]
    content = {
        "width": c.width,
        "channels": model.layer1.layers[0].in_channels,
        "features": features,
        "height": task.height,
        "N": c.N,
        "scheme": c.conditioning,
        "rendering": c.rendering,
        "sigma": c.sigma,
        "labelScale": c.label_scale,
        "grid": [
            {"spacing": spacing, "count": count}
            for spacing, count in zip((c.d_x, c.d_y), counts, strict=True)
        ],
        "timesteps": c.timesteps,
        "beta": [c.beta_start, c.beta_end],
        "clip": c.clip_sample,
        "mean": [float(f"{value:.8g}") for value in mean],
    } | {
        part: base64.b64encode(b"".join(_pack(name, state) for name in names)).decode()
        for part, names in parts.items()
    }
    return f"bumpWeights({json.dumps(name)}, {json.dumps(content, separators=(',', ':'))});\n"


def _pack(name: str, state: Mapping[str, Tensor]) -> bytes:
    """A tensor as unet.c reads it: whether it is in eight bits, then scales, then numbers."""
    numbers = state[name].numpy()
    if name + SCALE not in state:
        return b"\0" + numbers.astype("<f4").tobytes()
    return b"\1" + state[name + SCALE].numpy().astype("<f4").tobytes() + numbers.tobytes()
