"""Inductive biases: what each hands the network, and that everything works with each."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bump_diffusion.config import BLOCKS, BOTTLENECKS, Injection, Rendering, configure
from bump_diffusion.data.bumps import axis_positions
from bump_diffusion.data.stripes import OUTSIDE
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.live.export import weights_script
from bump_diffusion.metrics.evaluation import evaluate, mean_embedding
from bump_diffusion.metrics.interventions import intervene, locate_patched, set_label
from bump_diffusion.models.biases import RENDERINGS, Lines, draw_beside
from bump_diffusion.models.hooks import patch_layers
from bump_diffusion.models.unet import build_model
from bump_diffusion.papers.semantics.figures.biases import ROWS, configure_biases, hand_over
from bump_diffusion.training.stacked import Stack, max_stack, stack_key
from bump_diffusion.training.trainer import Trainer, draw_kept, training_labels

DRAWN = {"injection": "none"}
ENTRIES = {
    "lines": {"rendering": "lines", **DRAWN},
    "profiles": {"rendering": "profiles", **DRAWN},
    "permuted lines": {"rendering": "permuted", **DRAWN},
    "learned profiles": {"rendering": "learned", **DRAWN},
    "lines and vector": {"rendering": "lines"},
    "coordinates": {"rendering": "coordinates"},
    "axes": {"injection": "axes"},
    "dropout": {"injection": "dropout"},
    "axis-dropout": {"injection": "axis-dropout"},
    "annealed": {"rendering": "lines", "injection": "annealed"},
    "bottleneck": {"injection": "bottleneck-2"},
    "one block": {"injection": "layer4"},
    "low rank": {"conditioning": "low-rank-2"},
    "low rank, through a bottleneck": {"conditioning": "low-rank-1", "injection": "bottleneck-4"},
    "stripes": {"stripes": 0.5},
}
"""By a name, fields that make each bias."""

BY_VALUE = ("learned profiles", "axes", "low rank", "low rank, through a bottleneck")
CPU = torch.device("cpu")


def entry(name, profile="smoke", **fields):
    return configure(profile, **{"compared_steps": [], **ENTRIES[name], **fields})


def inputs(c, n=6):
    generator = torch.manual_seed(0)
    x = torch.randn(n, 1, c.N, c.N, generator=generator)
    return x, torch.arange(n) * 10, torch.rand(n, 2, generator=generator) * (c.N - 1)


def test_every_way_has_an_entry():
    used = [ENTRIES[name] for name in ENTRIES]
    assert {e.get("rendering", "none") for e in used} == set(get_args(Rendering))
    assert set(RENDERINGS) == set(get_args(Rendering)) - {"none"}
    ways = {e.get("injection", "global") for e in used}
    assert ways | set(BLOCKS) | set(BOTTLENECKS) == set(get_args(Injection))


@pytest.mark.parametrize("name", ENTRIES)
def test_every_weight_has_a_gradient(name):
    trainer = Trainer(entry(name, batch_size=64), CPU)
    trainer.train_step()
    for weight_name, weight in trainer.model.named_parameters():
        assert weight.grad is not None and weight.grad.abs().max() > 0, weight_name


@pytest.mark.parametrize("name", ENTRIES)
def test_the_label_enters_on_and_off_the_grid_and_the_mean_embedding_removes_it(name):
    c = entry(name, d_x=2.0, d_y=0.5)
    model = build_model(c)
    x, t, labels = inputs(c)
    with torch.inference_mode():
        embedding = model.conditioning(labels)
        one, other = model(x, t, embedding), model(x, t, embedding.roll(1, dims=0))
        assert (one - other).abs().max() > 1e-3
        mean = mean_embedding(c, model)
        all_labels = model.conditioning(task_of(c).labels())
        assert torch.allclose(all_labels.mean(dim=0), mean, atol=1e-5)
        # With that embedding, what is drawn is a function of the image alone.
        same = model(x, t, mean.expand_as(embedding))
        again = model(x, t, model.conditioning(labels.flip(0)).mul(0) + mean)
        assert torch.allclose(same, again, atol=1e-6)


@pytest.mark.parametrize("name", ENTRIES)
def test_everything_that_is_measured_runs_with_each(name):
    c = entry(name, held_out="quadrants", steps=2)
    networks = {"trained": build_model(c), "untrained": build_model(c)}
    tables = evaluate(c, networks, c.steps).tables
    assert set(tables["images"]["set"]) == {"trained", "held-out", "off-grid"}
    assert tables["probes"]["r2"].notna().any()
    assert len(locate_patched(c, networks["trained"], final=False)) > 0
    if name in ("lines and vector", "axes", "one block"):
        assert len(intervene(c, networks)) == 1 + 3 * len(BLOCKS) + 8


@pytest.mark.parametrize("name", ["lines", "axes", "one block"])
def test_a_block_gets_the_label_that_is_put_in(name):
    """All blocks' labels exchanged: what is drawn changes where the label enters by blocks alone,
    and then it is what the others requested.
    """
    c = entry(name)
    model = build_model(c)
    x, t, labels = inputs(c)
    with torch.inference_mode():
        embedding = model.conditioning(labels)
        others = embedding.roll(1, dims=0)
        with patch_layers(model, dict.fromkeys(BLOCKS, set_label(others))):
            patched = model(x, t, embedding)
        expected = embedding if name == "lines" else others
        assert torch.allclose(patched, model(x, t, expected), atol=1e-6)


def relabel(model, c, orders):
    """Permute what a network has learned of each value of x and of y."""
    counts = [len(axis_positions(c.N, d)) for d in (c.d_x, c.d_y)]
    for name, weight in model.named_parameters():
        part = name.split(".")[-2]
        if part in ("of_x", "of_y"):
            weight.data = weight[torch.argsort(orders[["of_x", "of_y"].index(part)])]
        if part in ("u", "v"):
            weight.data = weight[:, torch.argsort(orders[["u", "v"].index(part)])]
        if part == "table":
            grid = weight.data.view(*counts, -1)
            weight.data = grid[orders[0].argsort()][:, orders[1].argsort()].flatten(0, 1)


@pytest.mark.parametrize("name", [*BY_VALUE, "table"])
@settings(max_examples=5)
@given(st.permutations(range(8)), st.permutations(range(8)))
def test_what_is_told_no_geometry_does_not_change_if_the_values_are_permuted(name, of_x, of_y):
    """A network whose values are permuted draws for permuted labels what it drew for these: the
    scheme holds nothing of their order. Its weights at first are as probable either way.
    """
    c = entry(name) if name in ENTRIES else configure("smoke", conditioning="table")
    model, orders = build_model(c), (torch.tensor(of_x), torch.tensor(of_y))
    x, t, labels = inputs(c)
    labels = labels.round()
    permuted = torch.stack([o[labels[:, i].long()] for i, o in enumerate(orders)], dim=1).float()
    with torch.inference_mode():
        expected = model(x, t, model.conditioning(labels))
        relabel(model, c, orders)
        assert torch.allclose(model(x, t, model.conditioning(permuted)), expected, atol=1e-5)


def test_lines_stand_where_the_bump_is_and_permuted_ones_elsewhere():
    c = entry("lines", "quick")
    labels = torch.tensor([[3.0, 12.0], [4.5, 0.0], [OUTSIDE, 7.0]])
    x, y = Lines(c)(labels).unbind(1)
    assert x.nonzero().tolist() == [[0, 3], [1, 4], [1, 5]]
    assert y.nonzero().tolist() == [[0, 12], [1, 0], [2, 7]]
    image = draw_beside(torch.zeros(3, 1, 16, 16), torch.cat([x, y], dim=1))
    assert image[0, 1, :, 3].tolist() == [1.0] * 16 and image[0, 2, 12].tolist() == [1.0] * 16
    profiles = RENDERINGS["profiles"](c)(labels[:1])
    drawn = task_of(c.model_copy(update={"polarity": "light"})).render(labels[:1])
    product = profiles[0, 1][:, None] * profiles[0, 0]
    assert torch.allclose(2 * product - 1, drawn[0, 0], atol=1e-6)
    permuted = [RENDERINGS["permuted"](c.model_copy(update={"seed": s}))(labels) for s in (0, 1)]
    for lines in permuted:
        assert torch.equal(lines.sort(dim=2).values, Lines(c)(labels).sort(dim=2).values)
    assert not torch.equal(*permuted) and not torch.equal(permuted[0], Lines(c)(labels))


@given(st.sampled_from(["quadrants", "donut", "band", "latin-32"]), st.integers(0, 99))
@settings(max_examples=10)
def test_stripes_hold_one_coordinate_and_no_held_out_combination(name, seed):
    c = configure("quick", held_out=name, seed=seed, stripes=0.5)
    held = {tuple(label) for label in task_of(c).held_out_labels().tolist()}
    labels = training_labels(c, step=3, steps=20)
    assert not held & {tuple(label) for label in labels.tolist()}
    open_ = labels == OUTSIDE
    assert not open_.all(dim=1).any()
    assert abs(open_.any(dim=1).float().mean() - 0.5) < 0.1
    assert (open_.sum(dim=0) > 100).all()
    assert torch.equal(labels[:32], training_labels(c, step=3))
    stripes = task_of(c).render(labels[open_[:, 1]])
    assert torch.equal(stripes, stripes[:, :, :1].expand_as(stripes)) and stripes.std() > 0.1
    assert training_labels(c.model_copy(update={"stripes": 0.0}), 3).min() >= 0


def test_what_is_dropped_is_dropped_by_image_and_what_fades_is_gone_half_way():
    kept = torch.empty(4000, 2)
    draw_kept(entry("dropout"), 0, kept)
    assert torch.equal(kept[:, 0], kept[:, 1]) and abs(kept.mean() - 0.7) < 0.03
    draw_kept(entry("axis-dropout"), 0, kept)
    assert abs((kept[:, 0] * kept[:, 1]).mean() - 0.49) < 0.03
    c = entry("annealed", steps=20)
    faded = [draw_kept(c, step, kept) or kept.unique().item() for step in (0, 5, 10, 19)]
    assert faded == [1.0, 0.5, 0.0, 0.0]
    # Half a vector of the encoding is one coordinate's, and an annealed one is gone afterwards.
    scheme = build_model(entry("axis-dropout")).conditioning
    a, b = scheme(torch.tensor([[1.0, 2.0], [1.0, 5.0]]), torch.tensor([[1.0, 0.0]] * 2))
    assert torch.equal(a, b) and a.abs().max() > 0
    faded = build_model(c).conditioning(torch.ones(1, 2))
    assert faded[:, :128].abs().max() == 0 and faded[:, 128:].abs().max() > 0


@pytest.mark.parametrize("name", ENTRIES)
def test_a_stack_takes_the_steps_of_its_runs(name):
    runs = [entry(name, seed=seed) for seed in (0, 1)]
    alone = max_stack(runs[0]) == 1
    assert alone == (name == "permuted lines")
    assert stack_key(runs[0]) == stack_key(runs[1])
    runs = runs[:1] if alone else runs
    theirs, ours = ([Trainer(c, CPU) for c in runs] for _ in range(2))
    stack = Stack(ours, alone)
    for _ in range(3):
        stack.train_step()
        for trainer in theirs:
            trainer.train_step()
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one.losses, other.losses, rtol=1e-3)


def test_what_a_bias_knows_is_not_stacked_with_what_knows_otherwise():
    def differ(name, **fields):
        return stack_key(entry(name)) != stack_key(entry(name, **fields))

    assert differ("profiles", sigma=2.0) and not differ("lines", sigma=2.0)
    assert all(differ(name, d_x=2.0) for name in BY_VALUE) and not differ("lines", d_x=2.0)


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("profile", ["quick", "medium"])
def test_no_entry_has_more_than_1_6_million_weights(name, profile):
    model = build_model(entry(name, profile))
    assert sum(weight.numel() for weight in model.parameters()) <= 1_600_000


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"injection": "none"}, "rendering is 'none', it must draw the label where injection"),
        ({"rendering": "coordinates", "injection": "none"}, "no label would enter the network"),
        ({"injection": "annealed"}, "rendering is 'none', it must draw the label"),
        ({"injection": "bottleneck-3"}, "injection is 'bottleneck-3', it should be 'global'"),
        ({"injection": "axes", "conditioning": "table"}, "conditioning is 'table', it must be"),
        ({"injection": "axis-dropout", "conditioning": "table"}, "must be 'sinusoidal' where inj"),
        ({"axes": "x", "rendering": "lines"}, "rendering is 'lines', it must be 'none' where axes"),
        ({"axes": "x", "stripes": 0.5}, "stripes is 0.5, it must be 0.0 where axes is 'x'"),
        ({"stripes": 0.5, "injection": "axes"}, "stripes is 0.5, it must be 0.0 where injection"),
        ({"stripes": 0.5, "conditioning": "table"}, "it must be 0.0 where conditioning is 'table'"),
        ({"conditioning": "low-rank-1", "label_scale": 2.0}, "label_scale is 2.0, it must be 1.0"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(fields, sentence):
    with pytest.raises(UserError) as caught:
        configure("quick", **fields)
    assert sentence in caught.value.message and "\n" not in caught.value.message


def test_a_page_refuses_what_its_networks_do_not_know():
    for name, field in (
        ("learned profiles", "rendering"),
        ("axes", "injection"),
        ("low rank", "conditioning"),
    ):
        with pytest.raises(UserError, match=f"{field} is '.*', it must be .* for a page"):
            weights_script("name", entry(name), {})


def test_what_is_handed_over_is_shown_as_the_network_gets_it():
    label = torch.tensor([[5.0, 2.0]])
    biases = configure_biases("smoke")
    shown = {name.removeprefix("quadrants-"): hand_over(c, label) for name, c in biases.items()}
    on_lines = (torch.arange(8) == 5)[None, :] | (torch.arange(8) == 2)[:, None]
    for name in ("lines", "profiles"):
        assert torch.equal(shown[name] == 1, on_lines)
    by_axis = shown["axes"]
    assert (by_axis.diff(dim=0).diff(dim=1).abs() < 1e-5).all() and by_axis.std() > 0
    halves = [shown[name].split(ROWS // 2) for name in ("baseline", "axis-dropout")]
    assert torch.equal(halves[0][0], halves[1][0]) and (halves[1][1] == 0).all()
    assert halves[0][1].any()
    stripe = shown["stripes"]
    assert (stripe == stripe[:1]).all() and stripe[0].argmin() == 5
