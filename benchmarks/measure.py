"""Timing: contenders in processes of their own that take turns, and what is made of their times."""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from bump_diffusion.files import ROOT

KIB, MIB = 2**10, 2**20

Job = Callable[[int], Any]
"""Does its work so many times."""


class Crew:
    """A contender: processes that hold its job ready, and do it together when asked to.

    `build(*arguments)` makes the job in each process, which runs torch with `threads` threads. Done
    once, it gives `items` of what is counted.
    """

    def __init__(
        self, items: float, build: Callable[..., Job], *arguments: Any, processes=1, threads=1
    ):
        self.items = items * processes
        spawn = get_context("spawn")
        self._connections: list[Connection] = []
        for _ in range(processes):
            ours, theirs = spawn.Pipe()
            spawn.Process(
                target=_serve, args=(theirs, build, arguments, threads), daemon=True
            ).start()
            theirs.close()
            self._connections.append(ours)

    def ready(self) -> None:
        """Wait until every process has built its job."""
        for connection in self._connections:
            _answer(connection)

    def work(self, units: int) -> float:
        """Do the job `units` times in every process; seconds until the last is done."""
        start = time.perf_counter()
        for connection in self._connections:
            connection.send(units)
        for connection in self._connections:
            _answer(connection)
        return time.perf_counter() - start

    def close(self) -> float | None:
        """End the processes; the sum of their peak memories, MiB, where the system tells it."""
        peaks = []
        for connection in self._connections:
            connection.send(None)
            peaks.append(_answer(connection))
        return None if None in peaks else sum(peaks)


def _answer(connection: Connection) -> Any:
    try:
        answer = connection.recv()
    except EOFError:
        raise click.ClickException(
            "A contender's process was ended from outside, perhaps for want of memory."
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _serve(connection: Connection, build: Callable[..., Job], arguments: tuple, threads: int):
    # A peer's progress bars are part of its loop, but not of this command's output.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes
    try:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        job = build(*arguments)
        connection.send(None)
        while (units := connection.recv()) is not None:
            job(units)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            connection.send(None)
        connection.send(peak_mib())
    except EOFError:
        pass  # the parent has ended
    except Exception as error:
        connection.send(error)


def peak_mib() -> float | None:
    """This process's peak memory. Not `getrusage`'s, which a process inherits from its parent."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * KIB / MIB


@dataclass
class Measured:
    """Values of repetitions: a rate, or seconds; and the peak memory, MiB, where it was taken."""

    values: list[float]
    peak_mib: float | None = None

    def scaled(self, factor: float) -> "Measured":
        return Measured([value * factor for value in self.values], self.peak_mib)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def summary(self) -> dict[str, Any]:
        """Median and spread (the lowest and the highest value), as they are stored."""
        return {
            "median": self.median,
            "low": min(self.values),
            "high": max(self.values),
            "repetitions": len(self.values),
            "peak_mib": self.peak_mib,
        }


def throughput(
    crews: dict[str, Crew], repetitions: int = 5, seconds: float = 0.6
) -> dict[str, Measured]:
    """Items a second of each contender, taking turns.

    A repetition lasts about `seconds`; two before it, unmeasured, warm the contender up and say how
    much work that is. The crews are closed at the end.
    """
    for crew in crews.values():
        crew.ready()
    units = {}
    for name, crew in crews.items():
        crew.work(1)
        units[name] = max(1, round(seconds / crew.work(1)))
    measured = {name: Measured([]) for name in crews}
    for _ in range(repetitions):
        for name, crew in crews.items():
            measured[name].values.append(crew.items * units[name] / crew.work(units[name]))
    for name, crew in crews.items():
        measured[name].peak_mib = crew.close()
    return measured


def command(arguments: list[str], **environment: str) -> tuple[Measured, str]:
    """Run a command once: its seconds, the peak memory of its largest process, and its output."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.launch", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise click.ClickException(f"{' '.join(arguments)} failed: {done.stderr}")
    launched = json.loads(done.stdout)
    return Measured([launched["seconds"]], launched["peak_kib"] * KIB / MIB), launched["output"]


def _attention(query, key, value, *_, out_shape=None, **__) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient, query, key, value, *_, out_shape=None, **__) -> int:
    # Two products forward, four backward: what is recomputed to save memory is no work done.
    return 2 * sdpa_flop_count(query, key, value)


# Torch's counter knows the attention kernels of GPUs only, and would miss the one of CPUs.
CPU_ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def flops(forward: Callable[..., torch.Tensor], *inputs: torch.Tensor) -> tuple[int, int]:
    """Floating-point operations of a network's forward pass, and of forward and backward together.

    Those of matrix products, convolutions and attention, as torch counts them (a multiplication and
    an addition are two); what is elementwise is left out, for all alike.
    """
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        output = forward(*inputs)
        only_forward = counter.get_total_flops()
        output.sum().backward()
        return only_forward, counter.get_total_flops()
