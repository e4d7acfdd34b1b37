"""The chapter *About*: the shipped records and the environment of this build."""

import platform
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

import pandas as pd

from bump_diffusion.config import configure, distinguishing, profile_of, write_value
from bump_diffusion.page.tables import Page, Table
from bump_diffusion.runs.experiments import EXPERIMENTS
from bump_diffusion.runs.provenance import PACKAGES, cpu_name
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import listed_store


def list_records() -> Page:
    """List the book's records by experiment, then each with its provenance.

    These are the shipped ones, or all of the store that BUMP_DIFFUSION_STORE names; of their
    configurations the fields in which they differ. A record that several experiments share counts
    in each, and is listed under the first.
    """
    store = listed_store()
    records = {id: Record(store.folder(id)) for id in store.ids()}
    first_used_by: dict[str, str] = {}
    experiments = []
    for name, experiment in EXPERIMENTS.items():
        planned = experiment.configurations()
        ids = [id for c in planned for id in (c.id, *c.earlier_ids) if id in records]
        for id in ids:
            first_used_by.setdefault(id, name)
        if ids:
            hours = sum(records[id].provenance["wall_seconds"] for id in ids) / 3600
            row = {"experiment": name, "what for": experiment.about, "runs": len(ids)}
            experiments.append(row | {"core hours": f"{hours:.1f}"})
    listed = [records[id] for id in dict.fromkeys([*first_used_by, *records])]
    fields = distinguishing(record.configuration for record in listed)
    table = pd.DataFrame(
        {
            "experiment": first_used_by.get(record.id, ""),
            "record": record.id,
            **{field: write_value(getattr(record.configuration, field)) for field in fields},
            "final accuracy": f"{record.checkpoints['accuracy'].iloc[-1]:.1%}",
            "minutes": f"{record.provenance['wall_seconds'] / 60:.1f}",
            "device": record.provenance["device"],
            "made": record.provenance["finished"][:10],
        }
        for record in listed
    )
    every = {"all": True}  # of the store: one more makes the page old
    return Page("records", listed, every, experiments=pd.DataFrame(experiments), each=table)


def describe_environment() -> Table:
    """List the versions and the processor of this build."""
    rows = [("Python", platform.python_version()), ("processor", cpu_name())]
    rows += [(name, version(name)) for name in ("jupyter-book", "papermill", *PACKAGES)]
    return Table(pd.DataFrame(rows, columns=["", "version"]))


def describe_runs(records: Sequence[Record]) -> Page:
    """Say in a line of which profiles a chapter's runs are, and how to choose another."""
    counts = Counter(profile_of(record.configuration) for record in records)
    return Page("runs", records, profiles={p: (n, configure(p)) for p, n in counts.items()})
