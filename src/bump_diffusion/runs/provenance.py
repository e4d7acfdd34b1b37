"""What a record says of its making: machine, versions, commit."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

import torch

from bump_diffusion.files import ROOT

PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "scipy", "umap-learn", "numba")
"""Packages whose versions can change a result, and are stored with it."""


def provenance(device: torch.device, seconds: dict[str, float]) -> dict[str, object]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **{name: round(value, 1) for name, value in seconds.items()},
        "device": gpu or cpu_name(),
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "commit": commit(),
        "versions": package_versions(),
    }


def package_versions() -> dict[str, str]:
    return {name: version(name) for name in PACKAGES}


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
