"""Sweeps: many runs side by side, on the cores of this machine or on a Dask cluster.

A pool takes runs (`Processes`, `Cluster`) and `sweep` hands them out. All else that the processes
must know of each other lies in the store: a run's lock is held while somebody makes it, its
checkpoint has its step, and the sweep's lock is held while somebody waits for the runs. So several
sweeps can share a store, and whoever is killed leaves nothing that must be cleaned up.
"""

import os
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from pathlib import Path
from tempfile import NamedTemporaryFile

import loky
from filelock import FileLock, Timeout
from tqdm import tqdm

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.files import is_held
from bump_diffusion.runs.partial import Partial
from bump_diffusion.runs.pools import Cluster, Processes
from bump_diffusion.runs.provenance import describe_code, describe_difference
from bump_diffusion.runs.run import train
from bump_diffusion.runs.stack import train_together
from bump_diffusion.runs.store import Store
from bump_diffusion.training.device import pick_device

POLL_SECONDS = 1.0
"""Between two looks at the store: for free runs, for progress, for the end of the sweep."""

MAX_WORKER_DEATHS = 3
"""Deaths of worker processes, while a run is under way, at which it counts as failed."""


def train_missing(
    missing: Mapping[Configuration, Sequence[str]],
    store: Store,
    workers: int | None,
    remake: bool,
    scheduler: str | None,
) -> dict[Configuration, Exception]:
    """Train the configurations, each with its extras; return what those that failed raised.

    `load.load_or_run` says by which processes.
    """
    if workers is None and scheduler is None and pick_device().type == "cuda":
        return train_together(missing, store, remake)
    if len(missing) == 1 and scheduler is None:
        ((c, extras),) = missing.items()
        try:
            train(c, store, extras, remake)
        except UserError as error:
            return {c: error}
        return {}
    processes = min(workers or loky.cpu_count(), len(missing))
    with Cluster(scheduler) if scheduler else Processes(processes) as pool:
        return sweep(missing, store, remake, pool)


def sweep(
    runs: Mapping[Configuration, Sequence[str]], store: Store, remake: bool, pool: Processes
) -> dict[Configuration, Exception]:
    """Make the runs, each with its extras; return what those that failed raised.

    A run that another process makes is left to it. A run whose worker process dies is repeated
    alone, so that one that kills its workers fails and no other.
    """
    free, futures = list(runs), {}
    failures: dict[Configuration, Exception] = {}
    deaths: Counter[Configuration] = Counter()
    folder = store.local / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    with (
        NamedTemporaryFile(dir=folder, prefix=".sweep-") as file,
        FileLock(file.name),
        _start_progress(list(runs), store) as progress,
    ):
        lock_and_code = (Path(file.name), describe_code())
        while free or futures:
            _show(progress, runs, store, free, futures.values(), failures)
            slots = pool.slots(find_fault, *lock_and_code)
            suspects = [c for c in free if deaths[c]]
            if suspects or any(deaths[c] for c in futures.values()):
                slots = 1
            for c in suspects or list(free):
                if len(futures) < slots and not store.is_being_made(c):
                    free.remove(c)
                    futures[pool.submit(make, c, store, runs[c], remake, *lock_and_code)] = c
            if not futures:
                time.sleep(POLL_SECONDS)
            for future in wait(futures, POLL_SECONDS, FIRST_COMPLETED).done:
                c = futures.pop(future)
                error = CancelledError() if future.cancelled() else future.exception()
                deaths[c] += isinstance(error, BrokenExecutor)
                # Another process was faster, the scheduler began anew, or the worker died.
                if isinstance(error, Timeout | CancelledError) or (
                    isinstance(error, BrokenExecutor) and deaths[c] < MAX_WORKER_DEATHS
                ):
                    free.append(c)
                elif error is not None:
                    failures[c] = error
        _await_records([c for c in runs if c not in failures], store)
        _show(progress, runs, store, (), (), failures)
    return failures


def make(
    c: Configuration,
    store: Store,
    extras: Sequence[str],
    remake: bool,
    lock: Path,
    code: dict[str, str],
) -> None:
    """Make one run of a sweep, in a worker process, for as long as the sweep holds its lock.

    Raises filelock.Timeout if another process makes the run.
    """
    if fault := find_fault(lock, code):  # the worker may have joined a moment ago
        raise UserError(f"A worker cannot take part: {fault}.")
    looked = time.monotonic()

    def stop_with_the_sweep() -> None:
        nonlocal looked
        if time.monotonic() - looked >= POLL_SECONDS:
            looked = time.monotonic()
            if not is_held(lock):
                raise InterruptedError(f"nobody waits for this run any more: {lock} is not held")

    # Longer than a look at the lock by `is_being_made`, which holds it for an instant.
    train(c, store, extras, remake, wait=0.2, each_step=stop_with_the_sweep)


def find_fault(lock: Path, code: dict[str, str]) -> str | None:
    """What keeps the process that calls this from taking part in the sweep that holds the lock."""
    folder = str(lock.parent.parent)
    if difference := describe_difference(describe_code(), code):
        return f"it runs with {difference}"
    if not lock.exists():
        return f"it does not see the store {folder!r}, which must be on a file system shared by all"
    if not is_held(lock):
        return f"the file system of the store {folder!r} does not show it the locks of others"
    return None


def _await_records(configurations: list[Configuration], store: Store) -> None:
    end = time.monotonic() + 90  # NFS caches folders
    for c in configurations:
        while store.folder(c.id) is None:
            if time.monotonic() > end:
                raise UserError(
                    f"Run {c.id} was made, but is not seen in the store {store.local} here."
                )
            time.sleep(POLL_SECONDS)
            os.listdir(store.local)  # has NFS look again


def _work(c: Configuration, steps: int) -> int:
    """Roughly the work of some steps: their pixels, times the weights that each pixel meets."""
    return steps * c.batch_size * task_of(c).height * c.N * c.width**2


def _start_progress(configurations: list[Configuration], store: Store) -> tqdm:
    """A line on standard error: runs by their state, the work done, and the time it will take."""
    return tqdm(
        total=sum(_work(c, c.steps) for c in configurations),
        initial=sum(_work(c, Partial(store, c).step()) for c in configurations),
        desc=f"{len(configurations)} runs",
        bar_format="{desc}; {percentage:.0f}% of the work, about {remaining} to go",
        mininterval=POLL_SECONDS if sys.stderr.isatty() else 60,
        miniters=0,
        smoothing=0,
    )


def _show(
    bar: tqdm,
    runs: Collection[Configuration],
    store: Store,
    free: Collection[Configuration],
    running: Collection[Configuration],
    failed: Collection[Configuration],
) -> None:
    """Bring the line up to date; it is written anew if it is time to."""
    left = {*free, *running}
    finished = len(runs) - len(left) - len(failed)
    bar.set_description_str(
        f"{finished} of {len(runs)} runs done, {len(running)} running, {len(failed)} failed",
        refresh=False,
    )
    steps = {c: Partial(store, c).step() if c in left else c.steps for c in runs}
    bar.update(sum(_work(c, done) for c, done in steps.items()) - bar.n)
