"""A finished run, checked against its checksums when it is opened."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from pyarrow import ArrowException
from pydantic import ValidationError

from bump_diffusion.config import (
    DROPPED_AFTER_FORMAT_2,
    FORMAT,
    READABLE_FORMATS,
    Configuration,
    one_sentence,
)
from bump_diffusion.errors import UserError
from bump_diffusion.files import read_npz, sha256

Content = TypeVar("Content")

FILES = (
    *("configuration.json", "provenance.json", "arrays.npz"),
    *("checkpoints.parquet", "probes.parquet", "samplers.parquet"),
    *("images.parquet", "bumps.parquet"),
)
"""What every record holds, and `checksums.json`; one of format 2 lacks the last two."""

EXTRAS = {
    "weights": ("weights.safetensors",),
    "interventions": ("layers.parquet", "interventions.parquet"),
    "variation": ("signals.parquet",),
    "patching": ("places.parquet",),
    "umap": ("umap.npz",),
    "trajectory": ("trajectory.safetensors",),
}
"""What a record may hold besides, and its files."""

TABLES = (
    *("checkpoints", "probes", "images", "bumps", "samplers"),
    *("layers", "interventions", "variation", "patching"),
)
"""The attributes of a record that are tables."""

PROVENANCE = {"finished", "wall_seconds", "device", "threads", "python", "commit", "versions"}
"""What a record must at least say of its making."""


def _table(name: str, columns: str) -> cached_property[pd.DataFrame]:
    """The attribute that reads a table; it must have these columns, if it has rows."""

    def read(record: "Record") -> pd.DataFrame:
        if name not in record.files:
            return pd.DataFrame()
        table = record._read(name, pd.read_parquet)
        missing = [column for column in columns.split() if column not in table]
        if missing and len(table):
            raise record._refusal(f"{name} has no column {missing[0]}")
        if name == "checkpoints.parquet" and table.empty:
            raise record._refusal(f"{name} has no rows")
        return table

    return cached_property(read)


class Record:
    """A finished run, checked against its checksums when it is opened.

    Raises UserError, naming the record and the file, if one is missing, changed, unknown, of
    another version's format or (when it is first read) not what it should be.
    """

    checkpoints = _table("checkpoints.parquet", "step images_seen loss accuracy")
    "A row per evaluated checkpoint: step, images seen, loss, and its metrics."
    probes = _table("probes.parquet", "step features reduction target axis r2")
    """A row per probe of a checkpoint. From format 3 on with input, timestep, layer and points
    (`evaluation.measure`); before, all are of samples at the last timestep, and of the
    configuration's `probe_layer`."""
    images = _table("images.parquet", "step set mu_x mu_y speckled")
    "A row per generated image and where a bump was requested; empty in format 2."
    bumps = _table("bumps.parquet", "step image x y amplitude")
    "A row per bump: image is its row among the step's images; empty in format 2."
    samplers = _table("samplers.parquet", "step sampler sampler_steps accuracy")
    "A row per sampler compared at a checkpoint; empty unless there are `compared_steps`."
    layers = _table("layers.parquet", "input timestep layer features target axis r2")
    "A row per probe of a layer of the trained network (`layers.probe_layers`)."
    interventions = _table("interventions.parquet", "intervention layer correct at_other")
    "A row per intervention on the trained network (`interventions.intervene`)."
    variation = _table("signals.parquet", "layer timestep variation change network")
    "A row per layer, timestep and network, trained or not."
    patching = _table("places.parquet", "layer mu_x mu_y x y")
    """A row per image with a layer patched, or none (`interventions.locate_patched`). Of format 2
    all are of the last step, and of requests that differ in both axes."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.id = folder.name
        stored = self._read_mapping("configuration.json", {"format"})
        checksums = self._read_mapping("checksums.json", set())
        self.format = stored.pop("format")
        if self.format not in READABLE_FORMATS:
            readable = " and ".join(map(str, READABLE_FORMATS))
            raise self._refusal(f"its format is {self.format}, this program reads {readable}")
        files = FILES if self.format == FORMAT else FILES[:-2]
        if self.format == 2:
            stored = {f: v for f, v in stored.items() if f not in DROPPED_AFTER_FORMAT_2}
        present = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        known = {*FILES, *(name for names in EXTRAS.values() for name in names)}
        for name in sorted({*files, *checksums, *present} - {"checksums.json"}):
            if name not in known:
                raise self._refusal(f"{name} is not a file of a record")
            if name not in present:
                raise self._refusal(f"{name} is missing")
            if name not in checksums:
                raise self._refusal(f"{name} has no checksum")
            if self._read(name, sha256) != checksums[name]:
                raise self._refusal(f"{name} does not match its checksum")
        try:
            self.configuration = Configuration(**stored)
        except ValidationError as error:
            raise self._refusal(one_sentence(error).removesuffix(".")) from None
        if self.id not in (self.configuration.id, *self.configuration.earlier_ids):
            raise self._refusal("its name is not that of its configuration")
        self.files = set(checksums)
        self.digest = self._read("checksums.json", sha256)

    def _refusal(self, why: str) -> UserError:
        return UserError(
            f"Record {self.id} in {self.folder.parent} is refused: {why}. "
            "Make it again by bump-diffusion run or train with --remake, or restore its folder."
        )

    def _read(self, name: str, read: Callable[[Path], Content]) -> Content:
        try:
            return read(self.folder / name)
        except (OSError, ValueError, RecursionError, BadZipFile, ArrowException):
            raise self._refusal(f"{name} cannot be read") from None

    def _read_mapping(self, name: str, keys: set[str]) -> dict[str, Any]:
        content = self._read(name, lambda path: json.loads(path.read_bytes()))
        if not isinstance(content, dict) or not keys <= content.keys():
            raise self._refusal(f"{name} is not what it should be")
        return content

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """How the record was made: machine, versions, commit, seconds."""
        return self._read_mapping("provenance.json", PROVENANCE)

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """`labels` (n, 2), `losses` (steps,), and per checkpoint, stacked along the first axis in
        the order of `checkpoints`: `images` (32, N, N) bytes, `kind` (n,), `position` (n, 2); with
        the extra "umap" `umap_trained` and `umap_ablated` (n, 3).
        """
        umap = self._read("umap.npz", read_npz) if "umap.npz" in self.files else {}
        return {**self._read("arrays.npz", read_npz), **umap}

    @property
    def weights(self) -> Path:
        """The file of averaged weights, where "weights" is among the `extras`."""
        return self.folder / "weights.safetensors"

    @property
    def extras(self) -> set[str]:
        """The names of `EXTRAS` whose files the record has."""
        held = {name for name, files in EXTRAS.items() if self.files >= set(files)}
        return held | {"umap"} if self.format == 2 else held
