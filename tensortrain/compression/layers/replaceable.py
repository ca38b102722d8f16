"""Which layers of a network may be replaced, and why others may not."""

from collections.abc import Mapping

from torch import nn

from tensortrain.compression.layers.exchange import exchange, exchangeable
from tensortrain.compression.layers.modules import check, duplicate
from tensortrain.errors import TensorTrainError


def reference_of(model: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose attention modules call their projections.

    Raises:
        TensorTrainError: a model that cannot be copied.
    """
    reference = copy_of(model).eval()
    return exchange(reference, exchangeable(reference))


def copy_of(model: nn.Module) -> nn.Module:
    """A copy of a model.

    Raises:
        TensorTrainError: a model that cannot be copied.
    """
    try:
        return duplicate(model)
    except Exception as error:  # whatever a model's own attributes raise
        raise TensorTrainError(f"model is a {type(model).__name__} that cannot be copied: {error}") from error


def obstacles(layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """The layers that no layer of this library could replace exactly, and why.

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
