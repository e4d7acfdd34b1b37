"""`python -m benchmarks`: measure this package beside its peers, print a table, write JSON."""

import os
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

import click
import pandas as pd
import torch

from bump_diffusion.errors import UserError, choose
from bump_diffusion.performance import Results
from bump_diffusion.store import BENCHMARKS, make_writable, to_json, write_atomically
from bump_diffusion.train import PACKAGES, _commit, cpu_name, pick_device

from .suite import GROUPS, networks

PEERS = ("diffusers", "denoising-diffusion-pytorch", "accelerate", "ema-pytorch", "scikit-image")


@click.command()
@click.option(
    "--only", metavar="GROUP", help=f"Print one group, write nothing: {', '.join(GROUPS)}."
)
def main(only: str | None) -> None:
    """Measure this package beside its peers on this machine: twenty minutes on two cores.

    Prints a table and writes it to data/benchmarks. Leave the machine alone meanwhile.
    """
    chosen = list(GROUPS) if only is None else [choose("a group of rows", only, GROUPS)]
    try:
        versions = {name: version(name) for name in (*PACKAGES, *PEERS)}
    except PackageNotFoundError as error:
        raise UserError(f"{error.name} is not installed; make .venv/peers installs it.") from None
    if only is None:
        make_writable(BENCHMARKS, "folder of results")
    # Of every process that is started from here; a contender sets its own.
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    try:
        results = measure(chosen, versions)
    except KeyboardInterrupt:
        click.echo("\nInterrupted; nothing was written.", err=True)
        sys.exit(130)
    with pd.option_context("display.width", None, "display.max_colwidth", None):
        click.echo(results.table().to_string(index=False))
    if only is None:
        path = BENCHMARKS / f"{pick_device().type}.json"
        write_atomically(path, to_json(results.content))
        click.echo(results.provenance)
        click.echo(f"Written to {path}.")


def measure(groups: list[str], versions: dict[str, str]) -> Results:
    """The rows of the groups, with all that they depend on."""
    start, device = time.monotonic(), pick_device()
    content = {
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cores": os.cpu_count(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "versions": versions,
        "networks": networks(),
        "rows": [],
    }
    for group in groups:
        click.echo(f"{time.monotonic() - start:5.0f} s  {group} ...", err=True)
        content["rows"] += [{"group": group, **row} for row in GROUPS[group]()]
    content["minutes"] = (time.monotonic() - start) / 60
    return Results(content)


if __name__ == "__main__":
    main()
