"""Many runs trained together: each is what it is alone, up to rounding or bit for bit."""

import copy
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from bump_diffusion.config import configure
from bump_diffusion.models.stacked import stack_networks
from bump_diffusion.models.unet import build_model
from bump_diffusion.training import stacked
from bump_diffusion.training.device import one_thread
from bump_diffusion.training.stacked import EAGER_STEPS, Stack, max_stack, stack_key
from bump_diffusion.training.trainer import Trainer

CPU = torch.device("cpu")
STEPS = 5

RUNS = {
    "sinusoidal": ({}, {"sigma": 0.5, "d_x": 0.5}, {"sigma": 2.0, "d_y": 2.0}),
    "scalar": ({}, {"d_x": 0.5, "d_y": 0.5}, {"polarity": "light"}),
    "table": ({}, {"sigma": 0.5}, {"sigma": 2.0}),
}
"""By the conditioning, fields in which the runs of a stack differ, besides their seeds."""


@pytest.fixture(autouse=True)
def single_thread():
    with one_thread():
        yield


def stackable(conditioning="sinusoidal", runs=None, **fields):
    differing = RUNS[conditioning] if runs is None else [{}] * runs
    return [
        configure("smoke", conditioning=conditioning, seed=seed, warmup=3, **each, **fields)
        for seed, each in enumerate(differing)
    ]


def trained(c, steps=STEPS, device=CPU):
    trainer = Trainer(c, device)
    for _ in range(steps):
        trainer.train_step()
    return trainer


def trained_together(trainers, steps=STEPS, **options):
    stack = Stack(trainers, **options)
    for _ in range(steps):
        stack.train_step()
    stack.sync()
    return trainers


def state(trainer):
    """All that a checkpoint would hold, by name."""
    tensors = {"losses": trainer.losses, "n_averaged": trainer.average.n_averaged}
    for name, weight in trainer.model.named_parameters():
        held = trainer.optimizer.state[weight]
        tensors |= {f"model.{name}": weight} | {f"{k}.{name}": v for k, v in held.items()}
    tensors |= {f"average.{n}": v for n, v in trainer.average.module.named_parameters()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def flat(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


def assert_same(ours, theirs):
    ours, theirs = state(ours), state(theirs)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def assert_close(ours, theirs, bound):
    """Losses within `bound`; weights, averages and the optimizer's within it.

    Relative to all weights together, or to all averages: where a gradient is nearly nought, AdamW
    divides rounding by rounding, and a single weight may differ by the learning rate.
    """
    assert ours.step == theirs.step
    ours, theirs = state(ours), state(theirs)
    assert torch.allclose(ours.pop("losses"), theirs.pop("losses"), rtol=bound, atol=0)
    for kind in ("model.", "average.", "exp_avg.", "exp_avg_sq."):
        a, b = (
            torch.cat([v.flatten() for k, v in s.items() if k.startswith(kind)])
            for s in (ours, theirs)
        )
        assert (a - b).norm() <= bound * b.norm(), kind
    for name in (name for name in ours if name.startswith(("step.", "n_averaged"))):
        assert torch.equal(ours[name], theirs[name])


@pytest.mark.parametrize("conditioning", RUNS)
def test_steps_of_a_stack_are_those_of_its_runs(conditioning):
    """Five steps, of which three are warm-up, each from the plain step's state: within 1e-4 (seen:
    1e-5). Five in a row, as rounding grows like any perturbation: within 1e-2 (seen: 3e-3).
    """
    runs = stackable(conditioning)
    plain, in_a_row = [[Trainer(c, CPU) for c in runs] for _ in range(2)]
    for _ in range(STEPS):
        once = trained_together(copy.deepcopy(plain), 1)
        for ours, theirs in zip(once, plain, strict=True):
            theirs.train_step()
            assert_close(ours, theirs, 1e-4)
    for ours, theirs in zip(trained_together(in_a_row), plain, strict=True):
        assert_close(ours, theirs, 1e-2)


def test_lines_are_stacked():
    runs = [configure("smoke", axes="x", d_x=d, seed=seed) for seed, d in enumerate((0.5, 1.0))]
    for c, ours in zip(runs, trained_together([Trainer(c, CPU) for c in runs]), strict=True):
        assert_close(ours, trained(c), 1e-2)


def test_bfloat16_is_stacked():
    """Within 5 %: bfloat16 has three digits."""
    runs = stackable("scalar", precision="bfloat16")
    for c, ours in zip(runs, trained_together([Trainer(c, CPU) for c in runs]), strict=True):
        theirs = trained(c)
        assert torch.allclose(ours.losses, theirs.losses, rtol=0.01)
        weights, others = (flat(t.model) for t in (ours, theirs))
        assert (weights - others).norm() <= 0.05 * others.norm()


@pytest.mark.parametrize("conditioning", RUNS)
def test_a_run_alone_takes_the_plain_step_bit_for_bit(conditioning):
    c = stackable(conditioning)[1]
    (ours,) = trained_together([Trainer(c, CPU)], alone=True)
    assert_same(ours, trained(c))


def test_a_runs_result_does_not_depend_on_what_it_is_stacked_with():
    """Bit for bit: so it does not matter which runs an interruption had left."""
    runs = stackable("scalar", runs=9)
    trainers = {n: [Trainer(c, CPU) for c in runs[:n]] for n in (1, 2, 9)}
    for together in trainers.values():
        trained_together(together)
    reverse = trained_together([Trainer(c, CPU) for c in runs[::-1]])
    for other in (trainers[2][0], trainers[9][0], reverse[-1]):
        assert_same(trainers[1][0], other)
    assert_same(trainers[2][1], trainers[9][1])


def test_a_checkpoint_of_a_stack_goes_on_either_way(tmp_path):
    """Stacked bit for bit as if not stopped; by plain steps within the bound of a stack's steps."""
    runs = stackable("table")
    whole = trained_together([Trainer(c, CPU) for c in runs])
    stopped = trained_together([Trainer(c, CPU) for c in runs], steps=2)
    resumed, plain = [Trainer(c, CPU) for c in runs], [Trainer(c, CPU) for c in runs]
    for i, trainer in enumerate(stopped):
        path = tmp_path / str(i)
        trainer.save(path, {})
        resumed[i].load(path)
        plain[i].load(path)
        assert_same(resumed[i], trainer)
    trained_together(resumed, STEPS - 2)
    for ours, by_steps, kept, theirs in zip(resumed, plain, stopped, whole, strict=True):
        assert_same(ours, theirs)
        for trainer in (by_steps, kept):  # the stack's own trainers go on, too
            for _ in range(STEPS - 2):
                trainer.train_step()
            assert_close(trainer, theirs, 1e-2)


def test_stacks_end_where_training_does():
    c = configure("smoke", steps=3)
    (ours,) = trained_together([Trainer(c, CPU)], steps=3, alone=True)
    assert_same(ours, trained(c, steps=3))


def test_what_can_be_stacked_is_known():
    c = configure("quick")
    alike = [
        {"seed": 1, "init_seed": 2},
        {"sigma": 2.0},
        {"d_x": 0.5},
        {"held_out": "band", "split": 3},
    ]
    same = [c.model_copy(update=u) for u in alike]
    assert all(stack_key(other) == stack_key(c) for other in same)
    different = [{"width": 24}, {"steps": 3}, {"N": 32}, {"conditioning": "scalar"}]
    assert all(stack_key(c.model_copy(update=u)) != stack_key(c) for u in different)
    table = configure("quick", conditioning="table")
    assert stack_key(table.model_copy(update={"d_x": 0.5})) != stack_key(table)
    assert max_stack(configure("paper")) == 1
    assert 1 < max_stack(configure("medium")) < max_stack(c)


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm2d(4),
        nn.ConvTranspose2d(4, 4, 2),
        nn.Conv2d(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, groups=2),
        nn.GroupNorm(2, 4),
        nn.LayerNorm((4, 4)),
    ],
)
def test_a_layer_that_cannot_be_stacked_is_refused(layer):
    with pytest.raises(TypeError, match="cannot be stacked"):
        stack_networks([nn.Sequential(layer), nn.Sequential(layer)])


def test_networks_of_other_grids_are_refused_and_new_layers_are_trained_alone(monkeypatch):
    tables = [build_model(configure("smoke", conditioning="table", d_x=d)) for d in (1.0, 2.0)]
    with pytest.raises(TypeError, match="with other middles_x cannot be stacked"):
        stack_networks(tables)
    monkeypatch.setattr(stacked, "build_model", lambda c: nn.BatchNorm2d(4))
    assert max_stack(configure("smoke")) == 1


@pytest.mark.parametrize("alone", [True, False])
def test_a_step_is_captured_after_the_first_ones_and_replayed(alone, monkeypatch):
    """With a stand-in for CUDA, as there may be no GPU: a capture computes nothing."""
    c = stackable()[0]
    ours, theirs = Trainer(c, CPU), trained_together([Trainer(c, CPU)], 8, alone=alone)[0]
    stack = Stack([ours], alone=alone)
    compute, capturing, calls = stack._compute, False, []

    def compute_or_capture():
        calls.append("capture" if capturing else "eager")
        if not capturing:
            compute()

    def replay():
        calls.append("replay")
        compute()

    @contextmanager
    def capture(graph, stream):
        nonlocal capturing
        capturing = True
        yield
        capturing = False

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: SimpleNamespace(replay=replay))
    monkeypatch.setattr(torch.cuda, "graph", capture)
    monkeypatch.setattr(stack, "_compute", compute_or_capture)
    stack._stream = stream
    for _ in range(8):
        stack.train_step()
    stack.sync()
    assert calls == ["eager"] * EAGER_STEPS + ["capture"] + ["replay"] * (8 - EAGER_STEPS)
    assert_same(ours, theirs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
@pytest.mark.parametrize("alone", [True, False])
def test_steps_of_a_graph_are_those_of_its_runs(alone):
    """Eight steps, of which the first three are no graph's; TF32 rounds to three digits."""
    runs = stackable("scalar")[: 1 if alone else 3]
    device = torch.device("cuda")
    for c, ours in zip(
        runs, trained_together([Trainer(c, device) for c in runs], 8, alone=alone), strict=True
    ):
        theirs = trained(c, 8, device)
        assert torch.allclose(ours.losses, theirs.losses, rtol=0.01)
        weights, others = (flat(t.model) for t in (ours, theirs))
        assert (weights - others).norm() <= 0.05 * others.norm()
