"""What can be learned. A new task is a class beside `Bumps`, a line here and a name in `config`."""

from bump_diffusion.config import Configuration
from bump_diffusion.data.bumps import Bumps
from bump_diffusion.data.lines import Lines

TASKS = {"xy": Bumps, "x": Lines}
"""The class of each value of a configuration's `axes`."""


def task_of(c: Configuration) -> Bumps:
    """The task that a configuration sets."""
    return TASKS[c.axes](c)
