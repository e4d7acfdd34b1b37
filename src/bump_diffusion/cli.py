"""The command line: `bump-diffusion --help`."""

import sys
from collections.abc import Iterable
from typing import Any

import click
import pandas as pd

from bump_diffusion.config import PROFILES, Configuration, configure, distinguishing
from bump_diffusion.errors import UserError, choose
from bump_diffusion.files import folder_named_by, system_errors_in_a_sentence
from bump_diffusion.plain_yaml import read_yaml
from bump_diffusion.runs.experiments import EXPERIMENTS, experiment, unite
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import EXTRAS, Record
from bump_diffusion.runs.shipped import SHIPPED, ship, shipped_faults
from bump_diffusion.runs.store import Store, default_store


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """NAME=VALUE pairs as a mapping, the values read as plain YAML."""
    parsed = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UserError(f"{setting!r} is not a setting; allowed: NAME=VALUE.")
        if name in parsed:
            raise UserError(f"{name} is set twice.")
        try:
            parsed[name] = read_yaml(text)
        except ValueError:
            raise UserError(f"{name} is {text!r}, it must be a number, a word or a list.") from None
    return parsed


def _parse_fields(_: click.Context, __: click.Parameter, settings: tuple[str, ...]) -> Any:
    parsed = parse_settings(settings)
    for field in parsed:
        choose("a field of a configuration", field, ["spacing", *Configuration.model_fields])
    return parsed


SET = click.option(
    *("--set", "fields"),
    multiple=True,
    metavar="FIELD=VALUE",
    callback=_parse_fields,
    help="Replace a field of the configuration, for example --set d_x=0.5; may be repeated.",
)
REMAKE = click.option("--remake", is_flag=True, help="Train again what is stored damaged.")


class Commands(click.Group):
    """Commands that end in one sentence if they are interrupted or the system refuses something."""

    def invoke(self, context: click.Context) -> Any:
        try:
            with system_errors_in_a_sentence():
                return super().invoke(context)
        except KeyboardInterrupt:
            click.echo("\nInterrupted; the same command goes on where this stopped.", err=True)
            sys.exit(130)


@click.group(
    cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
def main() -> None:
    """Train small diffusion models on 2D bumps, and build the book made from them.

    Records of finished runs lie in data/records (shipped) and data/local (yours). A run that is
    interrupted goes on where it stopped when the same command is given again.
    """
    folder_named_by("BUMP_DIFFUSION_STORE")  # made absolute for the processes that are started


@main.command("train")
@click.argument("file", required=False)
@click.option("--profile", help=f"{', '.join(PROFILES)}; default: quick, or the file's own.")
@SET
@click.option(
    *("--extra", "extras"),
    multiple=True,
    type=click.Choice(list(EXTRAS)),
    help="What the record holds besides; may be repeated.",
)
@REMAKE
def train_command(
    file: str | None, profile: str | None, fields: dict[str, Any], **options: Any
) -> None:
    """Train one configuration and store its record.

    It is a profile with fields replaced by --set; or FILE, a YAML file with a profile and fields
    ("set"), as `bump-diffusion run` takes it, of a single run.
    """
    if file is None:
        runs = {configure("quick" if profile is None else profile, **fields): ()}
    else:
        runs = experiment(file, profile, **fields)
        if len(runs) > 1:
            raise UserError(f"{file} describes {len(runs)} runs; train takes one, use run.")
    _make(runs, **options)


@main.command("run")
@click.argument("name")
@click.option("--profile", help=f"Instead of the experiment's own: {', '.join(PROFILES)}.")
@click.option("--seeds", type=int, help="Number of seeds, instead of the experiment's own.")
@SET
@click.option("--workers", type=click.IntRange(min=1), help="Processes; default: one a CPU core.")
@click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Train on the workers of a Dask scheduler, for example tcp://host:8786.",
)
@click.option(
    "--until-decided",
    is_flag=True,
    help="With claims, cure or routing: add seeds until each cell is decided or has its cap.",
)
@REMAKE
def run_command(
    name: str,
    profile: str | None,
    seeds: int | None,
    fields: dict[str, Any],
    until_decided: bool,
    **options: Any,
) -> None:
    """Make the records of an experiment that are missing.

    NAME is an experiment of src/bump_diffusion/papers/*/experiments.yml, "all" for each of them
    that the book's pages ask for, "claims", "cure" or "routing" with --until-decided for those of
    frozen criteria, or a YAML file of the same fields. A list in --set varies the field: --set
    sigma=[0.5,1,2]. A run that fails does not stop the others; it is reported at the end.
    """
    from bump_diffusion.papers.semantics.criteria import EDITIONS

    for field, value in fields.items():
        if value is None:  # to `experiment` that means: as the experiment says
            raise UserError(f"{field} is empty, it must have a value.")
    if not name.endswith((".yml", ".yaml")):
        choose("an experiment", name, [*EXPERIMENTS, "all", *EDITIONS])
    if until_decided or name in EDITIONS:
        given = {"--profile": profile, "--seeds": seeds, "--set": fields or None}
        others = any(value is not None for value in given.values())
        if name not in EDITIONS or not until_decided or others:
            raise UserError(
                f"{' or '.join(EDITIONS)} and --until-decided go together, without --profile, "
                "--seeds and --set: the frozen criteria say which runs judge them."
            )
        return _decide(EDITIONS[name], **options)
    names = [name]
    if name == "all":
        judged = set().union(*(frozen.experiments for frozen in EDITIONS.values()))
        names = [n for n, p in EXPERIMENTS.items() if not p.on_demand and n not in judged]
    _make(unite(*(experiment(n, profile, seeds, **fields) for n in names)), **options)


def _make(runs: dict[Configuration, tuple[str, ...]], **options: Any) -> None:
    for record in load_or_run(runs, **options):
        accuracy = record.checkpoints["accuracy"].iloc[-1]
        click.echo(f"{record.id}  accuracy {accuracy:.3f}  {record.folder}")


def _decide(frozen: Any, **options: Any) -> None:
    from bump_diffusion.papers.semantics.confirmed import find_runs, judge, plan_next

    while True:
        runs = {name: find_runs(name, frozen=frozen) for name in frozen.conditions}
        judged = judge(runs, frozen)
        if not (wanted := unite(*plan_next(judged, frozen))):
            break
        _make(wanted, **options)
    shown = ["criterion", "condition", "seeds", "estimate", "low", "high", "verdict"]
    click.echo(judged[shown].round(3).to_string(index=False))


@main.command("list")
def list_command() -> None:
    """List the finished records, shipped and local, by the fields in which they differ."""
    store = default_store()
    records, accuracies, refusals = [], [], []
    for id in store.ids():
        try:
            record = Record(store.folder(id))
            accuracies.append(f"{record.checkpoints['accuracy'].iloc[-1]:.3f}")
            records.append(record)
        except UserError as error:
            refusals.append(error.message)
    if records:
        configurations = [record.configuration for record in records]
        table = pd.DataFrame(c.model_dump() for c in configurations).astype(str)
        table = table[distinguishing(configurations)]
        table.insert(0, "record", [record.id for record in records])
        table["accuracy"] = accuracies
        table["where"] = ["local" if store.is_local(r) else "shipped" for r in records]
        click.echo(table.to_string(index=False))
    for refusal in refusals:
        click.echo(refusal)


@main.command("book")
@click.argument("chapter", required=False)
@click.option(
    *("-p", "settings"),
    multiple=True,
    metavar="NAME=VALUE",
    help="Another value for a parameter of CHAPTER, or of every chapter that has it, for example "
    "-p seeds=2; may be repeated.",
)
@click.option("--pdf", is_flag=True, help="Then print it all into one PDF, by Chromium or Chrome.")
def book_command(chapter: str | None, settings: tuple[str, ...], pdf: bool) -> None:
    """Run the notebooks and build the site, _build/html; with CHAPTER, run only that one.

    A notebook whose code, parameters and records have not changed is not run again.
    """
    from bump_diffusion.book.build import build, print_book

    build(chapter, parse_settings(settings))
    if pdf:
        print_book()


@main.command("verify")
@click.argument("record", required=False)
@click.option("--checksums", is_flag=True, help="Only check the files, train nothing.")
def verify_command(record: str | None, checksums: bool) -> None:
    """Train a shipped RECORD again and compare; default: one that was interrupted, or a random one.

    Checks the shipped files against the manifest first. Exits with 1 if anything differs more than
    it may.
    """
    from bump_diffusion.analysis.verify import verify

    if faults := list(shipped_faults()):
        click.echo("\n".join(faults), err=True)
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

    NAME is an experiment, as for `bump-diffusion run`, all of whose records are there, or "claims",
    "cure" or "routing" for the finished runs of frozen criteria.
    """
    from bump_diffusion.papers.semantics.confirmed import plan_finished
    from bump_diffusion.papers.semantics.criteria import EDITIONS

    store = default_store()
    runs = plan_finished(store, EDITIONS[name]) if name in EDITIONS else experiment(name)
    for record in ship(runs, store):
        click.echo(f"{record.id} shipped")
