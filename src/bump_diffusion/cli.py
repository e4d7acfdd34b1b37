"""The command line: `bump-diffusion --help`."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pandas as pd
import yaml

from bump_diffusion.config import PROFILES, Configuration, as_number, configure, distinguishing
from bump_diffusion.errors import UserError, choose
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment, unite
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import EXTRAS, Record
from bump_diffusion.runs.shipped import SHIPPED, ship, shipped_faults
from bump_diffusion.runs.store import Store, default_store

SETTINGS = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Replace a field of the configuration, for example --set d_x=0.5; may be repeated.",
)


REMAKE = click.option("--remake", is_flag=True, help="Train again what is stored damaged.")


EXTRAS_OPTION = click.option(
    "--extra",
    "extras",
    multiple=True,
    type=click.Choice(list(EXTRAS)),
    help="What the record holds besides: the trained weights, the probes of every layer and the "
    "interventions, how much each layer tells images apart; may be repeated.",
)


class Commands(click.Group):
    """Commands that end, when they are interrupted, in one sentence."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("\nInterrupted; the same command goes on where this stopped.", err=True)
            sys.exit(130)


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def main() -> None:
    """Train small diffusion models on 2D bumps, and build the book made from them.

    Records of finished runs lie in data/records (shipped) and data/local (yours). A run that is
    interrupted goes on where it stopped when the same command is given again.
    """


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """FIELD=VALUE pairs as a mapping, values read as YAML (1e-3 as the number that it is)."""
    parsed = {}
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} is not a setting; allowed: FIELD=VALUE.")
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UserError(
                f"{field} is {text!r}, it must be a number, a word or a list."
            ) from None
        parsed[field] = as_number(value)
    return parsed


def field_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Settings whose names must be fields of a configuration."""
    parsed = parse_settings(settings)
    for field in parsed:
        choose("a field of a configuration", field, Configuration.model_fields)
    return parsed


@main.command("train")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--profile", help=f"{', '.join(PROFILES)}; default: quick, or the file's own.")
@SETTINGS
@EXTRAS_OPTION
@REMAKE
def train_command(
    file: Path | None,
    profile: str | None,
    settings: tuple[str, ...],
    extras: tuple[str, ...],
    remake: bool,
) -> None:
    """Train one configuration and store its record.

    It is a profile with fields replaced by --set; or FILE, a YAML file with a profile and fields
    ("set"), as `bump-diffusion run` takes it, of a single run.
    """
    overrides = field_settings(settings)
    if file is None:
        configurations = [configure("quick" if profile is None else profile, **overrides)]
    elif file.suffix not in (".yml", ".yaml"):
        raise UserError(f"{file} is not a file that train takes; allowed: FILE.yml, FILE.yaml.")
    else:
        configurations = experiment(str(file), profile=profile, **overrides)
        if len(configurations) > 1:
            raise UserError(
                f"{file} describes {len(configurations)} runs; train takes one, use run."
            )
    _make(configurations, extras=extras, remake=remake)


@main.command("run")
@click.argument("name")
@click.option("--profile", help=f"Instead of the experiment's own: {', '.join(PROFILES)}.")
@click.option("--seeds", type=int, help="Number of seeds, instead of the experiment's own.")
@SETTINGS
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default: one a CPU core.")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Train on the workers of a Dask scheduler, for example tcp://host:8786.",
)
@REMAKE
def run_command(
    name: str,
    profile: str | None,
    seeds: int | None,
    settings: tuple[str, ...],
    workers: int | None,
    scheduler: str | None,
    remake: bool,
) -> None:
    """Make the records of an experiment that are missing.

    NAME is an experiment of src/bump_diffusion/experiments.yml, "all" for each of them that the
    book keeps records of, or a YAML file of the same fields. A list in --set varies the field:
    --set sigma=[0.5,1,2]. A run that fails does not stop the others; it is reported at the end.
    """
    names = [n for n in EXPERIMENTS if n != "live"] if name == "all" else [name]
    overrides = field_settings(settings)
    plans = (experiment(n, profile, seeds, **overrides) for n in names)
    _make(unite(*plans), workers=workers, scheduler=scheduler, remake=remake)


def _make(configurations: Iterable[Configuration], **options: Any) -> None:
    for record in load_or_run(configurations, **options):
        last = record.checkpoints.iloc[-1]
        click.echo(f"{record.id}  accuracy {last['accuracy']:.3f}  {record.folder}")


@main.command("list")
def list_command() -> None:
    """List the finished records, shipped and local, by the fields in which they differ."""
    store = default_store()
    records, refused = [], []
    for id in store.ids():
        try:
            record = Record(store.folder(id))
        except UserError as error:
            refused.append(error.message)
            continue
        records.append(record)
    fields = distinguishing(record.configuration for record in records)
    if records:
        rows = [
            {
                "record": record.id,
                **{field: str(getattr(record.configuration, field)) for field in fields},
                "accuracy": f"{record.checkpoints['accuracy'].iloc[-1]:.3f}",
                "where": "local" if store.is_local(record) else "shipped",
            }
            for record in records
        ]
        click.echo(pd.DataFrame(rows).to_string(index=False))
    for message in refused:
        click.echo(message)


@main.command("book")
@click.argument("chapter", required=False)
@click.option(
    "-p",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Another value for a parameter of CHAPTER, or of every chapter that has it, for example "
    "-p seeds=2; may be repeated.",
)
def book_command(chapter: str | None, settings: tuple[str, ...]) -> None:
    """Run the notebooks and build the site, _build/html; with CHAPTER, run only that one.

    A notebook whose code, parameters and records have not changed is not run again.
    """
    from bump_diffusion.book.build import build

    build(chapter, parse_settings(settings))


@main.command("verify")
@click.argument("record", required=False)
@click.option("--checksums", is_flag=True, help="Only check the files, train nothing.")
def verify_command(record: str | None, checksums: bool) -> None:
    """Train a shipped RECORD again and compare; default: one that was interrupted, or a random one.

    Checks the shipped files against the manifest first. Exits with 1 if anything differs more than
    it may.
    """
    from bump_diffusion.analysis.verify import verify

    faults = list(shipped_faults())
    for fault in faults:
        click.echo(fault, err=True)
    if faults:
        sys.exit(1)
    shipped = Store(SHIPPED).ids()
    click.echo(f"{len(shipped)} records match their checksums.")
    if record is not None:
        choose("a record", record, shipped)
    if not checksums:
        comparison = verify(record)
        click.echo(comparison.sentence)
        sys.exit(0 if comparison.same_enough else 1)


@main.command("ship")
@click.argument("name")
def ship_command(name: str) -> None:
    """Copy an experiment's local records to data/records and list them in the manifest.

    NAME is an experiment, as for `bump-diffusion run`, all of whose records are there.
    """
    store = default_store()
    records = {c.id: store.get(c, extras) for c, extras in experiment(name).items()}
    missing = [id for id, record in records.items() if record is None]
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(records)} records of {name} are not there "
            f"({', '.join(missing)}); bump-diffusion run {name} makes them."
        )
    local = [record for record in records.values() if store.is_local(record)]
    ship(local)
    for record in local:
        click.echo(f"{record.id} shipped")
