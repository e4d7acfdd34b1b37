"""Layers read and interventions made, against what must follow from how the network is wired."""

import itertools

import pytest
import torch
from torch import nn

from bump_diffusion.config import BLOCKS, LAYERS, configure
from bump_diffusion.data.tasks import task_of
from bump_diffusion.errors import UserError
from bump_diffusion.metrics import interventions
from bump_diffusion.metrics.interventions import (
    PAIRS,
    PAIRS_ON_THE_WAY,
    compare_variation,
    intervene,
    locate_patched,
    set_label,
)
from bump_diffusion.metrics.layers import probe_layers
from bump_diffusion.metrics.outcomes import OUTCOMES
from bump_diffusion.models.hooks import patch_layers
from bump_diffusion.models.unet import build_model
from bump_diffusion.runs.run import train
from bump_diffusion.runs.store import Store


def untrained(conditioning):
    c = configure("smoke", conditioning=conditioning, compared_steps=())
    return c, build_model(c)


def test_what_is_put_in_is_read_before_any_training():
    """With pure noise as input only the label tells one image from another: a scheme that comes
    with the plane's order shows it at once, a random table does not, and nothing does once the
    label is ablated.
    """
    read = {}
    for scheme in ("scalar", "table"):
        c, model = untrained(scheme)
        table = probe_layers(c, {"trained": model, "untrained": model}).query(
            "input == 'noise' and target == 'requested'"
        )
        assert list(dict.fromkeys(table["layer"])) == list(LAYERS)
        for features in ("untrained", "untrained, ablated"):
            at = table.query("layer == 'layer2' and features == @features")
            read[scheme, features] = at["r2"].mean()
        same = [table.query("features == @f")["r2"].to_numpy() for f in ("trained", "untrained")]
        assert (same[0] == same[1]).all()
    assert read["scalar", "untrained"] > 0.8
    assert read["table", "untrained"] < 0.2
    assert max(read["scalar", "untrained, ablated"], read["table", "untrained, ablated"]) < 0.2


def test_a_network_that_draws_from_its_label_alone_follows_what_it_is_given(monkeypatch):
    """A stand-in whose last block holds the whole image: whoever changes that block's label, or
    its output, changes what is drawn, and whoever changes another block's does not.
    """
    c, model = untrained("table")
    seen = {}

    def drawn_from_the_last_block(c, model, labels, key):
        x = torch.zeros(len(labels), 1, c.N, c.N)
        t = torch.zeros(len(labels), dtype=torch.long)
        with torch.inference_mode():
            model(x, t, model.conditioning(labels))
            known = model.conditioning(grid)
        nearest = torch.cdist(seen["label"].clone(), known.clone()).argmin(dim=1)
        position = grid[nearest] if seen["label"].std(dim=0).max() > 0.1 else grid[nearest] * 0
        return task_of(c).render(position), x, 0

    grid = task_of(c).labels()
    features = model.conditioning(grid).shape[1]

    def keep(module, inputs):
        seen["label"] = inputs[1][:, -features:]

    monkeypatch.setattr(interventions, "generate", drawn_from_the_last_block)
    # Hooks run in the order in which they were registered: this one must see what others changed.
    original = interventions.draw_pairs

    def draw(*arguments):
        with patch_layers(model, {"up1": keep}):
            return original(*arguments)

    monkeypatch.setattr(interventions, "draw_pairs", draw)
    table = intervene(c, {"trained": model}).set_index(["intervention", "layer"])
    assert (table[list(OUTCOMES)].sum(axis=1) - 1).abs().max() < 1e-6
    assert table.loc[("nothing", ""), "correct"] == 1
    for block in BLOCKS:
        last = block == "up1"
        # One of the requests is where the stand-in draws for "no label": it is right by chance.
        for intervention, column, expected in [
            ("other label", "at_other", last),
            ("other label", "correct", not last),
            ("label here alone", "correct", last),
            ("no label", "correct", not last),
        ]:
            share = table.loc[(intervention, block), column]
            assert share == pytest.approx(float(expected), abs=0.1), (intervention, block)


def test_the_label_of_another_in_every_block_draws_what_the_other_requested():
    """All six injections together are the label: exchanged, the images are the other's exactly."""
    c, model = untrained("sinusoidal")
    requested, others = torch.tensor([[1.0, 2.0]]), torch.tensor([[5.0, 6.0]])
    x, t = torch.randn(1, 1, c.N, c.N), torch.tensor([3])
    label = model.conditioning(others)
    with torch.inference_mode():
        expected = model(x, t, label)
        with patch_layers(model, dict.fromkeys(BLOCKS, set_label(label))):
            given = model(x, t, model.conditioning(requested))
        after = model(x, t, label)
    assert torch.equal(given, expected)
    assert torch.equal(after, expected)


class Layers(nn.Module):
    """Draws bumps where its layers say: 3 has x, 4 has y, `up3` both."""

    def __init__(self):
        super().__init__()
        self.layer3, self.layer4, self.up3 = nn.Identity(), nn.Identity(), nn.Identity()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, labels):
        x, y = self.layer3(labels)[:, 0], self.layer4(labels)[:, 1]
        return self.up3(torch.stack([x, y], dim=1))


def test_patched_layers_take_with_them_the_axis_that_they_hold(monkeypatch):
    def draw(c, model, labels, *_):
        return task_of(c).render(model(labels)), None, None

    monkeypatch.setattr(interventions, "generate", draw)
    c = configure("quick", d_x=0.5, d_y=0.5)
    located = locate_patched(c, Layers(), final=True).set_index(["differ", "layer"]).sort_index()
    assert located.groupby(level=[0, 1]).size().eq(2 * PAIRS).all()
    holds = {"": "", "layer3": "x", "layer4": "y", "up3": "xy"}
    for differ, (layer, held), axis in itertools.product(("xy", "x", "y"), holds.items(), "xy"):
        request = located.loc[(differ, layer), f"mu_{axis}"]
        expected = (request + c.N / 2 * (axis in held and axis in differ)) % c.N
        assert (located.loc[(differ, layer), axis] - expected).abs().max() < 0.1
    on_the_way = locate_patched(c, Layers(), final=False)
    assert on_the_way.groupby(["differ", "layer"]).size().to_dict() == {
        ("xy", layer): 2 * PAIRS_ON_THE_WAY for layer in ("", "layer3", "layer4")
    }


@pytest.mark.parametrize("extra", ["interventions", "variation", "patching"])
def test_lines_have_no_interventions(extra, tmp_path):
    c = configure("smoke", axes="x")
    with pytest.raises(UserError, match=f"axes is 'x', it must be 'xy' for {extra}"):
        train(c, Store(tmp_path), extras=[extra])


def test_extras_that_are_asked_for_are_made_and_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(interventions, "FINAL_IMAGES", 8)
    store = Store(tmp_path)
    c = configure("smoke", compared_steps=(), steps=2, evaluations=1)
    assert train(c, store).extras == set()
    record = train(c, store, extras=["interventions", "variation", "patching"])
    assert record.extras == {"interventions", "variation", "patching"}
    assert set(record.layers["layer"]) == set(LAYERS)
    assert len(record.interventions) == 1 + 3 * len(BLOCKS) + len(LAYERS)
    assert record.variation.groupby("network").size().eq(3 * len(LAYERS)).all()
    all_four = train(c, store, extras=["weights"])
    assert all_four.extras == {"interventions", "variation", "patching", "weights"}


def test_behind_a_shut_bottleneck_nothing_of_layer_4_arrives():
    c, model = untrained("sinusoidal")
    open_ = compare_variation(c, {"trained": model})
    assert list(dict.fromkeys(open_["layer"])) == list(LAYERS)
    assert (open_[["variation", "change"]] > 1e-3).all(axis=None)
    with torch.no_grad():  # its last gain: what is left is the same for all images
        model.bottleneck[-1].layers[-1].weight.zero_()
    shut = compare_variation(c, {"trained": model}).groupby("layer").max()
    assert shut.loc["bottleneck", "variation"] < 1e-6
    assert shut.loc[["layer4", "bottleneck"], "change"].max() < 1e-6
    assert (
        shut.loc["layer4", "variation"] == open_.groupby("layer").max().loc["layer4", "variation"]
    )
    assert shut.loc["layer3", "change"] > 1e-3
