"""`python -m benchmarks`: measure this package beside its peers, print a table, write JSON."""

import json
import os
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryFile

import click
import pandas as pd
import torch

from bump_diffusion.book.build import BUILD
from bump_diffusion.book.performance_results import BENCHMARKS, Results
from bump_diffusion.errors import UserError, choose
from bump_diffusion.files import system_errors_in_a_sentence, to_json, write_atomically
from bump_diffusion.runs.provenance import PACKAGES, commit, cpu_name
from bump_diffusion.training.device import pick_device

from .suite import GROUPS, networks

PEERS = ("diffusers", "denoising-diffusion-pytorch", "accelerate", "ema-pytorch", "scikit-image")


@click.command()
@click.option(
    "--only", metavar="GROUP", help=f"Print one group, write nothing: {', '.join(GROUPS)}."
)
@system_errors_in_a_sentence()
def main(only: str | None) -> None:
    """Measure this package beside its peers on this machine: twenty minutes on two cores.

    Prints a table and writes it to data/benchmarks. Leave the machine alone meanwhile.
    """
    chosen = list(GROUPS) if only is None else [choose("a group of rows", only, GROUPS)]
    try:
        versions = {name: version(name) for name in (*PACKAGES, *PEERS)}
    except PackageNotFoundError as error:
        raise UserError(f"{error.name} is not installed; make .venv/peers installs it.") from None
    for folder in (BENCHMARKS, BUILD) if only is None else ():
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()  # refused now, if at all, and not in twenty minutes
    # Of every process that is started from here; a contender sets its own.
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    kept = BUILD / "benchmarks.json" if only is None else None
    try:
        results = measure(chosen, versions, kept)
    except KeyboardInterrupt:
        click.echo("\nInterrupted; make bench goes on after the last finished group.", err=True)
        sys.exit(130)
    with pd.option_context("display.width", None, "display.max_colwidth", None):
        for with_libraries in (True, False):
            table = results.tabulate_rows(with_libraries=with_libraries)
            if not table.empty:
                click.echo(table.to_string(index=False))
    if only is None:
        path = BENCHMARKS / f"{pick_device().type}.json"
        write_atomically(path, to_json(results.content))
        kept.unlink()
        click.echo(results.origin)
        click.echo(f"Written to {path}.")


def measure(groups: list[str], versions: dict[str, str], kept: Path | None = None) -> Results:
    """The rows of the groups, with all that they depend on.

    Each finished group is written to the file `kept`, from which a second call goes on, if the
    machine, the versions and the commit are the same and no code differs from the commit.
    """
    device = pick_device()
    same = {
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cores": os.cpu_count(),
        "commit": commit(),
        "versions": versions,
        "networks": networks(),
    }
    content = {**same, "date": datetime.now(UTC).date().isoformat(), "rows": [], "minutes": 0.0}
    if kept is not None and kept.exists() and not same["commit"].endswith("+"):
        earlier = json.loads(kept.read_bytes())
        if all(earlier[name] == value for name, value in same.items()):
            content = earlier
    measured = {row["group"] for row in content["rows"]}
    for group in groups:
        if group in measured:
            click.echo(f"{group}: measured before", err=True)
            continue
        click.echo(f"{60 * content['minutes']:5.0f} s  {group} ...", err=True)
        start = time.monotonic()
        content["rows"] += [{"group": group, **row} for row in GROUPS[group]()]
        content["minutes"] += (time.monotonic() - start) / 60
        if kept is not None:
            write_atomically(kept, to_json(content))
    return Results(content)


if __name__ == "__main__":
    main()
