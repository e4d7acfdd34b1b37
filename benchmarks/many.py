"""Seconds of whole runs on one device, evaluations included, as JSON: one alone, many, a long one.

`python -m benchmarks.many PROFILE RUNS PROFILE_OF_THE_LONG`: a process of its own. The workers that
measure are started, and have compiled UMAP, before anything is timed; the long run is extrapolated.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from bump_diffusion.config import Configuration, configure
from bump_diffusion.metrics.evaluation import evaluate
from bump_diffusion.models.unet import build_model
from bump_diffusion.runs.stack import train_together
from bump_diffusion.runs.store import Store
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.stacked import Stack
from bump_diffusion.training.trainer import Trainer

STEPS = 100
"""Steps from which a long run's training is extrapolated."""


def make_runs(configurations: list[Configuration]) -> float:
    """The seconds of making these runs in an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        failures = train_together(dict.fromkeys(configurations, ()), Store(Path(folder)))
        assert not failures, failures
        return time.perf_counter() - start


def extrapolate(c: Configuration) -> float:
    """The seconds of a long run, from some steps and the second of two evaluations."""
    trainer = Trainer(c, pick_device())
    networks = {"trained": trainer.average.module, "untrained": build_model(c, trainer.device)}
    stack = Stack([trainer], alone=True)
    for _ in range(10):
        stack.train_step()
    seconds = {}
    with one_thread():
        for name in ("first evaluation", "evaluation", "steps"):
            _wait()
            start = time.perf_counter()
            if name == "steps":
                for _ in range(min(STEPS, c.steps - stack.step)):
                    stack.train_step()
                _wait()
            else:
                evaluate(c, networks, stack.step)
            seconds[name] = time.perf_counter() - start
    a_step = seconds["steps"] / (stack.step - 10)
    return c.steps * a_step + len(c.evaluation_steps) * seconds["evaluation"]


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def main(profile: str, runs: int, long: str) -> dict[str, float]:
    make_runs([configure(profile, seed=seed, steps=10, evaluations=1) for seed in range(runs)])
    return {
        "one": make_runs([configure(profile)]),
        "many": make_runs([configure(profile, seed=seed) for seed in range(runs)]),
        "long": extrapolate(configure(long)),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
