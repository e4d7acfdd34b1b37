"""The store: one folder per run, named by its configuration's hash, never half written.

A finished record's folder holds

- `configuration.json`: every field of its `Configuration` that there was when it was made (later
  ones have their default), and the format's version;
- `provenance.json`: versions, device, threads, commit, when it was finished, seconds in all and, of
  these, of evaluation;
- `checkpoints.parquet`, `probes.parquet`, `samplers.parquet`: a row per evaluated checkpoint, per
  probe of one, and per sampler that one was compared under;
- `arrays.npz`: per checkpoint sample images and reduced features, and the loss of every step;
- of the extras, what was asked for: `weights.safetensors`, the averaged weights in half precision;
  `layers.parquet` and `interventions.parquet`, the dissection of the trained network;
  `signals.parquet`, how much each layer tells images apart; `places.parquet`, where bumps go if a
  layer is exchanged;
- `checksums.json`: the SHA-256 of each of these files.

Records that are shipped lie in `data/records`, are never written to, and are listed with the
SHA-256 of their `checksums.json` in `data/manifest.json`. New ones go to `data/local`, or to the
folder that the environment variable BUMP_DIFFUSION_STORE names. While a run is being made its
evaluations and its checkpoint lie in `partial/`; the record's folder appears when it is complete.

Any number of processes may share a store, on one machine or on several: who makes a run holds a
lock, by flock, which the kernel frees if the process dies. The file system must honour such locks
between the machines.
"""

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open

from .config import FORMAT, Configuration, one_sentence
from .errors import UserError
from .evaluation import Evaluation

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "data" / "records"
MANIFEST = ROOT / "data" / "manifest.json"
BENCHMARKS = ROOT / "data" / "benchmarks"
TABLES = ("checkpoints", "probes", "samplers", "layers", "interventions", "signals", "places")
EXTRAS = {
    "weights": ("weights.safetensors",),
    "dissection": ("layers.parquet", "interventions.parquet"),
    "signals": ("signals.parquet",),
    "places": ("places.parquet",),
}
"""What a record may hold besides, and its files."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that any moment's reader sees the old content or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def to_npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def to_parquet(table: pd.DataFrame) -> bytes:
    return table.to_parquet(index=False, compression="zstd")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
        """A row per probe of a layer of the trained network (`dissection.probe_layers`)."""
        return self._extra("layers")

    @cached_property
    def interventions(self) -> pd.DataFrame:
        """A row per intervention on the trained network (`dissection.intervene`)."""
        return self._extra("interventions")

    @cached_property
    def signals(self) -> pd.DataFrame:
        """A row per layer, timestep and network, trained or not (`dissection.measure_signals`)."""
        return self._extra("signals")

    @cached_property
    def places(self) -> pd.DataFrame:
        """A row per image with a layer exchanged, or nothing (`dissection.find_places`)."""
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


class Partial:
    """A run that is being made: its folder, held so that no other process makes it too."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.checkpoint = folder / "checkpoint.safetensors"

    def step(self) -> int:
        """Steps that the last checkpoint has behind it; 0 if there is none that can be read."""
        try:
            with safe_open(self.checkpoint, "np") as file:
                return int(file.metadata()["step"])
        except (OSError, SafetensorError):
            return 0

    def _evaluation(self, step: int) -> Path:
        return self.folder / f"evaluation-{step:09d}.npz"

    def has_evaluation(self, step: int) -> bool:
        return self._evaluation(step).exists()

    def save_evaluation(self, step: int, evaluation: Evaluation) -> None:
        tables = {
            name: np.array(table.to_json(orient="split", double_precision=15))
            for name, table in (("probes", evaluation.probes), ("samplers", evaluation.samplers))
        }
        metrics = {"metrics": np.array(json.dumps(evaluation.metrics))}
        write_atomically(self._evaluation(step), to_npz({**evaluation.arrays, **tables, **metrics}))

    def evaluation(self, step: int) -> Evaluation:
        with np.load(self._evaluation(step), allow_pickle=False) as file:
            arrays = dict(file)
        metrics = json.loads(str(arrays.pop("metrics")))
        probes, samplers = (
            pd.read_json(io.StringIO(str(arrays.pop(name))), orient="split")
            for name in ("probes", "samplers")
        )
        return Evaluation(metrics, probes, samplers, arrays)


class Store:
    """Finished records, shipped and local, and runs under way.

    `local` is where new records go; `shipped` a second, read-only folder, or None. A record made
    again locally takes the place of the shipped one.
    """

    def __init__(self, local: Path, shipped: Path | None = None):
        if local.exists() and not local.is_dir():
            raise UserError(f"The store {str(local)!r} is a file; it must be a folder.")
        self.local = local.absolute()  # a worker process may have another current folder
        self.roots = [self.local] if shipped is None else [self.local, shipped]

    def folder(self, id: str) -> Path | None:
        """The folder of a finished record, unopened; None if there is none."""
        return next((root / id for root in self.roots if (root / id).is_dir()), None)

    def get(
        self, c: Configuration, extras: Iterable[str] = (), remake: bool = False
    ) -> Record | None:
        """The record of a configuration; None if there is none.

        One that lacks some of the `extras` is taken for none. One that is damaged raises
        UserError, or with `remake` is taken for none too.
        """
        for root in self.roots:
            if not (root / c.id).is_dir():
                continue
            try:
                record = Record(root / c.id)
            except UserError:
                if remake:
                    return None
                raise
            if record.extras.issuperset(extras):
                return record
        return None

    def ids(self) -> list[str]:
        """The names of all finished records, sorted."""
        return sorted(
            {
                entry.name
                for root in self.roots
                if root.is_dir()
                for entry in root.iterdir()
                if len(entry.name) == 12 and (entry / "checksums.json").exists()
            }
        )

    def lock(self, c: Configuration) -> FileLock:
        """Held while a run is made; a second process that wants the same run waits for it."""
        make_writable(self.local, "store")
        return FileLock(self._lock_file(c))

    def is_being_made(self, c: Configuration) -> bool:
        """Whether some process, here or on another machine, makes the run now."""
        return is_held(self._lock_file(c))

    def _lock_file(self, c: Configuration) -> Path:
        return self.local / f".{c.id}.lock"

    def partial(self, c: Configuration) -> Partial:
        return Partial(self.local / "partial" / c.id)

    def finish(self, c: Configuration, files: dict[str, bytes]) -> Record:
        """Publish a record made of `files` (name to content) at once, and drop its partial run."""
        files = {"configuration.json": to_json({"format": FORMAT, **c.model_dump()}), **files}
        partial = self.partial(c).folder
        staged = partial / "record"
        shutil.rmtree(staged, ignore_errors=True)
        for name, content in files.items():
            write_atomically(staged / name, content)
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        write_atomically(staged / "checksums.json", to_json(sums))
        self.remove(c)
        os.replace(staged, self.local / c.id)
        shutil.rmtree(partial, ignore_errors=True)  # a file that is being read may linger on NFS
        return Record(self.local / c.id)

    def remove(self, c: Configuration) -> None:
        """Drop the local record of a configuration, if there is one."""
        folder = self.local / c.id
        if folder.exists():
            # Renamed first: a record half deleted must not be taken for one.
            doomed = Path(tempfile.mkdtemp(prefix=".removed-", dir=self.local))
            os.replace(folder, doomed / c.id)
            shutil.rmtree(doomed)


def default_store() -> Store:
    """Shipped records and `data/local`; BUMP_DIFFUSION_STORE, if set, is the only folder used.

    The variable is how everything is made again from nothing: nothing shipped is seen then.
    """
    named = folder_named_by("BUMP_DIFFUSION_STORE")
    return Store(ROOT / "data" / "local", SHIPPED) if named is None else Store(named)


def folder_named_by(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is unset."""
    named = os.environ.get(variable)
    if named is None:
        return None
    if not named.strip():
        raise UserError(f"{variable} is {named!r}; it must name a folder, or be unset.")
    return Path(named).expanduser().resolve()


def make_writable(folder: Path, what: str) -> None:
    """Make a folder if need be. Raises UserError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"The {what} {str(folder)!r} cannot be written to: {error.strerror}."
        ) from None


def is_held(lock: Path) -> bool:
    """Whether a living process, here or on another machine, holds a lock file."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def read_manifest() -> dict[str, str]:
    """The shipped records' digests by name."""
    try:
        manifest = json.loads(MANIFEST.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        raise UserError(f"{MANIFEST} cannot be read; restore it from the repository.") from None
    return manifest


def shipped_faults() -> Iterator[str]:
    """A sentence for each way in which the shipped records differ from the manifest."""
    manifest = read_manifest()
    present = set(Store(SHIPPED).ids())
    for id in sorted(manifest.keys() | present):
        if id not in present:
            yield f"Record {id} is in the manifest but not in {SHIPPED}."
        elif id not in manifest:
            yield f"Record {id} is in {SHIPPED} but not in the manifest."
        else:
            try:
                record = Record(SHIPPED / id)
            except UserError as error:
                yield error.message
            else:
                if record.digest != manifest[id]:
                    yield f"Record {id} is not the one that the manifest lists."


def ship(record: Record) -> None:
    """Copy a local record to the shipped ones and list it in the manifest."""
    SHIPPED.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shipping-", dir=SHIPPED) as folder:
        shutil.copytree(record.folder, Path(folder) / "new")
        target = SHIPPED / record.id
        if target.exists():
            os.replace(target, Path(folder) / "old")
        os.replace(Path(folder) / "new", target)
    write_atomically(MANIFEST, to_json({**read_manifest(), record.id: record.digest}))
