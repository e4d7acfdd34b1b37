"""Files: written atomically, named by their content, in the folders of the repository."""

import hashlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from bump_diffusion.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that any moment's reader sees the old content or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def to_json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def to_npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def to_parquet(table: pd.DataFrame) -> bytes:
    return table.to_parquet(index=False, compression="zstd")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def folder_named_by(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is unset."""
    named = os.environ.get(variable)
    if named is None:
        return None
    if not named.strip():
        raise UserError(f"{variable} is {named!r}; it must name a folder, or be unset.")
    return Path(named).expanduser().resolve()


def make_writable(folder: Path, what: str) -> None:
    """Make a folder if need be. Raises UserError if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"The {what} {str(folder)!r} cannot be written to: {error.strerror}."
        ) from None


def is_held(lock: Path) -> bool:
    """Whether a living process, here or on another machine, holds a lock file."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
