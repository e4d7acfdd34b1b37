"""Reads the activations of a network's layers."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def read_layers(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """While open, keeps the latest output of each named layer in the mapping that it yields.

    A name is a dotted path of modules, as in `model.named_modules()`: "layer4",
    "layer4.convolutions", "bottleneck.1". Raises AttributeError for a name that is not there.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda module, inputs, output: outputs.__setitem__(name, output.detach())

    handles = [model.get_submodule(n).register_forward_hook(keep(n)) for n in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


class _Reached(Exception):
    """Carries a layer's output out of a forward pass that need not go on."""


def layer_output(model: nn.Module, name: str, *inputs: Tensor) -> Tensor:
    """What the named layer returns for the model's `inputs`; the layers behind it are not run.

    Raises AttributeError for a name that is not there.
    """

    def stop(module, inputs, output):
        raise _Reached(output)

    handle = model.get_submodule(name).register_forward_hook(stop)
    try:
        model(*inputs)
    except _Reached as reached:
        return reached.args[0]
    finally:
        handle.remove()
    raise AttributeError(f"{name} is not run")
