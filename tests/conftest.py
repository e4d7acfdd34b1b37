import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

# Every test checks the shapes in the signatures of what it calls; set before the imports.
install_import_hook(
    [f"bump_diffusion.{part}" for part in ("data", "models", "training", "metrics")],
    "beartype.beartype",
)

from bump_diffusion.config import configure
from bump_diffusion.runs import sweep
from bump_diffusion.runs.experiments import experiment, unite
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.run import train
from bump_diffusion.runs.store import Store

# Examples are drawn the same in every run: a test that fails, fails again.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")

# Test processes share the cores, one more than two so that none idles while a test waits, and
# start processes of their own.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)

# Started in the background by a script, all of this and what it starts would ignore SIGINT, which
# some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BIN = Path(sys.executable).parent
SMOKE = ["-p", "profile=smoke", "-p", "seeds=1", "-p", "steps=5", "-p", "compared_steps=[2]"]
FIRST = [
    *("test_book", "test_sweep", "test_training", "test_answers", "test_composition"),
    *("test_stacked_runs", "test_cli", "test_browser"),
]
"""The longest files, which would leave test processes waiting for one of them if begun late.
The first builds what the last of these looks at; by then it is there."""

LAST = ["test_rebuild"]
"""Builds again what the first has built."""


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate([*FIRST, "", *LAST])}
    items.sort(key=lambda item: order.get(item.path.stem, order[""]))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def smoke_record(tmp_path_factory):
    """A finished record of the smoke profile, with weights and UMAP; do not change its folder."""
    return train(
        configure("smoke"), Store(tmp_path_factory.mktemp("smoke")), extras=["weights", "umap"]
    )


def load(*names, **fields):
    """The records of experiments."""
    return load_or_run(unite(*(experiment(name, **fields) for name in names)))


class Site:
    """A build folder and the command that fills it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.html = folder / "build" / "html"
        self.environment = {
            **os.environ,
            "BUMP_DIFFUSION_STORE": str(folder / "store"),
            "BUMP_DIFFUSION_BUILD": str(folder / "build"),
        }

    def pages(self) -> list[Path]:
        return sorted((self.html / "book").rglob("*.html"))

    def build(self, *arguments: str) -> str:
        return self.command("book", *arguments)

    def command(self, *arguments: str) -> str:
        done = subprocess.run(
            [str(BIN / "bump-diffusion"), *arguments],
            cwd=self.folder,  # a command works from any folder
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def site(tmp_path_factory, worker_id):
    """The book in the smoke profile, built by the first test process that asks for it."""
    folder = tmp_path_factory.getbasetemp()
    site = Site((folder if worker_id == "master" else folder.parent) / "site")
    site.folder.mkdir(exist_ok=True)
    with FileLock(site.folder / "lock"):
        made = site.folder / "made.txt"
        if not site.html.exists():
            smoke = ["--profile", "smoke", "--seeds", "1", "--set", "compared_steps=[2]"]
            made.write_text(site.command("run", "all", *smoke))
            site.build(*SMOKE)
    site.made = made.read_text()
    return site


@pytest.fixture(scope="module")
def shipped_only():
    """A record that is missing fails its test: it would be trained, for up to an hour."""

    def refuse(*arguments):
        pytest.fail("not all records are shipped")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "train_missing", refuse)
        yield


@pytest.fixture
def run(tmp_path):
    """Runs a command of the environment in a process of its own, with a store of its own."""

    def run(*command, check=None, **environment):
        done = subprocess.run(
            [str(BIN / command[0]), *map(str, command[1:])],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "BUMP_DIFFUSION_STORE": str(tmp_path / "store"), **environment},
        )
        if check is not None:
            assert done.returncode == check, done.stdout + done.stderr
        return done

    return run
