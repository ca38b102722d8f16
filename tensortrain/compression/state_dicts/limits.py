"""Limits for the decomposition of many kernels: one value for all, or values by patterns on the names of kernels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias, TypeVar

from tensortrain.checks import Limits, choice, per_axis
from tensortrain.compression.state_dicts.kernels import ConvKernel, matches, named
from tensortrain.conv.formats import NAMED, Format
from tensortrain.errors import TensorTrainError

T = TypeVar("T")
PerLayer: TypeAlias = Mapping[str, T] | T  # a value for each pattern, or one for all kernels
KernelSizes = str | Sequence[int | Sequence[int]] | Format
Ranks = int | Sequence[int]


@dataclass(frozen=True)
class LayerLimits:
    """The arguments of `ConvTensorTrain.decompose` that may differ from kernel to kernel.

    Each is one value for all kernels, or a mapping from patterns to values: the first pattern that matches a kernel
    decides. If any argument is a mapping, a kernel that no pattern matches stays as it is. A kernel also stays as it is
    if its patterns set none of `ranks`, `rtol`, `max_parameters` and `budget`. If an argument is a mapping of which no
    pattern matches a kernel, the kernel has the default of that argument.

    Attributes:
        kernel_sizes: see `ConvTensorTrain.decompose`: one value, or a mapping.
        ranks: see `ConvTensorTrain.decompose`: one value, or a mapping.
        rtol: largest relative Frobenius error of each kernel, in [0, 1): one value, or a mapping.
        max_parameters: largest number of parameters of each kernel: one value, or a mapping.
        budget: largest fraction of the parameters of each kernel: one value, or a mapping.

    >>> import torch
    >>> kernels = [ConvKernel(f"{name}.weight", torch.ones(2, 2, 3)) for name in ("stem", "body.0", "body.1")]
    >>> limits = LayerLimits(kernel_sizes="separable", budget={"body.0": 0.5, "body.*": 0.25})
    >>> for name, arguments in limits.by_kernel(kernels).items():
    ...     print(name, arguments)
    body.0.weight {'kernel_sizes': 'separable', 'budget': 0.5}
    body.1.weight {'kernel_sizes': 'separable', 'budget': 0.25}
    """

    kernel_sizes: PerLayer[KernelSizes] = "auto"
    ranks: PerLayer[Ranks] | None = None
    rtol: PerLayer[float] | None = None
    max_parameters: PerLayer[int] | None = None
    budget: PerLayer[float] | None = None

    def by_kernel(self, kernels: Sequence[ConvKernel]) -> dict[str, dict[str, Any]]:
        """Return the arguments for each kernel that is to be decomposed, by the name of its tensor.

        Raises:
            TensorTrainError: there is no limit at all, a value is illegal for kernels of any shape, or a pattern
                matches no kernel.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values = {name: value for name, value in values.items() if value is not None}
        mappings = {name: value for name, value in values.items() if isinstance(value, Mapping)}
        if values.keys() <= {"kernel_sizes"}:
            _check("ranks", None)  # raises the error that nothing limits the decomposition
        for name, value in values.items():
            if name in mappings:
                _check_mapping(name, value, kernels)
            else:
                _check(name, value)
        plain = {name: value for name, value in values.items() if name not in mappings}
        arguments = {}
        for kernel in kernels:
            own = {name: value[p] for name, value in mappings.items() if (p := _first(value, kernel)) is not None}
            merged = {**plain, **own}
            if (own or not mappings) and merged.keys() - {"kernel_sizes"}:
                arguments[kernel.name] = merged
        return arguments


def _first(patterns: Mapping[str, Any], kernel: ConvKernel) -> str | None:
    """Return the first of the patterns that matches the kernel; None if there is none."""
    return next((pattern for pattern in patterns if matches(kernel, pattern)), None)


def _check_mapping(name: str, values: Mapping[Any, Any], kernels: Sequence[ConvKernel]) -> None:
    if not values:
        raise TensorTrainError(f"{name} = {{}} matches no conv kernel; pass one value, or patterns such as {{'*': …}}")
    for pattern, value in values.items():
        if not isinstance(pattern, str):
            raise TensorTrainError(f"{name} has the key {pattern!r}; its keys must be patterns such as 'layer1.*'")
        named(name, pattern, kernels)
        try:
            _check(name, value)
        except TensorTrainError as error:
            raise TensorTrainError(f"{name}[{pattern!r}]: {error}") from None


def _check(name: str, value: Any) -> None:
    """Raise an error if a value is illegal for kernels of any shape."""
    if name == "kernel_sizes":
        _check_kernel_sizes(value)
    else:
        Limits.of(bonds=None, dense_parameters=1, **{**dict.fromkeys(_LIMITS), name: value})


_LIMITS = ("ranks", "rtol", "max_parameters", "budget")


def _check_kernel_sizes(value: Any) -> None:
    if isinstance(value, str):
        choice("kernel_sizes", value, ("auto", *NAMED))
    elif not isinstance(value, Format):
        if not isinstance(value, Sequence) or not value:
            raise TensorTrainError(f"kernel_sizes = {value!r}; a sequence of core sizes such as (3, 3) is needed")
        for l, size in enumerate(value):
            per_axis(f"kernel_sizes[{l}]", size, len(size) if isinstance(size, Sequence) else 1)
