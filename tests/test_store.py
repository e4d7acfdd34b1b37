import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from bump_diffusion import files
from bump_diffusion.analysis import verify
from bump_diffusion.config import FORMAT, configure
from bump_diffusion.errors import UserError
from bump_diffusion.files import system_errors_in_a_sentence, to_json, write_atomically
from bump_diffusion.runs import shipped
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.provenance import commit
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
    with pytest.raises(UserError, match=f"its format is 0, this program reads 2 and {FORMAT}"):
        Record(record.folder)
    (record.folder / "configuration.json").write_bytes(to_json(stored))
    (record.folder / "samplers.parquet").unlink()
    with pytest.raises(UserError, match=r"samplers\.parquet is missing"):
        Record(record.folder)


@pytest.mark.parametrize("content", ["[]", "null", "{}", "7", "[" * 9999, '{"arrays.npz": 1}'])
@pytest.mark.parametrize("name", ["configuration.json", "checksums.json"])
def test_json_that_is_not_a_records_is_refused_and_the_record_made_again(record, name, content):
    (record.folder / name).write_text(content)
    c, store = record.configuration, Store(record.folder.parent)
    with pytest.raises(UserError, match=f"Record {record.id} in .* is refused: "):
        store.get(c)
    assert store.get(c, remake=True) is None


@pytest.mark.parametrize("name", ["weights.safetensors", "layers.parquet", "notes.txt", "folder"])
def test_a_file_that_no_checksum_vouches_for_is_refused(record, name):
    checksums = json.loads((record.folder / "checksums.json").read_bytes())
    checksums.pop(name, None)
    (record.folder / "checksums.json").write_bytes(to_json(checksums))
    (record.folder / "folder").mkdir() if name == "folder" else flip_or_write(record.folder / name)
    with pytest.raises(UserError, match=f"{name} (has no checksum|is not a file of a record)"):
        Record(record.folder)


def flip_or_write(path):
    flip_a_byte(path) if path.exists() else path.write_text("of another run")


def rewrite(record, name, content):
    """Give a file other content, with a checksum that fits, as whoever makes up a record does."""
    (record.folder / name).write_bytes(content)
    checksums = json.loads((record.folder / "checksums.json").read_bytes())
    checksums[name] = files.sha256(record.folder / name)
    (record.folder / "checksums.json").write_bytes(to_json(checksums))
    return Record(record.folder)


def test_tables_and_provenance_that_are_not_a_records_are_refused_when_they_are_read(record):
    table = record.checkpoints
    for content, sentence in (
        (b"no table", "checkpoints.parquet cannot be read"),
        (files.to_parquet(table.head(0)), "checkpoints.parquet has no rows"),
        (files.to_parquet(table.drop(columns="loss")), "checkpoints.parquet has no column loss"),
    ):
        with pytest.raises(UserError, match=sentence):
            rewrite(record, "checkpoints.parquet", content).checkpoints  # noqa: B018
    with pytest.raises(UserError, match=r"arrays\.npz cannot be read"):
        rewrite(record, "arrays.npz", b"PK no archive").arrays  # noqa: B018
    with pytest.raises(UserError, match=r"provenance\.json is not what it should be"):
        rewrite(record, "provenance.json", b"[]").provenance  # noqa: B018


def test_a_record_under_another_name_is_refused(record):
    moved = record.folder.rename(record.folder.with_name("0" * 12))
    with pytest.raises(UserError, match="its name is not that of its configuration"):
        Record(moved)


FILE_OPERATIONS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.scandir"}


def is_killed_at(n, function):
    """Call a function in a process that is killed at its n-th file operation, if it has so many."""
    process = os.fork()
    if process == 0:
        count = itertools.count(1)

        def kill(event, arguments):
            if event in FILE_OPERATIONS and next(count) == n:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(kill)
        try:
            function()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def contents(record):
    return {name: (record.folder / name).read_bytes() for name in record.files}


def test_killed_at_any_file_operation_a_replaced_record_is_the_old_one_or_the_new(record, tmp_path):
    c, old = record.configuration, contents(record)
    new = {**old, "provenance.json": to_json({**record.provenance, "finished": "later"})}
    for n in itertools.count(1):
        store = Store(tmp_path / str(n))
        shutil.copytree(record.folder, store.local / c.id)
        write_atomically(store.partial_folder(c) / "checkpoint.safetensors", b"a checkpoint")
        killed = is_killed_at(n, lambda: store.finish(c, new))  # noqa: B023
        found = store.get(c, ["weights"])
        assert store.ids() == [c.id]
        assert {k: v for k, v in contents(found).items() if k != "provenance.json"} == {
            k: v for k, v in old.items() if k != "provenance.json"
        }
        # Whoever writes next is not held up, and leaves nothing of the killed one.
        with store.lock(c):
            assert contents(store.finish(c, new)) == new
        assert {path.name for path in store.local.rglob("*") if path.is_dir()} <= {
            *(c.id, "partial", ".replaced")
        }
        shutil.rmtree(store.local)
        if not killed:
            break
    assert n > 30


def test_a_record_that_could_not_be_stored_is_refused_before_it_is_trained(store):
    c = configure("smoke")
    store.local.mkdir()
    (store.local / c.id).symlink_to("nowhere")
    with pytest.raises(UserError, match=f"{c.id}' is not a folder, as a record is; remove it"):
        load_or_run([c], store)
    assert not (store.local / "partial").exists()


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
    assert load_or_run([c], store, extras=["weights"])[0].extras == {"weights"}


def test_a_local_record_that_holds_less_does_not_hide_the_shipped_one(record, tmp_path):
    c, store = record.configuration, Store(tmp_path / "local", record.folder.parent)
    load_or_run([c], Store(tmp_path / "local"))
    assert store.get(c).folder.parent == tmp_path / "local"
    assert store.get(c, ["weights"]).folder == record.folder


@pytest.fixture
def shipping(tmp_path, monkeypatch):
    """Has records shipped to another folder, with a manifest of its own."""
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(shipped, "MANIFEST", tmp_path / "manifest.json")
    monkeypatch.setattr(verify, "SHIPPED", tmp_path / "shipped")
    return tmp_path


def test_shipping_lists_a_record_and_notices_its_loss(record, shipping):
    assert list(shipped_faults()) == []
    ship({record.configuration: ()}, Store(record.folder.parent))
    assert read_manifest() == {record.id: record.digest}
    assert list(shipped_faults()) == []
    flip_a_byte(shipping / "shipped" / record.id / "arrays.npz")
    assert "does not match its checksum" in next(shipped_faults())
    shutil.rmtree(shipping / "shipped" / record.id)
    assert "is in the manifest but not in" in next(shipped_faults())


def test_killed_at_any_file_operation_shipping_loses_nothing(record, shipping):
    ship({record.configuration: ()}, Store(record.folder.parent))
    for n in itertools.count(1):
        killed = is_killed_at(
            n, lambda: ship({record.configuration: ()}, Store(record.folder.parent))
        )
        assert list(shipped_faults()) == []
        if not killed:
            break
    assert {path.name for path in (shipping / "shipped").iterdir()} <= {
        *(record.id, ".lock", ".replaced")
    }


def test_records_shipped_side_by_side_are_all_listed(record, shipping):
    records, store = [], Store(shipping / "local")
    for seed in range(8):
        c = record.configuration.model_copy(update={"seed": seed})
        names = contents(record).items()
        content = {k: v for k, v in names if k not in ("configuration.json", "checksums.json")}
        records.append(store.finish(c, content))
    threads = [threading.Thread(target=ship, args=({r.configuration: ()}, store)) for r in records]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_manifest() == {r.id: r.digest for r in records}
    assert list(shipped_faults()) == []


@pytest.mark.parametrize("content", ["[1]", "null", '{"a": 1}', "{", "[" * 9999])
def test_a_damaged_manifest_is_refused(shipping, content):
    (shipping / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json cannot be read; restore it"):
        read_manifest()


def test_a_record_is_verified_by_one_process_at_a_time(record, shipping, monkeypatch, capsys):
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(shipping / "own"))
    ship({record.configuration: ()}, Store(record.folder.parent))
    done, refused = [], []

    def check():
        try:
            done.append(verify.verify(record.id))
        except UserError as error:
            refused.append(error.message)

    threads = [threading.Thread(target=check) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done[0].identical and len(done) + len(refused) == 3
    assert set(refused) <= {f"Another process verifies record {record.id} now."}
    assert not [path for path in (shipping / "own" / "verify").iterdir() if path.is_dir()]


def test_the_shipped_records_are_those_of_the_manifest():
    assert list(shipped_faults()) == []
    for id in read_manifest():
        folder = shipped.SHIPPED / id
        files = [f for f in folder.iterdir() if f.suffix != ".safetensors"]
        assert sum(f.stat().st_size for f in files) < 1_000_000


def test_the_store_may_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(tmp_path))
    assert default_store().roots == [tmp_path]
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", " ")
    with pytest.raises(UserError, match="BUMP_DIFFUSION_STORE is ' '; it must name a folder"):
        default_store()


def test_a_relative_store_is_the_same_folder_in_every_process(monkeypatch, tmp_path):
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", "mine")
    monkeypatch.chdir(tmp_path)
    assert default_store().local == tmp_path / "mine"
    seen = "from bump_diffusion.runs.store import default_store; print(default_store().local)"
    monkeypatch.chdir("/")
    started = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True)
    assert started.stdout == f"{tmp_path}/mine\n"


READING = [f"runs.{module}" for module in ("record", "store", "shipped", "experiments", "load")]


@pytest.mark.parametrize("module", [*READING, "book.build"])
def test_a_record_is_read_and_a_book_without_changes_is_built_without_torch(module):
    code = f"import sys, bump_diffusion.{module}; print(*sys.modules, sep='\\n')"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "pandas" in loaded.split()
    slow = {"torch", "sklearn", "umap", "matplotlib"} | (
        {"papermill"} if "runs" in module else set()
    )
    assert not slow & set(loaded.split())


def test_the_commit_is_that_of_this_repository_only(tmp_path):
    def git(folder, *arguments):
        command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b.c"]
        subprocess.run([*command, *arguments], check=True, capture_output=True)

    inner = tmp_path / "unpacked"
    (inner / "src").mkdir(parents=True)
    (inner / "src" / "file").write_text("a")
    for folder, known in ((tmp_path, False), (inner, True)):
        git(folder, "init")
        git(folder, "add", "-A")
        git(folder, "commit", "-m", "a")
        commit.cache_clear()
        assert (commit(inner) != "unknown") == known
    (inner / "src" / "file").write_text("b")
    commit.cache_clear()
    assert commit(inner).endswith("+")
    commit.cache_clear()


def test_what_the_system_refuses_becomes_a_sentence(tmp_path):
    with (
        pytest.raises(UserError, match=r"^'.*/a' cannot be used: File exists\.$"),
        system_errors_in_a_sentence(),
    ):
        (tmp_path / "a").write_text("")
        write_atomically(tmp_path / "a" / "file", b"")


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
