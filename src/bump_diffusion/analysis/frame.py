"""The tidy table: a row per run and checkpoint, which every figure, criterion and sentence reads."""

from collections.abc import Sequence

import pandas as pd

from bump_diffusion.analysis.phases import assign_phases, order_parameters
from bump_diffusion.analysis.settings import setting
from bump_diffusion.runs.record import Record

CONTROLS = {
    "": ("ablated", "direct"),
    "_untrained": ("untrained, ablated", "direct"),
    "_umap": ("ablated", "umap"),
    "_untrained_umap": ("untrained, ablated", "umap"),
}
"""By suffix of a column: the features and the reduction that its order parameters are read from."""


def frame(records: Sequence[Record]) -> pd.DataFrame:
    """A row per run and checkpoint, in the order of the records and of their steps.

    Columns: `record` (its id); `setting`; every field of the configuration; `step`, `images_seen`,
    `loss` and the metrics of `Record.checkpoints`; the order parameters `single`, `placed`,
    `manifold` and `order` (`phases.order_parameters`), the latter two also of each of `CONTROLS`
    (`order_untrained`); the phases `phase_generation` and `phase_representation`, the latter also
    of the untrained network (`phase_representation_untrained`); and each probe's R^2 as
    `r2_FEATURES_REDUCTION_TARGET_AXIS` (`r2_untrained, ablated_direct_requested_x`). Runs of lines
    have neither probes nor phases: NaN.
    """
    return pd.concat([_of_run(record) for record in records], ignore_index=True)


def _of_run(record: Record) -> pd.DataFrame:
    c, checkpoints, probes = record.configuration, record.checkpoints, record.probes
    about = {"record": record.id, "setting": setting(record), **c.model_dump()}
    columns = {name: [value] * len(checkpoints) for name, value in about.items()}
    table = pd.DataFrame(columns).join(checkpoints.reset_index(drop=True))
    if probes.empty:
        return table
    for suffix, (features, reduction) in CONTROLS.items():
        found = order_parameters(checkpoints, probes, features, reduction).reset_index(drop=True)
        if suffix:
            found = found[["manifold", "order"]].add_suffix(suffix)
        table = table.join(found)
    for suffix in ("", "_untrained"):
        read = table[["single", "placed"]].assign(
            manifold=table[f"manifold{suffix}"], order=table[f"order{suffix}"]
        )
        phases = assign_phases(read)
        if not suffix:
            table["phase_generation"] = phases["generation"]
        table[f"phase_representation{suffix}"] = phases["representation"]
    names = "r2_" + probes[["features", "reduction", "target", "axis"]].agg("_".join, axis=1)
    wide = probes.assign(name=names).pivot(index="step", columns="name", values="r2")
    return table.join(wide.rename_axis(columns=None), on="step")
