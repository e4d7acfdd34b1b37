"""What the project's files say of each other."""

import re
import tomllib

import yaml

from bump_diffusion.store import ROOT


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
