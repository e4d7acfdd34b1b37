"""The records that the repository ships, and the manifest that lists them."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bump_diffusion.errors import UserError
from bump_diffusion.files import ROOT, to_json, write_atomically
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import SHIPPED, Store

MANIFEST = ROOT / "data" / "manifest.json"


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
