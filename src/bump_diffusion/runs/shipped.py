"""The records that the repository ships, and the manifest that lists them."""

import shutil
from collections.abc import Iterable, Iterator, Mapping

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from bump_diffusion.config import Configuration
from bump_diffusion.errors import UserError
from bump_diffusion.files import ROOT, discard, publish_folder, to_json, write_atomically
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import SHIPPED, Store

MANIFEST = ROOT / "data" / "manifest.json"


def read_manifest() -> dict[str, str]:
    """The shipped records' digests by name."""
    if not MANIFEST.exists():
        return {}
    try:
        return TypeAdapter(dict[str, str]).validate_json(MANIFEST.read_bytes())
    except ValidationError:
        raise UserError(f"{MANIFEST} cannot be read; restore it from the repository.") from None


def shipped_faults() -> Iterator[str]:
    """A sentence for each way in which the shipped records differ from the manifest."""
    manifest = read_manifest()
    store = Store(SHIPPED)
    present = set(store.ids())
    for id in sorted(manifest.keys() | present):
        if id not in present:
            yield f"Record {id} is in the manifest but not in {SHIPPED}."
        elif id not in manifest:
            yield f"Record {id} is in {SHIPPED} but not in the manifest."
        else:
            try:
                record = Record(store.folder(id))
            except UserError as error:
                yield error.message
            else:
                if record.digest != manifest[id]:
                    yield f"Record {id} is not the one that the manifest lists."


def ship(runs: Mapping[Configuration, Iterable[str]], store: Store) -> list[Record]:
    """Copy a store's local records of some runs, each with its extras, to the shipped ones and list
    them in the manifest; return those that were local.

    One process does so at a time. Killed, it is to be called again. Raises UserError if the store
    lacks a record.
    """
    records = {c.id: store.get(c, extras) for c, extras in runs.items()}
    if missing := [id for id, record in records.items() if record is None]:
        raise UserError(
            f"{len(missing)} of the {len(records)} records are not there ({', '.join(missing)}); "
            "bump-diffusion run makes them."
        )
    local = [record for record in records.values() if store.is_local(record)]
    SHIPPED.mkdir(parents=True, exist_ok=True)
    with FileLock(SHIPPED / ".lock"):
        for record in local:
            copy = SHIPPED / f".{record.id}"
            discard(copy)
            shutil.copytree(record.folder, copy)
            publish_folder(copy, SHIPPED / record.id)
            write_atomically(MANIFEST, to_json({**read_manifest(), record.id: record.digest}))
    return local
