"""Many runs trained together and measured beside, in processes that are killed on the way."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from bump_diffusion.analysis.verify import differences
from bump_diffusion.config import configure
from bump_diffusion.files import ROOT, to_json
from bump_diffusion.runs import stack, sweep
from bump_diffusion.runs.experiments import experiment
from bump_diffusion.runs.load import load_or_run
from bump_diffusion.runs.run import train
from bump_diffusion.runs.stack import group_runs, train_together
from bump_diffusion.runs.store import Store
from bump_diffusion.training.device import pick_device
from bump_diffusion.training.trainer import Trainer

# Twelve labels, too few for UMAP: compiling it takes longer than all else.
SHORT = {"d_x": 8.0, "d_y": 0.7, "evaluation_images": 20, "evaluations": 4, "compared_steps": ()}


def plan(**fields):
    """Three runs that are stacked, and one of another shape."""
    runs = [configure("smoke", **SHORT, sigma=1 + i / 2, seed=i, **fields) for i in range(3)]
    return dict.fromkeys([*runs, configure("smoke", **SHORT, conditioning="scalar", **fields)], ())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The store in which the runs of `plan` were made without an interruption."""
    store = Store(tmp_path_factory.mktemp("undisturbed"))
    assert train_together(plan(), store, each_step=lambda runs, step: None) == {}
    return store


def assert_identical(runs, store, other):
    for c in runs:
        verdict = differences(other.get(c), store.get(c))
        assert verdict.identical, verdict.sentence


def test_stacks_are_of_like_runs_as_equal_as_can_be_in_the_order_asked():
    runs = [configure("quick", seed=seed) for seed in range(70)]
    other = configure("quick", conditioning="scalar")
    first, second, third = group_runs([runs[0], other, *runs[1:]])
    assert (len(first), len(second), len(third)) == (35, 1, 35)
    assert first[0] is runs[0] and second == [other] and {*first, *third} == {*runs}
    assert [len(group) for group in group_runs([configure("paper", seed=s) for s in (0, 1)])] == [
        1,
        1,
    ]


def test_records_are_those_of_plain_runs_up_to_rounding(undisturbed, store):
    for c in plan():
        ours, theirs = undisturbed.get(c), train(c, store)
        assert ours.checkpoints["step"].tolist() == theirs.checkpoints["step"].tolist()
        assert ours.checkpoints["loss"].tolist()[1:] == pytest.approx(
            theirs.checkpoints["loss"].tolist()[1:], rel=0.01
        )
        # Untrained, the networks are the same, and so nearly are their images.
        pixels, others = (r.arrays["images"][0].astype(int) for r in (ours, theirs))
        assert abs(pixels - others).max() <= 1
        assert ours.probes[["features", "target"]].equals(theirs.probes[["features", "target"]])
        assert 0 < ours.provenance["evaluation_seconds"] <= ours.provenance["wall_seconds"]
        assert differences(ours, theirs).same_enough


def test_extras_are_made_and_what_is_there_is_left(undisturbed, store):
    c, *others = plan()
    assert train_together({c: ["weights"]}, store) == {}
    made = store.get(c)
    assert made.extras == {"weights"} and made.digest != undisturbed.get(c).digest
    assert train_together({c: [], others[0]: []}, store) == {}
    assert store.get(c).digest == made.digest and not (store.local / "partial" / c.id).exists()
    assert_identical([c, others[0]], store, undisturbed)


def test_a_run_that_fails_stops_no_others(undisturbed, store):
    diverging, damaged, *good = plan()
    trainer = Trainer(diverging, pick_device())
    trainer.losses[0] = float("nan")
    folder = store.partial_folder(diverging)
    partial = stack.Partial(store, diverging)
    trainer.train_step()
    trainer.losses[0] = float("nan")
    partial.save(trainer)
    store.partial_folder(damaged).mkdir()
    (store.partial_folder(damaged) / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    failures = train_together(dict.fromkeys([diverging, damaged, *good], ()), store)
    assert failures.keys() == {diverging, damaged}
    assert "diverged before step" in failures[diverging].message
    assert "cannot be read" in failures[damaged].message
    assert folder.exists() and not store.is_being_made(diverging)
    assert_identical(good, store, undisturbed)


@pytest.mark.minutes
def test_a_run_that_another_process_makes_is_waited_for(undisturbed, store, monkeypatch):
    """It is made at last, by whoever has its lock."""
    runs, waited = list(plan()), []

    def release_and_train(c, *arguments):
        waited.append(c)
        other.release()
        return train(c, *arguments)

    monkeypatch.setattr(stack, "train", release_and_train)
    other = store.lock(runs[1])
    assert isinstance(other, FileLock)
    other.acquire()
    assert train_together(plan(), store) == {}
    assert waited == [runs[1]] and all(store.get(c) for c in runs)
    assert_identical([runs[0], *runs[2:]], store, undisturbed)


@pytest.mark.minutes
def test_out_of_time_the_trained_are_finished_and_the_others_go_on(undisturbed, store, monkeypatch):
    *stacked, alone = plan()
    now, steps = 0.0, []
    monkeypatch.setattr(stack, "time", SimpleNamespace(monotonic=lambda: now))

    def stop_alone_halfway(runs, step):
        nonlocal now
        steps.append((runs, step))
        if runs == [alone] and step == 10:
            while not list(store.partial_folder(alone).glob("evaluation-*")):
                time.sleep(0.01)
            now += 1

    assert train_together(plan(), store, each_step=stop_alone_halfway, until=-1.0) == {}
    assert steps == [] and store.ids() == []
    assert train_together(plan(), store, each_step=stop_alone_halfway, until=0.5) == {}
    assert steps[-1] == ([alone], 10) and sorted(store.ids()) == sorted(c.id for c in stacked)
    assert train_together(plan(), store, each_step=stop_alone_halfway, until=5.0) == {}
    assert all(runs == [alone] for runs, _ in steps[30:]) and steps[-1][1] == alone.steps
    assert_identical(plan(), store, undisturbed)


def test_on_a_gpu_missing_records_are_made_in_stacks(undisturbed, monkeypatch, tmp_path):
    """Unless their number of processes is said."""
    runs, asked = plan(), []
    monkeypatch.setattr(sweep, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(sweep, "train_together", lambda runs, *_: asked.append([*runs]) or {})
    copied = Store(tmp_path / "copied", undisturbed.local)
    first, *_ = load_or_run(runs, copied)
    assert first.digest == undisturbed.get(next(iter(runs))).digest and asked == []
    with pytest.raises(AttributeError):  # as nothing was made
        load_or_run(runs, Store(tmp_path / "empty"))[0].digest  # noqa: B018
    assert asked == [[*runs]]
    load_or_run([configure("smoke", **SHORT, steps=2)], copied, workers=1)
    assert len(asked) == 1


def checkpoints(store):
    """When each checkpoint was written."""
    times = {}
    for path in store.local.glob("partial/*/checkpoint.safetensors"):
        with suppress(FileNotFoundError):  # finished meanwhile
            times[path] = path.stat().st_mtime_ns
    return times


@pytest.mark.minutes
def test_killed_at_any_moment_records_are_as_if_they_had_not_been(undisturbed, tmp_path):
    """kill -9 at two random moments; checkpoints are saved after nearly every step."""
    store = Store(tmp_path / "killed")
    program = (
        "import sys; from pathlib import Path; from tests import test_stacked_runs as tests\n"
        "tests.stack.CHECKPOINT_SECONDS = 0.05\n"
        "sys.exit(bool(tests.train_together(tests.plan(), tests.Store(Path(sys.argv[1])))))"
    )
    command = [sys.executable, "-c", program, str(store.local)]
    moments = random.Random(0)
    for _ in range(2):
        before = checkpoints(store)
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        while process.poll() is None and checkpoints(store) == before:  # it starts slowly
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(store.ids()) < 4
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    assert_identical(plan(), store, undisturbed)
    assert not checkpoints(store)


def make_on_gpu(file, out, *options):
    """Run `python -m benchmarks.gpu` into the folder `out`, a store; return its output."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out), *options, str(file)]
    environment = {**os.environ, "BUMP_DIFFUSION_STORE": str(out.parent / "none")}
    return subprocess.run(
        command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.minutes
def test_the_gpu_script_stops_in_time_goes_on_and_leaves_records(tmp_path, run):
    """Without a GPU, in the smoke profile; the second of two experiments cannot be made in time."""
    short, long, out = tmp_path / "short.yml", tmp_path / "long.yml", tmp_path / "out"
    fields = {**SHORT, "compared_steps": []}
    short.write_text(
        to_json({"profile": "smoke", "set": fields, "vary": {"seed": [0, 1]}}).decode()
    )
    fields["steps"] = 100_000
    long.write_text(to_json({"profile": "smoke", "set": fields}).decode())
    (c,) = experiment(str(long))
    steps = [0]
    # How far some seconds go depends on the machine: they are doubled until a step is taken.
    for minutes in (0.05 * 2**i for i in range(6)):
        said = make_on_gpu(long, out, "--minutes", f"{minutes:g}", "--partial")
        assert f"{long}: 0 of 1 records" in said
        steps.append(stack.Partial(Store(out), c).step())
        if steps[-1] > steps[-2] > 0:
            break
    assert 0 < steps[-2] < steps[-1] < c.steps

    assert f"{short}: 2 of 2 records\n2 records made in" in make_on_gpu(short, out)
    assert not (out / "partial").exists()
    listed = run("bump-diffusion", "list", check=0, BUMP_DIFFUSION_STORE=str(out)).stdout
    assert all(c.id in listed for c in experiment(str(short)))
