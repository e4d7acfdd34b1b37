"""Many runs at once, in processes that are killed on the way."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import BrokenExecutor, Future
from types import SimpleNamespace

import psutil
import pytest
from distributed import Client
from filelock import FileLock

from bump_diffusion.analysis.verify import differences
from bump_diffusion.book.figures.sweeps import check_positive, extrapolate
from bump_diffusion.config import configure
from bump_diffusion.errors import FailedRuns, UserError
from bump_diffusion.runs import sweep
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.partial import Partial
from bump_diffusion.runs.provenance import describe_code
from bump_diffusion.runs.record import Record
from bump_diffusion.runs.run import train
from bump_diffusion.runs.store import Store
from bump_diffusion.training.device import pick_device
from bump_diffusion.training.trainer import Trainer

from .conftest import BIN

# So few labels that features are not reduced: compiling UMAP takes longer than all else.
RUNS = "profile: smoke\nset: {d_x: 4.0, d_y: 4.0, evaluations: 1, steps: %d}\nvary: {seed: %s}\n"


@pytest.fixture
def plan(tmp_path):
    """Writes an experiment of short runs; returns its file and its configurations."""

    def plan(seeds, steps=15):
        path = tmp_path / "plan.yml"
        path.write_text(RUNS % (steps, seeds))
        return path, list(experiment(str(path)))

    return plan


@pytest.fixture
def start(store):
    """Starts `bump-diffusion run` in a process of its own; what is left of it is killed."""
    processes = []

    def start(*arguments):
        process = subprocess.Popen(
            [str(BIN / "bump-diffusion"), "run", *map(str, arguments)],
            env={**os.environ, "BUMP_DIFFUSION_STORE": str(store.local)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The address of a Dask scheduler, and a function that starts one more worker."""
    folder = tmp_path_factory.mktemp("cluster")
    described = folder / "scheduler.json"
    processes = []

    def dask(*arguments):
        with (folder / f"{len(processes)}.log").open("w") as log:
            command = [str(BIN / "dask"), *arguments, "--no-dashboard"]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
        processes.append(process)
        return process

    dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(described))
    until(lambda: described.exists() and described.read_text().endswith("}"))
    address = json.loads(described.read_text())["address"]

    def worker(threads=1):
        with Client(address, set_as_default=False) as client:
            before = len(client.nthreads())
            process = dask("worker", address, "--nthreads", str(threads), "--no-nanny")
            client.wait_for_workers(before + 1, timeout=300)
        return process

    yield address, worker
    for process in processes:
        process.kill()
        process.wait()


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def in_training(store, configurations):
    """Those that some process makes now, and for which it has begun to train."""
    return [
        c for c in configurations if store.is_being_made(c) and Partial(store, c).folder.exists()
    ]


def finish(process, store, configurations):
    """Wait for a sweep; return its outputs and, for each run, the records that were ever there."""
    made = {c.id: set() for c in configurations}
    while process.poll() is None:
        for id, seen in made.items():
            with contextlib.suppress(FileNotFoundError):
                status = (store.local / id / "checksums.json").stat()
                seen.add((status.st_ino, status.st_mtime_ns))
        time.sleep(0.02)
    return *process.communicate(), made


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A store of records made in this process."""
    return Store(tmp_path_factory.mktemp("undisturbed"))


def check_records(store, configurations, undisturbed):
    """Each record is whole, and the one that an undisturbed process makes."""
    for c in configurations:
        verdict = differences(train(c, undisturbed), Record(store.local / c.id))
        assert verdict.identical, verdict.sentence
    assert list((store.local / "partial").iterdir()) == []


@pytest.mark.minutes
def test_a_cluster_loses_a_worker_and_nothing_else(cluster, plan, start, store, undisturbed):
    address, worker = cluster
    file, configurations = plan([0, 1, 2, 3], steps=100)
    worker()
    doomed = worker()
    process = start(file, "--scheduler", address)
    until(lambda: len(in_training(store, configurations)) == 2)
    doomed.kill()
    doomed.wait()
    # It was making a run: one is begun, and nobody makes it.
    begun = [c for c in configurations if Partial(store, c).folder.exists()]
    assert len(begun) == 2 and len(in_training(store, begun)) == 1
    output, errors, made = finish(process, store, configurations)
    assert process.returncode == 0, errors
    assert [line.split()[0] for line in output.splitlines()] == [c.id for c in configurations]
    assert all(len(records) == 1 for records in made.values()), made
    assert errors.endswith(
        "4 of 4 runs done, 0 running, 0 failed; 100% of the work, about 00:00 to go\n"
    )
    assert len(errors.splitlines()) < 10
    check_records(store, configurations, undisturbed)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_workers_of_a_cluster_stop_with_the_sweep(cluster, plan, start, store, end):
    address, worker = cluster
    file, configurations = plan([0, 1, 2], steps=100_000)
    worker()
    process = start(file, "--scheduler", address)
    until(lambda: in_training(store, configurations))
    process.send_signal(end)
    _, errors = process.communicate(timeout=120)
    if end == signal.SIGINT:
        assert process.returncode == 130
        assert errors.endswith("\nInterrupted; the same command goes on where this stopped.\n")
        assert "Traceback" not in errors
    until(lambda: not any(store.is_being_made(c) for c in configurations))
    with Client(address, set_as_default=False) as client:
        until(lambda: not any(client.processing().values()))


def test_workers_with_several_threads_are_refused(cluster, plan, start, store):
    address, worker = cluster
    file, _ = plan([0, 1])
    threaded = worker(threads=2)
    process = start(file, "--scheduler", address)
    _, errors = process.communicate()
    threaded.kill()
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith("Error: Worker tcp://")
    assert errors.endswith("cannot take part: it has 2 threads, it must have one (--nthreads 1).\n")
    assert store.ids() == []


def test_a_scheduler_that_does_not_answer_is_refused(plan, store):
    _, configurations = plan([0, 1])
    for address in ("tcp://127.0.0.1:1", "tcp://127.0.0.1", "http://127.0.0.1:1", "here"):
        with pytest.raises(UserError, match=f"scheduler is '{address}', where no Dask scheduler"):
            load_or_run(configurations, store, scheduler=address)
    with pytest.raises(UserError, match="workers is 0, it must be a whole number from 1"):
        load_or_run(configurations, store, workers=0)
    assert not store.local.exists()


def test_workers_that_cannot_take_part_say_why(tmp_path):
    code = describe_code()
    lock = tmp_path / "store" / "partial" / "lock"
    assert f"does not see the store '{tmp_path}/store'" in sweep.find_fault(lock, code)
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        assert sweep.find_fault(lock, code) is None
        other = sweep.find_fault(lock, {**code, "torch": "1.0"})
        assert other == f"it runs with torch {code['torch']}, not with torch 1.0"
    assert "does not show it the locks of others" in sweep.find_fault(lock, code)


def test_a_scheduler_that_dies_is_named(plan, store, monkeypatch):
    """Before it has workers, and when it has been asked for them."""
    _, configurations = plan([0, 1])
    described = store.local.with_name("scheduler.json")
    for moment in ("connected", "waiting"):
        described.unlink(missing_ok=True)
        command = [str(BIN / "dask"), "scheduler", "--host", "127.0.0.1", "--port", "0"]
        process = subprocess.Popen(
            [*command, "--scheduler-file", str(described), "--no-dashboard"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: described.exists() and described.read_text().endswith("}"))
        address = json.loads(described.read_text())["address"]
        if moment == "connected":
            wait = Client.wait_for_workers

            def die(client, *arguments, wait=wait, process=process, **options):
                process.kill()
                return wait(client, *arguments, **options)

            monkeypatch.setattr(Client, "wait_for_workers", die)
        else:
            monkeypatch.undo()
            threading.Timer(1, process.kill).start()
        with pytest.raises(UserError, match=f"The scheduler {address} does not answer any more"):
            load_or_run(configurations, store, scheduler=address)
        process.wait()


def test_progress_says_what_runs_and_for_how_long(plan, store, capsys):
    _, runs = plan([0, 1, 2, 3], steps=20)
    with sweep._start_progress(runs, store) as bar:
        trainer = Trainer(runs[0], pick_device())
        trainer.step = 10
        Partial(store, runs[0]).save(trainer)
        bar._time = lambda: bar.start_t + 60
        sweep._show(bar, runs, store, runs[1:], runs[:1], [])
        sweep._show(bar, runs, store, runs[1:], runs[:1], [])  # too soon for another line
        # An eighth of all took a minute.
        line = "0 of 4 runs done, 1 running, 0 failed; 12% of the work, about 07:00 to go"
        assert capsys.readouterr().err.split("\r")[-1].rstrip() == line
        sweep._show(bar, runs, store, [], [], runs[3:])
    line = "3 of 4 runs done, 0 running, 1 failed; 100% of the work, about 00:00 to go\n"
    assert capsys.readouterr().err.endswith(line)


class BreakingPool:
    """Two workers; the run `deadly` ends both when it is under way, as a broken executor does."""

    def __init__(self, deadly, store):
        self.deadly, self.store, self.flying = deadly, store, {}

    def slots(self, *arguments):
        return 2

    def submit(self, function, c, *arguments):
        future = self.flying[c.id] = Future()
        threading.Timer(0.1, self.settle).start()
        return future

    def settle(self):
        settled, self.flying = self.flying, {}
        for id, future in settled.items():
            if self.deadly in settled:
                future.set_exception(BrokenExecutor())
            else:
                (self.store.local / id).mkdir()
                future.set_result(None)


def test_a_run_that_kills_its_worker_is_found_out_and_the_others_are_made(store):
    runs = [configure("smoke", seed=seed) for seed in range(4)]
    failures = sweep.sweep(dict.fromkeys(runs, ()), store, False, BreakingPool(runs[1].id, store))
    assert failures.keys() == {runs[1]}
    assert all((store.local / c.id).exists() for c in runs if c is not runs[1])


def test_cost_by_hand():
    records = [SimpleNamespace(provenance={"wall_seconds": s}) for s in (1800.0, 5400.0)]
    own, larger = extrapolate(records, 100, [64], 0.05).to_dict("records")
    assert (own["runs"], own["core-hours"], own["hours"], own["price"]) == (
        "2",
        "2.0",
        "1.0",
        "0.10",
    )
    assert (larger["runs"], larger["core-hours"], larger["price"]) == ("200", "200.0", "10.00")
    assert larger["hours"] == "4.0"  # 64 cores go round four times
    with pytest.raises(UserError, match="times is 0, it must be above 0"):
        check_positive(cores=[2, 64], times=0)
    with pytest.raises(UserError, match=r"cores is \[64, 0\], it must be above 0"):
        check_positive(cores=[64, 0], times=1)


@pytest.mark.minutes
def test_runs_that_fail_are_reported_and_stop_no_others(plan, start, store):
    file, (damaged, diverging, blocked, *good) = plan([0, 1, 2, 3], steps=4)
    (train(damaged, store).folder / "arrays.npz").write_bytes(b"")
    trainer = Trainer(diverging, pick_device())
    trainer.step, trainer.losses[0] = 2, float("nan")
    Partial(store, diverging).save(trainer)
    Partial(store, blocked).folder.write_text("a file where a folder should be")

    process = start(file)
    _, errors = process.communicate()
    assert process.returncode == 2
    report = errors[errors.index("Error: ") :].splitlines()
    assert report[0] == "Error: 3 of 4 runs failed; the others are in the store."
    assert report[1].startswith(f"{damaged.id} (seed 0): Record {damaged.id} in ")
    assert report[1].count("arrays.npz does not match its checksum") == 1
    rest = sorted(report[2:])
    assert len(rest) == 2 and "Traceback" not in errors
    for c, sentence in (
        (diverging, f"Run {diverging.id} diverged"),
        (blocked, f"{str(Partial(store, blocked).folder)!r} cannot be used: File exists."),
    ):
        assert any(line.startswith(f"{c.id} (seed {c.seed}): {sentence}") for line in rest), rest
    assert all(Record(store.local / c.id) for c in good)

    Partial(store, blocked).folder.unlink()
    with pytest.raises(FailedRuns, match="1 of 3 runs failed") as caught:
        load_or_run([damaged, blocked, *good], store)
    assert caught.value.exit_code == 2
    assert Record(store.local / blocked.id)


@pytest.mark.minutes
def test_two_sweeps_share_the_work(plan, start, store, undisturbed):
    file, configurations = plan([0, 1, 2], steps=100)
    first, second = (start(file, "--workers", 1) for _ in range(2))
    until(lambda: len(in_training(store, configurations)) == 2)
    output, errors, made = finish(first, store, configurations)
    other_output, other_errors = second.communicate()
    assert first.returncode == second.returncode == 0, errors + other_errors
    assert output == other_output
    assert all(len(records) == 1 for records in made.values()), made
    check_records(store, configurations, undisturbed)


def loky_workers(process):
    workers = set()
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # one that has ended since
            is_alive = child.status() != psutil.STATUS_ZOMBIE
            if is_alive and "LokyProcess" in " ".join(child.cmdline()):
                workers.add(child)
    return workers


@pytest.mark.minutes
def test_interrupted_and_killed_a_sweep_goes_on(plan, start, store, undisturbed):
    file, configurations = plan([0, 1], steps=100)
    process = start(file, "--workers", 2)
    until(lambda: in_training(store, configurations))
    first = loky_workers(process)
    first.pop().kill()  # as a machine does that is out of memory; it takes the other one with it
    until(lambda: not first & loky_workers(process) and in_training(store, configurations))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.endswith("\nInterrupted; the same command goes on where this stopped.\n")
    assert "Traceback" not in errors
    assert not in_training(store, configurations)

    process = start(file, "--workers", 1)
    until(lambda: in_training(store, configurations))
    process.kill()
    # Its workers notice, and stop.
    until(lambda: not in_training(store, configurations))
    assert store.ids() == []
    for leftover in (store.local / "partial").glob(".sweep-*"):
        leftover.unlink()

    load_or_run(configurations, store, workers=1)
    check_records(store, configurations, undisturbed)
