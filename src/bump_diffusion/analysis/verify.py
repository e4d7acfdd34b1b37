"""Verification: a record is trained again and compared."""

import random
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from bump_diffusion.analysis.frame import frame
from bump_diffusion.analysis.phases import THRESHOLDS
from bump_diffusion.errors import UserError, choose
from bump_diffusion.files import discard, is_held
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import TABLES, Record
from bump_diffusion.runs.shipped import SHIPPED
from bump_diffusion.runs.store import Store, default_store

ACCURACY_BOUND = 0.1
"""Largest difference in final accuracy between two machines: rounding differs in the last digit,
grows over training as any perturbation does, and ends as another seed would end."""


@dataclass(frozen=True)
class Comparison:
    """Whether two records agree."""

    identical: bool
    same_enough: bool
    sentence: str


def verify(id: str | None = None) -> Comparison:
    """Train a shipped record again and compare the two; by default one of which an earlier
    verification was interrupted, or else a random one.

    Raises UserError if there is no such record, or another process verifies it now.
    """
    shipped, folder = Store(SHIPPED), default_store().local / "verify"
    ids = shipped.ids()
    if not ids:
        raise UserError("There is no record to verify; make one with bump-diffusion run.")
    if id is None:
        left = [i for i in ids if (folder / i).exists() and not is_held(folder / f".{i}.lock")]
        id = random.choice(left or ids)
    original = Record(shipped.folder(choose("a record", id, ids)))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / f".{id}.lock", timeout=0):
            seconds = original.provenance["wall_seconds"]
            print(f"Training {id} again; it took {seconds:.0f} s.", file=sys.stderr)
            runs = {original.configuration: original.extras - {"weights"}}
            comparison = differences(original, *load_or_run(runs, Store(folder / id)))
            discard(folder / id)
    except Timeout:
        raise UserError(f"Another process verifies record {id} now.") from None
    return comparison


def differences(original: Record, again: Record) -> Comparison:
    """Compare the figures of two records of one configuration.

    On the same processor type and versions they should be equal bit for bit, unless one was made
    in a stack, which rounds otherwise; elsewhere the final accuracy should differ by at most
    `ACCURACY_BOUND` and the final phases from both sides agree; lines have none.
    """
    ours, theirs = _contents(original), _contents(again)
    unequal = [n for n in ours | theirs if n not in ours or not _equal(ours[n], theirs.get(n))]
    if not unequal:
        return Comparison(True, True, f"Record {original.id}: the same, bit for bit.")
    machine = ("device", "threads", "versions")
    made = original.provenance, again.provenance
    stacked = any("stacked_from_step" in provenance for provenance in made)
    alike = not stacked and all(made[0][key] == made[1][key] for key in machine)
    accuracies = [r.checkpoints["accuracy"].iloc[-1] for r in (original, again)]
    phases = [_final_phases(record) for record in (original, again)]
    close = abs(accuracies[0] - accuracies[1]) <= ACCURACY_BOUND and phases[0] == phases[1]
    if not close:
        outcome = "out of bounds."
    elif alike:
        commits = " and ".join(r.provenance["commit"] for r in (original, again))
        outcome = (
            "it should have been the same bit for bit, unless the code has changed what it "
            f"computes (commits {commits})."
        )
    else:
        outcome = "within bounds."
    kind = "the same" if alike else "another"
    where = "in a stack of runs" if stacked else f"on {kind} kind of device and versions"
    return Comparison(
        False,
        close and not alike,
        f"Record {original.id}: different in {', '.join(unequal)}, {where}; final accuracy "
        f"{accuracies[0]:.3f} and {accuracies[1]:.3f} (bound {ACCURACY_BOUND}), final phases "
        f"{phases[0] or 'none'} and {phases[1] or 'none'}: {outcome}",
    )


def _contents(record: Record) -> dict[str, pd.DataFrame | np.ndarray]:
    return {name: getattr(record, name) for name in TABLES} | record.arrays


def _equal(one: pd.DataFrame | np.ndarray, other: pd.DataFrame | np.ndarray | None) -> bool:
    if isinstance(one, pd.DataFrame):
        return one.equals(other)
    return other is not None and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def _final_phases(record: Record) -> dict[str, str]:
    if record.probes.empty:
        return {}
    last = frame([record]).iloc[-1]
    return {side: last[f"phase_{side}"] for side in THRESHOLDS}
