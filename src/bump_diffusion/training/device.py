"""Where a run is computed: the device, and one thread."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import RLock

import torch
from threadpoolctl import threadpool_limits

from bump_diffusion.errors import UserError, choose


def pick_device() -> torch.device:
    """The GPU if there is one, else the CPU; BUMP_DIFFUSION_DEVICE (cpu, cuda) decides if set."""
    named = os.environ.get("BUMP_DIFFUSION_DEVICE")
    if named is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    choose("a device (BUMP_DIFFUSION_DEVICE)", named, ["cpu", "cuda"])
    if named == "cuda" and not torch.cuda.is_available():
        raise UserError("BUMP_DIFFUSION_DEVICE is 'cuda', but no GPU is available; allowed: cpu.")
    return torch.device(named)


_LIMITED = RLock()


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for everything: networks this small gain nothing from more, several runs
    side by side lose, and sums are taken in the same order on every machine.

    The limit is the process's, so a second thread of Python that asks for it waits for the first.
    """
    with _LIMITED, threadpool_limits(1):
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)
