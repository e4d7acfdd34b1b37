"""Reads and patches the activations of a network's layers.

A layer is named by its dotted path of modules, as in `model.named_modules()`: "layer4",
"layer4.convolutions", "bottleneck.1". A name that is not there raises AttributeError.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from torch import Tensor, nn


@contextmanager
def patch_layers(
    model: nn.Module,
    inputs: Mapping[str, Callable] | None = None,
    outputs: Mapping[str, Callable] | None = None,
) -> Iterator[None]:
    """While open, torch's forward hooks change `inputs` of some layers and `outputs` of others."""
    with ExitStack() as stack:
        for name, hook in (inputs or {}).items():
            stack.callback(model.get_submodule(name).register_forward_pre_hook(hook).remove)
        for name, hook in (outputs or {}).items():
            stack.callback(model.get_submodule(name).register_forward_hook(hook).remove)
        yield


class _AllRead(Exception):
    """Ends a forward pass of which nothing more is needed."""


def read_layers(model: nn.Module, names: Iterable[str], *inputs: Tensor) -> dict[str, Tensor]:
    """Return the named layers' outputs for the model's `inputs`; layers behind them do not run."""
    outputs: dict[str, Tensor] = {}
    names = set(names)

    def keep(name: str) -> Callable:
        def hook(module: nn.Module, inputs: tuple, output: Tensor) -> None:
            outputs[name] = output.detach()
            if outputs.keys() == names:
                raise _AllRead

        return hook

    with suppress(_AllRead), patch_layers(model, outputs={name: keep(name) for name in names}):
        model(*inputs)
    return outputs
