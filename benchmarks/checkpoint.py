"""What evaluating a quick run costs beside training it; prints lists of seconds, as JSON.

`python -m benchmarks.checkpoint`: a process of its own, in which the first evaluation compiles UMAP
as the first of a run does. Its seconds are kept apart ("first").
"""

import json
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from functools import wraps
from unittest import mock

from bump_diffusion.config import configure
from bump_diffusion.metrics import evaluation
from bump_diffusion.models.unet import build_model
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.run import load_model
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.trainer import Trainer

PARTS = {"sampling": "generate", "features": "read_features", "UMAP": "umap_embedding"}
"""Parts of an evaluation, and the functions of `evaluation` that they are spent in."""

REPETITIONS = 2
STEPS = 100
"""Training steps of a repetition."""


@contextmanager
def timed(parts: dict[str, float]):
    """Adds to each of `parts` the seconds spent in its function while open."""

    def timing(part, function):
        @wraps(function)
        def wrapper(*arguments, **named):
            start = time.perf_counter()
            result = function(*arguments, **named)
            parts[part] += time.perf_counter() - start
            return result

        return wrapper

    with ExitStack() as patches:
        for part, name in PARTS.items():
            wrapped = timing(part, getattr(evaluation, name))
            patches.enter_context(mock.patch.object(evaluation, name, wrapped))
        yield


def main() -> dict[str, list[float]]:
    # The shipped network: a trained one's images have as many bumps to find as a run's later ones.
    record = load_or_run(experiment("samplers", seeds=1))[0]
    c, device = configure("quick"), pick_device()
    networks = {"trained": load_model(record, device), "untrained": build_model(c, device)}
    trainer = Trainer(c, device)
    trainer.train_step()
    seconds = defaultdict(list)
    for repetition in range(1 + REPETITIONS):
        parts = dict.fromkeys(PARTS, 0.0)
        start = time.perf_counter()
        with timed(parts):
            evaluation.evaluate(c, networks, c.steps)
        whole = time.perf_counter() - start
        if repetition == 0:
            seconds["first"].append(whole)
            continue
        seconds["whole"].append(whole)
        for part, spent in {**parts, "the rest": whole - sum(parts.values())}.items():
            seconds[part].append(spent)
        start = time.perf_counter()
        for _ in range(STEPS):
            trainer.train_step()
        seconds["step"].append((time.perf_counter() - start) / STEPS)
    return seconds


if __name__ == "__main__":
    with one_thread():
        print(json.dumps(main()))
