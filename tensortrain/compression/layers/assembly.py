"""Copy a network and replace some of its layers."""

from collections.abc import Mapping

from torch import nn

from tensortrain.compression.layers.exchange import exchange, exchangeable
from tensortrain.compression.layers.modules import duplicate, places, swap


def assembled(original: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """Return a copy of a network with some of its layers replaced.

    Args:
        original: the network; it is not changed.
        layers: the new layers, by the names of those that they replace. Each is put into the mode (training or
            evaluation) of the layer that it replaces.

    >>> model = assembled(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), {"0": nn.Identity()})
    >>> [type(layer).__name__ for layer in model]
    ['Identity', 'ReLU']
    """
    model = duplicate(original)
    needed = {name for name in exchangeable(model) if any(_beside(name, layer) for layer in layers)}
    model = exchange(model, needed)
    for name, layer in layers.items():
        layer.train(model.get_submodule(name).training)
    return swap(model, places(model, layers))


def _beside(attention: str, layer: str) -> bool:
    """Return whether a layer is inside the module that contains an attention module.

    That module may read the layer's weight too.
    """
    return f"{layer}.".startswith(f"{attention.rpartition('.')[0]}.".removeprefix("."))
