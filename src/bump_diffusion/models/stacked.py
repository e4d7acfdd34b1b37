"""Several networks of equal shape as one, so that a GPU computes them at once.

Their images stand in one batch, the first network's first. What has no weights (activations,
pooling, attention) treats such a batch as any other; a layer that has weights is replaced by one
that holds those of all networks along a first dimension, and multiplies each network's part of the
batch by its own: batched matrix products, as grouped convolutions are slow on GPUs.
"""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

SUMMED = 1024
"""Products that are summed at once in a weight's gradient."""


def stack_networks(networks: Sequence[nn.Module]) -> nn.Module:
    """The network that does to each of as many equal parts of a batch what one of `networks` does.

    The weights of the `networks` become views of its weights, so what changes one changes the
    other. Raises TypeError for a layer that cannot be stacked.
    """
    first = networks[0]
    if next(first.parameters(recurse=False), None) is not None:
        if type(first) not in LAYERS:
            raise TypeError(f"a layer of type {type(first).__name__} cannot be stacked")
        return LAYERS[type(first)](networks)
    for name, buffer in first.named_buffers(recurse=False):
        if not all(torch.equal(buffer, network.get_buffer(name)) for network in networks):
            raise TypeError(f"networks with other {name} cannot be stacked")
    stacked = copy.deepcopy(first)
    for name, _ in first.named_children():
        setattr(stacked, name, stack_networks([getattr(n, name) for n in networks]))
    return stacked


def stack_tensors(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors of equal shape along a new first dimension; they become views of the result."""
    # Concatenated, as that keeps the order in memory of convolutions' weights (channels last).
    stacked = torch.cat([tensor.detach() for tensor in tensors]).unflatten(0, (len(tensors), -1))
    for tensor, row in zip(tensors, stacked, strict=True):
        tensor.data = row
    return stacked


class _Stacked(nn.Module):
    """A layer's weights and biases for `runs` networks."""

    def __init__(self, layers: Sequence[nn.Module]):
        super().__init__()
        self.runs = len(layers)
        for name, first in layers[0]._parameters.items():  # in this order, as optimizers count them
            tensors = [getattr(layer, name) for layer in layers]
            stacked = None if first is None else nn.Parameter(stack_tensors(tensors))
            self.register_parameter(name, stacked)

    def add_bias(self, y: Float[Tensor, "runs n channels"]) -> Float[Tensor, "runs n channels"]:
        return y if self.bias is None else y + self.bias[:, None]

    def scale_and_shift(self, y: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        each = y.reshape(self.runs, -1, self.weight.shape[1])
        return torch.addcmul(self.bias[:, None], each, self.weight[:, None]).view(y.shape)


class _Linear(_Stacked):
    def forward(self, x: Float[Tensor, "n ... c"]) -> Float[Tensor, "n ... k"]:
        rows, weight = _in_precision(x.reshape(self.runs, -1, x.shape[-1]), self.weight)
        return self.add_bias(_Product.apply(rows, weight)).view(*x.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """Products of rows (runs, n, c) and weights (runs, k, c)."""

    @staticmethod
    def forward(context, x: Tensor, weight: Tensor) -> Tensor:
        context.save_for_backward(x, weight)
        return torch.bmm(x, weight.transpose(1, 2))

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        x, weight = context.saved_tensors
        of_x = torch.bmm(gradient, weight) if context.needs_input_grad[0] else None
        return of_x, _sum_of_products(torch.bmm, gradient, x)


class _Embedding(_Stacked):
    def forward(self, index: Int[Tensor, " n"]) -> Float[Tensor, "n k"]:
        first = torch.arange(self.runs, device=index.device)[:, None] * self.weight.shape[1]
        return F.embedding((index.view(self.runs, -1) + first).flatten(), self.weight.flatten(0, 1))


class _LayerNorm(_Stacked):
    def __init__(self, layers: Sequence[nn.LayerNorm]):
        super().__init__(layers)
        self.eps = layers[0].eps
        if len(layers[0].normalized_shape) != 1:
            raise TypeError("a layer norm over several dimensions cannot be stacked")

    def forward(self, x: Float[Tensor, "n tokens c"]) -> Float[Tensor, "n tokens c"]:
        return self.scale_and_shift(F.layer_norm(x, x.shape[-1:], eps=self.eps))


class _GroupNorm(_Stacked):
    def __init__(self, layers: Sequence[nn.GroupNorm]):
        super().__init__(layers)
        self.eps = layers[0].eps
        if layers[0].num_groups != 1:
            raise TypeError("a group norm of several groups cannot be stacked")

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        x = x.permute(0, 2, 3, 1)
        y = F.layer_norm(x, x.shape[1:], eps=self.eps)
        return self.scale_and_shift(y).permute(0, 3, 1, 2)


class _Conv2d(_Stacked):
    def __init__(self, layers: Sequence[nn.Conv2d]):
        super().__init__(layers)
        c = layers[0]
        half = tuple(size // 2 for size in c.kernel_size)
        if (c.padding, c.stride, c.dilation, c.groups) != (half, (1, 1), (1, 1), 1):
            raise TypeError("a convolution that changes the image's size cannot be stacked")

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        x, weight = _in_precision(x.permute(0, 2, 3, 1), self.weight.permute(0, 3, 4, 2, 1))
        y = _Convolution.apply(x, weight)
        n, h, w, k = y.shape
        return self.add_bias(y.view(self.runs, -1, k)).view(n, h, w, k).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """Convolution of images (n, h, w, c) by weights (runs, size, size, c, k), as products."""

    @staticmethod
    def forward(context, x: Tensor, weight: Tensor) -> Tensor:
        windows = _windows(x, weight)
        context.save_for_backward(windows, weight)
        return _multiply(windows, weight.flatten(1, 3)).view(*x.shape[:3], -1)

    @staticmethod
    def backward(context, gradient: Tensor) -> tuple[Tensor | None, Tensor]:
        windows, weight = context.saved_tensors
        runs, _, _, c, k = weight.shape
        # In the order in memory of the weights, which the fused optimizer expects.
        of_weight = _sum_of_products(_multiply, gradient.reshape(runs, -1, k), windows)
        of_weight = of_weight.transpose(1, 2).view(weight.shape)
        if not context.needs_input_grad[0]:
            return None, of_weight
        mirrored = weight.flip(1, 2).transpose(3, 4)
        of_x = _multiply(_windows(gradient, mirrored), mirrored.flatten(1, 3))
        return of_x.view(*gradient.shape[:3], c), of_weight


def _in_precision(*tensors: Tensor) -> list[Tensor]:
    """Tensors in the precision of torch's autocast, where it is on."""
    kind = tensors[0].device.type
    on = torch.is_autocast_enabled(kind)
    return [t.to(torch.get_autocast_dtype(kind)) if on else t for t in tensors]


def _windows(x: Tensor, weight: Tensor) -> Tensor:
    """Around each pixel of images (n, h, w, c) what the weights see: (runs, pixels, size^2 c)."""
    size = weight.shape[1]
    x = F.pad(x, (0, 0, *(size // 2,) * 4))
    windows = x.unfold(1, size, 1).unfold(2, size, 1).permute(0, 1, 2, 4, 5, 3)
    return windows.reshape(len(weight), -1, weight.shape[1:4].numel())


def _sum_of_products(
    multiply: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor
) -> Float[Tensor, "runs k c"]:
    """Sums over n of the products of rows (runs, n, k) and (runs, n, c): weights' gradients.

    A long sum is one of sums of `SUMMED`, as a GPU computes few long ones by few of its processors.
    """
    runs, n = a.shape[:2]
    length = SUMMED if n % SUMMED == 0 else n
    a, b = (v.reshape(-1, length, v.shape[-1]) for v in (a, b))
    return multiply(a.transpose(1, 2), b).unflatten(0, (runs, -1)).sum(dim=1)


def _multiply(a: Tensor, b: Tensor) -> Tensor:
    """Batched products in the precision of torch's convolutions: on GPUs, by default, TF32."""
    runs = len(a)
    if runs == 1:  # a single product is rounded otherwise than one of several
        a, b = a.expand(2, -1, -1), b.expand(2, -1, -1)
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before, matmul.fp32_precision = matmul.fp32_precision, convolution.fp32_precision
    try:
        return torch.bmm(a, b)[:runs]
    finally:
        matmul.fp32_precision = before


LAYERS = {
    nn.Conv2d: _Conv2d,
    nn.Embedding: _Embedding,
    nn.GroupNorm: _GroupNorm,
    nn.LayerNorm: _LayerNorm,
    nn.Linear: _Linear,
}
"""What stands for a layer of each type that has weights."""
