"""The records of configurations: from the store, or trained."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import loky

from bump_diffusion.config import Configuration, distinguishing
from bump_diffusion.errors import FailedRuns, UserError
from bump_diffusion.runs.pools import Cluster, Processes
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.run import train
from bump_diffusion.runs.store import Store, default_store
from bump_diffusion.runs.sweep import sweep
from bump_diffusion.training.device import pick_device


def load_or_run(
    configurations: Iterable[Configuration] | Mapping[Configuration, Sequence[str]],
    store: Store | None = None,
    extras: Iterable[str] = (),
    workers: int | None = None,
    remake: bool = False,
    scheduler: str | None = None,
) -> list[Record]:
    """Load the records of the configurations, in their order; train those that the store lacks.

    A mapping, as `experiment` gives, says for each configuration which extras (names of
    `record.EXTRAS`) its record must hold besides; `extras` are further ones for all. What is
    missing is trained by `workers` processes of one thread each, by default one per CPU core, or
    one in all on a GPU; or by the workers of the Dask `scheduler` at an address such as
    tcp://host:8786, which must share the store. `remake` trains again what the store holds damaged.
    Interrupted, a second call goes on where the first stopped, and two at a time share the work.
    Raises UserError for arguments that cannot be used, and FailedRuns, when all others are
    finished, for runs that fail or whose records are damaged.
    """
    store = store or default_store()
    if workers is not None and scheduler is not None:
        raise UserError(
            f"workers is {workers} and scheduler is {scheduler!r}; only one of them is allowed, "
            "as a cluster has workers of its own."
        )
    if workers is not None and workers < 1:
        raise UserError(f"workers is {workers}, it must be a whole number from 1.")
    if not isinstance(configurations, Mapping):
        configurations = dict.fromkeys(configurations, ())
    wanted = {c: (*own, *extras) for c, own in configurations.items()}
    records, missing, failures = {}, {}, {}
    for c in wanted:
        try:
            if record := store.get(c, wanted[c], remake):
                records[c.id] = record
            else:
                missing[c.id] = c
        except UserError as error:
            failures[c.id] = error
    with _cluster(scheduler if missing else None) as cluster:
        if len(missing) == 1 and cluster is None:
            (c,) = missing.values()
            try:
                train(c, store, wanted[c], remake)
            except UserError as error:
                failures[c.id] = error
        elif missing:
            pool = cluster or Processes(min(workers or _default_workers(), len(missing)))
            failures |= sweep({c: wanted[c] for c in missing.values()}, store, remake, pool)
    if failures:
        raise _failed(list(wanted), failures)
    return [records.get(c.id) or store.get(c) for c in wanted]


def _default_workers() -> int:
    return loky.cpu_count() if pick_device().type == "cpu" else 1


@contextmanager
def _cluster(address: str | None) -> Iterator[Cluster | None]:
    if address is None:
        yield None
        return
    cluster = Cluster(address)
    try:
        yield cluster
    finally:
        cluster.close()


def _failed(configurations: list[Configuration], failures: dict[str, Exception]) -> FailedRuns:
    """The failures in words, each with the fields that tell its run from the others."""
    exit_code = 2 if all(isinstance(error, UserError) for error in failures.values()) else 1
    told = {id: _in_a_line(error) for id, error in failures.items()}
    runs = {c.id: c.model_dump() for c in configurations}
    if len(runs) == 1:
        return FailedRuns(*told.values(), exit_code)
    fields = distinguishing(configurations)
    others = "; the others are in the store" if len(failures) < len(runs) else ""
    lines = [f"{len(failures)} of {len(runs)} runs failed{others}."]
    for id, sentence in told.items():
        values = ", ".join(f"{field} {runs[id][field]}" for field in fields)
        lines.append(f"{id} ({values}): {sentence}")
    return FailedRuns("\n".join(lines), exit_code)


def _in_a_line(error: Exception) -> str:
    if isinstance(error, UserError):
        return error.message
    return f"{type(error).__name__}: {error}".splitlines()[0]
