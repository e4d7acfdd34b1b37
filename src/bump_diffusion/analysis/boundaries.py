"""Where most of several runs leave phase A, and enter phase C."""

import math

import numpy as np
import pandas as pd

from bump_diffusion.analysis.phases import PHASES, assign_phases


def median_phases(
    table: pd.DataFrame, side: str, over: str = "images_seen", **thresholds: float
) -> pd.DataFrame:
    """Find the phase that most runs have reached at each checkpoint, and the share of runs in it.

    `table` holds the trained checkpoints of runs (`frame`), `side` is "generation" or
    "representation", `thresholds` are those of `assign_phases`. Where a run has no checkpoint and
    others have, it is in the phase of its last one before. Returns the columns phase ("A", "B" or
    "C") and share, indexed by the column `over`. Phases have an order, so where three runs are in
    three of them it is B that most have reached.
    """
    phases = table[["record", over]].assign(phase=assign_phases(table, **thresholds)[side])
    of_runs = phases.pivot(index=over, columns="record", values="phase").ffill().bfill()
    counts = pd.DataFrame({p: (of_runs == p).sum(axis=1) for p in PHASES})
    most = counts.sum(axis=1) / 2
    phase = np.select([counts["C"] > most, counts["B"] + counts["C"] > most], ["C", "B"], "A")
    in_phase = counts.to_numpy()[range(len(counts)), [PHASES.index(p) for p in phase]]
    return pd.DataFrame({"phase": phase, "share": in_phase / (2 * most)})


def boundary(phases: pd.DataFrame, phase: str) -> float:
    """Find where most runs have reached a phase or a later one, in `median_phases`; NaN if nowhere.

    It lies half way, in the logarithm, between the checkpoints on its sides.
    """
    reached = (phases["phase"] >= phase).to_numpy()
    return float(log_edges(phases.index)[reached.argmax()]) if reached.any() else math.nan


def log_edges(values: pd.Index) -> np.ndarray:
    """Edges (n + 1,) of cells around n increasing values, half way between them in the logarithm.

    The first and the last value are edges.
    """
    x = values.to_numpy()
    return np.concatenate([x[:1], np.sqrt(x[1:] * x[:-1]), x[-1:]])
