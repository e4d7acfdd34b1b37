import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bump_diffusion.analysis.verify import differences
from bump_diffusion.config import configure
from bump_diffusion.data.bumps import label_grid
from bump_diffusion.errors import UserError
from bump_diffusion.metrics.evaluation import PROBED_LAYERS
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.metrics.sampling import evaluation_labels, generate
from bump_diffusion.models.quantize import restore_state
from bump_diffusion.models.unet import build_model
from bump_diffusion.runs import partial, provenance, run, schedule
from bump_diffusion.runs.partial import MADE_ON_THE_WAY, Partial
from bump_diffusion.runs.record import EXTRAS, Record
from bump_diffusion.runs.run import load_model, train
from bump_diffusion.runs.schedule import steps_between
from bump_diffusion.runs.store import SHIPPED, Store
from bump_diffusion.seeds import generator
from bump_diffusion.training.device import one_thread, pick_device
from bump_diffusion.training.trainer import Trainer, draw_noise, training_labels

from .conftest import BIN

CPU = torch.device("cpu")


@settings(max_examples=30)
@given(st.integers(1, 100), st.sampled_from([1.0, 2.0, 3.0, 8.0]), st.integers(0, 9))
def test_each_epoch_sees_each_label_once(batch_size, d, seed):
    c = configure("smoke", batch_size=batch_size, d_x=d, d_y=d, seed=seed)
    grid = label_grid(c.N, d, d)
    epochs = 3
    steps = -(-epochs * len(grid) // batch_size)
    seen = torch.cat([training_labels(c, step) for step in range(steps)])
    orders = []
    for epoch in seen[: epochs * len(grid)].split(len(grid)):
        order = [tuple(label) for label in epoch.tolist()]
        assert sorted(order) == sorted(tuple(label) for label in grid.tolist())
        orders.append(order)
    if len(grid) > 10:
        assert orders[0] != orders[1]


@pytest.mark.parametrize(("d", "batch_size"), [(8.0, 65_536), (1.0, 100)])
def test_batches_are_the_epochs_orders_one_after_another(d, batch_size):
    """However many epochs a batch holds: one label fills 65,536."""
    c = configure("smoke", batch_size=batch_size, d_x=d, d_y=d, seed=5)
    grid = label_grid(c.N, d, d)
    orders = [
        torch.randperm(len(grid), generator=generator("cpu", c.seed, "epoch", epoch))
        for epoch in range(-(-2 * batch_size // len(grid)))
    ]
    expected = grid[torch.cat(orders)[batch_size : 2 * batch_size]]
    assert torch.equal(training_labels(c, 1), expected)


@pytest.mark.parametrize("warmup", [0, 6])
@pytest.mark.parametrize("conditioning", ["sinusoidal", "scalar", "table"])
def test_a_step_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(conditioning, warmup, tmp_path):
    c = configure("smoke", conditioning=conditioning, warmup=warmup)
    with one_thread():
        straight, stopped = Trainer(c, CPU), Trainer(c, CPU)
        for _ in range(4):
            straight.train_step()
            stopped.train_step()
        stopped.save(tmp_path / "checkpoint.safetensors", {})
        resumed = Trainer(c, CPU)
        resumed.load(tmp_path / "checkpoint.safetensors")
        for _ in range(4):
            straight.train_step()
            resumed.train_step()
    for ours, theirs in (
        (resumed.model, straight.model),
        (resumed.average, straight.average),
    ):
        for name, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[name], value), name
    assert torch.equal(resumed.losses, straight.losses)


def test_the_learning_rate_rises_linearly_over_the_warm_up():
    c = configure("smoke", warmup=4, learning_rate=0.01)
    trainer = Trainer(c, CPU)
    with one_thread():
        for expected in (0.0025, 0.005, 0.0075, 0.01, 0.01):
            before = trainer.model.output.bias.detach().clone()
            trainer.train_step()
            (group,) = trainer.optimizer.param_groups
            assert group["lr"] == pytest.approx(expected)
            # Adam's first steps are as long as the learning rate.
            if trainer.step == 1:
                moved = (trainer.model.output.bias - before).abs().max()
                assert float(moved.detach()) == pytest.approx(expected, rel=0.01)


def test_average_starts_as_a_mean_and_ends_with_the_decay():
    """Against the weights averaged by hand."""
    c = configure("smoke", ema_decay=0.4, steps=6)
    trainer = Trainer(c, CPU)
    expected = None
    for n in range(6):
        trainer.train_step()
        weights = trainer.model.output.weight.detach().clone()
        keep = min(0.4, (1 + n) / (10 + n))
        expected = weights if expected is None else keep * expected + (1 - keep) * weights
        assert torch.allclose(trainer.average.module.output.weight, expected, atol=1e-6)


def test_seeds_give_other_networks_and_one_seed_the_same():
    a, b, c = (build_model(configure("smoke", seed=s)).output.weight for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_initial_weights_and_data_have_seeds_of_their_own():
    both, weights, data = (
        Trainer(configure("smoke", seed=seed, init_seed=init_seed), CPU)
        for seed, init_seed in ((1, None), (2, 1), (1, 2))
    )
    labels = [training_labels(trainer.c, 0, 3) for trainer in (both, weights, data)]
    assert torch.equal(labels[0], labels[2]) and not torch.equal(labels[0], labels[1])
    first = [dict(trainer.model.named_parameters()) for trainer in (both, weights, data)]
    for name, values in first[0].items():
        assert torch.equal(values, first[1][name])
    assert not torch.equal(first[0]["output.weight"], first[2]["output.weight"])
    noise = torch.empty(3, 8, 1, 8, 8)
    for trainer, drawn in zip((both, weights, data), noise, strict=True):
        draw_noise(trainer.c, 0, torch.empty(8, dtype=torch.long), drawn)
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])


def test_training_reduces_the_loss(tmp_path):
    c = configure("smoke", steps=150, evaluations=1)
    trainer = Trainer(c, CPU)
    for _ in range(150):
        trainer.train_step()
    assert trainer.losses[-20:].mean() < 0.5 * trainer.losses[:20].mean()


def test_record_holds_what_it_says(smoke_record):
    c = smoke_record.configuration
    steps = smoke_record.checkpoints["step"].tolist()
    assert steps == sorted(steps) and set(steps) >= set(c.evaluation_steps)
    shares = smoke_record.checkpoints[list(OUTCOMES)].sum(axis=1)
    assert np.allclose(shares, 1)
    arrays = smoke_record.arrays
    labels = label_grid(c.N, c.d_x, c.d_y).numpy()
    assert {tuple(x) for x in arrays["labels"]} == {tuple(x) for x in labels}
    correct = (arrays["kind"] == OUTCOMES.index("correct")).mean(axis=1)
    assert np.allclose(correct, smoke_record.checkpoints["accuracy"])
    assert arrays["losses"].shape == (c.steps,)
    assert smoke_record.provenance["threads"] == 1
    assert smoke_record.provenance["versions"]["torch"].startswith("2.13.0")


def test_every_input_and_layer_is_probed_beside_its_controls(smoke_record):
    probes, c = smoke_record.probes, smoke_record.configuration
    seen = probes.groupby("input")["timestep"].unique().map(sorted).to_dict()
    assert seen == {"sample": [0], "bump": [25, 50], "noise": [99]}
    for name, own in probes.groupby("input"):
        of = {"trained", "ablated"}
        if name == "sample":
            of |= {"untrained", "untrained, ablated"}
        for _, at_step in own.groupby("step"):
            assert set(at_step["layer"]) == {*PROBED_LAYERS, c.probe_layer}
            assert set(at_step["features"]) == of
    at_start = probes.query("step == 0 and input == 'sample'")
    trained, control = (
        at_start.query("features == @name")["r2"].to_numpy() for name in ("trained", "untrained")
    )
    assert np.array_equal(trained, control, equal_nan=True)


def test_shipped_weights_are_the_trained_networks(smoke_record):
    c = smoke_record.configuration
    trainer = Trainer(c, CPU)
    with one_thread():
        for _ in range(c.steps):
            trainer.train_step()
    loaded = load_model(smoke_record).state_dict()
    for name, value in trainer.average.module.state_dict().items():
        assert torch.allclose(loaded[name], value, atol=2e-3), name


def test_every_extra_can_be_made():
    assert {"weights", *MADE_ON_THE_WAY, *run.EXTRA_TABLES} == EXTRAS.keys()


def test_a_run_that_diverges_says_so(store):
    c = configure("smoke", learning_rate=1.0, steps=20, ema_decay=0.0)
    trainer = Trainer(c, CPU)
    trainer.losses[3] = float("nan")
    trainer.step = 10
    Partial(store, c).save(trainer)
    with pytest.raises(UserError, match=r"diverged before step 20.*learning_rate is 1\.0"):
        train(c, store)


SHORT = {"steps": 4, "evaluations": 1, "d_x": 4.0, "d_y": 4.0}
"""Of a run that takes a moment: too few labels for UMAP."""


@pytest.fixture
def unfinished(store):
    """A run that was interrupted after its first evaluation."""
    c = configure("smoke", **SHORT)

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(c, store, each_step=interrupt)
    return Partial(store, c)


def without_metadata(path):
    path.write_bytes(safetensors.torch.save(safetensors.torch.load_file(path)))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("checkpoint.safetensors", lambda path: path.write_bytes(b"no checkpoint")),
        ("checkpoint.safetensors", without_metadata),
        ("evaluation-000000000.npz", lambda path: path.write_bytes(path.read_bytes()[:-9])),
        ("evaluation-000000000.npz", Path.unlink),
    ],
)
def test_a_damaged_unfinished_run_is_refused_and_made_anew(unfinished, store, name, damage):
    damage(unfinished.folder / name)
    assert unfinished.step() == 0
    c = configure("smoke", **SHORT)
    with pytest.raises(
        UserError, match=f"{name} .*(cannot be read|is damaged).* --remake"
    ) as caught:
        train(c, store)
    assert "\n" not in caught.value.message
    assert train(c, store, remake=True).checkpoints["step"].tolist() == [0, 4]
    assert not unfinished.folder.exists()


def test_an_evaluation_that_the_checkpoint_does_not_list_is_repeated(unfinished, store):
    c = configure("smoke", **SHORT)
    (unfinished.folder / "evaluation-000000004.npz").write_bytes(b"of a killed process")
    assert train(c, store).checkpoints["step"].tolist() == [0, 4]


def test_a_run_goes_on_with_the_code_that_began_it_only(unfinished, store, monkeypatch):
    c = configure("smoke", **SHORT)
    other = {**provenance.describe_code(), "torch": "1.0", "code": "0123", "commit": "abc"}
    for module in (partial, run):
        monkeypatch.setattr(module, "describe_code", lambda: other)
    with pytest.raises(UserError, match=r"not with code 0123, torch 1\.0, commit abc; .* --remake"):
        train(c, store)
    assert train(c, store, remake=True)


def test_the_code_of_a_run_is_all_that_can_change_its_result(tmp_path, monkeypatch):
    shutil.copytree(provenance.PACKAGE, tmp_path / "package")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path / "package")

    def code():
        provenance.describe_code.cache_clear()
        return provenance.describe_code()

    before = code()
    for file, matters in (
        *(("config.py", True), ("data/bumps.py", True), ("models/unet.py", True)),
        *(("training/trainer.py", True), ("metrics/probes.py", True), ("runs/run.py", True)),
        *(("cli.py", False), ("book/build.py", False), ("runs/sweep.py", False)),
    ):
        with (tmp_path / "package" / file).open("a") as opened:
            opened.write("# changed\n")
        after = code()
        assert bool(provenance.describe_difference(before, after)) == matters, file
        before = after
    provenance.describe_code.cache_clear()


def test_a_full_disk_ends_a_command_in_a_sentence(tmp_path, store):
    settings = [word for k, v in SHORT.items() for word in ("--set", f"{k}={v}")]
    command = [str(BIN / "bump-diffusion"), "train", "--profile", "smoke", *settings]

    def limit():  # as a disk does that has no room for a checkpoint
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        command,
        env={**os.environ, "BUMP_DIFFUSION_STORE": str(store.local)},
        preexec_fn=limit,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: '") and last.endswith(
        "checkpoint.safetensors' cannot be used: File too large."
    )
    assert "Traceback" not in done.stderr
    assert not [path for path in store.local.rglob(".checkpoint*")]


def test_device_is_chosen_by_a_valid_name_only(monkeypatch):
    monkeypatch.setenv("BUMP_DIFFUSION_DEVICE", "cpu")
    assert pick_device().type == "cpu"
    monkeypatch.setenv("BUMP_DIFFUSION_DEVICE", "gpu")
    with pytest.raises(UserError, match="'gpu' is not a device"):
        pick_device()


@pytest.mark.minutes
def test_killed_at_any_moment_a_run_ends_as_if_it_had_not_been(tmp_path, store):
    """kill -9 at two random moments, in processes of their own."""
    fields = {"steps": 100, "evaluations": 6, "evaluation_images": 20, "compared_steps": []}
    c = configure("smoke", **fields)
    uninterrupted = train(c, store, extras=["weights"])
    folder = tmp_path / "killed"
    command = [str(BIN / "bump-diffusion"), "train", "--profile", "smoke", "--extra", "weights"]
    command += [part for name, value in fields.items() for part in ("--set", f"{name}={value}")]
    environment = {**os.environ, "BUMP_DIFFUSION_STORE": str(folder)}
    moments = random.Random(0)
    partial = folder / "partial" / c.id
    for _ in range(2):
        before = set(partial.glob("*"))
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # Counted from when training began: starting takes longer than all of it.
        while process.poll() is None and set(partial.glob("*")) == before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.7))
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (folder / c.id).exists()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    again = Record(folder / c.id)
    verdict = differences(uninterrupted, again)
    assert verdict.identical, verdict.sentence
    assert again.weights.read_bytes() == uninterrupted.weights.read_bytes()
    assert not partial.exists()


def test_two_processes_make_one_record_once(tmp_path):
    environment = {**os.environ, "BUMP_DIFFUSION_STORE": str(tmp_path)}
    command = [str(BIN / "bump-diffusion"), "train", "--profile", "smoke"]
    processes = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert outputs[0][0] == outputs[1][0]
    # Only the one that trained shows a finished bar.
    assert sum("20/20" in err for _, err in outputs) == 1


def test_differences_are_described(smoke_record, store):
    again = train(smoke_record.configuration, store, smoke_record.extras)
    assert differences(smoke_record, again).identical
    table = again.checkpoints
    table.loc[table.index[-1], "accuracy"] += 0.5
    verdict = differences(smoke_record, again)
    assert not verdict.identical and not verdict.same_enough
    assert "checkpoints" in verdict.sentence
    provenance = {**json.loads(json.dumps(again.provenance)), "device": "another"}
    again.provenance = provenance
    table.loc[table.index[-1], "accuracy"] -= 0.45
    assert differences(smoke_record, again).same_enough


def test_differences_of_lines_are_described(store, tmp_path):
    lines = configure("smoke", axes="x", steps=2, evaluations=1, compared_steps=())
    original, again = train(lines, store), train(lines, Store(tmp_path / "again"))
    assert differences(original, again).identical
    again.checkpoints.loc[again.checkpoints.index[-1], "accuracy"] += 0.05
    again.provenance = {**again.provenance, "device": "another"}
    assert differences(original, again).same_enough


def test_few_labels_are_trained_and_their_probes_undefined(store):
    short = {"steps": 2, "evaluations": 1, "compared_steps": ()}
    # Four labels, each asked for often: more images than a probe needs, fewer labels than folds.
    few = train(configure("smoke", d_x=4.0, d_y=4.0, **short), store)
    assert few.probes["r2"].isna().all()
    # Twelve, each asked for once: too few points for UMAP.
    c = configure("smoke", d_x=8.0, d_y=0.7, evaluation_images=20, **short)
    fewer = train(c, store, extras=["umap"])
    assert len(fewer.arrays["labels"]) == 12
    assert fewer.probes["r2"].isna().all()
    assert not fewer.arrays["umap_trained"].any()


def test_a_store_that_cannot_be_written_is_refused():
    with pytest.raises(UserError, match="'/proc/store' cannot be used: No such file"):
        train(configure("smoke"), Store(Path("/proc/store")))


def test_a_store_in_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="it must be a folder"):
        Store(tmp_path / "file")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The checkpoint of a smoke run after one step; do not change it."""
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.safetensors"
    trainer = Trainer(configure("smoke"), CPU)
    with one_thread():
        trainer.train_step()
    trainer.save(path, {"commit": "abc"})
    return path


@settings(max_examples=25)
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_a_flipped_bit_of_a_checkpoint_is_noticed(checkpoint, where, bit):
    content = bytearray(checkpoint.read_bytes())
    content[int(where * len(content))] ^= 1 << bit
    damaged = checkpoint.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read; start the run anew"):
        Trainer(configure("smoke"), CPU).load(damaged)


def _without_a_tensor(tensors, metadata):
    del tensors["model.output.weight"]


@pytest.mark.parametrize(
    "change",
    [
        _without_a_tensor,
        lambda tensors, metadata: metadata.clear(),
        lambda tensors, metadata: metadata.pop("digest"),
        lambda tensors, metadata: metadata.update(step="-5"),
        lambda tensors, metadata: metadata.update(provenance="{}"),
        lambda tensors, metadata: tensors["losses"].zero_(),
    ],
)
def test_a_changed_checkpoint_is_refused(checkpoint, change, tmp_path):
    with safetensors.safe_open(checkpoint, "pt") as file:
        metadata = file.metadata()
    tensors = safetensors.torch.load_file(checkpoint)
    change(tensors, metadata)
    path = tmp_path / "changed.safetensors"
    path.write_bytes(safetensors.torch.save(tensors, metadata or None))
    with pytest.raises(UserError, match="cannot be read; start the run anew"):
        Trainer(configure("smoke"), CPU).load(path)


def test_a_checkpoint_of_another_run_or_of_an_impossible_step_is_refused(checkpoint, tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        Trainer(configure("smoke", seed=1), CPU).load(checkpoint)
    trainer = Trainer(configure("smoke"), CPU)
    for step in (-5, trainer.c.steps + 1):
        trainer.step = step
        trainer.save(tmp_path / "odd.safetensors", {})
        with pytest.raises(UserError, match="cannot be read"):
            Trainer(trainer.c, CPU).load(tmp_path / "odd.safetensors")


LEARNING = {"steps": 12, "evaluations": 2, "compared_steps": (), "evaluation_images": 20}
"""Of a run that is watched closely, where every checkpoint counts as one of learning."""


@pytest.mark.minutes
@pytest.mark.parametrize("interrupted_after", [2, 12])
def test_a_run_that_is_watched_closely_resumes_as_if_it_had_not_been_interrupted(
    tmp_path, monkeypatch, interrupted_after
):
    monkeypatch.setattr(schedule, "LEARNS", (-1.0, 2.0))
    c, extras = configure("smoke", **LEARNING), ["umap", "trajectory"]
    whole = train(c, Store(tmp_path / "whole"), extras)
    steps = whole.checkpoints["step"].tolist()
    assert steps == sorted({*c.evaluation_steps, *steps_between(*c.evaluation_steps[1:])})

    store, done = Store(tmp_path / "resumed"), itertools.count(1)

    def interrupt():
        if next(done) == interrupted_after:
            raise KeyboardInterrupt

    monkeypatch.setattr(run, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        train(c, store, extras, each_step=interrupt)
    resumed = train(c, store, extras)
    comparison = differences(whole, resumed)
    assert comparison.same_enough, comparison.sentence
    for name in ("images.parquet", "bumps.parquet", "umap.npz", "trajectory.safetensors"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    assert not store.partial_folder(c).exists()


def test_a_trajectory_draws_as_its_network_does(tmp_path):
    """Weights in eight bits, at most eight checkpoints of them, the last one among them."""
    c = configure("smoke", steps=12, evaluations=2, compared_steps=())
    record = train(c, Store(tmp_path), ["weights", "trajectory"])
    tensors = safetensors.torch.load_file(record.folder / "trajectory.safetensors")
    steps = {int(name.partition(".")[0]) for name in tensors}
    assert steps <= set(record.checkpoints["step"]) and max(steps) == c.steps
    last = {n.partition(".")[2]: v for n, v in tensors.items() if n.startswith(f"{c.steps}.")}
    model, small = load_model(record), build_model(c)
    small.load_state_dict(restore_state(last))
    labels = evaluation_labels(c)
    (exact, *_), (rounded, *_) = (generate(c, m, labels, ("test",)) for m in (model, small))
    assert (exact - rounded).abs().mean() < 0.05


def test_an_extra_that_is_made_on_the_way_cannot_be_added_at_the_end(unfinished, store):
    with pytest.raises(UserError, match="was begun without the extra umap"):
        train(configure("smoke", **SHORT), store, ["umap"])
    assert train(configure("smoke", **SHORT), store, ["umap"], remake=True).extras >= {"umap"}


def test_a_record_of_format_2_serves_for_a_run_that_is_evaluated_otherwise():
    c = configure("quick")
    record = Store(SHIPPED).get(c)
    assert record.format == 2 and record.id != c.id and record.id in c.earlier_ids
    assert record.configuration.evaluations == 12 and record.images.empty
    assert "umap" in record.extras and Store(SHIPPED).get(c, ["trajectory"]) is None
