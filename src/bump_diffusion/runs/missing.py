"""The records that a store lacks: trained here, by processes, on a cluster, in stacks on a GPU."""

from collections.abc import Mapping, Sequence

import loky

from bump_diffusion.config import Configuration
from bump_diffusion.errors import UserError
from bump_diffusion.runs.pools import Cluster, Processes
from bump_diffusion.runs.run import train
from bump_diffusion.runs.stack import train_together
from bump_diffusion.runs.store import Store
from bump_diffusion.runs.sweep import sweep
from bump_diffusion.training.device import pick_device


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
