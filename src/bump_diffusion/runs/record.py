"""A finished run, checked against its checksums when it is opened."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from bump_diffusion.config import FORMAT, Configuration, one_sentence
from bump_diffusion.errors import UserError
from bump_diffusion.files import sha256

TABLES = ("checkpoints", "probes", "samplers", "layers", "interventions", "signals", "places")


EXTRAS = {
    "weights": ("weights.safetensors",),
    "interventions": ("layers.parquet", "interventions.parquet"),
    "variation": ("signals.parquet",),
    "patching": ("places.parquet",),
}
"""What a record may hold besides, and its files."""


class Record:
    """A finished run, checked against its checksums when it is opened.

    Raises UserError, naming the record and the file, if one is missing, changed or of another
    version's format.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.id = folder.name
        try:
            stored = json.loads((folder / "configuration.json").read_bytes())
            checksums = json.loads((folder / "checksums.json").read_bytes())
            version = stored.pop("format")
        except (OSError, ValueError, KeyError, AttributeError):
            raise self._refusal("its configuration or checksums cannot be read") from None
        if version != FORMAT:
            raise self._refusal(f"its format is version {version}, this program's is {FORMAT}")
        for name, expected in checksums.items():
            path = folder / name
            if not path.is_file():
                raise self._refusal(f"{name} is missing")
            if sha256(path) != expected:
                raise self._refusal(f"{name} does not match its checksum")
        try:
            self.configuration = Configuration(**stored)
        except ValidationError as error:
            raise self._refusal(one_sentence(error).removesuffix(".")) from None
        if self.configuration.id != self.id:
            raise self._refusal("its name is not that of its configuration")
        self.checked = set(checksums)
        self.digest = sha256(folder / "checksums.json")

    def _refusal(self, why: str) -> UserError:
        return UserError(
            f"Record {self.id} in {self.folder.parent} is refused: {why}. "
            "Make it again by bump-diffusion run or train with --remake, or restore its folder."
        )

    @cached_property
    def provenance(self) -> dict[str, Any]:
        return json.loads((self.folder / "provenance.json").read_bytes())

    @cached_property
    def checkpoints(self) -> pd.DataFrame:
        """A row per evaluated checkpoint: step, images seen, loss, and its metrics."""
        return pd.read_parquet(self.folder / "checkpoints.parquet")

    @cached_property
    def probes(self) -> pd.DataFrame:
        """A row per probe: step, features, reduction, target, axis, r2."""
        return pd.read_parquet(self.folder / "probes.parquet")

    @cached_property
    def samplers(self) -> pd.DataFrame:
        """A row per sampler compared at a checkpoint: step, sampler, sampler_steps, metrics.

        Empty unless the configuration has `compared_steps`.
        """
        return pd.read_parquet(self.folder / "samplers.parquet")

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """`labels` (n, 2), `losses` (steps,), and per checkpoint, stacked along the first axis in
        the order of `checkpoints`: `images` (32, N, N) bytes, `kind` (n,), `position` (n, 2),
        `umap_trained` and `umap_ablated` (n, 3).
        """
        with np.load(self.folder / "arrays.npz", allow_pickle=False) as file:
            return dict(file)

    @cached_property
    def layers(self) -> pd.DataFrame:
        """A row per probe of a layer of the trained network (`interventions.probe_layers`)."""
        return self._extra("layers")

    @cached_property
    def interventions(self) -> pd.DataFrame:
        """A row per intervention on the trained network (`interventions.intervene`)."""
        return self._extra("interventions")

    @cached_property
    def variation(self) -> pd.DataFrame:
        """A row per layer, timestep and network, trained or not."""
        return self._extra("signals")

    @cached_property
    def patching(self) -> pd.DataFrame:
        """A row per image with a layer exchanged, or nothing."""
        return self._extra("places")

    def _extra(self, table: str) -> pd.DataFrame:
        path = self.folder / f"{table}.parquet"
        return pd.read_parquet(path) if path.exists() else pd.DataFrame()

    @property
    def weights(self) -> Path:
        """The file of averaged weights, where "weights" is among the `extras`."""
        return self.folder / "weights.safetensors"

    @property
    def extras(self) -> set[str]:
        """The names of `EXTRAS` whose files the record has."""
        return {name for name, files in EXTRAS.items() if self.checked >= set(files)}
