"""Decide which layers of a network can be replaced, and say why others cannot."""

from collections.abc import Mapping

from torch import nn

from tensortrain.compression.layers.exchange import exchange, exchangeable
from tensortrain.compression.layers.modules import check, duplicate
from tensortrain.errors import TensorTrainError


def reference_of(model: nn.Module) -> nn.Module:
    """Return a copy of a model in evaluation mode, with attention modules that call their projections.

    Raises:
        TensorTrainError: the model cannot be copied.
    """
    reference = copy_of(model).eval()
    return exchange(reference, exchangeable(reference))


def copy_of(model: nn.Module) -> nn.Module:
    """Return a copy of a model.

    Raises:
        TensorTrainError: the model cannot be copied.
    """
    try:
        return duplicate(model)
    except Exception as error:  # whatever a model's own attributes raise
        raise TensorTrainError(f"model is a {type(model).__name__} that cannot be copied: {error}") from error


def obstacles(layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """Return the layers that no layer of this library could replace exactly, with the reasons.

    >>> layers = {"a": nn.Linear(2, 3), "b": nn.utils.parametrizations.weight_norm(nn.Linear(2, 3))}
    >>> list(obstacles(layers))
    ['b']
    """
    reasons = {}
    for name, layer in layers.items():
        try:
            check(layer)
        except TensorTrainError as error:
            reasons[name] = str(error)
    return reasons
