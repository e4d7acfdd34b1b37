from typing import get_args

import pytest
import torch
from torch import nn

from bump_diffusion.config import Configuration, configure
from bump_diffusion.data.bumps import label_grid
from bump_diffusion.models.conditioning import CONDITIONINGS, positional_encoding
from bump_diffusion.models.hooks import read_layers
from bump_diffusion.models.unet import Block, build_model
from bump_diffusion.training.diffusion import noise_prediction_loss


def network(conditioning="sinusoidal", **overrides):
    return build_model(configure("quick", width=8, conditioning=conditioning, **overrides))


def test_every_conditioning_of_a_configuration_has_a_class():
    assert set(CONDITIONINGS) == set(
        get_args(Configuration.model_fields["conditioning"].annotation)
    )


def test_shapes_of_the_papers_network():
    """Three halvings with 2w, 4w, 4w channels; layer 4 just before the bottleneck."""
    model = build_model(configure("paper", width=16))
    names = ["layer1", "layer2", "layer3", "layer4", "bottleneck", "up3", "up2", "up1"]
    x, t = torch.randn(2, 1, 32, 32), torch.tensor([0, 999])
    with torch.inference_mode():
        embedding = model.conditioning(torch.rand(2, 2) * 32)
        outputs = read_layers(model, names, x, t, embedding)
        assert model(x, t, embedding).shape == x.shape
    assert {name: tuple(outputs[name].shape[1:]) for name in names} == {
        "layer1": (16, 32, 32),
        "layer2": (32, 16, 16),
        "layer3": (64, 8, 8),
        "layer4": (64, 4, 4),
        "bottleneck": (64, 4, 4),
        "up3": (32, 8, 8),
        "up2": (16, 16, 16),
        "up1": (16, 32, 32),
    }


def test_a_read_layer_is_what_the_rest_of_the_network_gets():
    model = network()
    x, t = torch.randn(3, 1, 16, 16), torch.tensor([1, 10, 100])
    embedding = model.conditioning(torch.rand(3, 2) * 16)
    with torch.inference_mode():
        outputs = read_layers(model, ["up1", "layer4.attention"], x, t, embedding)
        y = model(x, t, embedding)
        assert torch.allclose(model.output(outputs["up1"]), y, atol=1e-6)
    assert outputs["layer4.attention"].shape == (3, 32, 2, 2)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_label_and_timestep_reach_the_output(conditioning):
    model = network(conditioning)
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([500])
    with torch.inference_mode():
        a, b = (model.conditioning(torch.tensor([p])) for p in ([3.0, 4.0], [4.0, 3.0]))
        assert not torch.allclose(model(x, t, a), model(x, t, b), atol=1e-5)
        assert not torch.allclose(model(x, t, a), model(x, t - 400, a), atol=1e-5)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_the_mean_embedding_removes_what_varies_with_the_label(conditioning):
    """Each block's injected part, averaged over the grid, is that of the averaged embedding."""
    model = network(conditioning)
    embeddings = model.conditioning(label_grid(16, 1.0, 1.0))
    time = positional_encoding(torch.full((len(embeddings),), 7), 128)
    blocks = [m for m in model.modules() if isinstance(m, Block)]
    assert len(blocks) == 6
    for block in blocks:
        injected = block.inject(torch.cat([time, embeddings], dim=1))
        ablated = block.inject(torch.cat([time[:1], embeddings.mean(dim=0, keepdim=True)], dim=1))
        assert injected.std(dim=0).max() > 1e-3
        assert torch.allclose(injected.mean(dim=0, keepdim=True), ablated, atol=1e-5)


def test_table_has_an_entry_per_label_and_takes_the_nearest():
    scheme = network("table").conditioning
    grid = label_grid(16, 1.0, 1.0)
    assert torch.equal(scheme(grid), scheme.table.weight)
    assert torch.equal(scheme(torch.tensor([[2.2, 5.4]])), scheme(torch.tensor([[2.0, 5.0]])))
    fine = build_model(configure("quick", width=8, N=128, d_x=8.0, d_y=0.05, conditioning="table"))
    grid = label_grid(128, 8.0, 0.05)[::37]
    assert torch.equal(fine.conditioning(grid), fine.conditioning.table.weight[::37])
    weight = scheme.table.weight.detach()
    assert abs(float(weight.mean())) < 0.02 and abs(float(weight.std()) - 1) < 0.02


def test_label_scale_stretches_the_encoding():
    plain, scaled = (network(label_scale=s).conditioning for s in (1.0, 0.5))
    labels = torch.rand(10, 2) * 8
    assert torch.allclose(plain(labels), scaled(2 * labels), atol=1e-5)


def test_positional_encoding_turns_shifts_into_rotations():
    """The dot product of two encodings depends on the distance alone."""
    p = torch.rand(50) * 10
    a, b = positional_encoding(p, 64), positional_encoding(p + 1.5, 64)
    products = (a * b).sum(dim=1)
    assert torch.allclose(products, products[:1].expand(50), atol=1e-3)


def test_every_weight_has_a_gradient():
    model = network()
    x = torch.randn(4, 1, 16, 16)
    embedding = model.conditioning(torch.rand(4, 2) * 16)
    loss = noise_prediction_loss(
        lambda x_t, t: model(x_t, t, embedding), x, torch.arange(4), x, torch.linspace(1, 0.1, 4)
    )
    loss.backward()
    # A key's bias shifts all of a query's scores alike, which the softmax undoes.
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_attention_is_that_of_torchs_own_module():
    attention = network().layer4.attention
    channels = attention.project.in_features
    peer = nn.MultiheadAttention(channels, attention.heads, batch_first=True)
    peer.in_proj_weight = attention.query_key_value.weight
    peer.in_proj_bias = attention.query_key_value.bias
    peer.out_proj = attention.project
    tokens = torch.randn(2, 4, channels)
    with torch.inference_mode():
        normed = attention.norm(tokens)
        expected = tokens + peer(normed, normed, normed)[0]
        expected = expected + attention.perceptron(expected)
        image = tokens.transpose(1, 2).reshape(2, channels, 2, 2)
        ours = attention(image).flatten(2).transpose(1, 2)
    assert torch.allclose(ours, expected, atol=1e-5)


def test_bfloat16_changes_the_prediction_by_its_rounding_only():
    c = configure("smoke")
    exact, mixed = build_model(c), build_model(c.model_copy(update={"precision": "bfloat16"}))
    x, t = torch.randn(16, 1, 8, 8, generator=torch.manual_seed(0)), torch.arange(16)
    labels = torch.rand(16, 2) * 8
    with torch.inference_mode():
        a, b = (m(x, t, m.conditioning(labels)) for m in (exact, mixed))
    assert b.dtype == torch.float32
    # Eight bits of mantissa, through some thirty layers.
    error = ((a - b).norm() / a.norm()).item()
    assert 2**-12 < error < 2**-4
    mixed(x, t, mixed.conditioning(labels)).square().mean().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in mixed.parameters())


def test_layers_are_read_without_those_behind_them():
    model = build_model(configure("smoke"))
    inputs = torch.randn(2, 1, 8, 8), torch.arange(2), model.conditioning(torch.rand(2, 2) * 8)
    ran = []
    model.bottleneck.register_forward_hook(lambda *_: ran.append("bottleneck"))
    with torch.inference_mode():
        outputs = read_layers(model, ["layer3", "layer4"], *inputs)
        assert not ran
        everything = read_layers(model, ["layer3", "layer4", "output"], *inputs)
    assert ran == ["bottleneck"]
    assert all(torch.equal(outputs[layer], everything[layer]) for layer in outputs)
    with pytest.raises(AttributeError):
        read_layers(model, ["layer9"], *inputs)
    assert not any(m._forward_hooks for m in model.modules() if m is not model.bottleneck)
