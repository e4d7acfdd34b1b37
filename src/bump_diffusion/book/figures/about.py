"""The chapter *About*: the shipped records and the environment of this build."""

import platform
from collections.abc import Sequence
from importlib.metadata import version

import pandas as pd
from IPython.display import HTML

from bump_diffusion.analysis.settings import grouped
from bump_diffusion.config import configure, distinguishing, profile_of
from bump_diffusion.page.tables import Page, Table, table_html
from bump_diffusion.runs.experiments import EXPERIMENTS
from bump_diffusion.runs.provenance import PACKAGES, cpu_name
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.store import Store, default_store


def shipped_records() -> HTML:
    """The book's records by experiment, and each with its provenance, as a page shows them.

    These are the shipped ones, or all of the store that BUMP_DIFFUSION_STORE names; of their
    configurations the fields in which they differ. A record that several experiments share counts
    in each, and is listed under the first.
    """
    store = _listed_store()
    records = {id: Record(store.folder(id)) for id in store.ids()}
    first_used_by: dict[str, str] = {}
    experiments = []
    for name, found in EXPERIMENTS.items():
        own = [c.id for c in found.configurations() if c.id in records]
        for id in own:
            first_used_by.setdefault(id, name)
        if own:
            hours = sum(records[id].provenance["wall_seconds"] for id in own) / 3600
            row = {"experiment": name, "what for": found.about, "runs": len(own)}
            experiments.append(row | {"core hours": f"{hours:.1f}"})
    listed = [records[id] for id in dict.fromkeys([*first_used_by, *records])]
    fields = distinguishing(record.configuration for record in listed)
    table = pd.DataFrame(
        {
            "experiment": first_used_by.get(record.id, ""),
            "record": record.id,
            **{field: str(getattr(record.configuration, field)) for field in fields},
            "final accuracy": f"{record.checkpoints['accuracy'].iloc[-1]:.1%}",
            "minutes": f"{record.provenance['wall_seconds'] / 60:.1f}",
            "device": record.provenance["device"],
            "made": record.provenance["finished"][:10],
        }
        for record in listed
    )
    summary = f"<summary>Each of the {len(listed)} records</summary>"
    page = Page(
        f"{table_html(pd.DataFrame(experiments))}<details>{summary}{table_html(table)}</details>",
        listed,
    )
    page.made_from["all"] = True  # of the store: one more makes the page old
    return page


def _listed_store() -> Store:
    return Store(default_store().roots[-1])


def environment() -> HTML:
    """The versions and the processor of this build, as a page shows them."""
    rows = [("Python", platform.python_version()), ("processor", cpu_name())]
    rows += [(name, version(name)) for name in ("jupyter-book", "papermill", *PACKAGES)]
    table = pd.DataFrame(rows, columns=["", "version"])
    return Table(table)


def made_with(records: Sequence[Record]) -> Page:
    """Of which profiles a chapter's runs are, and how to choose another, in a line."""
    said = []
    for profile, own in grouped(records, lambda r: profile_of(r.configuration)).items():
        c = configure(profile)
        said.append(
            f"{len(own)} of the profile <code>{profile}</code> ({c.N} × {c.N} pixels, width "
            f"{c.width}, {c.steps:,} steps of {c.batch_size} images)"
        )
    return Page(
        f'<p class="made-with">Runs shown here: {"; ".join(said)}. With another of '
        '<a href="model.html">the profiles</a>: <code>bump-diffusion book CHAPTER -p '
        "profile=NAME</code> (<code>own</code> is each experiment's own); missing runs are "
        "trained.</p>",
        records,
    )
