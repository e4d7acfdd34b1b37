"""The tidy table, a row per run and checkpoint: every figure, criterion and sentence reads it."""

from collections.abc import Iterable

import pandas as pd

from bump_diffusion.analysis.phases import assign_phases
from bump_diffusion.config import Configuration
from bump_diffusion.runs.record import Record

CONTROLS = {
    "": ("ablated", "direct"),
    "_untrained": ("untrained, ablated", "direct"),
    "_umap": ("ablated", "umap"),
    "_untrained_umap": ("untrained, ablated", "umap"),
}
"""By suffix of a column: the features and the reduction that its order parameters are read from."""


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """Build a row per run and checkpoint, in the order of the records and of their steps.

    Columns:

    - `record` (its id), `setting` and every field of the configuration;
    - `step`, `images_seen`, `loss` and the metrics of `Record.checkpoints`;
    - `single`, the share of images with one bump, and `placed`, the share of these at the right
      place (NaN where there are none);
    - `manifold` and `order`, the cross-validated R^2 of the generated and of the requested position
      read from the features with the label ablated, the lower of the two axes' (NaN where either
      is undefined), and the same of each of `CONTROLS`, as in `order_untrained`;
    - `phase_generation` and `phase_representation` (`phases.assign_phases`), the latter also of the
      untrained network on the same images, `phase_representation_untrained`;
    - each probe's R^2, as in `r2_untrained, ablated_direct_requested_x`.

    A record that is given twice counts once. Runs of lines have neither probes nor phases: NaN.
    """
    records = list(records)
    table, probes = gather(records, "checkpoints"), gather(records, "probes")
    if "points" in probes:  # from format 3 on a record has more probes than the paper's
        few = probes.groupby("record")["points"].transform("min")
        as_published = (probes["input"] == "sample") & (probes["layer"] == probes["probe_layer"])
        probes = probes[probes["points"].isna() | (as_published & (probes["points"] == few))]
    if "r2" in probes:
        names = ["features", "reduction", "target", "axis"]
        r2 = probes.pivot(index=["record", "step"], columns=names, values="r2")
        r2.columns = ["_".join(["r2", *column]) for column in r2.columns]
        table = table.merge(r2, on=["record", "step"], how="left")
    single = table["misplaced"] + table["correct"]
    columns = {"single": single, "placed": table["correct"] / single.where(single > 0)}
    for suffix, (features, reduction) in CONTROLS.items():
        for name, target in {"manifold": "generated", "order": "requested"}.items():
            axes = table.reindex(
                columns=[f"r2_{features}_{reduction}_{target}_{axis}" for axis in "xy"]
            )
            columns[name + suffix] = axes.min(axis=1, skipna=False)
    table = table.assign(**columns)
    probed = table["record"].isin(probes["record"])
    phases = {
        "phase_generation": assign_phases(table)["generation"],
        "phase_representation": assign_phases(table)["representation"],
        "phase_representation_untrained": assign_phases(table, "_untrained")["representation"],
    }
    return table.assign(**{name: phase.where(probed) for name, phase in phases.items()})


def setting(c: Configuration) -> str:
    """Name the setting under which a run is judged.

    That is its data set where it is imbalanced, else how the label enters and whether training was
    warmed up; and what else of these is not as usual.
    """
    usual = Configuration()
    if c.d_x != c.d_y:
        parts = [f"d_x = {c.d_x:g} and d_y = {c.d_y:g}"]
        parts += [f"with {c.conditioning}"] * (c.conditioning != usual.conditioning)
    else:
        parts = [f"{c.conditioning} {'with warm-up' if c.warmup else 'at full rate'}"]
        parts += [f"at d = {c.d_x:g}"] * (c.d_x != usual.d_x)
    parts += [f"without {c.held_out}"] * (c.held_out != usual.held_out)
    parts += [f"drawn as {c.rendering}"] * (c.rendering != usual.rendering)
    parts += [f"injected as {c.injection}"] * (c.injection != usual.injection)
    parts += [f"with stripes for {c.stripes:.0%}"] * (c.stripes != usual.stripes)
    parts += [f"at sigma = {c.sigma:g}"] * (c.sigma != usual.sigma)
    parts += [f"on {c.N} × {c.N} pixels"] * (c.N != usual.N)
    parts += [f"in {c.precision}"] * (c.precision != usual.precision)
    return " ".join(parts)


def gather(records: Iterable[Record], name: str) -> pd.DataFrame:
    """Stack a table of the records, as "interventions", with each run's fields in every row.

    The columns `record` (its id), `setting` and every field of the configuration come first, save
    those that the table has itself, as `sampler`. The order is that of the records and of their
    tables' rows; a record that is given twice counts once.
    """
    unique = {record.id: record for record in records}
    runs = pd.DataFrame(
        {"record": id, "setting": setting(r.configuration), **r.configuration.model_dump()}
        for id, r in unique.items()
    )
    tables = pd.concat({id: getattr(r, name) for id, r in unique.items()}, names=["record"])
    return runs[runs.columns.difference(tables.columns, sort=False)].merge(
        tables.reset_index("record"), on="record"
    )


def split(table: pd.DataFrame, field: str) -> dict[str, pd.DataFrame]:
    """Split a `frame`, or what `gather` gives, by a column's values as they are printed.

    The values are sorted; settings stay in the order in which they occur.
    """
    groups = table.groupby(field, sort=field != "setting")
    return {value if isinstance(value, str) else f"{value:g}": rows for value, rows in groups}
