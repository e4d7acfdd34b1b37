"""What a record says of its making: machine, versions, commit."""

import hashlib
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from bump_diffusion.files import ROOT, sha256

PACKAGE = Path(__file__).parents[1]

PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "scipy", "umap-learn", "numba")
"""Packages whose versions can change a result, and are stored with it."""

FROZEN = "papers/*/frozen/*.yml"
"""The files of criteria that were frozen before the runs that they judge."""

SOURCES = (
    *("config.py", "seeds.py", "data", "models", "training", "metrics"),
    *("runs/run.py", "runs/schedule.py", "runs/stack.py"),
)
"""The files and folders of this package that can change a result."""


def provenance(device: torch.device, seconds: dict[str, float]) -> dict[str, object]:
    """What a record says of its making, on `device` and in `seconds` by their kind."""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: round(value, 1) for name, value in seconds.items()},
        "device": gpu or cpu_name(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "commit": commit(),
        "versions": {name: version(name) for name in PACKAGES},
        "criteria": {file.stem: sha256(file) for file in sorted(PACKAGE.glob(FROZEN))},
    }


@cache
def describe_code() -> dict[str, str]:
    """What a run's result depends on besides its configuration and the machine: a hash of the
    package's `SOURCES` and the versions of `PACKAGES`; with the commit, by which the code is known.
    """
    digest = hashlib.sha256()
    for file in sorted(f for s in SOURCES for f in (PACKAGE / s, *(PACKAGE / s).rglob("*.py"))):
        if file.is_file():
            digest.update(f"{file.relative_to(PACKAGE).as_posix()}\n".encode())
            digest.update(file.read_bytes())
    versions = {name: version(name) for name in PACKAGES}
    return {"code": digest.hexdigest()[:12], **versions, "commit": commit()}


def describe_difference(other: dict[str, str], this: dict[str, str]) -> str:
    """How two of `describe_code` differ in what they compute, in words; empty if they do not."""
    names = [name for name in this if other.get(name) != this[name] and name != "commit"]
    if "code" in names:
        names.append("commit")
    texts = [", ".join(f"{n} {code.get(n, 'unknown')}" for n in names) for code in (other, this)]
    return f"{texts[0]}, not with {texts[1]}" if names else ""


def cpu_name() -> str:
    """The processor, and the instructions that torch uses on it."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


@cache
def commit(root: Path = ROOT) -> str:
    """The commit of the code, with "+" behind it if files differ from it; "unknown" where `root`
    is not the top of a git repository: another one around it says nothing of the code.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root.resolve():
            return "unknown"
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
        return git("rev-parse", "--short=12", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
