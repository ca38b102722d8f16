"""Convolutions that share one weight tensor are decomposed together, and their layers share the cores."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn


def shared_weights(model: nn.Module, convs: Mapping[str, Any]) -> dict[str, str]:
    """Return the convolutions whose weight must not change, since another part of the model uses it, with the reasons.

    Args:
        model: the model that holds the convolutions.
        convs: the convolutions to replace, by name.

    >>> model = nn.ModuleDict({"down": nn.Conv1d(2, 2, 3), "up": nn.ConvTranspose1d(2, 2, 3)})
    >>> model["up"].weight = model["down"].weight
    >>> shared_weights(model, {"down": model["down"]})
    {'down': 'it shares its weight with up.weight, which stays as it is'}
    """
    owners: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(prefix, recurse=False):
            owners.setdefault(parameter, []).append((module, name))
    replaced = {conv: (getattr(conv, "groups", 1), type(conv)) for conv in convs.values()}
    reasons = {}
    for layer, conv in convs.items():
        others = [(module, name) for module, name in owners.get(conv.weight, []) if module is not conv]
        remaining = [name for module, name in others if replaced.get(module) != replaced[conv]]
        if remaining:
            reasons[layer] = f"it shares its weight with {remaining[0]}, which stays as it is"
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
