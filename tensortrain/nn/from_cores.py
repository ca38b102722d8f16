"""The dense weight of layers that store cores, for code that reads `layer.weight`."""

from abc import abstractmethod
from contextlib import nullcontext
from types import MethodType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tensortrain.errors import TensorTrainError


class FromCores(nn.Module):
    """Base class of all layers.

    Other code reads the `weight` of a plain layer: its dtype and device before a cast, its shape to count parameters,
    or its values for a product. Therefore these layers have a `weight` as well.
    """

    cores: Any  # an nn.ModuleList
    derived: ClassVar[tuple[str, ...]] = ("weight",)
    """Names of tensors of the plain layer that are not parameters of this layer."""

    @abstractmethod
    def _rebuild(self) -> Tensor:
        """Return the dense weight."""

    @abstractmethod
    def merge(self) -> nn.Module:
        """Return the plain layer that computes the same, with a dense weight."""

    @property
    def weight(self) -> Tensor:
        """Return the weight of the plain layer that this layer replaces, with its shape, dtype and device.

        The weight is neither a parameter nor part of the state dict. Each access computes it from the cores at the cost
        of `merge`, so read it once before a loop. Gradients flow through it to the cores. It cannot be set, and
        changing the returned tensor in place does not change the layer.

        Raises:
            AttributeError: the cores are quantised.
        """
        if any(isinstance(core.weight, MethodType) for core in self.cores):
            raise AttributeError(f"the cores of this {type(self).__name__} are quantised and have no plain weights")
        kind = self.cores[0].weight.device.type
        # in the stored dtype: autocast is meant for products with inputs
        plain = torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
        with plain:
            weight = self._rebuild()
        # the weight of a layer with one core may be a view of the parameter
        return weight.clone() if len(self.cores) == 1 else weight

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_name(name)
        super().__setattr__(name, value)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """Register a parameter, as every module does.

        Raises:
            TensorTrainError: the name belongs to a tensor that the layer's cores determine.
        """
        self._check_name(name)
        super().register_parameter(name, param)

    def _check_name(self, name: str) -> None:
        """Refuse the name of a tensor that the layer's cores determine."""
        if name in self.derived:
            raise TensorTrainError(
                f"{name} of a {type(self).__name__} cannot be set, because its cores determine it; set the "
                f"parameters of its `cores`, or replace the layer by the plain layer `merge()`"
            )


def summary(layer: Any, dense: int) -> str:
    """Return the end of a layer's text: its parameters, those of the plain layer, and the error of the decomposition.

    Args:
        layer: a layer with cores, which may be quantised, and with the attribute `error`.
        dense: number of entries of the plain layer's weight.
    """
    weights = (getattr(core, "weight", torch.empty(0)) for core in layer.cores)  # another module may be in its place
    count = sum((weight() if isinstance(weight, MethodType) else weight).numel() for weight in weights)
    error = "" if layer.error is None else f", error={layer.error:.4g} when decomposed"
    return f", {count:,} of {dense:,} parameters{error}"
