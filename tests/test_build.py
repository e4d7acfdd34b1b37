"""How chapters are run: with which parameters, in which kernel, and what becomes of failures.

The book here is of two small notebooks; the site is not built.
"""

import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import click
import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from bump_diffusion import files
from bump_diffusion.book import build
from bump_diffusion.book.kernel import run_notebook
from bump_diffusion.book.parameters import check_values, declared_types
from bump_diffusion.config import configure
from bump_diffusion.errors import UserError
from bump_diffusion.files import ROOT
from bump_diffusion.runs import store
from bump_diffusion.runs.run import train

CHECK = """
from bump_diffusion.book.parameters import check_parameters

check_parameters(seeds=int, spacings=list[float], conditioning=str)
"""
PARAMETERS = 'seeds = 1\nspacings = [1.0]\nconditioning = "table"'


def write(path, *cells, parameters=PARAMETERS):
    tagged = new_code_cell(parameters, metadata={"tags": ["parameters"]})
    notebook = new_notebook(cells=[tagged, *map(new_code_cell, cells)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "", "language": "python"}
    nbformat.write(notebook, path)


def printed(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return "".join(output.text for cell in cells for output in cell.outputs if "text" in output)


@pytest.fixture
def book(tmp_path, monkeypatch):
    """A book of the notebooks one and two, which print their parameters."""
    (tmp_path / "book").mkdir()
    for name in ("one", "two"):
        write(tmp_path / "book" / f"{name}.ipynb", CHECK, "print(seeds, spacings, conditioning)")
    monkeypatch.setattr(build, "SOURCE", tmp_path / "book")
    monkeypatch.setattr(build, "BUILD", tmp_path / "build")
    monkeypatch.setattr(build, "notebooks", lambda: ["one", "two"])
    monkeypatch.setattr(build, "build_site", lambda *arguments: None)
    return tmp_path / "book"


def run_again(name, capsys, **parameters):
    """Build one chapter and say whether it was run."""
    capsys.readouterr()
    build.build(name, parameters)
    return f"{name}: running" in capsys.readouterr().out


# Parameters


TYPES = {"seeds": int, "spacings": list[float], "conditioning": str}


def test_the_types_of_parameters_are_read_from_their_check(book):
    for name in ("one", "two"):
        assert declared_types(nbformat.read(book / f"{name}.ipynb", as_version=4)) == TYPES
    for path in (ROOT / "book").glob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        (tagged,) = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])] or [
            ""
        ]
        defaults = {}
        exec(tagged and tagged.source, {}, defaults)
        types = declared_types(notebook)
        assert defaults.keys() == types.keys(), path
        assert check_values(defaults, types) == defaults, path


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"seedz": 1}, "'seedz' is not a parameter of this chapter (did you mean 'seeds'?)"),
        ({"seeds; import os": 1}, "'seeds; import os' is not a parameter of this chapter"),
        ({"seeds": 1.0}, "seeds is 1.0, it must be a whole number."),
        ({"seeds": True}, "seeds is True, it must be a whole number."),
        ({"seeds": [1]}, r"seeds is [1], it must be a whole number."),
        ({"spacings": []}, "spacings is [], it must have at least one value."),
        ({"spacings": [1, "2"]}, "spacings is [1, '2'], it must be a list of numbers."),
        ({"spacings": [[1]]}, "spacings is [[1]], it must be a list of numbers."),
        ({"spacings": float("nan")}, "spacings is nan, it must be a list of numbers."),
        ({"spacings": [("__import__('os')", 1)]}, "it must be a list of numbers."),
        ({"conditioning": {"a": 1}}, "conditioning is {'a': 1}, it must be a word."),
        ({"conditioning": None}, "conditioning is None, it must be a word."),
    ],
)
def test_a_parameter_that_a_chapter_does_not_take_is_refused_before_anything_is_written(
    book, values, sentence
):
    with pytest.raises(UserError) as refused:
        check_values(values, TYPES)
    assert sentence in refused.value.message
    with pytest.raises(UserError):
        build.build("one", values)
    assert not build.BUILD.exists()


def test_a_single_value_for_a_list_is_a_list_of_one_and_whole_numbers_stay(book):
    build.build("one", {"spacings": 2, "seeds": 3})
    assert printed(nbformat.read(build._executed("one"), as_version=4)) == "3 [2] table\n"


@pytest.mark.parametrize(
    ("parameters", "outcome"),
    [
        (PARAMETERS.replace("[1.0]", "1.0"), "1 [1.0] table\n"),
        (
            PARAMETERS.replace("[1.0]", "'wide'"),
            "spacings is 'wide', it must be a list of numbers.",
        ),
        (
            PARAMETERS.replace("seeds = 1", "seeds = 1.5"),
            "seeds is 1.5, it must be a whole number.",
        ),
    ],
)
def test_a_value_edited_in_the_notebook_is_checked_as_one_injected(book, parameters, outcome):
    source, target = book / "one.ipynb", book / "out.ipynb"
    write(source, CHECK, "print(seeds, spacings, conditioning)", parameters=parameters)
    try:
        text = printed(run_notebook(source, target, {}))
    except UserError as error:
        text = error.message
    assert outcome in text


def test_papermill_refuses_before_a_cell_runs_and_passes_its_own_names(book, run, tmp_path):
    source, target = book / "one.ipynb", tmp_path / "out.ipynb"
    notebook = nbformat.read(source, as_version=4)
    notebook.cells.insert(0, new_code_cell("print('above')"))
    nbformat.write(notebook, source)
    run("papermill", source, target, "--inject-paths", "-p", "seeds", "2", check=0)
    assert printed(nbformat.read(target, as_version=4)) == "above\n2 [1.0] table\n"
    mark = tmp_path / "mark"
    code = f"seeds; open({str(mark)!r}, 'w'); x"
    refused = run("papermill", source, target, "-p", code, "1", check=2)
    assert "is not a parameter of this chapter" in refused.stderr
    assert "Traceback" not in refused.stderr and not mark.exists()


# The kernel


def test_the_kernel_is_this_interpreter_and_says_nothing_when_it_ends(
    book, tmp_path, monkeypatch, capfd
):
    elsewhere = tmp_path / "kernels" / "python3" / "kernel.json"
    elsewhere.parent.mkdir(parents=True)
    elsewhere.write_text(json.dumps({"argv": ["false"], "display_name": "", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    write(book / "one.ipynb", "import os, sys; print(sys.executable); print(os.getpid())")
    executed = run_notebook(book / "one.ipynb", tmp_path / "out.ipynb", {})
    interpreter, kernel = printed(executed).split()
    assert interpreter == sys.executable
    assert not psutil.pid_exists(int(kernel))  # each holds half a gigabyte
    assert "IPKernelApp" not in capfd.readouterr().err


def test_a_kernel_that_dies_names_chapter_and_cell(book):
    write(book / "one.ipynb", "import os", "# Here.\nos._exit(1)", "print('after')")
    with pytest.raises(click.ClickException) as caught:
        run_notebook(book / "one.ipynb", book / "out.ipynb", {})
    assert "Chapter one: The kernel ended in cell 3 ('# Here.')" in caught.value.message


def test_a_relative_store_is_the_same_folder_in_a_notebook(book, tmp_path, monkeypatch):
    write(
        book / "one.ipynb",
        "from bump_diffusion.runs.store import default_store; print(default_store().local)",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", "my/store")
    build.build("one")
    text = printed(nbformat.read(build._executed("one"), as_version=4))
    assert text == f"{tmp_path / 'my' / 'store'}\n"


# What is kept of earlier builds


@pytest.mark.parametrize("content", ["", "[1", "[]", "null", '{"inputs": 1}', '{"records": []}'])
def test_a_damaged_description_of_a_chapter_runs_it_again(book, capsys, content):
    assert run_again("one", capsys)
    assert not run_again("one", capsys)
    build._executed("one").with_suffix(".json").write_text(content)
    assert run_again("one", capsys)
    assert not run_again("one", capsys)


def test_a_chapter_is_run_again_if_it_its_parameters_or_its_outputs_changed(book, capsys):
    assert run_again("one", capsys)
    assert run_again("one", capsys, seeds=2)
    assert not run_again("one", capsys, seeds=2)
    write(book / "one.ipynb", CHECK, "print('changed')")
    assert run_again("one", capsys, seeds=2)
    executed = build._executed("one")
    executed.write_bytes(executed.read_bytes()[:-100])
    assert run_again("one", capsys, seeds=2)


def test_a_chapter_is_run_again_if_its_records_changed_and_a_list_of_all_if_there_is_one_more(
    book, capsys, tmp_path, smoke_record, monkeypatch
):
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(tmp_path / "store"))
    folder = shutil.copytree(smoke_record.folder, tmp_path / "store" / smoke_record.id)
    shown = f"""
        from pathlib import Path
        from bump_diffusion.page.tables import Table
        from bump_diffusion.runs.record import Record
        record = Record(Path({str(folder)!r}))
        Table(record.checkpoints, [record])
    """
    write(book / "one.ipynb", inspect.cleandoc(shown))
    write(
        book / "two.ipynb",
        "from bump_diffusion.book.figures import about\nabout.list_records()",
    )
    for name in ("one", "two"):
        assert run_again(name, capsys) and not run_again(name, capsys)
    train(configure("smoke", seed=1), store.default_store())
    assert run_again("two", capsys) and not run_again("one", capsys)
    (folder / "checksums.json").unlink()
    with pytest.raises(click.ClickException, match=r"checksums\.json cannot be read"):
        build.build("one")
    shutil.rmtree(folder)
    train(smoke_record.configuration, store.default_store())
    for name in ("one", "two"):
        assert run_again(name, capsys) and not run_again(name, capsys)


BUILD_WITHOUT_SITE = """
import sys
from pathlib import Path
from bump_diffusion.book import build
from bump_diffusion.cli import main
folder = Path(sys.argv[1])
build.SOURCE, build.BUILD = folder / "book", folder / "build"
build.notebooks = lambda: sorted(file.stem for file in build.SOURCE.glob("*.ipynb"))
build.build_site = lambda *arguments: None
{}
main(["book"])
"""


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
def test_when_a_build_is_killed_its_kernels_and_their_workers_end_and_no_chapter_begins(
    book, tmp_path, by
):
    begun = tmp_path / "begun"
    begun.mkdir()
    note = f"import os, pathlib; pathlib.Path({str(begun)!r}, str(os.getpid())).touch()"
    in_worker = (
        "from bump_diffusion.runs.pools import Processes\n"
        "def work():\n"
        f"    {note}\n"
        "    import time; time.sleep(300)\n"
        "Processes(1).submit(work).result()"
    )
    for name in ("one", "two", "three", "four"):
        write(book / f"{name}.ipynb", note, in_worker)
    command = [sys.executable, "-c", BUILD_WITHOUT_SITE.format(""), tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        wait_until(lambda: len(list(begun.iterdir())) == 2 * build.MAX_CONCURRENT)
        process.send_signal(by)
    pids = [int(path.name) for path in begun.iterdir()]
    wait_until(lambda: not any(map(is_running, pids)), seconds=20)
    assert len(list(begun.iterdir())) == len(pids)


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = f"/proc/{pid}/stat"  # one that nobody waits for is a zombie
    return not os.path.exists(status) or open(status).read().rpartition(")")[2].split()[0] != "Z"


def test_a_full_disk_ends_a_build_in_a_sentence(book, tmp_path):
    """A limit on the size of files stands for it."""
    write(book / "one.ipynb", "print('x' * 100_000)")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    command = [sys.executable, "-c", BUILD_WITHOUT_SITE.format(limit), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr == f"Error: The book in {tmp_path / 'build'} was not built: File too large.\n"
    )
    assert "Traceback" not in done.stderr


def test_without_the_repository_one_sentence_says_how_to_install(monkeypatch, tmp_path):
    monkeypatch.delenv("BUMP_DIFFUSION_STORE", raising=False)
    monkeypatch.setattr(files, "ROOT", tmp_path)
    for work in (build.build, store.default_store):
        with pytest.raises(UserError, match="install it in a clone of the repository"):
            work()
    monkeypatch.setenv("BUMP_DIFFUSION_STORE", str(tmp_path))
    assert store.default_store().local == tmp_path


def test_the_command_that_opens_the_site_is_quoted(book, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "BUILD", tmp_path / "it's built")
    build.build("one")
    command = capsys.readouterr().out.strip().rpartition("xdg-open ")[2]
    words = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, text=True)
    assert words.stdout == str(tmp_path / "it's built" / "html" / "index.html")


def test_a_damaged_notebook_is_named_in_a_sentence(book):
    (book / "two.ipynb").write_text("<<<<<<< ours")
    with pytest.raises(UserError, match="Chapter two is not a notebook"):
        build.build()
