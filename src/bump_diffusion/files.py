"""Files and folders: written and replaced so that a kill at any moment loses nothing."""

import errno
import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from bump_diffusion.errors import UserError

ROOT = Path(__file__).resolve().parents[2]

REPLACED = ".replaced"
"""The folder in which a published folder lies until the new one is in its place."""


def require_repository() -> None:
    """Raise UserError if the package is not in its repository, which has the book and records."""
    if not (ROOT / "_toc.yml").exists():
        raise UserError(
            "The package is installed without its book and records; install it in a clone of the "
            "repository, by make or by pip install --editable ."
        )


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
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):  # of a full disk the system does not say which file
            error.filename = str(path)
        raise


def to_json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()


def to_npz(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


def to_parquet(table: pd.DataFrame) -> bytes:
    return table.to_parquet(index=False, compression="zstd")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def publish_folder(new: Path, target: Path) -> None:
    """Move a finished folder to `target`, in place of what is there.

    Killed at any moment, `published_folder` finds the old folder or the new one, whole.
    """
    replaced = _replaced(target)
    if os.path.lexists(target):
        discard(replaced)
        replaced.parent.mkdir(exist_ok=True)
        target.rename(replaced)
    new.rename(target)
    discard(replaced)


def published_folder(target: Path) -> Path | None:
    """Where the folder published at `target` is; None if there is none."""
    return next((f for f in (target, _replaced(target)) if f.is_dir()), None)


def _replaced(target: Path) -> Path:
    return target.parent / REPLACED / target.name


def discard(path: Path) -> None:
    """Delete a file or folder, renamed first so that nobody meets it half deleted."""
    with suppress(FileNotFoundError):
        path.rename(path.with_name(f".removed-{uuid.uuid4().hex}"))
    delete_discarded(path.parent)


def delete_discarded(folder: Path) -> None:
    """Delete what was discarded in a folder by processes that were killed before they deleted it.

    A file that is still being read may linger on NFS, for the next call.
    """
    for path in folder.glob(".removed-*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def folder_named_by(variable: str) -> Path | None:
    """The folder that an environment variable names; None if it is unset.

    The variable is made an absolute path, as processes started later may run in other folders.
    """
    named = os.environ.get(variable)
    if named is None:
        return None
    if not named.strip():
        raise UserError(f"{variable} is {named!r}; it must name a folder, or be unset.")
    folder = Path(named).expanduser().resolve()
    os.environ[variable] = str(folder)
    return folder


@contextmanager
def system_errors_in_a_sentence(beginning: str = "") -> Iterator[None]:
    """Turn what the operating system refuses, such as a full disk, into a UserError.

    `beginning` is that of its sentence, before the file and the reason. A lock's timeout, which has
    no number, passes; so does a closed pipe, which click knows.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (None, errno.EPIPE):
            raise
        what = f"{str(error.filename)!r} cannot be used: " if error.filename else ""
        raise UserError(f"{beginning}{what}{error.strerror}.") from error


def is_held(lock: Path) -> bool:
    """Whether a living process, here or on another machine, holds a lock file."""
    if not lock.exists():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
