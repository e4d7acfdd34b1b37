"""Weights in eight bits: small enough for a page, exact enough to draw with."""

import torch
from jaxtyping import Float, Int8
from torch import Tensor

SMALL = 1024
"""Tensors of fewer numbers (norms, biases, small matrices) stay in single precision."""

SCALE = ".scale"
"""What the name of a tensor of scales ends in."""


def quantize(
    weights: Float[Tensor, "channels ..."],
) -> tuple[Int8[Tensor, "channels ..."], Float[Tensor, " channels"]]:
    """Round weights to whole numbers from -127 to 127, times a scale for each output channel.

    Symmetric: the largest magnitude of a channel becomes 127, and 0 stays 0. A weight is off by at
    most half its channel's scale.
    """
    rows = weights.float().flatten(1)
    scale = rows.abs().amax(dim=1) / 127
    scale = torch.where(scale > 0, scale, 1.0)
    whole = (rows / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return whole.view(weights.shape), scale


def quantize_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's state with its large matrices in eight bits, each beside its scales."""
    quantized = {}
    for name, weights in state.items():
        if weights.ndim < 2 or weights.numel() < SMALL:
            quantized[name] = weights.float().cpu().clone(memory_format=torch.contiguous_format)
        else:
            whole, scale = quantize(weights.cpu())
            quantized |= {name: whole.contiguous(), name + SCALE: scale}
    return quantized


def restore_state(quantized: dict[str, Tensor]) -> dict[str, Tensor]:
    """The single-precision state that `quantize_state` stands for."""
    return {
        name: _rescale(weights, quantized[name + SCALE]) if name + SCALE in quantized else weights
        for name, weights in quantized.items()
        if not name.endswith(SCALE)
    }


def _rescale(whole: Tensor, scale: Tensor) -> Tensor:
    return whole.float() * scale.view(-1, *[1] * (whole.ndim - 1))
