"""Images classified afterwards, at any tolerance, from the bumps that a record keeps."""

import numpy as np
import pandas as pd

from bump_diffusion.metrics.outcomes import OUTCOMES, TOLERANCE


def classify_kept(
    images: pd.DataFrame, bumps: pd.DataFrame, tolerance: float = TOLERANCE
) -> pd.DataFrame:
    """Classify kept images by the bumps that were found in them.

    `images` and `bumps` are those of a record; `tolerance` is in pixels. Returns the images with
    `x` and `y` of the bump (NaN unless there is exactly one), `correct_x` and `correct_y` (whether
    it is within the tolerance of the request along that axis), and the `outcome`, one of
    `outcomes.OUTCOMES`.
    """
    images = images.assign(image=images.groupby("step").cumcount())
    of_image = bumps.groupby(["step", "image"])
    found = pd.concat([of_image.size().rename("bumps"), of_image[["x", "y"]].first()], axis=1)
    images = images.join(found, on=["step", "image"])
    count = images["bumps"].fillna(0)
    images.loc[count != 1, ["x", "y"]] = np.nan
    for axis in "xy":
        images[f"correct_{axis}"] = (images[axis] - images[f"mu_{axis}"]).abs() <= tolerance
    correct = images["correct_x"] & images["correct_y"]
    conditions = [count == 0, count > 1, ~correct, correct]
    return images.assign(outcome=np.select(conditions, OUTCOMES, ""))
