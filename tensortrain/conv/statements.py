"""Checks of what a chain and its file state besides the cores: whether it is transposed, its groups and its errors."""

import math
from collections.abc import Sequence

from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError

ERRORS = ("error", "upper_bound", "lower_bound", "data_error", "data_lower_bound")
STORED = ("groups", "transposed", *ERRORS)  # fields of a file, in addition to the cores


def check_kind(transposed: object) -> bool:
    """Return `transposed` if it is True or False; texts such as "no" would count as true.

    >>> check_kind("no")
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: transposed = 'no' is neither True nor False
    """
    if not isinstance(transposed, bool):
        raise TensorTrainError(f"transposed = {transposed!r} is neither True nor False")
    return transposed


def check_errors(**values: object) -> dict[str, float | None]:
    """Return errors and bounds as floats if all of them are None or finite numbers of at least 0.

    >>> check_errors(error=0, upper_bound=None)
    {'error': 0.0, 'upper_bound': None}
    """
    return {name: None if value is None else _error(name, value) for name, value in values.items()}


def _error(name: str, value: object) -> float:
    number = checks.real(value)
    if not 0 <= number < math.inf:  # a NaN fails too
        raise TensorTrainError(f"{name} = {value!r}; None or a finite number of at least 0 is needed")
    return number


def check_dense(padding: str) -> None:
    """Refuse the padding "same_per_step", which has no dense form."""
    if padding == "same_per_step":
        raise TensorTrainError('padding = "same_per_step" has no dense form; compare with padding="same"')


def check_conversion(before: Sequence[Tensor], after: Sequence[Tensor]) -> None:
    """Check that cores in another dtype stand for the same chain.

    Raises:
        TensorTrainError: complex cores became real, or a core became zero.

    >>> import torch
    >>> check_conversion([torch.ones(1, 1, 1)], [torch.zeros(1, 1, 1)])
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: cores[0] would become zero in torch.float32; scale the cores first
    """
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        if old.is_complex() and not new.is_complex():
            raise TensorTrainError(f"complex cores cannot become {new.dtype}, which would drop the imaginary parts")
        if not new.is_meta and bool(old.any()) and not bool(new.any()):
            raise TensorTrainError(f"cores[{number}] would become zero in {new.dtype}; scale the cores first")
