"""A network with new layers in the place of its own."""

from collections.abc import Mapping

from torch import nn

from tensortrain.compression.layers.exchange import exchange, exchangeable
from tensortrain.compression.layers.modules import duplicate, places, swap


def assembled(original: nn.Module, layers: Mapping[str, nn.Module]) -> nn.Module:
    """A copy of the original with its new layers, in the modes of those that they replace."""
    model = duplicate(original)
    needed = {name for name in exchangeable(model) if any(_beside(name, layer) for layer in layers)}
    model = exchange(model, needed)
    for name, layer in layers.items():
        layer.train(model.get_submodule(name).training)
    return swap(model, places(model, layers))


def _beside(attention: str, layer: str) -> bool:
    """Whether a layer stands in the module that holds an attention module, which may read its weight as well."""
    return f"{layer}.".startswith(f"{attention.rpartition('.')[0]}.".removeprefix("."))
