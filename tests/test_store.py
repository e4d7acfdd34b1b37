import json
import shutil

import pytest

from bump_diffusion import files
from bump_diffusion.config import FORMAT
from bump_diffusion.errors import UserError
from bump_diffusion.files import to_json, write_atomically
from bump_diffusion.runs import shipped
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.shipped import read_manifest, ship, shipped_faults
from bump_diffusion.runs.store import Store, default_store


@pytest.fixture
def record(smoke_record, tmp_path):
    """A copy of a record that may be damaged, in a store of its own."""
    folder = tmp_path / "store" / smoke_record.id
    shutil.copytree(smoke_record.folder, folder)
    return Record(folder)


def flip_a_byte(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate])
@pytest.mark.parametrize(
    "name",
    [
        "configuration.json",
        "checkpoints.parquet",
        "probes.parquet",
        "arrays.npz",
        "weights.safetensors",
        "checksums.json",
        "provenance.json",
    ],
)
def test_a_damaged_record_is_refused_by_name_and_can_be_made_again(record, name, damage):
    damage(record.folder / name)
    c = record.configuration
    store = Store(record.folder.parent)
    with pytest.raises(UserError, match=f"Record {record.id} .* is refused: .*") as caught:
        load_or_run([c], store)
    assert "\n" not in caught.value.message
    if (name, damage) == ("arrays.npz", flip_a_byte):
        again = load_or_run([c], store, remake=True)[0]
        assert again.checkpoints.equals(record.checkpoints)


def test_a_missing_file_and_another_format_are_refused(record):
    stored = json.loads((record.folder / "configuration.json").read_bytes())
    (record.folder / "configuration.json").write_bytes(to_json({**stored, "format": 0}))
    with pytest.raises(UserError, match=f"its format is version 0, this program's is {FORMAT}"):
        Record(record.folder)
    (record.folder / "configuration.json").write_bytes(to_json(stored))
    (record.folder / "samplers.parquet").unlink()
    with pytest.raises(UserError, match=r"samplers\.parquet is missing"):
        Record(record.folder)


def test_a_record_under_another_name_is_refused(record):
    moved = record.folder.rename(record.folder.with_name("0" * 12))
    with pytest.raises(UserError, match="its name is not that of its configuration"):
        Record(moved)


def test_a_damaged_shipped_record_is_made_again_beside_it(record, tmp_path):
    flip_a_byte(record.folder / "arrays.npz")
    store = Store(tmp_path / "local", record.folder.parent)
    again = load_or_run([record.configuration], store, remake=True)[0]
    assert again.folder.parent == tmp_path / "local"
    assert store.get(record.configuration).folder == again.folder
    assert store.ids() == [record.id]


def test_weights_that_are_asked_for_are_made(smoke_record, tmp_path):
    store = Store(tmp_path)
    c = smoke_record.configuration
    (plain,) = load_or_run([c], store)
    assert plain.extras == set()
    (plain.folder / "weights.safetensors").write_bytes(b"of another run")
    assert Record(plain.folder).extras == set()  # no checksum vouches for it
    assert load_or_run([c], store, extras=["weights"])[0].extras == {"weights"}


def test_a_local_record_that_holds_less_does_not_hide_the_shipped_one(record, tmp_path):
    c, store = record.configuration, Store(tmp_path / "local", record.folder.parent)
    load_or_run([c], Store(tmp_path / "local"))
    assert store.get(c).folder.parent == tmp_path / "local"
    assert store.get(c, ["weights"]).folder == record.folder


def test_shipping_lists_a_record_and_notices_its_loss(record, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(shipped, "MANIFEST", tmp_path / "manifest.json")
    assert list(shipped_faults()) == []
    ship(record)
    assert read_manifest() == {record.id: record.digest}
    assert list(shipped_faults()) == []
    flip_a_byte(tmp_path / "shipped" / record.id / "arrays.npz")
    assert "does not match its checksum" in next(shipped_faults())
    shutil.rmtree(tmp_path / "shipped" / record.id)
    assert "is in the manifest but not in" in next(shipped_faults())


def test_the_shipped_records_are_those_of_the_manifest():
    assert list(shipped_faults()) == []
    for id in read_manifest():
        folder = shipped.SHIPPED / id
        files = [f for f in folder.iterdir() if f.name != "weights.safetensors"]
        assert sum(f.stat().st_size for f in files) < 1_000_000


def test_the_store_may_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(tmp_path))
    assert default_store().roots == [tmp_path]
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", " ")
    with pytest.raises(UserError, match="BUMP_DIFFUSION_STORE is ' '; it must name a folder"):
        default_store()


def test_an_interrupted_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def interrupted(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
