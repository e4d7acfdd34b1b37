"""Sweeps: many runs side by side, on the cores of this machine or on a Dask cluster.

A pool takes runs (`Processes`, `Cluster`) and `sweep` hands them out. All else that the processes
must know of each other lies in the store: a run's lock tells that somebody makes it, its checkpoint
how far it is, and the sweep's own lock that somebody still waits for it. So several sweeps can
share a store, and whoever is killed leaves nothing that must be cleaned up.
"""

import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, wait
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from bump_diffusion.config import Configuration
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.files import is_held, make_writable
from bump_diffusion.runs.partial import Partial
from bump_diffusion.runs.pools import Pool
from bump_diffusion.runs.run import train
from bump_diffusion.runs.store import Store

POLL_SECONDS = 1.0
"""Between two looks at the store: for free runs, for progress, for the end of the sweep."""

LOG_SECONDS = 60.0
"""Between two lines of progress where they cannot be written over each other."""


# What another process that was faster, and a scheduler's restart raise.
_AGAIN = (Timeout, CancelledError)


MAX_WORKER_DEATHS = 3
"""Worker processes that a run may lose, the only one under way, before it counts as failed."""

SHARED_SECONDS = 90.0
"""Within which a record made on another machine must be seen here; NFS caches folders."""


def sweep(
    extras: Mapping[Configuration, Sequence[str]],
    store: Store,
    remake: bool,
    pool: Pool,
) -> dict[str, Exception]:
    """Make the runs of the configurations, each with its extras; return what those that failed
    raised, by id.

    A run that another process makes is left until that one is done with it; a run whose worker
    process dies is made again by another. An exception of this process (KeyboardInterrupt) stops
    the workers.
    """
    configurations = list(extras)
    free, flying = list(configurations), {}
    suspects: list[Configuration] = []  # under way when a worker died: made again one by one
    failures: dict[str, Exception] = {}
    lost: Counter[str] = Counter()
    with _held_lock(store) as lock, Progress(configurations, store) as progress:
        pool.check(lock)
        try:
            while free or flying or suspects:
                waiting = [c for c in suspects if c not in flying.values()]
                progress.show([*free, *waiting], flying.values(), failures)
                queue, slots = (waiting, 1) if suspects else (free, pool.slots())
                for c in list(queue):
                    if len(flying) >= slots:
                        break
                    if not store.is_being_made(c):
                        queue.remove(c)
                        flying[pool.submit(make, c, store, extras[c], remake, lock)] = c
                if not flying:
                    time.sleep(POLL_SECONDS)
                done, _ = wait(flying, POLL_SECONDS, FIRST_COMPLETED)
                for future in done:
                    c = flying.pop(future)
                    error = CancelledError() if future.cancelled() else future.exception()
                    suspected = c in suspects
                    lost[c.id] += suspected and isinstance(error, BrokenExecutor)
                    if isinstance(error, BrokenExecutor) and lost[c.id] < MAX_WORKER_DEATHS:
                        suspects += [] if suspected else [c]
                        continue
                    if suspected:
                        suspects.remove(c)
                    if isinstance(error, _AGAIN):
                        free.append(c)
                    elif error is not None:
                        failures[c.id] = error
            _await_records([c for c in configurations if c.id not in failures], store)
            progress.show(free, flying.values(), failures, last=True)
        except BaseException:
            pool.stop()
            raise
    return failures


def make(c: Configuration, store: Store, extras: Sequence[str], remake: bool, lock: Path) -> None:
    """Make one run of a sweep, in a worker process, for as long as the sweep holds its lock.

    Raises filelock.Timeout if another process makes the run.
    """
    looked = -POLL_SECONDS

    def stop_with_the_sweep() -> None:
        nonlocal looked
        if time.monotonic() - looked >= POLL_SECONDS:
            looked = time.monotonic()
            if not is_held(lock):
                raise InterruptedError(f"nobody waits for this run any more: {lock} is not held")

    stop_with_the_sweep()
    # Longer than a look at the lock by `is_being_made`, which holds it for an instant.
    train(c, store, extras, remake, wait=0.2, each_step=stop_with_the_sweep)


@contextmanager
def _held_lock(store: Store) -> Iterator[Path]:
    make_writable(store.local, "store")
    path = store.local / "partial" / f".sweep-{uuid.uuid4().hex}.lock"
    path.parent.mkdir(exist_ok=True)
    try:
        with FileLock(path):
            yield path
    finally:
        path.unlink(missing_ok=True)


def _await_records(configurations: Sequence[Configuration], store: Store) -> None:
    end = time.monotonic() + SHARED_SECONDS
    for c in configurations:
        while store.folder(c.id) is None and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
            os.listdir(store.local)  # has NFS look again
        if store.folder(c.id) is None:
            raise UserError(
                f"Run {c.id} was made, but is not seen in the store {store.local} here."
            )


class Progress:
    """One line on standard error: a sweep's runs by their state, and about how long it will take.

    On a terminal it is written anew each second, elsewhere a line is added each minute.
    """

    def __init__(self, configurations: Sequence[Configuration], store: Store):
        self.configurations, self.store = configurations, store
        self.terminal = sys.stderr.isatty()
        self.shares = {c.id: Partial(store, c).step() / c.steps for c in configurations}
        self.start, self.shown = time.monotonic(), float("-inf")
        self.at_start = self._work({})[0]

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.terminal:
            print(file=sys.stderr)

    def show(
        self,
        free: Iterable[Configuration],
        flying: Iterable[Configuration],
        failures: dict[str, Exception],
        last: bool = False,
    ) -> None:
        """Show the line if it is time to, or for the `last` time.

        `free` are the runs that wait, `flying` those that workers of this sweep were given.
        """
        interval = POLL_SECONDS if self.terminal else LOG_SECONDS
        if time.monotonic() - self.shown < interval and not last:
            return
        self.shown = time.monotonic()
        unfinished = [*free, *flying]
        running = [c for c in unfinished if self.store.is_being_made(c)]
        for c in running:
            share = Partial(self.store, c).step() / c.steps
            self.shares[c.id] = max(share, self.shares[c.id])
        left = {c.id for c in unfinished}
        self.shares |= {c.id: 1.0 for c in self.configurations if c.id not in left}
        done, total = self._work(failures)
        runs = len(self.configurations)
        line = (
            f"{runs - len(left) - len(failures)} of {runs} runs done, {len(running)} running, "
            f"{len(left) - len(running)} left, {len(failures)} failed"
        )
        if left and done > self.at_start:
            seconds = (time.monotonic() - self.start) * (total - done) / (done - self.at_start)
            line += f"; about {tqdm.format_interval(seconds)} to go"
        start, end = ("\r", "\x1b[K") if self.terminal else ("", "\n")
        print(f"{start}{line}", end=end, file=sys.stderr, flush=True)

    def _work(self, failures: dict[str, Exception]) -> tuple[float, float]:
        """Work that is done, and in all, without the runs that failed.

        A run's work is roughly its pixels, over all steps, times the weights that each meets.
        """
        done = total = 0.0
        for c in self.configurations:
            if c.id not in failures:
                work = c.steps * c.batch_size * task_of(c).height * c.N * c.width**2
                done, total = done + self.shares[c.id] * work, total + work
        return done, total
