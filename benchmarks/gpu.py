"""As many records as a GPU makes in a given time: experiments in the order of their importance.

`python -m benchmarks.gpu --minutes 7.5 --out FOLDER three-phases larger-images ...` makes what
neither FOLDER nor the store has. FOLDER is a store, too: BUMP_DIFFUSION_STORE=FOLDER uses it, and
the same command goes on where the time was up, or the process was killed.
"""

import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from bump_diffusion.config import Configuration
from bump_diffusion.runs.experiments import experiment, unite
from bump_diffusion.runs.stack import train_together
from bump_diffusion.runs.store import Store, default_store

LINE_SECONDS = 5.0
"""Between two lines of progress."""


class Log:
    """What was done so far, a line every few seconds."""

    def __init__(self, wanted: Sequence[Configuration], store: Store):
        self.wanted, self.store = wanted, store
        self.images = 0
        self.started = self.printed = time.monotonic()

    def made(self) -> list[Configuration]:
        return [c for c in self.wanted if self.store.folder(c.id)]

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def note_step(self, runs: Sequence[Configuration], step: int) -> None:
        self.images += len(runs) * runs[0].batch_size
        if time.monotonic() - self.printed > LINE_SECONDS:
            self.printed = time.monotonic()
            click.echo(
                f"{self.seconds():5.0f} s  {len(self.made())} of {len(self.wanted)} records, "
                f"{len(runs)} runs at step {step:,} of {runs[0].steps:,}, "
                f"{self.images / self.seconds():,.0f} images/s"
            )


@click.command()
@click.argument("experiments", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where records go.")
@click.option("--minutes", type=click.FloatRange(min=0), default=7.5, show_default=True)
@click.option("--profile", help="Instead of each experiment's own.")
@click.option("--seeds", type=int, help="Number of seeds, instead of each experiment's own.")
@click.option("--partial", is_flag=True, help="Leave what is needed to go on with the others.")
def main(
    experiments: tuple[str, ...],
    out: Path,
    minutes: float,
    profile: str | None,
    seeds: int | None,
    partial: bool,
) -> None:
    """Make the records of EXPERIMENTS that are missing, the first ones first, in some minutes.

    Then no training step is taken any more; the records of runs that are trained by then follow
    within a minute or two, as their last evaluations are made.
    """
    until = time.monotonic() + 60 * minutes
    plans = {name: experiment(name, profile, seeds) for name in experiments}
    store, known = Store(out), default_store()
    missing = {
        c: extras
        for c, extras in unite(*plans.values()).items()
        if not (known.get(c, extras) or store.get(c, extras))
    }
    log = Log(list(missing), store)
    failures = train_together(missing, store, each_step=log.note_step, until=until)
    if not partial:
        shutil.rmtree(out / "partial", ignore_errors=True)
    made, seconds = log.made(), log.seconds()
    for name, plan in plans.items():
        there = sum(c not in missing or c in made for c in plan)
        click.echo(f"{name}: {there} of {len(plan)} records")
    click.echo(
        f"{len(made)} records made in {seconds:.0f} s"
        + (f", {seconds / len(made):.1f} s each" if made else "")
        + f"; {log.images / seconds:,.0f} images/s"
    )
    for c, error in failures.items():
        click.echo(f"{c.id} failed: {error}", err=True)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
