"""The dense weight of layers that store cores, for code that reads `layer.weight`."""

from abc import abstractmethod
from contextlib import nullcontext
from types import MethodType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tensortrain.errors import TensorTrainError


class FromCores(nn.Module):
    """Base of all layers.

    Code around a plain layer reads its `weight`: dtype and device before a cast, the shape for counting, or the values
    for a product of its own. So the layers have one too.
    """

    cores: Any  # an nn.ModuleList
    derived: ClassVar[tuple[str, ...]] = ("weight",)
    """Names of tensors of a plain layer that this one has no parameter for."""

    @abstractmethod
    def _rebuild(self) -> Tensor:
        """The dense weight."""

    @property
    def weight(self) -> Tensor:
        """The weight of the plain layer that this one stands for, in shape, dtype and device too.

        It is neither a parameter nor in the state dict: each reading rebuilds it from the cores, at the cost of
        `merge`, so a loop should read it once. Gradients flow through it to the cores. It cannot be set, and a change
        of the tensor in place does not reach the layer.
        """
        if any(isinstance(core.weight, MethodType) for core in self.cores):
            raise AttributeError(f"the cores of this {type(self).__name__} are quantised and have no plain weights")
        kind = self.cores[0].weight.device.type
        # as it is stored: autocast is for products with inputs
        plain = torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
        with plain:
            return self._rebuild()

    def __setattr__(self, name: str, value: Any) -> None:
        self._check_name(name)
        super().__setattr__(name, value)

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        """As of every module.

        Raises:
            TensorTrainError: the name of a tensor that the layer makes of its cores.
        """
        self._check_name(name)
        super().register_parameter(name, param)

    def _check_name(self, name: str) -> None:
        if name in self.derived:
            raise TensorTrainError(
                f"{name} of a {type(self).__name__} cannot be set, since it is made of the cores; set those of its "
                f"`cores`, or replace the layer by `merge()`, a plain one"
            )


def summary(layer: Any, dense: int) -> str:
    """What `print` shows of a layer of cores: their parameters beside the plain layer's, and the error that was made.

    Args:
        layer: of cores, which may be quantised; with the attribute `error`.
        dense: parameters of the plain layer's weight.
    """
    weights = (core.weight for core in layer.cores)
    count = sum((weight() if isinstance(weight, MethodType) else weight).numel() for weight in weights)
    error = "" if layer.error is None else f", error={layer.error:.4g} when decomposed"
    return f", {count:,} of {dense:,} parameters{error}"
