"""The chapter *A bottleneck that shuts*: what tells images apart in each layer."""

import pandas as pd

from bump_diffusion.analysis.frame import gather
from bump_diffusion.config import LAYERS
from bump_diffusion.page.words import with_range
from bump_diffusion.runs.record import Record


def tabulate_variation(records: list[Record], share: str) -> pd.DataFrame:
    """Tabulate a share of `compare_variation`, in per cent, by layer and kind of network.

    `share` is "variation" or "change". Means over runs and timesteps with their range; first of the
    networks before training, then of the trained ones by setting.
    """
    table = gather(records, "variation")
    trained = table["network"] == "trained"
    networks = table["setting"].where(trained, "untrained")
    columns = ["untrained", *table["setting"].unique()]
    ranges = (100 * table[share]).groupby([table["layer"], networks]).agg(with_range, " %")
    table = ranges.unstack().reindex(index=LAYERS, columns=columns)
    return table.rename_axis(columns=None).reset_index()
