import torch
from hypothesis import given
from hypothesis import strategies as st

from bump_diffusion.models.quantize import quantize, quantize_state, restore_state


@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
def test_a_weight_is_off_by_at_most_half_a_step_of_its_channel(seed, size):
    weights = torch.randn(5, 7, 3, generator=torch.Generator().manual_seed(seed)) * size
    weights[2] = 0
    whole, scale = quantize(weights)
    error = (whole.float() * scale[:, None, None] - weights).abs()
    assert (error <= 0.5001 * scale[:, None, None]).all()
    assert not whole[2].any() and (whole.abs().flatten(1).amax(dim=1)[[0, 1, 3, 4]] == 127).all()


def test_a_state_keeps_its_names_shapes_and_small_tensors():
    state = {
        "a.weight": torch.randn(64, 32, 3, 3),
        "a.bias": torch.randn(64),
        "b": torch.ones(4, 4),
    }
    quantized = quantize_state(state)
    assert quantized["a.weight"].dtype == torch.int8
    restored = restore_state(quantized)
    assert restored.keys() == state.keys()
    assert all(restored[name].shape == weights.shape for name, weights in state.items())
    assert torch.equal(restored["a.bias"], state["a.bias"]) and torch.equal(
        restored["b"], state["b"]
    )
