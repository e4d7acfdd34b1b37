"""Judged runs by what of the plane they hold out, and by how they are given the label."""

from collections.abc import Iterable, Mapping
from itertools import islice

import numpy as np
import pandas as pd

from bump_diffusion.analysis.composition import score_regions
from bump_diffusion.config import Configuration
from bump_diffusion.data.splits import in_core
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError, choose
from bump_diffusion.papers.semantics.confirmed import find_runs
from bump_diffusion.papers.semantics.criteria import CURE, NEW_FROM
from bump_diffusion.papers.semantics.cure import classify_last
from bump_diffusion.runs.experiments import experiment, unite
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import Record

NAMES = {
    "lines, no vector": "lines only",
    "profiles, no vector": "profiles only",
    "lines and vector": "lines + vector",
    "profiles and vector": "profiles + vector",
    "lines, and a vector that fades out in training": "lines + fading vector",
    "lines, and a vector dropped at random": "lines + vector at times",
    "coordinates of pixels and vector": "coordinates + vector",
    "permuted lines, no vector": "permuted lines only",
    "learned profiles, no vector": "learned profiles only",
    "learned profiles and vector": "learned profiles + vector",
    "profiles by axis in the blocks": "x by column, y by row",
    "half of the images stripes": "stripes among the images",
    "a table of rank one": "x vector times y vector",
    "each axis of the vector dropped at random": "x or y often hidden",
    "the vector in layer2 alone": "vector in layer 2 only",
    "the vector in layer4 alone": "vector in layer 4 only",
    "the vector in up1 alone": "vector in up 1 only",
    "the vector through 1 number, trained for twice as long": "vector through 1 number",
    "the vector through 2 numbers, trained for twice as long": "vector through 2 numbers",
    "the vector through 4 numbers, trained for twice as long": "vector through 4 numbers",
    "the vector through 8 numbers, trained for twice as long": "vector through 8 numbers",
    "scored on what quadrants hold out": "no bias, nothing left out",
}
"""How pages write biases, where not as the frozen file does."""

TOLD = {
    "nothing": "nothing",
    "separation of the axes": "of two axes",
    "pixel geometry": "where pixels lie",
    "pixel geometry and shape": "where pixels lie, and the shape",
}
"""How pages write what a network is told, by the frozen file's words."""

COMPARED = ("no bias", "lines only", "profiles only")
"""The networks that are shown position by position."""

GAPS = {
    "quadrants": "two quarters",
    "corner": "one quarter",
    "band": "bands",
    "donut": "the middle",
}
"""What the same combinations are left out by in all networks."""

EVERY_GAP = {**GAPS, "latin-32": "scattered"}
"""All that is left out in judged networks; what is scattered, each seed draws anew."""


def load(
    geometry: str = "quadrants", profile: str = "own", seeds: int = 0
) -> tuple[pd.DataFrame, list[Record]]:
    """Classify the last images of the judged runs that hold a geometry out.

    Or, with `seeds`, those of so many new networks for each of `COMPARED`, which are trained unless
    they are there. Returns what `composition.classify_requests` does, with the columns condition,
    N, `held_out`, `bias`, `told` (what of the answer it is handed), record and seed; and the runs'
    records: none, unless all of `COMPARED` have a run.
    Raises UserError for a geometry that the frozen file does not have, or that leaves nothing out
    at some distance from what is trained, and for seeds below 0.
    """
    choose("a geometry", geometry, EVERY_GAP)
    if seeds < 0:
        raise UserError(f"seeds is {seeds}, it must be 0 (the judged runs) or more.")
    if seeds:
        new = {"held_out": geometry, "seed": list(range(NEW_FROM, NEW_FROM + seeds))}
        names = _list_compared(geometry)
        plans = [experiment(CURE.conditions[n].experiment, profile, **new) for n in names]
        for c in plans[0]:
            if not in_core(task_of(c).held_out_labels(), task_of(c).labels()).any():
                raise UserError(
                    f"geometry is {geometry!r}, it must leave out a combination at least two "
                    f"pixels from all trained ones, as it does not where N is {c.N}."
                )
        made = iter(load_or_run(unite(*plans)))
        runs = {n: list(islice(made, seeds)) for n in names}
    else:
        runs = find_judged(name for name in CURE.conditions if name_gap(name) == geometry)
    return _classify_beside_compared(runs, geometry)


def load_planes() -> tuple[pd.DataFrame, list[Record]]:
    """As `load`, the judged runs of `COMPARED` for each of `GAPS` that has runs of them all."""
    by_gap = [find_judged(_list_compared(gap)) for gap in GAPS]
    complete = [runs for runs in by_gap if all(runs.values())]
    return classify_runs({name: found for runs in complete for name, found in runs.items()})


def load_gaps() -> tuple[pd.DataFrame, list[Record]]:
    """As `load`, all judged runs that hold one of `EVERY_GAP` out; none without those of `load`."""
    return _classify_beside_compared(find_judged(filter(name_gap, CURE.conditions)), "quadrants")


def load_larger() -> tuple[pd.DataFrame, list[Record]]:
    """As `load`, judged runs on larger images, without a bias and with lines, if both are there."""
    classified, records = classify_runs(find_judged(["larger-baseline", "larger-lines"]))
    both = classified["bias"].nunique() == 2
    return (classified, records) if both else (pd.DataFrame(), [])


def find_judged(names: Iterable[str]) -> dict[str, list[Record]]:
    """Find the judged runs of conditions, by name, that are there."""
    return {name: [record for record, _ in find_runs(name, frozen=CURE)] for name in names}


def classify_runs(runs: Mapping[str, list[Record]]) -> tuple[pd.DataFrame, list[Record]]:
    """Classify the last images of runs, by their condition, as `load` says."""
    tables: list[pd.DataFrame] = []
    for name, records in runs.items():
        bias, told = describe_condition(name)
        for record in records:
            c = record.configuration
            fields = c.model_dump(include={"N", "held_out", "seed"})
            about = {"condition": name, "bias": bias, "told": told, "record": record.id}
            tables.append(classify_last(record).assign(**fields, **about))
    classified = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame({"bias": []})
    return classified, [record for records in runs.values() for record in records]


def _list_compared(geometry: str) -> list[str]:
    """The conditions under which `COMPARED` are judged with a geometry held out."""
    names = (name for name in CURE.conditions if name_gap(name) == geometry)
    return [name for name in names if describe_condition(name)[0] in COMPARED]


def _classify_beside_compared(
    runs: Mapping[str, list[Record]], geometry: str
) -> tuple[pd.DataFrame, list[Record]]:
    """As `classify_runs`, but nothing unless all of `COMPARED` have a run with a geometry."""
    if all(runs[name] for name in _list_compared(geometry)):
        return classify_runs(runs)
    return pd.DataFrame(), []


def describe_condition(name: str) -> tuple[str, str]:
    """The bias of a condition, by `NAMES`, and what of the answer it is told, by `TOLD`."""
    parts = CURE.conditions[name].about.split("; ")
    told = parts.pop().removeprefix("told ") if parts[-1].startswith("told ") else "nothing"
    return NAMES.get(parts[-1], parts[-1]), TOLD[told]


def name_gap(condition: str) -> str:
    """What a condition holds out, of `EVERY_GAP`; empty if none of these."""
    return next((gap for gap in EVERY_GAP if condition.startswith(f"{gap}-")), "")


def is_trained(c: Configuration) -> np.ndarray:
    """Whether each combination is trained, (N, N) by y and x."""
    labels = task_of(c).labels().numpy().astype(int)
    trained = np.zeros((c.N, c.N))
    trained[labels[:, 1], labels[:, 0]] = 1
    return trained


def score_biases(classified: pd.DataFrame) -> pd.DataFrame:
    """Score each network: the share of right images in the regions "trained", "core" and "rim".

    A row per bias, what it is told, what is held out, and seed, in the order of the frozen file.
    """
    by = ["bias", "told", "held_out", "seed"]
    return classified.groupby(by, sort=False).apply(score_regions)


def average_core(classified: pd.DataFrame) -> pd.Series:
    """Average the accuracy in the core over the networks of each bias, in the file's order."""
    return score_biases(classified)["core"].groupby("bias", sort=False).mean()


def average_without_geometry(classified: pd.DataFrame) -> pd.DataFrame:
    """Average the accuracy in the core where a bias tells no pixel's place; "no bias" left out.

    A row per gap, a column per bias; NaN where a bias has no network.
    """
    core = score_biases(classified)["core"].groupby(["held_out", "told", "bias"], sort=False).mean()
    told = core.index.get_level_values("told")
    others = core[~told.str.startswith(TOLD["pixel geometry"])].droplevel("told")
    return others.unstack("bias", sort=False).drop(columns=COMPARED[0], errors="ignore")
