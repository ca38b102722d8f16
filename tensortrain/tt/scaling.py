"""Powers of two beside trains: numbers that leave the range of their dtype on the way, though the result fits.

The norm of a train is a product over its cores, and so leaves the range of every dtype for a long train, or
in between for cores that are large first and small later. Multiplying by a power of two is exact.
"""

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.transforms import batched, physical

_ORDINARY = 20  # powers of two around 1 that are left alone, so that common trains are computed as they are
_LOW, _HIGH = 2.0**-_ORDINARY, 2.0**_ORDINARY


def exponent(peak: float, ordinary: int = _ORDINARY) -> int:
    """k with `peak` about `2**k`, but 0 for a peak that is ordinary, zero or not finite.

    >>> exponent(3.0), exponent(2.0**100), exponent(0.0)
    (0, 101, 0)
    """
    if peak == 0 or not math.isfinite(peak):
        return 0
    k = math.frexp(peak)[1]
    return k if abs(k) > ordinary else 0


@functools.cache
def range_of(dtype: torch.dtype) -> int:
    """The largest power of two that keeps clear of the ends of a dtype's range, with squares of it to spare."""
    return int(0.45 * math.frexp(torch.finfo(dtype).max)[1])


def peak(tensor: Tensor) -> float:
    """The largest absolute value; under `torch.vmap` that of all samples together.

    Raises:
        TensorTrainError: samples so different in size that no common power of two suits them.
    """
    peaks = tensor.detach().abs().amax()  # for large tensors many times faster than the ∞-norm
    if not batched(peaks):
        return float(peaks)
    peaks = physical(peaks)
    largest = float(peaks.amax())
    smallest = float(torch.where(peaks > 0, peaks, largest).amin())
    if 0 < smallest < math.ldexp(largest, -range_of(tensor.dtype)):
        raise TensorTrainError(
            f"under torch.vmap the samples differ too much in size, from {smallest:.1e} to {largest:.1e}; scale them"
        )
    return largest


def shifted(tensor: Tensor, k: int) -> Tensor:
    """`tensor · 2**k`, in steps that are powers of two of the dtype's range."""
    if k == 0:
        return tensor
    step = math.frexp(torch.finfo(tensor.dtype).max)[1] - 2
    while k:
        part = max(-step, min(k, step))
        tensor = tensor * 2.0**part
        k -= part
    return tensor


def unit(tensor: Tensor) -> tuple[Tensor, int]:
    """`(t, k)` with `tensor = t · 2**k`, where t has an ordinary largest entry."""
    k = exponent(peak(tensor))
    return shifted(tensor, -k), k


def ordinary(tensor: Tensor) -> bool:
    """Whether the size is not far from 1; not so if it is zero or not finite."""
    size = peak(tensor) if batched(tensor) else float(torch.linalg.vector_norm(tensor.detach()))
    return _LOW < size < _HIGH


def contract(carry: Tensor, core: Tensor) -> tuple[Tensor, int]:
    """`(p, k)` with `carry · core = p · 2**k`, where p has an ordinary largest entry; k is 0 as a rule."""
    product = (carry @ core.flatten(1)).reshape(-1, *core.shape[1:])
    if ordinary(product):
        return product, 0
    core, before = unit(core)
    product, after = unit(torch.tensordot(carry, core, 1))
    return product, before + after


def rescaled(cores: Sequence[Tensor], k: int) -> list[Tensor]:
    """Cores of the train times `2**k`: in the last core, or spread over all where one cannot hold it."""
    if abs(k) <= range_of(cores[0].dtype):
        return [*cores[:-1], shifted(cores[-1], k)]
    return spread(cores, k)


def spread(cores: Sequence[Tensor], k: int) -> list[Tensor]:
    """Cores of the train times `2**k`, an equal share in each."""
    share, rest = divmod(k, len(cores))
    return [shifted(core, share + (l < rest)) for l, core in enumerate(cores)]
