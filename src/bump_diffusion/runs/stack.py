"""Many runs on one device: trained in stacks, while worker processes measure their checkpoints.

A checkpoint's images and features are made on the device; what is measured of them takes longer
than training does on a GPU, and is the processor's.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf
from typing import Any

import loky
from filelock import BaseFileLock, Timeout

from bump_diffusion.config import Configuration
from bump_diffusion.files import system_errors_in_a_sentence
from bump_diffusion.metrics.evaluation import Observation, measure
from bump_diffusion.metrics.sampling import generate_together, requested_labels
from bump_diffusion.models.build import build_model
from bump_diffusion.runs.partial import Partial
from bump_diffusion.runs.pools import Processes
from bump_diffusion.runs.provenance import describe_code
from bump_diffusion.runs.run import (
    CHECKPOINT_SECONDS,
    collect,
    count_steps,
    evaluate_between,
    observe_run,
    open_run,
    refuse_divergence,
    refuse_extras,
    steps_kept,
    train,
)
from bump_diffusion.runs.store import Store
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.stacked import Stack, max_stack, stack_key
from bump_diffusion.training.trainer import Trainer

SAVING_THREADS = 8
"""Checkpoints that are written at once."""

MAX_WAITING = 2
"""Measurements under way or waiting, per worker: more would only be late at the end."""

EachStep = Callable[[Sequence[Configuration], int], None]


@system_errors_in_a_sentence()
def train_together(
    wanted: Mapping[Configuration, Iterable[str]],
    store: Store,
    remake: bool = False,
    each_step: EachStep | None = None,
    until: float = inf,
) -> dict[Configuration, Exception]:
    """Make the runs of the configurations, each with its extras; return what those that failed
    raised.

    They are made as by `train`, through interruptions and with locks. On one kind of CPU a record
    is the same bit for bit however often its run was interrupted and whatever it was stacked with.
    Processes measure, one per CPU core but one. `each_step` is called after each step with the runs
    of the stack and the step, in place of a progress bar. After `until` (`time.monotonic`) no step
    is taken: runs that are trained are finished, and the others go on when this is called again.
    """
    describe_code()  # before training, in which files may change; the answer is kept
    workers = max(1, loky.cpu_count() - 1)
    with one_thread(), Processes(workers) as pool, ExitStack() as locks:
        driver = _Driver(store, pool, each_step, until)
        for group in group_runs(wanted):
            if time.monotonic() < until:
                opened = [driver.open(c, wanted[c], remake, locks) for c in group]
                # After an interruption some may lie behind.
                for step in sorted({run.trainer.step for run in opened if run}):
                    driver.train([run for run in opened if run and run.trainer.step == step])
        driver.finish(all_of_them=True)
        for c in driver.held if until == inf else []:
            with driver.noting_failure(c):
                train(c, store, wanted[c], remake)
    return driver.failures


def group_runs(configurations: Iterable[Configuration]) -> list[list[Configuration]]:
    """The stacks in which configurations are trained, in the order of the first of each."""
    order = {c: i for i, c in enumerate(configurations)}
    alike: dict[tuple[str, ...], list[Configuration]] = {}
    for c in order:
        counts = [[len(x) for x in requested_labels(c, f).values()] for f in (False, True)]
        alike.setdefault((stack_key(c), str(counts)), []).append(c)
    stacks = []
    for runs in alike.values():
        count = -(-len(runs) // max_stack(runs[0]))
        stacks += [runs[i::count] for i in range(count)]
    return sorted(stacks, key=lambda runs: order[runs[0]])


@dataclass(eq=False)
class _Run:
    """A run under way, whose lock this process holds."""

    partial: Partial
    trainer: Trainer
    extras: set[str]
    lock: BaseFileLock
    measuring: dict[int, Future] = field(default_factory=dict)
    "Measurements under way, by the step."
    completing: Future | None = None
    "The evaluation of steps between those, once the run is trained."

    def __post_init__(self):
        self.c = self.trainer.c
        untrained = build_model(self.c, self.trainer.device)
        self.networks = {"trained": self.trainer.average.module, "untrained": untrained}
        self.partial.seconds.setdefault("stacked_from_step", self.trainer.step)

    def is_due(self) -> bool:
        """Whether the run is at a step at which it is to be evaluated."""
        step = self.trainer.step
        return step in self.c.evaluation_steps and not self.partial.has_evaluation(step)

    def settle(self) -> None:
        """Wait for the measurements under way: a checkpoint must list all that lie behind it."""
        for step, future in self.measuring.items():
            self.partial.evaluations[str(step)] = future.result()
        self.measuring = {}


def _measure(
    c: Configuration, store: Store, extras: set[str], step: int, observed: Observation
) -> str:
    """Measure and store an evaluation, in a worker process; return its file's SHA-256."""
    with one_thread():
        partial = Partial(store, c, extras)
        partial.save_evaluation(step, measure(c, observed, step, "umap" in extras), 0.0)
        return partial.evaluations[str(step)]


def _complete(c: Configuration, partial: Partial) -> Partial:
    """Evaluate the steps at which a trained run learned, in a worker process."""
    partial.saved = time.monotonic()
    with one_thread():
        networks = {name: build_model(c, pick_device()) for name in ("trained", "untrained")}
        evaluate_between(partial, c, networks, c.steps, save=lambda: None)
    partial.count_seconds()
    return partial


class _Driver:
    """The work of `train_together`."""

    def __init__(self, store: Store, pool: Processes, each_step: EachStep | None, until: float):
        self.store, self.pool, self.each_step, self.until = store, pool, each_step, until
        self.held: list[Configuration] = []
        "Runs that other processes make."
        self.measuring: set[Future] = set()
        self.trained: list[_Run] = []
        "Runs whose measurements may be under way."
        self.failures: dict[Configuration, Exception] = {}

    @contextmanager
    def noting_failure(self, c: Configuration) -> Iterator[None]:
        """Note what is raised as the run's failure; what the system refuses concerns all runs."""
        try:
            yield
        except OSError:
            raise
        except Exception as error:
            self.failures[c] = error

    def without_failed(self, runs: Iterable[_Run]) -> list[_Run]:
        return [run for run in runs if run.c not in self.failures]

    def open(
        self, c: Configuration, extras: Iterable[str], remake: bool, locks: ExitStack
    ) -> _Run | None:
        """Begin or resume a run, unless it is finished, fails, or another process makes it."""
        with self.noting_failure(c):
            refuse_extras(c, extras)
            lock = self.store.lock(c)
            try:
                # Longer than a look at the lock by `is_being_made`, which holds it for an instant.
                locks.enter_context(lock.acquire(timeout=0.2))
            except Timeout:
                self.held.append(c)
                return None
            if self.store.get(c, extras, remake) is None:
                return _Run(*open_run(c, self.store, extras, remake), lock)
            lock.release()
        return None

    def train(self, runs: list[_Run]) -> None:
        """Train runs that are at one step together, to the end or out of time."""
        c, trainers = runs[0].c, [run.trainer for run in runs]
        on_gpu = trainers[0].device.type == "cuda"
        stack = Stack(trainers, alone=max_stack(c) == 1 or (on_gpu and len(runs) == 1))
        evaluation_steps, kept, saved = set(c.evaluation_steps), steps_kept(c), time.monotonic()
        about = f"{len(runs)} run{'s' * (len(runs) > 1)}"
        with count_steps(c, stack.step, about, silent=self.each_step is not None) as bar:
            while True:
                if stack.step in evaluation_steps:
                    self.evaluate(stack, runs)
                elif stack.step in kept:
                    stack.sync()
                    self.keep_weights(runs)
                failed = not self.without_failed(runs)
                if stack.step == c.steps or failed or time.monotonic() > self.until:
                    break
                stack.train_step()
                bar.update()
                if self.each_step is not None:
                    self.each_step([run.c for run in runs], stack.step)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    stack.sync()
                    self.count_seconds(runs)
                    self.save(self.without_failed(runs))
                    saved = time.monotonic()
        stack.sync()
        self.count_seconds(runs)
        runs = self.without_failed(runs)
        if stack.step == c.steps:
            self.trained += runs
        else:
            self.save(runs)
        self.finish()

    def evaluate(self, stack: Stack, runs: list[_Run]) -> None:
        """Evaluate those of a stack's runs that are due: images are made by all its networks, so
        that they are the same bit for bit whichever are.
        """
        start = time.monotonic()
        stack.sync()
        for run in self.without_failed(runs):
            with self.noting_failure(run.c):
                refuse_divergence(run.trainer)
        due = [run for run in self.without_failed(runs) if run.is_due()]
        if not due:
            return
        step, configurations = stack.step, [run.c for run in runs]
        sets = [requested_labels(c, step == c.steps) for c in configurations]
        generated: list[dict] = [{} for _ in runs]
        for name in sets[0]:
            labels = [of_run[name].to(stack.device) for of_run in sets]
            made = generate_together(configurations, stack.average, labels, (step, name))
            for of_run, images in zip(generated, made, strict=True):
                of_run[name] = images
        self.keep_weights([run for run in due if "trajectory" in run.extras])
        for run, images in zip(runs, generated, strict=True):
            if run in due:
                extras = run.partial.extras
                observed = observe_run(extras, run.c, run.networks, step, images)
                future = self.submit(_measure, run.c, self.store, extras, step, observed)
                run.measuring[step] = future
        for run in due:
            run.partial.seconds["evaluation_seconds"] += (time.monotonic() - start) / len(due)
        self.finish()

    def submit(self, *work: Any) -> Future:
        """Have a worker call a function, when there is not enough that waits for one."""
        while len(self.measuring) >= MAX_WAITING * self.pool.workers:
            self.measuring = wait(self.measuring, return_when=FIRST_COMPLETED).not_done
        future = self.pool.submit(*work)
        self.measuring.add(future)
        return future

    def keep_weights(self, runs: list[_Run]) -> None:
        def keep(run: _Run) -> None:
            run.partial.save_weights(run.trainer.step, run.networks["trained"])

        with ThreadPoolExecutor(SAVING_THREADS) as threads:
            list(threads.map(keep, self.without_failed(runs)))

    def save(self, runs: list[_Run]) -> None:
        for run in runs:
            with self.noting_failure(run.c):
                run.settle()
        with ThreadPoolExecutor(SAVING_THREADS) as threads:
            list(threads.map(lambda r: r.partial.save(r.trainer), self.without_failed(runs)))

    def count_seconds(self, runs: list[_Run]) -> None:
        """Each run's seconds are its share of the stack's, so that their sum is what was spent."""
        for run in runs:
            run.partial.count_seconds(1 / len(runs))

    def finish(self, all_of_them: bool = False) -> None:
        """Complete and store trained runs: all, or those that need not be waited for."""
        for run in self.trained:
            measured = all(future.done() for future in run.measuring.values())
            if run.completing is None and (all_of_them or measured):
                self.save([run])
                with self.noting_failure(run.c):
                    run.completing = self.submit(_complete, run.c, run.partial)
        self.trained = self.without_failed(self.trained)
        for run in list(self.trained):
            if run.completing and (all_of_them or run.completing.done()):
                self.trained.remove(run)
                with self.noting_failure(run.c):
                    run.partial = run.completing.result()
                    self.store.finish(run.c, collect(run.partial, run.trainer, run.extras))
                    run.lock.release()
