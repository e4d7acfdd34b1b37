"""Many runs on one device: trained in stacks, while worker processes evaluate their checkpoints.

Evaluations use the device, too, and on a GPU take longer than training does, most of it on the
processor. NVIDIA's MPS (`nvidia-cuda-mps-control -d`) lets the processes share a GPU at any moment,
where they otherwise take turns.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import inf

import loky
from filelock import BaseFileLock, Timeout

from bump_diffusion.config import Configuration
from bump_diffusion.files import system_errors_in_a_sentence
from bump_diffusion.models.unet import build_model
from bump_diffusion.runs.partial import Partial
from bump_diffusion.runs.pools import Processes
from bump_diffusion.runs.provenance import describe_code
from bump_diffusion.runs.run import (
    CHECKPOINT_SECONDS,
    count_steps,
    evaluate_step,
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
    Processes evaluate, one per CPU core but one. `each_step` is called after each step with the
    runs of the stack and the step, in place of a progress bar. After `until` (`time.monotonic`) no
    step is taken: runs that are trained are finished, and the others go on when this is called
    again. The seconds in a record are the run's share of its stack's, and those of its evaluations.
    """
    describe_code()  # before training, in which files may change; the answer is kept
    workers = max(1, loky.cpu_count() - 1)
    with one_thread(), Processes(workers) as pool, ExitStack() as locks:
        driver = _Driver(store, pool, remake, each_step, until)
        for group in group_runs(wanted):
            if time.monotonic() < until:
                opened = [driver.open(c, wanted[c], locks) for c in group]
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
    alike: dict[str, list[Configuration]] = {}
    for c in order:
        alike.setdefault(stack_key(c), []).append(c)
    stacks = []
    for runs in alike.values():
        count = -(-len(runs) // max_stack(runs[0]))
        stacks += [runs[i::count] for i in range(count)]
    return sorted(stacks, key=lambda runs: order[runs[0]])


@dataclass(eq=False)
class _Run:
    """A run under way, whose lock this process holds until it is trained."""

    partial: Partial
    trainer: Trainer
    extras: set[str]
    lock: BaseFileLock
    evaluating: dict[int, Future] = field(default_factory=dict)
    "Evaluations under way, by the step."
    completing: Future | None = None
    "The end of the run, once it is trained."

    def __post_init__(self):
        self.c = self.trainer.c
        self.partial.seconds.setdefault("stacked_from_step", self.trainer.step)

    def is_due(self) -> bool:
        """Whether the run is at a step at which it is to be evaluated."""
        step = self.trainer.step
        return step in self.c.evaluation_steps and not self.partial.has_evaluation(step)

    def keep_weights(self) -> None:
        self.partial.save_weights(self.trainer.step, self.trainer.average.module)

    def save(self) -> None:
        """Write the checkpoint, with the evaluations that are there by now."""
        for step in [step for step, future in self.evaluating.items() if future.done()]:
            self.partial.evaluations[str(step)], seconds = self.evaluating.pop(step).result()
            for kind in ("wall_seconds", "evaluation_seconds"):
                self.partial.seconds[kind] += seconds
        self.partial.save(self.trainer)


def _give_way() -> None:
    """Let this process wait for the one that trains: a GPU waits for that one."""
    if hasattr(os, "setpriority"):  # not on Windows
        os.setpriority(os.PRIO_PROCESS, 0, 10)


def _evaluate(c: Configuration, store: Store, extras: set[str], step: int) -> tuple[str, float]:
    """Evaluate a step from its weights, in a worker process; return the SHA-256 of the stored
    evaluation, and the seconds spent.
    """
    _give_way()
    partial = Partial(store, c, extras)
    with one_thread():
        networks = {name: build_model(c, pick_device()) for name in ("trained", "untrained")}
        networks["trained"].load_state_dict(partial.weights_at(step))
        evaluate_step(partial, c, networks, step)
    return partial.evaluations[str(step)], partial.seconds["evaluation_seconds"]


def _complete(c: Configuration, store: Store, extras: set[str], remake: bool) -> None:
    """Evaluate the steps at which a trained run learned and store it, in a worker process."""
    _give_way()
    train(c, store, extras, remake, each_step=lambda: None)


class _Driver:
    """The work of `train_together`."""

    def __init__(
        self,
        store: Store,
        pool: Processes,
        remake: bool,
        each_step: EachStep | None,
        until: float,
    ):
        self.store, self.pool, self.remake = store, pool, remake
        self.each_step, self.until = each_step, until
        self.held: list[Configuration] = []
        "Runs that other processes make."
        self.trained: list[_Run] = []
        "Runs that are being completed, or whose evaluations may be under way."
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

    def open(self, c: Configuration, extras: Iterable[str], locks: ExitStack) -> _Run | None:
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
            if self.store.get(c, extras, self.remake) is None:
                return _Run(*open_run(c, self.store, extras, self.remake), lock)
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
            wait([future for run in runs for future in run.evaluating.values()])
            self.save(runs)
        self.finish()

    def evaluate(self, stack: Stack, runs: list[_Run]) -> None:
        """Have those of a stack's runs evaluated that are due."""
        stack.sync()
        for run in self.without_failed(runs):
            with self.noting_failure(run.c):
                refuse_divergence(run.trainer)
        due = [run for run in self.without_failed(runs) if run.is_due()]
        self.keep_weights(due)
        for run in due:
            work = _evaluate, run.c, self.store, run.partial.extras, stack.step
            run.evaluating[stack.step] = self.pool.submit(*work)
        self.finish()

    def keep_weights(self, runs: list[_Run]) -> None:
        with ThreadPoolExecutor(SAVING_THREADS) as threads:
            list(threads.map(_Run.keep_weights, self.without_failed(runs)))

    def save(self, runs: list[_Run]) -> None:
        def save(run: _Run) -> None:
            with self.noting_failure(run.c):
                run.save()

        with ThreadPoolExecutor(SAVING_THREADS) as threads:
            list(threads.map(save, self.without_failed(runs)))

    def count_seconds(self, runs: list[_Run]) -> None:
        """Each run's seconds are its share of the stack's."""
        for run in runs:
            run.partial.count_seconds(1 / len(runs))

    def finish(self, all_of_them: bool = False) -> None:
        """Complete trained runs: all, or those that need not be waited for."""
        for run in self.trained:
            if all_of_them:
                wait(run.evaluating.values())
            evaluated = all(future.done() for future in run.evaluating.values())
            if run.completing is None and evaluated:
                run.partial.saved = time.monotonic()  # it has waited since it was trained
                self.save([run])
                if run.c not in self.failures:
                    run.lock.release()
                    work = _complete, run.c, self.store, run.extras, self.remake
                    run.completing = self.pool.submit(*work)
        self.trained = self.without_failed(self.trained)
        for run in list(self.trained):
            if run.completing and (all_of_them or run.completing.done()):
                self.trained.remove(run)
                with self.noting_failure(run.c):
                    run.completing.result()
