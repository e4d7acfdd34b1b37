"""The store: one folder per run, named by its configuration's hash, never half written.

A finished record's folder holds

- `configuration.json`: every field of its `Configuration` that there was when it was made (later
  ones have their default), and the format's version;
- `provenance.json`: versions, device, threads, commit, when it was finished, seconds in all and, of
  these, of evaluation;
- the tables and arrays of `Record`, and of its extras those that were asked for; the averaged
  weights are in half precision, those of the trajectory in eight bits;
- `checksums.json`: the SHA-256 of each of these files.

Records that are shipped lie in `data/records`, are never written to, and are listed with the
SHA-256 of their `checksums.json` in `data/manifest.json`. New ones go to `data/local`, or to the
folder that the environment variable BUMP_DIFFUSION_STORE names. While a run is being made its
evaluations and its checkpoint lie in `partial/`; the record's folder appears when it is complete,
and one that it replaces lies in `.replaced/` until then.

Any number of processes may share a store, on one machine or on several: who makes a run holds a
lock, by flock, which the kernel frees if the process dies. The file system must honour such locks
between the machines.
"""

import hashlib
import os
import uuid
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock

from bump_diffusion.config import FORMAT, Configuration
from bump_diffusion.errors import UserError
from bump_diffusion.files import (
    REPLACED,
    ROOT,
    delete_discarded,
    discard,
    folder_named_by,
    is_held,
    publish_folder,
    published_folder,
    require_repository,
    to_json,
    write_atomically,
)
from bump_diffusion.runs.record import Record

SHIPPED = ROOT / "data" / "records"
"The folder of the records that the repository ships."


class Store:
    """Finished records, shipped and local, and runs under way.

    `local` is where new records go; `shipped` a second, read-only folder, or None. A local record
    takes the place of a shipped one of its name.
    """

    def __init__(self, local: Path, shipped: Path | None = None):
        if local.exists() and not local.is_dir():
            raise UserError(f"The store {str(local)!r} is a file; it must be a folder.")
        self.local = local.absolute()  # a worker process may have another current folder
        self.roots = [self.local] if shipped is None else [self.local, shipped]

    def folders(self, *ids: str) -> list[Path]:
        """The folders of finished records, unopened, of each name the local one first."""
        places = [root / id for id in ids for root in self.roots]
        return [folder for place in places if (folder := published_folder(place))]

    def folder(self, id: str) -> Path | None:
        """The folder of a finished record, unopened; None if there is none."""
        return next(iter(self.folders(id)), None)

    def is_local(self, record: Record) -> bool:
        return self.local in record.folder.parents

    def get(
        self, c: Configuration, extras: Iterable[str] = (), remake: bool = False
    ) -> Record | None:
        """The record of a configuration; None if there is none.

        One of an earlier format serves too. One that lacks some of the `extras` is taken for none.
        One that is damaged raises UserError, or with `remake` is taken for none too.
        """
        for folder in self.folders(c.id, *c.earlier_ids):
            try:
                record = Record(folder)
            except UserError:
                if remake:
                    return None
                raise
            if record.extras.issuperset(extras):
                return record
        return None

    def ids(self) -> list[str]:
        """The names of all finished records, sorted."""
        patterns = ("[!.]*/checksums.json", f"{REPLACED}/[!.]*/checksums.json")
        found = [file for root in self.roots for p in patterns for file in root.glob(p)]
        return sorted({file.parent.name for file in found})

    def lock(self, c: Configuration) -> FileLock:
        """Held while a run is made; a second process that wants the same run waits for it.

        Raises UserError if the record could not be stored.
        """
        target = self.local / c.id
        if os.path.lexists(target) and not target.is_dir():
            raise UserError(f"{str(target)!r} is not a folder, as a record is; remove it.")
        self.local.mkdir(parents=True, exist_ok=True)
        for folder in (self.local, self.local / "partial", self.local / REPLACED):
            delete_discarded(folder)
        return FileLock(self._lock_file(c))

    def is_being_made(self, c: Configuration) -> bool:
        """Whether some process, here or on another machine, makes the run now."""
        return is_held(self._lock_file(c))

    def _lock_file(self, c: Configuration) -> Path:
        return self.local / f".{c.id}.lock"

    def partial_folder(self, c: Configuration) -> Path:
        """Where a run's evaluations and its checkpoint lie while it is being made."""
        return self.local / "partial" / c.id

    def finish(self, c: Configuration, files: dict[str, bytes]) -> Record:
        """Publish a record made of `files` (name to content) at once, and drop its partial run."""
        files = {"configuration.json": to_json({"format": FORMAT, **c.model_dump()}), **files}
        sums = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        partial = self.partial_folder(c)
        staged = partial / f"record-{uuid.uuid4().hex}"
        for name, content in {**files, "checksums.json": to_json(sums)}.items():
            write_atomically(staged / name, content)
        publish_folder(staged, self.local / c.id)
        discard(partial)
        return Record(self.local / c.id)


def default_store() -> Store:
    """Shipped records and `data/local`; BUMP_DIFFUSION_STORE, if set, is the only folder used.

    Nothing shipped is seen then, so that everything can be reproduced from nothing.
    """
    named = folder_named_by("BUMP_DIFFUSION_STORE")
    if named is not None:
        return Store(named)
    require_repository()
    return Store(ROOT / "data" / "local", SHIPPED)


def listed_store() -> Store:
    """Return the store that the page *About* lists: what is shipped, or stands for it."""
    return Store(default_store().roots[-1])
