"""The paper's claims, decided: criteria from `claims.yml`, values from the records, verdicts.

Once the criteria are written nothing here is a matter of opinion: a claim's quantity is computed
for every run, its interval over the runs is compared with the threshold, the verdict follows.
"""

import math
from collections.abc import Sequence

import pandas as pd

from bump_diffusion.analysis.frame import frame, gather, split
from bump_diffusion.analysis.intervals import estimate_index
from bump_diffusion.analysis.phases import assign_phases, moved_thresholds
from bump_diffusion.papers.semantics.claims import CLAIMS, Decision, decide
from bump_diffusion.papers.semantics.factorized import couple_to_balanced, couple_to_lines
from bump_diffusion.papers.semantics.quantities import CRITERIA
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import Record


def decide_networks(
    records: Sequence[Record], controls: Sequence[Record] = (), chapter: str | None = None
) -> list[Decision]:
    """Decide claims 1 to 3, or those of one chapter, under each setting.

    `records` are runs as those of `three-phases`, `controls` as those of `controls`, which hold
    interventions, if there are any.
    """
    trained = frame(records).query("step > 0")
    decisions = _decide_from("three-phases", trained, records, chapter)
    if controls:
        interventions = gather(controls, "interventions")
        decisions += _decide_from("controls", interventions, controls, chapter)
    return decisions


def decide_axes(images: Sequence[Record], lines: Sequence[Record]) -> list[Decision]:
    """Decide claim 4 under each setting.

    `images` are the runs of imbalanced data sets and of the balanced ones beside each, as those of
    `imbalance-judged`; `lines` those of the baseline, as `lines-judged`.
    """
    imbalanced = [r for r in images if r.configuration.d_x != r.configuration.d_y]
    table = frame(imbalanced).query("step > 0")
    to_lines, to_balanced = couple_to_lines(imbalanced, lines), couple_to_balanced(images)
    table = table.join(to_lines[to_lines.columns.difference(table.columns)], on="record")
    table = table.join(to_balanced[["separate", "index"]].add_suffix("_2d"), on="record")
    behind = [*images, *lines]
    return [
        one._replace(records=[r for r in behind if r.configuration.N == N])
        for one in _decide_from("imbalance-judged", table, imbalanced)
        for N in {r.configuration.N for r in one.records}
    ]


def decide_claims(
    profile: str, seeds: int, fewer_seeds: int, conditioning: Sequence[str]
) -> list[Decision]:
    """Decide every claim under every setting; missing runs are trained.

    Claims 1 to 3 are decided for each conditioning scheme separately, without and with warm-up. If
    `profile` is "own", so are larger images, by other runs; with any other profile all images are
    of one size. `seeds` is the number of seeds, `fewer_seeds`, at most as many, that of the runs
    that hold interventions, of larger data sets for claim 4, and of the widest spacings.
    """
    few, schemes = min(seeds, fewer_seeds), {"conditioning": conditioning}

    def load(name: str, seeds: int = few, **fields: Sequence[str]) -> list[Record]:
        return load_or_run(experiment(name, profile, seeds, **fields))

    # Those that hold more come first: made without it, a run that another needs with interventions
    # would be made twice.
    controls = [*load("full-rate-controls", **schemes), *load("controls", **schemes)]
    records = [*load("full-rate", seeds, **schemes), *load("three-phases", seeds, **schemes)]
    decisions = decide_networks(records, controls)
    decisions += decide_axes(load("imbalance-judged", seeds), load("lines-judged", seeds))
    decisions += decide_axes(load("imbalance-wide"), load("lines-wide"))
    if profile == "own":
        controls = load("larger-controls")
        decisions += decide_networks(load("larger-images", seeds), controls)
        decisions += decide_axes(load("larger-imbalance"), load("larger-lines"))
    return decisions


def _decide_from(
    experiment: str, table: pd.DataFrame, records: Sequence[Record], chapter: str | None = None
) -> list[Decision]:
    """Decide the claims of an experiment, under each setting, from the runs in a table."""
    return [
        _decide_setting(name, setting, rows, records)
        for name, claim in CLAIMS.items()
        if claim.experiment == experiment and chapter in (None, claim.chapter)
        for setting, rows in split(table, "setting").items()
    ]


def _decide_setting(
    name: str, setting: str, rows: pd.DataFrame, records: Sequence[Record]
) -> Decision:
    criterion, runs = CRITERIA[name], rows.groupby("record", sort=False)
    index = criterion.coupling and estimate_index(*runs[[*criterion.coupling]].first().to_numpy().T)
    moved = {}
    for change, thresholds in moved_thresholds(*criterion.sides).items():
        phases = assign_phases(rows, **thresholds).add_prefix("phase_")
        values = rows.assign(**phases).groupby("record", sort=False).apply(criterion.quantity)
        moved[change] = decide(name, setting, values).verdict
    return decide(
        name,
        setting,
        runs.apply(criterion.quantity),
        [record for record in records if record.id in runs.groups],
        index,
        control=runs.apply(criterion.control).mean() if criterion.control else math.nan,
        moved=moved,
    )
