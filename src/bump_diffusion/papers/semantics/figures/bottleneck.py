"""The chapter *A bottleneck that shuts*: what tells images apart in each layer."""

import pandas as pd

from bump_diffusion.analysis.settings import by_setting
from bump_diffusion.metrics.interventions import LAYERS
from bump_diffusion.page.words import with_range
from bump_diffusion.runs.record import Record


def variation_table(records: list[Record], share: str) -> pd.DataFrame:
    """A share of `between_image_variation`, in per cent, by layer, for each kind of network.

    Means over the runs, which hold the signals, and over timesteps, with their range; first the
    networks before training.
    """
    columns = {"untrained": _by_layer(records, share, "untrained")}
    for setting, own in by_setting(records, "setting").items():
        columns[setting] = _by_layer(own, share, "trained")
    return pd.DataFrame({"layer": LAYERS, **columns})


def _by_layer(records: list[Record], share: str, network: str) -> list[str]:
    found = pd.concat([record.variation for record in records])
    found = found[found["network"] == network].set_index("layer")[share]
    return [with_range(100 * found[layer], " %") for layer in LAYERS]
