"""The workers of a sweep: processes of this machine, or of a Dask cluster."""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from signal import SIG_IGN, SIGINT, signal
from threading import Thread
from typing import Any

from loky import get_reusable_executor

from bump_diffusion.errors import UserError


class Processes:
    """Worker processes of this machine; they are stopped if the `with` block ends in an error."""

    def __init__(self, workers: int):
        self.workers = workers
        # An option -W, which processes inherit: those that remove the semaphores of killed workers
        # would report each, as left behind or as gone already.
        silence = "ignore:resource_tracker:UserWarning"
        sys.warnoptions += [silence] * (silence not in sys.warnoptions)

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not None:
            self.stop()

    def slots(self, find_fault: Callable[..., str | None], *arguments: Any) -> int:
        """How many workers there are. Raises UserError if `find_fault`, called in a worker of which
        that is not known, says what keeps it from taking part.
        """
        return self.workers

    def submit(self, function: Callable, *arguments: Any) -> Future:
        """Have a worker call the function."""
        return self._executor().submit(function, *arguments)

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
            time.sleep(0.5)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


class Cluster(Processes):
    """The workers of the Dask scheduler at an address, each a process with one thread.

    Raises UserError if no scheduler answers there or any more, and if it has no workers.
    """

    def __init__(self, address: str):
        from distributed import Client  # slow to import, and seldom needed

        logging.getLogger("distributed.client").disabled = True  # what it logs, we raise
        self.address, self.checked = address, set()
        try:
            if not re.fullmatch(r"tcp://.+:\d+", address):
                raise ValueError("another kind of address")
            self.client = Client(address, timeout=5, set_as_default=False)
        except (OSError, ValueError):
            raise UserError(
                f"scheduler is {address!r}, where no Dask scheduler answers; "
                "it must be an address such as tcp://host:8786."
            ) from None
        self.executor = self.client.get_executor(pure=False)

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.client.close()

    def slots(self, find_fault: Callable[..., str | None], *arguments: Any) -> int:
        with self._answering():
            if not self.checked:  # a batch system starts them with a delay
                self.client.wait_for_workers(1, timeout=60)
            threads = self.client.nthreads()
            new = [worker for worker in threads if worker not in self.checked]
            faults = self.client.run(find_fault, *arguments, workers=new, on_error="return")
        for worker, fault in faults.items():
            if threads[worker] > 1:
                fault = f"it has {threads[worker]} threads, it must have one (--nthreads 1)"
            # An error without a number is the connection's: the worker has left again.
            if fault is not None and not (isinstance(fault, OSError) and fault.errno is None):
                raise UserError(f"Worker {worker} cannot take part: {fault}.")
            self.checked.add(worker)
        return len(threads)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise UserError(
                f"The scheduler {self.address} has no workers; "
                f"start some by: dask worker {self.address} --nthreads 1"
            ) from None
        except (OSError, RuntimeError):  # the second once the client has noticed
            raise UserError(
                f"The scheduler {self.address} does not answer any more; the same command goes on "
                "where this stopped."
            ) from None

    def submit(self, function: Callable, *arguments: Any) -> Future:
        with self._answering():
            return self.executor.submit(function, *arguments)

    def stop(self) -> None:
        self.executor.shutdown(wait=False)
