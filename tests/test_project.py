"""What the project's files say of each other."""

import os
import re
import shutil
import subprocess
import sys
import tomllib

import nbformat
import pytest
import yaml

from bump_diffusion.book.build import notebooks
from bump_diffusion.files import ROOT
from bump_diffusion.runs.record import Record


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines):
    found = [line.strip().split("==") for line in lines if re.match(r"^[\w.-]+==", line.strip())]
    return {canonical(name): version for name, version in found}


LOCK = pins((ROOT / "requirements.lock").read_text("utf-8").splitlines())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
DIRECT = {
    canonical(re.split("[=<>]", wanted)[0])
    for wanted in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
}


def test_the_lock_pins_everything_that_is_asked_for():
    assert LOCK.keys() >= DIRECT
    assert LOCK["torch"] == "2.13.0" and LOCK["jupyter-book"] == "1.0.4.post1"


def test_the_conda_environment_takes_every_version_from_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    (from_pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert from_pip == ["-r requirements.lock", "-e ."]


def test_no_line_of_text_is_a_comment():
    """MyST drops a line that begins with %, which wrapped text may do by chance."""
    for name in notebooks():
        cells = nbformat.read(ROOT / "book" / f"{name}.ipynb", as_version=4).cells
        lines = [line for c in cells if c.cell_type == "markdown" for line in c.source.splitlines()]
        assert not [line for line in lines if line.startswith("%")], name


@pytest.mark.minutes
def test_a_clone_with_line_ends_of_windows_keeps_every_byte(tmp_path):
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    # What is committed, and what is about to be.
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    tracked = [name for name in listed if (ROOT / name).is_file()]
    for name in tracked:
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    git = ["git", "-C", tmp_path / "copy", "-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "all"]):
        subprocess.run([*git, *command], check=True)
    options = ["-q", "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run(["git", "clone", *options, tmp_path / "copy", tmp_path / "clone"], check=True)
    for name in tracked:
        assert (tmp_path / "clone" / name).read_bytes() == (ROOT / name).read_bytes(), name
    for folder in (tmp_path / "clone" / "data" / "records").iterdir():
        Record(folder)


PYTHON = """#!/bin/sh
# Stands for an interpreter: makes environments in which commands say where they were installed.
echo "$*" >> {log}
case "$*" in
    *"import ensurepip"*) exit {without_ensurepip};;
    *print*) exec {real} "$@";;
    "-m venv --clear .venv")
        rm -rf .venv; mkdir -p .venv/bin; cp $0 .venv/bin/python
        [ -z "$STOP_AFTER_VENV" ] || exit 1;;
    *--editable*)
        printf '#!/bin/sh\necho book of %s\n' "$(pwd)" > .venv/bin/bump-diffusion
        chmod +x .venv/bin/bump-diffusion;;
    *pip*) [ -z "$STOP_IN_PIP" ] || exit 1;;
esac
"""


class Clone:
    """A folder with the Makefile, and an interpreter that only notes what it is asked for."""

    def __init__(self, folder, without_ensurepip=0):
        self.folder = folder / "a clone"
        self.folder.mkdir()
        for name in ("Makefile", "requirements.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder)
        self.log = folder / "log"
        self.python = folder / "python"
        self.python.write_text(
            PYTHON.format(log=self.log, without_ensurepip=without_ensurepip, real=sys.executable)
        )
        self.python.chmod(0o755)

    def make(self, folder=None, **environment):
        """What `make book` prints, and the commands that it gave the interpreter."""
        self.log.write_text("")
        done = subprocess.run(
            ["make", "-C", folder or self.folder, f"PYTHON={self.python}", "book"],
            capture_output=True,
            text=True,
            env={**os.environ, **environment},
        )
        return done, self.log.read_text()


def test_make_installs_once_and_again_if_the_lock_changed(tmp_path):
    clone = Clone(tmp_path)
    done, asked = clone.make()
    assert f"book of {clone.folder}" in done.stdout and asked.count("pip install") == 2
    assert clone.make()[1] == ""
    lock = clone.folder / "requirements.lock"
    mark = clone.folder / ".venv" / "installed"
    os.utime(lock, (mark.stat().st_mtime + 1,) * 2)
    _, asked = clone.make()
    assert asked.count("pip install") == 2 and "venv --clear" not in asked


@pytest.mark.parametrize("stop", ["STOP_AFTER_VENV", "STOP_IN_PIP"])
def test_an_installation_that_was_interrupted_is_made_anew(tmp_path, stop):
    clone = Clone(tmp_path)
    assert clone.make(**{stop: "1"})[0].returncode != 0
    done, asked = clone.make()
    assert "venv --clear" in asked and f"book of {clone.folder}" in done.stdout


@pytest.mark.parametrize("transfer", [shutil.copytree, shutil.move])
def test_a_copied_or_moved_clone_installs_itself(tmp_path, transfer):
    clone = Clone(tmp_path)
    clone.make()
    other = tmp_path / "another"
    transfer(clone.folder, other)
    done, asked = clone.make(other)
    assert "venv --clear" in asked and f"book of {other}" in done.stdout
    assert clone.make(other)[1] == ""


def test_without_ensurepip_one_sentence_names_the_package(tmp_path):
    clone = Clone(tmp_path, without_ensurepip=1)
    done, asked = clone.make()
    assert done.returncode != 0 and "-m venv" not in asked
    first, _ = done.stderr.splitlines()  # the second is make's
    assert first.endswith(f"apt-get install python3.{sys.version_info.minor}-venv")
