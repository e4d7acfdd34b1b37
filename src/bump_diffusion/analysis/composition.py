"""What a network draws, also of combinations that were never trained: from its record's bumps."""

import numpy as np
import pandas as pd
import torch

from bump_diffusion.config import Configuration
from bump_diffusion.data.splits import CORE_DISTANCE
from bump_diffusion.data.tasks import task_of
from bump_diffusion.metrics.outcomes import OUTCOMES, TOLERANCE

DESTINATIONS = ("requested", "nearest trained", "same x", "same y", "elsewhere", "no single bump")
"""Where the bump of a held-out request is: within the tolerance of the request, of one of the
trained labels nearest to it, or of the request along one axis alone."""


def classify_kept(
    images: pd.DataFrame, bumps: pd.DataFrame, tolerance: float = TOLERANCE
) -> pd.DataFrame:
    """Classify kept images by the bumps that were found in them.

    `images` and `bumps` are those of a record; `tolerance` is in pixels. Returns the images with
    `x` and `y` of the bump (NaN unless there is exactly one), `correct_x` and `correct_y` (whether
    it is within the tolerance of the request along that axis), `correct` (along both), and the
    `outcome`, one of `outcomes.OUTCOMES`.
    """
    images = images.assign(image=images.groupby("step").cumcount())
    of_image = bumps.groupby(["step", "image"])
    found = pd.concat([of_image.size().rename("bumps"), of_image[["x", "y"]].first()], axis=1)
    images = images.join(found, on=["step", "image"])
    count = images["bumps"].fillna(0)
    images.loc[count != 1, ["x", "y"]] = np.nan
    for axis in "xy":
        images[f"correct_{axis}"] = (images[axis] - images[f"mu_{axis}"]).abs() <= tolerance
    images["correct"] = images["correct_x"] & images["correct_y"]
    conditions = [count == 0, count > 1, ~images["correct"], images["correct"]]
    return images.assign(outcome=np.select(conditions, OUTCOMES, ""))


def classify_requests(
    c: Configuration, images: pd.DataFrame, bumps: pd.DataFrame, tolerance: float = TOLERANCE
) -> pd.DataFrame:
    """Classify images by what the configuration `c` holds out.

    `images` and `bumps` are those of a record; another configuration than the record's, with labels
    held out, asks what a network trained on all of them draws there. Returns what `classify_kept`
    does, without labels off the grid, with the `region` ("trained", "core" or "rim", see
    `splits.in_core`) and, of held-out requests, the destination (`DESTINATIONS`).
    """
    table = classify_kept(images, bumps, tolerance)
    table = table[table["set"] != "off-grid"].reset_index(drop=True)
    requested, found = (torch.tensor(table[xy].to_numpy("float32"))
                        for xy in (["mu_x", "mu_y"], ["x", "y"]))  # fmt: skip
    task = task_of(c)
    trained, held = task.labels(), task.held_out_labels()
    if not len(held):
        return table.assign(region="trained", destination="")
    distance = torch.cdist(requested, trained)
    least = distance.amin(dim=1)
    is_held, core = (least > 1e-4).numpy(), (least >= CORE_DISTANCE).numpy()
    nearest = distance <= least[:, None] + 1e-4
    at_trained = ((found[:, None] - trained).abs() <= tolerance).all(dim=2)
    conditions = [
        table["correct"],
        (nearest & at_trained).any(dim=1).numpy(),
        table["correct_x"],
        table["correct_y"],
        table["x"].notna(),
    ]
    destination = np.select(conditions, DESTINATIONS[:-1], DESTINATIONS[-1])
    return table.assign(
        region=np.select([~is_held, core], ["trained", "core"], "rim"),
        destination=np.where(is_held, destination, ""),
    )


def score_regions(classified: pd.DataFrame) -> pd.Series:
    """Score `classify_requests` of one step by region: the share of right images."""
    return classified.groupby("region")["correct"].mean()


def share_destinations(classified: pd.DataFrame) -> pd.DataFrame:
    """Share of held-out requests of one step by region, a column for each destination."""
    held = classified[classified["region"] != "trained"]
    shares = held.groupby("region")["destination"].value_counts(normalize=True)
    return shares.unstack(fill_value=0.0).reindex(columns=DESTINATIONS, fill_value=0.0)
