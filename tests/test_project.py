"""What the project's files say of each other."""

import re
import tomllib

import nbformat
import yaml

from bump_diffusion.book.build import notebooks
from bump_diffusion.files import ROOT


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
