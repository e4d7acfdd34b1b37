"""The paper's claims, decided: criteria from `claims.yml`, values from the records, verdicts.

Once the criteria are written nothing here is a matter of opinion: a claim's quantity is computed
for every run, its interval over the runs is compared with the threshold, the verdict follows.
"""

from collections.abc import Sequence

import pandas as pd

from bump_diffusion.analysis.frame import frame, gather, split
from bump_diffusion.analysis.intervals import estimate_index
from bump_diffusion.analysis.phases import assign_phases, moved_thresholds
from bump_diffusion.papers.semantics.claims import CLAIMS, Decision, decide
from bump_diffusion.papers.semantics.factorized import couple_to_balanced, couple_to_lines
from bump_diffusion.papers.semantics.quantities import CRITERIA, Quantity
from bump_diffusion.runs.experiments import experiment, unite
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.record import Record


def decide_networks(
    records: Sequence[Record], controls: Sequence[Record] = (), chapter: str | None = None
) -> list[Decision]:
    """Decide claims 1 to 3, or those of one chapter, under each setting.

    `records` are runs as those of `three-phases`, `controls` as those of `controls`, which hold
    interventions, if there are any.
    """
    judged = _decide_from("three-phases", _trained(records), records, chapter)
    if controls:
        interventions = gather(controls, "interventions")
        judged += _decide_from("controls", interventions, controls, chapter)
    return judged


def decide_axes(images: Sequence[Record], lines: Sequence[Record]) -> list[Decision]:
    """Decide claim 4 under each setting.

    `images` are the runs of imbalanced data sets and of the balanced ones beside each, as those of
    `imbalance-judged`; `lines` those of the baseline, as `lines-judged`.
    """
    imbalanced = [r for r in images if r.configuration.d_x != r.configuration.d_y]
    to_lines = couple_to_lines(imbalanced, lines)[
        ["joint", "separate", "index", "cost", "max_axis_gap_1d"]
    ]
    to_balanced = couple_to_balanced(images)[["separate", "index"]].add_suffix("_2d")
    table = _trained(imbalanced).join(to_lines.join(to_balanced), on="record")
    judged = _decide_from("imbalance-judged", table, imbalanced)
    sizes = [one.records[0].configuration.N for one in judged]
    return [
        one._replace(records=[r for r in (*images, *lines) if r.configuration.N == N])
        for one, N in zip(judged, sizes, strict=True)
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
    few = min(seeds, fewer_seeds)

    def load(*names: str, seeds: int, **fields: Sequence[str]) -> list[Record]:
        return load_or_run(unite(*(experiment(n, profile, seeds, **fields) for n in names)))

    def decide_imbalance(name: str, lines: str, seeds: int) -> list[Decision]:
        return decide_axes(load(name, seeds=seeds), load(lines, seeds=seeds))

    # Those that hold more come first: made without it, a run that another needs with interventions
    # would be made twice.
    controls = load("full-rate-controls", "controls", seeds=few, conditioning=conditioning)
    records = load("full-rate", "three-phases", seeds=seeds, conditioning=conditioning)
    judged = [
        *decide_networks(records, controls),
        *decide_imbalance("imbalance-judged", "lines-judged", seeds),
        *decide_imbalance("imbalance-wide", "lines-wide", few),
    ]
    if profile == "own":
        controls = load("larger-controls", seeds=few)
        judged += decide_networks(load("larger-images", seeds=seeds), controls)
        judged += decide_imbalance("larger-imbalance", "larger-lines", few)
    return judged


def _trained(records: Sequence[Record]) -> pd.DataFrame:
    return frame(records).query("step > 0")


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
    criterion, runs = CRITERIA[name], rows.drop_duplicates("record")
    index = None
    if criterion.coupling:
        columns = dict(zip(criterion.coupling, ("joint", "separate", "index"), strict=True))
        index = estimate_index(runs[list(columns)].rename(columns=columns))
    behind = [record for record in records if record.id in set(runs["record"])]
    decision = decide(name, setting, _values(criterion.quantity, rows), behind, index)
    if criterion.control:
        control = pd.Series(_values(criterion.control, rows)).mean()
        decision = decision._replace(control=float(control))
    moved = {
        at: decide(name, setting, _values(criterion.quantity, _with_phases(rows, change))).verdict
        for side in criterion.sides
        for at, change in moved_thresholds(side).items()
    }
    return decision._replace(moved=moved)


def _values(quantity: Quantity, rows: pd.DataFrame) -> list[float]:
    return [quantity(run) for _, run in rows.groupby("record", sort=False)]


def _with_phases(rows: pd.DataFrame, thresholds: dict[str, float]) -> pd.DataFrame:
    return rows.assign(**assign_phases(rows, **thresholds).add_prefix("phase_"))
