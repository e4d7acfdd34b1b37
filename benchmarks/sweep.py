"""A sweep of short runs into a store of its own; prints the seconds it took.

`python -m benchmarks.sweep WORKERS`: a process of its own, so that its workers start cold and its
memory can be told.
"""

import sys
import tempfile
import time
from pathlib import Path

from bump_diffusion.config import configure
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.store import Store

RUNS = 8
SHORT = {"steps": 80, "evaluations": 1, "evaluation_images": 20, "d_x": 6.0, "d_y": 6.0}
"""Runs of nine labels, evaluated twice on 18 images: what the workers share is training."""


def main(workers: int) -> None:
    configurations = [configure("quick", **SHORT, seed=seed) for seed in range(RUNS)]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        records = load_or_run(configurations, Store(Path(folder)), workers=workers)
        seconds = time.perf_counter() - start
    assert len({record.id for record in records}) == RUNS
    print(seconds)


if __name__ == "__main__":
    main(int(sys.argv[1]))
