"""The records of configurations: from the store, or trained."""

from collections.abc import Iterable, Mapping, Sequence

from bump_diffusion.config import Configuration, distinguishing
from bump_diffusion.errors import FailedRuns, UserError
from bump_diffusion.files import system_errors_in_a_sentence
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import Store, default_store


@system_errors_in_a_sentence()
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
    missing is trained by `workers` processes of one thread each, by default one per CPU core; on a
    GPU by default in stacks; or by the workers of the Dask `scheduler` at an address such as
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
    records: dict[Configuration, Record] = {}
    missing: dict[Configuration, Sequence[str]] = {}
    failures: dict[Configuration, Exception] = {}
    for c, wanted in configurations.items():
        wanted = (*wanted, *extras)
        try:
            if record := store.get(c, wanted, remake):
                records[c] = record
            else:
                missing[c] = wanted
        except UserError as error:
            failures[c] = error
    if missing:
        from bump_diffusion.runs.sweep import train_missing  # imports torch, which takes seconds

        failures |= train_missing(missing, store, workers, remake, scheduler)
    if failures:
        raise _summarize(list(configurations), failures)
    return [records.get(c) or store.get(c) for c in configurations]


def _summarize(
    configurations: list[Configuration], failures: dict[Configuration, Exception]
) -> FailedRuns:
    """The failures in words, each with the fields that tell its run from the others."""
    exit_code = 2 if all(isinstance(error, UserError) for error in failures.values()) else 1
    sentences = {
        c: str(e) if isinstance(e, UserError) else f"{type(e).__name__}: {e}".splitlines()[0]
        for c, e in failures.items()
    }
    if len(configurations) == 1:
        return FailedRuns(*sentences.values(), exit_code)
    others = "; the others are in the store" if len(failures) < len(configurations) else ""
    lines = [f"{len(failures)} of {len(configurations)} runs failed{others}."]
    fields = distinguishing(configurations)
    for c, sentence in sentences.items():
        values = ", ".join(f"{field} {getattr(c, field)}" for field in fields)
        lines.append(f"{c.id} ({values}): {sentence}")
    return FailedRuns("\n".join(lines), exit_code)
