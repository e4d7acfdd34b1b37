"""The three phases: order parameters from both sides, and the rule that names the phase.

Written down before the runs that it judges. A checkpoint gets one phase from what it generates and,
independently, one from its features; how often the two agree is a result, not an assumption.

The paper's words (arXiv 2402.03305, section 3) are turned into numbers as follows.

=====  ==============================  ==========================================================
phase  generation                      representation
=====  ==============================  ==========================================================
A      several bumps, or none          no manifold: a bump's position cannot be read from features
B      one bump, at the wrong place    a manifold of positions, but not ordered by the request
C      one bump, at the right place    a manifold of positions, ordered by the request
=====  ==============================  ==========================================================

Every threshold is one half: of the images, or of the variance. It is the one value that needs no
choice, each phase being what the greater part shows.
"""

import itertools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from IPython.display import Markdown

from .config import Configuration
from .store import Record

PHASES = ("A", "B", "C")

SINGLE = 0.5
"""Least share of images with exactly one bump, beyond which generation has left phase A."""

PLACED = 0.5
"""Least share, among the images with one bump, of those at the right place: phase C."""

MANIFOLD = 0.5
"""Least R^2 of the generated position, read from label-ablated features: phase B or C."""

ORDER = 0.5
"""Least R^2 of the requested position, read from label-ablated features: phase C."""

THRESHOLDS = {
    "generation": {"single": SINGLE, "placed": PLACED},
    "representation": {"manifold": MANIFOLD, "order": ORDER},
}
"""By side: the order parameter that ends phase A with its threshold, then that which begins C."""

ONE_CURVE = 0.9
"""Least share of the variance of learning times that sigma / d explains (`explained_by_overlap`)
for data sets of different spreads and spacings to lie on one curve. One half would not do: four
pairs of data sets, paired at random, give 3/7 on average. Written before a run with a spread other
than 1, or with d_x = d_y other than 1, was made. Amended when four such runs of seed 0 had ended:
pairs of which no run gets there are left out, as their ends would count as agreement; and what the
seeds' noise allows stands beside. Amended again when all had ended: that allows less than the
threshold, so that not even one curve could pass; "no" therefore needs to lie below both. Data sets
in which spread and spacing both differ from 1 (0.5 and 2, all four pairs, three seeds) are to be
judged with the others, by the same: written before one of them was made. From then on what the
noise allows leaves out what is common to the runs of one seed, which does not part data sets."""


def order_parameters(
    checkpoints: pd.DataFrame,
    probes: pd.DataFrame,
    features: str = "ablated",
    reduction: str = "direct",
) -> pd.DataFrame:
    """The four order parameters of each checkpoint, indexed by step.

    `checkpoints` has a row per checkpoint (columns step and `generation.KINDS`), `probes` a row per
    probe (columns step, features, reduction, target, axis, r2), as in a run record. `single` and
    `placed` are shares of images; `manifold` and `order` are cross-validated R^2, the lower of the
    two axes', of the generated and the requested position, read directly from the features with
    the label ablated; with `features` "untrained, ablated" they are those of the untrained network
    on the same images, the control, and with `reduction` "umap" read from the UMAP embedding. NaN
    where a quantity is undefined: `placed` without any single bump, `manifold` with too few of them
    to fit (`representation.FEWEST`).
    """
    by_step = checkpoints.set_index("step")
    single = by_step["misplaced"] + by_step["correct"]
    read = probes[(probes["features"] == features) & (probes["reduction"] == reduction)]
    # An R^2 that is undefined in one axis is undefined.
    worse = read.groupby(["step", "target"])["r2"].min(skipna=False)
    worse = worse.unstack().reindex(by_step.index)
    return pd.DataFrame(
        {
            "single": single,
            "placed": by_step["correct"] / single.where(single > 0),
            "manifold": worse["generated"],
            "order": worse["requested"],
        }
    )


def checkpoints_with_order(
    record: Record, features: str = "ablated", reduction: str = "direct"
) -> pd.DataFrame:
    """A run's table of checkpoints with their `order_parameters` beside the metrics."""
    parameters = order_parameters(record.checkpoints, record.probes, features, reduction)
    return record.checkpoints.merge(parameters.reset_index(), on="step")


def assign_phases(
    parameters: pd.DataFrame,
    single: float = SINGLE,
    placed: float = PLACED,
    manifold: float = MANIFOLD,
    order: float = ORDER,
) -> pd.DataFrame:
    """The phase ("A", "B" or "C") of each checkpoint from each side, indexed by step.

    `parameters` are `order_parameters`; the other arguments are the thresholds. An undefined order
    parameter counts as below its threshold: a position that too few images have is not read.
    """
    sides = {"generation": ("single", single, "placed", placed)}
    sides["representation"] = ("manifold", manifold, "order", order)
    phases = {}
    for side, (first, first_least, second, second_least) in sides.items():
        beyond_a = parameters[first] >= first_least
        beyond_b = beyond_a & (parameters[second] >= second_least)
        phases[side] = np.select([beyond_b, beyond_a], ["C", "B"], "A")
    return pd.DataFrame(phases, index=parameters.index)


def phases_over_training(
    record: Record, features: str = "ablated", **thresholds: float
) -> pd.DataFrame:
    """The phase of each trained checkpoint of a run from each side (see `assign_phases`).

    Without the untrained network, step 0: what it draws and holds is no result of learning.
    """
    parameters = order_parameters(record.checkpoints, record.probes, features)
    phases = assign_phases(parameters, **thresholds)
    return phases[phases.index > 0]


def agreement(phases: pd.DataFrame) -> pd.DataFrame:
    """How many checkpoints have each pair of phases, generation's in rows."""
    table = pd.crosstab(phases["generation"], phases["representation"])
    return table.reindex(index=PHASES, columns=PHASES, fill_value=0)


def first_steps(phases: pd.Series) -> dict[str, int | None]:
    """The first step at which each phase occurs; None for a phase that does not."""
    return {
        phase: int(phases.index[phases == phase][0]) if (phases == phase).any() else None
        for phase in PHASES
    }


def in_order(phases: pd.Series) -> bool:
    """Whether all three phases occur, and first occur in the order A, B, C."""
    first = list(first_steps(phases).values())
    return None not in first and first == sorted(first)


def through_all_phases(records: list[Record]) -> Record:
    """The first run that shows A, B and C, first in this order, from both sides; else the first."""
    for record in records:
        phases = phases_over_training(record)
        if all(in_order(phases[side]) for side in phases):
            return record
    return records[0]


def learning_time(checkpoints: pd.DataFrame, measure: str, level: float) -> float:
    """Training examples seen when a measure first reaches a level.

    Interpolated, linearly in the logarithm of the examples, between the checkpoint that reaches it
    and the one before; where the measure is undefined (NaN) at that one, or there is none, the
    examples seen by the checkpoint itself, an upper bound. NaN if none reaches the level.
    """
    trained = checkpoints.query("step > 0")
    seen, values = trained["images_seen"].to_numpy(), trained[measure].to_numpy()
    reached = np.flatnonzero(values >= level)
    if not len(reached):
        return float("nan")
    after = reached[0]
    if after == 0 or np.isnan(values[after - 1]):
        return float(seen[after])
    share = (level - values[after - 1]) / (values[after] - values[after - 1])
    return float(np.exp(np.log(seen[after - 1]) * (1 - share) + np.log(seen[after]) * share))


def learning_time_or_end(checkpoints: pd.DataFrame, measure: str, level: float) -> float:
    """`learning_time`, or all examples seen, a lower bound, if the level is never reached."""
    time = learning_time(checkpoints, measure, level)
    return float(checkpoints["images_seen"].iloc[-1]) if np.isnan(time) else time


class Overlap(NamedTuple):
    """How far learning times are a matter of sigma / d (`explained_by_overlap`)."""

    explained: list[float]
    "The share of their variance that it explains, for each seed."
    chance: float
    "What it would explain, on average, of data sets paired at random."
    at_best: float
    "What it would explain if it were all that matters, but for the noise between seeds."
    runs: int
    never: int
    "Those of the `runs` that never get there."


def overlap_times(records: list[Record], measure: str) -> pd.DataFrame:
    """Training images to one half of a measure, a row per run.

    Columns seed, sigma, d, overlap (sigma / d), time (`learning_time_or_end`) and never, whether
    the run does not get there.
    """
    rows = []
    for record in records:
        c, checkpoints = record.configuration, checkpoints_with_order(record)
        time = learning_time_or_end(checkpoints, measure, 0.5)
        never = np.isnan(learning_time(checkpoints, measure, 0.5))
        rows.append((c.seed, c.sigma, c.d_x, round(c.sigma / c.d_x, 6), time, never))
    return pd.DataFrame(rows, columns=["seed", "sigma", "d", "overlap", "time", "never"])


def explained_by_overlap(records: list[Record], measure: str) -> Overlap:
    """The share of the variance of learning times, between data sets, that sigma / d explains.

    Eta squared, of the logarithms of the training images to one half (`learning_time_or_end`), over
    the data sets whose sigma / d one of another spread shares; left out are those of which no run
    gets there. NaN for fewer than two values of sigma / d, or if all times are equal.
    """
    table = overlap_times(records, measure)
    table["log"] = np.log(table["time"])
    by = table.groupby("overlap")
    table = table[(by["sigma"].transform("nunique") > 1) & ~by["never"].transform("all")]
    groups, seeds = table["overlap"].nunique(), sorted({r.configuration.seed for r in records})
    never = int(table["never"].sum())
    if groups < 2:
        return Overlap([np.nan] * len(seeds), np.nan, np.nan, len(table), never)
    explained, totals = [], []
    for _, own in table.groupby("seed"):
        totals.append(_squares(own["log"]))
        within = own.groupby("overlap")["log"].apply(_squares).sum()
        explained.append(1 - within / totals[-1] if np.ptp(own["log"]) > 0 else np.nan)
    settings = len(table[["sigma", "d"]].drop_duplicates())
    noise = (settings - groups) * _left_by_seeds(
        table.pivot(index=["sigma", "d"], columns="seed", values="log")
    )
    at_best = 1 - noise / np.mean(totals) if np.ptp(table["log"]) > 0 else np.nan
    chance = (groups - 1) / (settings - 1)
    return Overlap(explained, chance, float(at_best), len(table), never)


def explained_on_grid(records: list[Record], measure: str) -> pd.DataFrame:
    """The share of the variance of learning times that spread, spacing and their ratio explain.

    Eta squared, as in `explained_by_overlap`, over the data sets that make a full grid: those
    spreads and spacings of which each was run with each other. Columns sigma, d and overlap, a row
    a seed; empty unless there are two of each.
    """
    table = overlap_times(records, measure)
    table["log"] = np.log(table["time"])
    sets = table[["sigma", "d"]].drop_duplicates()
    sigmas = [s for s, own in sets.groupby("sigma") if len(own) > 1]
    spacings = [d for d, own in sets.groupby("d") if len(own) > 1]
    full = set(itertools.product(sigmas, spacings))
    if min(len(sigmas), len(spacings)) < 2 or not full <= set(sets.itertuples(index=False)):
        return pd.DataFrame(columns=["sigma", "d", "overlap"])
    rows = []
    for _, own in table[table["sigma"].isin(sigmas) & table["d"].isin(spacings)].groupby("seed"):
        total = _squares(own["log"]) or np.nan
        rows.append(
            {
                by: 1 - own.groupby(by)["log"].apply(_squares).sum() / total
                for by in ("sigma", "d", "overlap")
            }
        )
    return pd.DataFrame(rows)


def _left_by_seeds(values: pd.DataFrame) -> float:
    """The variance that neither the setting (row) nor the seed (column) explains.

    A seed has the same weights and noise in every setting: what is common to its times is no noise
    between settings.
    """
    left = values.sub(values.mean(axis=1), axis=0).sub(values.mean(axis=0) - values.stack().mean())
    freedom = (len(values) - 1) * (values.shape[1] - 1)
    return float((left**2).to_numpy().sum() / freedom) if freedom else np.nan


def _squares(values: pd.Series) -> float:
    return float(((values - values.mean()) ** 2).sum())


def condition(record: Record) -> str:
    """Under which condition a run is judged: its data set where that is imbalanced, else how the
    label enters, and whether training was warmed up; and what else of these is not as usual.
    """
    c, usual = record.configuration, Configuration()
    if c.d_x != c.d_y:
        said = [f"d_x = {c.d_x:g} and d_y = {c.d_y:g}"]
        said += [f"with {c.conditioning}"] * (c.conditioning != usual.conditioning)
    else:
        said = [f"{c.conditioning} {'with warm-up' if c.warmup else 'at full rate'}"]
        said += [f"at d = {c.d_x:g}"] * (c.d_x != usual.d_x)
    said += [f"at sigma = {c.sigma:g}"] * (c.sigma != usual.sigma)
    said += [f"on {c.N} × {c.N} pixels"] * (c.N != usual.N)
    said += [f"in {c.precision}"] * (c.precision != usual.precision)
    return " ".join(said)


def grouped(records: Iterable[Record], name_of: Callable[[Record], str]) -> dict[str, list[Record]]:
    """The records by what they are called, in the order in which the names first occur."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(name_of(record), []).append(record)
    return groups


def by_setting(records: list[Record], field: str) -> dict[str, list[Record]]:
    """The records by what a field of their configurations is, in its order; or, for "condition", by
    `condition`, as they come.
    """
    if field == "condition":
        return grouped(records, condition)

    def value(record: Record) -> Any:
        return getattr(record.configuration, field)

    def name_of(record: Record) -> str:
        return value(record) if isinstance(value(record), str) else f"{value(record):g}"

    return grouped(sorted(records, key=value), name_of)


def times(records: list[Record], by: str) -> pd.DataFrame:
    """When each order parameter passes its threshold, in images seen, by a field of the runs.

    Means over seeds with their range, in thousands; a run in which one never does is counted apart.
    """
    passed = {
        "one bump": ("single", SINGLE),
        "at the right place": ("placed", PLACED),
        "half of all correct": ("accuracy", 0.5),
        "manifold": ("manifold", MANIFOLD),
        "order": ("order", ORDER),
    }
    rows = []
    for value, own in by_setting(records, by).items():
        tables = [checkpoints_with_order(record) for record in own]
        row = {by: value}
        for name, (measure, least) in passed.items():
            row[name] = with_range((learning_time(t, measure, least) / 1000 for t in tables), "k")
        rows.append(row)
    return pd.DataFrame(rows)


def passed(records: list[Record], by: str) -> pd.DataFrame:
    """How many runs show A, B and C, first in this order, and B at all, by a field of the runs."""
    rows = []
    for value, own in by_setting(records, by).items():
        row = {by: value, "runs": len(own)}
        runs = [phases_over_training(record) for record in own]
        for side in ("generation", "representation"):
            row[f"{side}: A, B, C"] = sum(in_order(phases[side]) for phases in runs)
            row[f"{side}: B"] = sum((phases[side] == "B").any() for phases in runs)
        rows.append(row)
    return pd.DataFrame(rows)


def moved_thresholds(side: str) -> dict[str, dict[str, float]]:
    """Each threshold of a side a fifth lower and higher, by what it is then called."""
    return {
        f"{name} {value * factor:.2g}": {name: value * factor}
        for name, value in THRESHOLDS[side].items()
        for factor in (0.8, 1.2)
    }


def passed_by_threshold(records: list[Record], by: str) -> pd.DataFrame:
    """How many runs show A, B and C, first in this order, with each threshold a fifth off in turn.

    A row for each side, threshold and value of it, a column for each value of a field of the runs.
    """
    rows = []
    for side in THRESHOLDS:
        for moved, change in {"all as stated": {}, **moved_thresholds(side)}.items():
            row = {"side": side, "threshold": moved}
            for value, own in by_setting(records, by).items():
                runs = [in_order(phases_over_training(r, **change)[side]) for r in own]
                row[value] = f"{sum(runs)} of {len(runs)}"
            rows.append(row)
    return pd.DataFrame(rows)


def dimensions_by_phase(records: list[Record]) -> pd.DataFrame:
    """Dimensions of the features, label ablated, at the checkpoints of each representation phase.

    By how the label enters; means over checkpoints with their range. The claim is of a
    two-dimensional manifold in B and C.
    """
    tables = []
    for record in records:
        phase = phases_over_training(record)["representation"].rename("phase")
        table = record.checkpoints.merge(phase.reset_index(), on="step")
        tables.append(table.assign(conditioning=record.configuration.conditioning))
    rows = []
    for (scheme, phase), own in pd.concat(tables).groupby(["conditioning", "phase"], sort=False):
        row = {"conditioning": scheme, "phase of the representation": phase}
        row["checkpoints"] = len(own)
        for name in ("intrinsic", "effective"):
            row[f"{name} dimension"] = with_range(own[f"{name}_dimension_ablated"])
        rows.append(row)
    return pd.DataFrame(rows)


def short(value: float) -> str:
    """A number in three digits, or all that stand before the point; "<0.001" for what is less."""
    if 0 < abs(value) < 0.001:
        return "<0.001"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def with_range(values: Iterable[float], unit: str = "", missing: str = "never") -> str:
    """The mean of the values with their range, and how many are `missing` (NaN)."""
    values = np.array(list(values), dtype=float)
    known = values[~np.isnan(values)]
    lacking = f"{missing} in {len(values) - len(known)} of {len(values)}"
    if not len(known):
        return lacking
    text = f"{short(known.mean())}{unit}"
    if len(known) > 1:
        text += f" ({short(known.min())} to {short(known.max())})"
    return text + (f"; {lacking}" if len(known) < len(values) else "")


def summarize(records: list[Record]) -> pd.DataFrame:
    """Per run: final accuracy, both sides' phases as they first occur, and how often they agree.

    "A 6.4k, B 25k, C 32k" gives the images seen at the first checkpoint of each phase.
    """
    rows = []
    for record in records:
        phases = phases_over_training(record)
        c = record.configuration
        row = {"conditioning": c.conditioning, "seed": c.seed}
        row["accuracy"] = f"{record.checkpoints['accuracy'].iloc[-1]:.1%}"
        for side in phases:
            first = {p: s for p, s in first_steps(phases[side]).items() if s is not None}
            row[side] = ", ".join(
                f"{phase} {short(first[phase] * c.batch_size / 1000)}k"
                for phase in sorted(first, key=first.get)
            )
        same = (phases["generation"] == phases["representation"]).mean()
        row["agree"] = f"{same:.0%}"
        rows.append(row)
    return pd.DataFrame(rows).set_index(["conditioning", "seed"])


def explain(records: list[Record]) -> Markdown:
    """A sentence per run: the generation side's phases as they passed, and why one is missing.

    For a run without phase B it says how close it came: the largest share of misplaced single bumps
    before phase C, and what the other images showed then. Computed from the records alone.
    """
    lines = []
    for record in records:
        phases = phases_over_training(record)["generation"]
        first = {phase: step for phase, step in first_steps(phases).items() if step is not None}
        c = record.configuration
        text = f"- {c.conditioning.capitalize()}, seed {c.seed}: "
        before = record.checkpoints.query("step > 0")
        if "C" in first:
            before = before[before["step"] < first["C"]]
        if in_order(phases):
            text += "A, B and C first occur in this order."
        elif "B" not in first and "C" in first and len(before):
            peak = before.loc[before["misplaced"].idxmax()]
            text += (
                f"phases {', '.join(sorted(first, key=first.get))}; no checkpoint is in B. Images "
                f"with one misplaced bump are at most {peak['misplaced']:.0%} before C (at "
                f"{int(peak['images_seen']):,} images seen), when {peak['none']:.0%} show no bump "
                f"and {peak['several']:.0%} several: at no evaluated checkpoint did most images "
                "show one bump while most of these were misplaced."
            )
        else:
            text += f"phases {', '.join(sorted(first, key=first.get))}."
        lines.append(text)
    return Markdown("\n".join(lines))
