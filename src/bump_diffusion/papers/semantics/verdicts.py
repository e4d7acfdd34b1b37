"""The paper's claims, judged: criteria from `claims.yml`, values from the records, verdicts.

Once the criteria are written nothing here is a matter of opinion: a claim's quantity is computed
for every run, its interval over the runs is compared with the threshold, the verdict follows.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bump_diffusion.analysis.intervals import index_interval, interval
from bump_diffusion.analysis.phases import moved_thresholds
from bump_diffusion.analysis.settings import by_setting, grouped, setting
from bump_diffusion.errors import UserError
from bump_diffusion.papers.semantics.claims import CLAIMS, Decision, decide
from bump_diffusion.papers.semantics.factorized import coupling, coupling_by_balanced
from bump_diffusion.papers.semantics.quantities import BY_RULE, OF_UNTRAINED, QUANTITIES
from bump_diffusion.runs.experiments import experiment, unite
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import Record

WITHOUT_WARMUP = {"three-phases": "full-rate", "controls": "full-rate-controls"}
"""The experiments without a warm-up that are judged beside those with one."""

OF_AXES = {"imbalance-judged": "lines-judged", "imbalance-wide": "lines-wide"}
"""The experiments by which claim 4 is judged, images and the lines of their reference: at the
paper's spacings (arXiv 2402.03305, section 3), and where balanced images take unequally long."""


class BySize(NamedTuple):
    """The records by which images of several sizes are judged."""

    images: list[Record]
    controls: list[Record]
    "Those that hold a dissection."
    imbalance: list[Record]
    lines: list[Record]
    "Of the imbalanced images' reference."

    def each(self) -> list["BySize"]:
        """Those of each size by themselves, from the smallest to the largest."""
        split = [by_setting(records, "N").values() for records in self]
        return [BySize(*parts) for parts in zip(*split, strict=True)]


def runs_by_size(
    profiles: list[str],
    seeds: int,
    fewer_seeds: int,
    conditioning: str | None = None,
    patching: bool = False,
) -> BySize:
    """The records of the experiments on larger images, in all profiles.

    `seeds` is the number of seeds of `larger-images`, `fewer_seeds`, at most as many, that of the
    others. With `patching` the largest of these images are those of `larger-patching`. Missing
    records are trained. Raises UserError for two profiles with images of one size,
    which could not be told apart.
    """
    sizes = {p: next(iter(experiment("larger-images", p, seeds))).N for p in profiles}
    if len(set(sizes.values())) < len(profiles):
        raise UserError(
            f"profile is {profiles}, they must differ in the size of their images (here "
            f"{', '.join(str(sizes[p]) for p in profiles)} pixels)."
        )
    largest = max(profiles, key=lambda p: sizes[p])
    fewer = min(seeds, fewer_seeds)
    counts = {"controls": fewer, "images": seeds, "imbalance": fewer, "lines": fewer}
    plan = []
    for kind, profile in itertools.product(counts, profiles):
        with_patching = patching and kind == "images" and profile == largest
        name = "larger-patching" if with_patching else f"larger-{kind}"
        own = experiment(name, profile, counts[kind], conditioning=conditioning)
        plan.append((kind, own))
    # All experiments before any is loaded: a run that several share is made once, with all extras.
    united = unite(*(own for _, own in plan))
    records = dict(zip(united, load_or_run(united), strict=True))
    return BySize(
        **{kind: [records[c] for of, own in plan if of == kind for c in own] for kind in counts}
    )


def decide_by_size(runs: BySize) -> list[Decision]:
    """The verdicts on every claim, for each size of image."""
    return [
        one
        for own in runs.each()
        for one in (
            *decide_networks(own.images, own.controls),
            *decide_axes(own.imbalance, own.lines),
        )
    ]


def decide_claims(
    profile: str, seeds: int, fewer_seeds: int, chapter: str | None = None, **fields: Any
) -> list[Decision]:
    """Every claim, or those of one chapter, under every setting.

    Claims 1 to 3 are judged for each conditioning scheme apart, without and with warm-up; `fields`
    are those of their configurations that are replaced, as `experiment` takes them. If `profile` is
    "own" and all chapters are judged, so are larger images, by runs of their own; with any other
    profile all images are of one size. `seeds` is the number of seeds, `fewer_seeds`, at most as
    many, that of the runs that hold a dissection. Missing runs are trained.
    """
    fewer_seeds = min(seeds, fewer_seeds)
    needed = {c.experiment for c in CLAIMS.values() if chapter in (None, c.chapter)}
    counts = {"controls": fewer_seeds, "three-phases": seeds}
    # Those that hold more come first: made without it, a run that another needs with a dissection
    # would be made twice.
    records = {
        e: without_and_with_warmup(e, profile, count, **fields)
        for e, count in counts.items()
        if e in needed
    }
    found = decide_networks(
        records.get("three-phases", []), records.get("controls", []), chapter=chapter
    )
    if "imbalance-judged" in needed:
        found += decide_imbalance(profile, seeds, fewer_seeds)
    if chapter is None and profile == "own":
        found += decide_by_size(runs_by_size([profile], seeds, fewer_seeds))
    return found


def decide_imbalance(profile: str, seeds: int, fewer_seeds: int, **fields: Any) -> list[Decision]:
    """Claim 4 at the spacings that decide it: the paper's, by `seeds` seeds, and far wider ones.

    `fields` are those of the configurations that are replaced, as `experiment` takes them. Missing
    runs are trained.
    """
    counts = {"imbalance-judged": seeds, "imbalance-wide": min(seeds, fewer_seeds)}
    return [
        one
        for images, lines in OF_AXES.items()
        for one in decide_axes(
            *(runs_of(name, profile, counts[images], **fields) for name in (images, lines))
        )
    ]


def decide_runs(name: str, records: Sequence[Record]) -> list[Decision]:
    """The verdicts on a claim that a run by itself tells of, for each setting among the runs."""
    found = []
    for where, part in grouped(records, lambda r: setting(r.configuration)).items():
        judged = decide(name, where, [QUANTITIES[name](r) for r in part], part)
        if name in OF_UNTRAINED:
            values = [QUANTITIES[name](r, "untrained, ablated") for r in part]
            judged = judged._replace(control=interval(values, CLAIMS[name].kind)[0])
        found.append(judged._replace(moved=_with_moved_thresholds(name, part)))
    return found


def _with_moved_thresholds(name: str, records: list[Record]) -> dict[str, str]:
    """The verdict on a claim with each threshold that it hangs on a fifth lower and higher."""
    return {
        at: decide(name, "", [QUANTITIES[name](r, **change) for r in records]).verdict
        for side in BY_RULE.get(name, ())
        for at, change in moved_thresholds(side).items()
    }


def decide_networks(
    records: list[Record], controls: Sequence[Record] = (), chapter: str | None = None
) -> list[Decision]:
    """The verdicts on claims 1 to 3, or on those of one chapter, for each setting.

    `controls` are the runs that hold a dissection, if any.
    """
    of = {"three-phases": records, "controls": controls}
    return [
        one
        for name, claim in CLAIMS.items()
        if claim.experiment in of and chapter in (None, claim.chapter)
        for one in decide_runs(name, of[claim.experiment])
    ]


def decide_axes(records: list[Record], lines: list[Record]) -> list[Decision]:
    """The verdicts on claim 4, from the runs of the imbalanced data set and of both balanced ones,
    and from the lines of the reference.
    """
    imbalanced = [r for r in records if r.configuration.d_x != r.configuration.d_y]
    found = coupling(imbalanced, lines)
    c = imbalanced[0].configuration
    balanced = coupling_by_balanced(records, c.d_x, c.d_y)
    where, behind = setting(c), [*imbalanced, *lines]
    (together,) = decide_runs("rise-together", imbalanced)
    return [
        together._replace(control=interval(found["farthest_apart_1d"], "mean")[0]),
        decide("coupled", where, found["index"].tolist(), behind, index_interval(found)),
        decide(
            "coupled-in-images",
            where,
            balanced["index"].tolist(),
            records,
            index_interval(balanced),
        ),
        decide("costly", where, np.log2(found["cost"]).tolist(), behind),
    ]


def runs_of(name: str, profile: str, seeds: int, **fields: Any) -> list[Record]:
    """The records of an experiment, with its extras; missing ones are trained.

    `fields` of the configurations are replaced, as `experiment` takes them.
    """
    return load_or_run(experiment(name, profile, seeds, **fields))


def without_and_with_warmup(name: str, profile: str, seeds: int, **fields: Any) -> list[Record]:
    """The records of an experiment and, before them, of its counterpart in `WITHOUT_WARMUP`."""
    return [r for n in (WITHOUT_WARMUP[name], name) for r in runs_of(n, profile, seeds, **fields)]
