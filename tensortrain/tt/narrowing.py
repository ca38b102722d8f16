"""Convert cores to a dtype of a smaller range without losing the train.

A train may be ordinary although single cores, or single channels of its bonds, are too large or too small for a dtype:
another core has the inverse size. Powers of two are then moved between the cores, which is exact.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.transforms import physical
from tensortrain.tt.checks import PRECISIONS
from tensortrain.tt.interfaces import scaled_bonds
from tensortrain.tt.scaling import spread, unit

Convert = Callable[[Sequence[Tensor]], list[Tensor]]


def narrowed(cores: Sequence[Tensor], convert: Convert) -> list[Tensor]:
    """Return `convert(cores)`, or the conversion of other cores of the same train if numbers leave the range.

    Args:
        cores: the cores `(R_{l-1}, …, R_l)`, with any number of axes between the ranks.
        convert: a function that converts the cores to another dtype.

    Raises:
        TensorTrainError: complex cores would become real, or the train does not fit the dtype.

    >>> cores = [torch.full((1, 1, 1), 2.0**k, dtype=torch.float64) for k in (-200, 202)]
    >>> [core.item() for core in narrowed(cores, lambda cores: [core.float() for core in cores])]
    [2.0, 2.0]
    """
    if cores[0].dtype.is_complex:
        _check_complex(convert)
    converted = convert(cores)
    dtype = converted[0].dtype
    if not _is_narrower(dtype, cores[0].dtype) or converted[0].is_meta or _sound(cores, converted):
        return converted
    for prepare in (_even, _balanced):
        prepared = prepare(cores)
        converted = convert(prepared)
        if _sound(prepared, converted):
            return converted
    # a channel that is still too small adds nothing to the others
    if not _fit(cores, converted, every_channel=False) or _lost(prepared, converted):
        raise TensorTrainError(
            f"the train does not fit {dtype}: even with cores of equal sizes, numbers would become infinite or zero"
        )
    return converted


def _check_complex(convert: Convert) -> None:
    """Refuse a conversion of complex cores to a dtype that is not complex, before torch warns of it."""
    first, second = (core.dtype for core in convert([torch.empty(0, dtype=d) for d in (torch.float32, torch.float64)]))
    if first == second and not first.is_complex:  # otherwise the conversion names no dtype
        raise TensorTrainError(f"complex cores cannot become {first}, which would drop the imaginary parts")


def _is_narrower(dtype: torch.dtype, before: torch.dtype) -> bool:
    """Return whether the range of a floating or complex dtype is smaller than that of another."""
    if not (dtype.is_floating_point or dtype.is_complex) or dtype == torch.complex32 or dtype.itemsize < 2:
        return False  # refused elsewhere
    return torch.finfo(dtype).max < torch.finfo(before).max or torch.finfo(dtype).tiny > torch.finfo(before).tiny


def _sound(cores: Sequence[Tensor], converted: Sequence[Tensor]) -> bool:
    """Return whether a conversion has lost no digits of any channel and of any entry that counts."""
    return _fit(cores, converted, every_channel=True) and not _lost(cores, converted)


def _lost(cores: Sequence[Tensor], converted: Sequence[Tensor]) -> bool:
    """Return whether a number became too small for the dtype although it belongs to a large entry of the tensor.

    An entry of the tensor is a sum of products of one number of each core. The error of a number counts if it changes
    such a product by more than the rounding error of the largest one.
    """
    limits = torch.finfo(converted[0].dtype)
    plain = [core.detach().flatten(1, -2) for core in cores]
    errors = [
        torch.where(old.abs() < limits.tiny, new.detach().flatten(1, -2).to(old) - old, 0).abs()
        for old, new in zip(plain, converted, strict=True)
    ]
    if not any(bool(physical(error).any()) for error in errors):
        return False
    sizes = [core.abs().to(torch.float64).log2() for core in plain]
    before, after = _paths(sizes), _paths([size.transpose(0, 2) for size in reversed(sizes)])[::-1]
    most = before[-1].amax() + math.log2(limits.eps)
    counted = (
        left[:, None, None] + error.to(torch.float64).log2() + right > most
        for error, left, right in zip(errors, before[:-1], after[1:], strict=True)
    )
    return any(bool(physical(entries).any()) for entries in counted)


def _paths(sizes: Sequence[Tensor]) -> list[Tensor]:
    """Return the logarithm of the largest product of numbers that leads to each channel of each bond, with both ends.

    Args:
        sizes: the logarithms of the absolute values of the cores, `(R_{l-1}, I_l, R_l)`.
    """
    paths = [sizes[0].new_zeros(len(sizes[0]))]
    for size in sizes:
        paths.append((paths[-1][:, None] + size.amax(1)).amax(0))
    return paths


def _fit(cores: Sequence[Tensor], converted: Sequence[Tensor], every_channel: bool) -> bool:
    """Return whether all converted cores are finite, and none of them is zero that was not zero before.

    Args:
        cores: the cores before the conversion.
        converted: the cores after the conversion.
        every_channel: whether no channel of any bond may have lost digits either.
    """
    smallest = torch.finfo(converted[0].dtype).tiny if every_channel else 0.0
    for old, new in zip(cores, converted, strict=True):
        inner = list(range(1, old.dim() - 1))
        before, after = old.detach().abs().amax(inner), new.detach().abs().amax(inner)
        for axes in [[0], [1]] if every_channel else [[0, 1]]:
            old_peaks, new_peaks = physical(before.amax(axes)), physical(after.amax(axes))
            fits = new_peaks.isfinite() & ((old_peaks == 0) | (new_peaks >= smallest) & (new_peaks > 0))
            if not bool(fits.all()):
                return False
    return True


def _even(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return cores of the same train that all have about the same size."""
    pairs = [unit(core, 0) for core in cores]
    return spread([core for core, _ in pairs], sum(k for _, k in pairs))


def _balanced(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return cores of the same train whose channels are scaled as well, see `scaled_bonds`."""
    if cores[0].dtype not in PRECISIONS:
        return list(cores)
    scaled, k = scaled_bonds([core.flatten(1, -2) for core in cores])
    return spread([part.reshape(core.shape) for part, core in zip(scaled, cores, strict=True)], k)
