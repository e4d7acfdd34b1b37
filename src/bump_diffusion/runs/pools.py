"""The workers of a sweep: processes of this machine, or of a Dask cluster."""

import logging
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from threading import Thread
from typing import Any, Protocol

from loky import get_reusable_executor

from bump_diffusion.errors import UserError
from bump_diffusion.files import is_held

# An option -W, which processes inherit: those that remove the semaphores of killed workers would
# report each, as left behind or as gone already.
_UNSAID = "ignore:resource_tracker:UserWarning"
CONNECT_SECONDS = 5.0
"""Within which a scheduler must answer."""

WATCH_SECONDS = 0.5
"""Between two looks of a worker for its parent."""

WORKERS_SECONDS = 60.0
"""Within which a scheduler must have a first worker: a batch system starts them with a delay."""


class Pool(Protocol):
    """Where runs are made."""

    def slots(self) -> int:
        """How many runs are made at once, now; a cluster may grow and shrink."""

    def submit(self, function: Callable, *arguments: Any) -> Future:
        """Have a worker call the function."""

    def check(self, lock: Path) -> None:
        """Raise UserError if a worker cannot take part in the sweep that holds this lock."""

    def stop(self) -> None:
        """Drop what was submitted and is not done."""


class Processes:
    """Worker processes of this machine."""

    def __init__(self, workers: int):
        self.workers = workers
        if _UNSAID not in sys.warnoptions:
            sys.warnoptions.append(_UNSAID)

    def slots(self) -> int:
        return self.workers

    def submit(self, function: Callable, *arguments: Any) -> Future:
        return self._executor().submit(function, *arguments)

    def check(self, lock: Path) -> None:
        """They see what this process sees."""

    def stop(self) -> None:
        self._executor().shutdown(kill_workers=True)

    def _executor(self):
        # The one that there is, unless one of its processes died: then a new one.
        environment = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        return get_reusable_executor(
            self.workers, initializer=_follow, initargs=[os.getpid()], env=environment
        )


def _follow(parent: int) -> None:
    """Leave an interrupt to the parent, which kills its workers; end when the parent has died."""
    signal(SIGINT, SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


class Cluster:
    """The workers of a Dask scheduler, each a process with one thread.

    Raises UserError if no scheduler answers at the address, or if it has no workers or some with
    several threads.
    """

    def __init__(self, address: str):
        # Slow to import, and seldom needed.
        from distributed import Client
        from distributed.comm import get_address_host_port

        logging.getLogger("distributed.client").disabled = True  # we say it in a sentence
        self.address = address
        try:
            if not address.startswith("tcp://"):
                raise ValueError("another kind of address")
            get_address_host_port(address)
            self.client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError):
            raise UserError(
                f"scheduler is {address!r}, where no Dask scheduler answers; "
                "it must be an address such as tcp://host:8786."
            ) from None
        self.executor = self.client.get_executor(pure=False)
        try:
            self.client.wait_for_workers(1, timeout=WORKERS_SECONDS)
            self._refuse_threads()
        except TimeoutError:
            self.close()
            raise UserError(
                f"The scheduler {address} has no workers; "
                f"start some by: dask worker {address} --nthreads 1"
            ) from None
        except UserError:
            self.close()
            raise

    def _refuse_threads(self) -> None:
        for worker, threads in self.client.nthreads().items():
            if threads > 1:
                raise UserError(
                    f"Worker {worker} has {threads} threads, it must have one, as a run takes a "
                    "process of its own; start workers with --nthreads 1, as many as there are "
                    "cores."
                )

    def slots(self) -> int:
        try:
            return len(self.client.nthreads())
        except OSError:
            raise UserError(
                f"The scheduler {self.address} does not answer any more; the same command goes on "
                "where this stopped."
            ) from None

    def submit(self, function: Callable, *arguments: Any) -> Future:
        return self.executor.submit(function, *arguments)

    def check(self, lock: Path) -> None:
        for worker, fault in self.client.run(_fault, lock, on_error="return").items():
            if fault is not None:
                raise UserError(f"Worker {worker} cannot take part: {fault}.")

    def stop(self) -> None:
        self.executor.shutdown(wait=False)

    def close(self) -> None:
        self.client.close()


def _fault(lock: Path) -> str | None:
    """What keeps the process that calls this from taking part in a sweep."""
    folder = str(lock.parent.parent)
    if not lock.exists():
        return f"it does not see the store {folder!r}, which must be on a file system shared by all"
    if not is_held(lock):
        return f"the file system of the store {folder!r} does not show it the locks of others"
    return None
