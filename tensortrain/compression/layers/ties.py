"""Layers that share one weight are decomposed together, and the layers that replace them share the cores."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from tensortrain.compression.layers.modules import outermost


def shared_weights(model: nn.Module, layers: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, str]:
    """Return the layers whose weight must not change, since another part of the model uses it, with the reasons.

    Args:
        model: the model that holds the layers.
        layers: the plain layers and the layers of this library to replace, by name.
        limits: the limits of each layer. Those of layers that share a weight must be equal.

    >>> model = nn.ModuleDict({"down": nn.Conv1d(2, 2, 3), "up": nn.ConvTranspose1d(2, 2, 3)})
    >>> model["up"].weight = model["down"].weight
    >>> shared_weights(model, {"down": model["down"]}, {"down": {"ranks": 1}})
    {'down': 'it shares its weight with up.weight, which stays as it is'}
    """
    layer_of = {part: layer for _, layer in outermost(model) for part in layer.modules()}
    owners: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            owners.setdefault(parameter, []).append((layer_of.get(module, module), name))
    weights_of = {
        layer: [weight for key, weight in layer.named_parameters() if not key.endswith("bias")]
        for layer in layers.values()
    }
    replaced = {
        layer: (getattr(layer, "groups", 1), type(layer), [id(weight) for weight in weights])
        for layer, weights in weights_of.items()
    }
    limits_of = {layer: limits[name] for name, layer in layers.items()}
    reasons = {}
    for name, layer in layers.items():
        others = [owner for weight in weights_of[layer] for owner in owners[weight] if owner[0] is not layer]
        for module, other in others:
            if replaced.get(module) != replaced[layer]:
                reasons[name] = f"it shares its weight with {other}, which stays as it is"
            elif limits_of[module] != limits_of[layer]:
                reasons[name] = f"it shares its weight with {other}, which has other limits; set the same for both"
    return reasons


def tie(layers: Iterable[tuple[Any, Any]]) -> None:
    """Let layers share their cores if the layers that they replace share a weight and the cores are equal.

    They share the bias if the layers that they replace do.

    Args:
        layers: pairs of a plain layer and the layer that replaces it.
    """
    first: dict[nn.Parameter, Any] = {}
    biases: dict[nn.Parameter, nn.Parameter] = {}
    for conv, layer in layers:
        other = first.setdefault(conv.weight, layer)
        pairs = list(zip(layer.cores, other.cores, strict=False))
        if len(layer.cores) == len(other.cores) and all(torch.equal(a.weight, b.weight) for a, b in pairs):
            for core, shared in pairs:
                core.weight = shared.weight
        if getattr(conv, "bias", None) is not None:  # embeddings have none
            owner = layer if "bias" in layer._parameters else layer.cores[0]  # layers with a TT-matrix hold it
            owner.bias = biases.setdefault(conv.bias, owner.bias)
