"""Scale cores by powers of two, so that intermediate numbers stay in the range of the dtype if the result does.

The norm of a train is like a product over its cores. It leaves the range of every dtype for a long train, and
intermediate products leave it if the first cores are large and later cores are small. Multiplication by a power of two
is exact.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.transforms import batched, samples

_ORDINARY = 20  # sizes within so many powers of two around 1 are not scaled, which is the common case
_LOW, _HIGH = 2.0**-_ORDINARY, 2.0**_ORDINARY


def exponent(peak: float, ordinary: int = _ORDINARY) -> int:
    """Return k such that `peak` is about `2**k`, or 0 for a peak that is ordinary, zero or not finite.

    >>> exponent(3.0), exponent(2.0**100), exponent(0.0)
    (0, 101, 0)
    """
    if peak == 0 or not math.isfinite(peak):
        return 0
    k = math.frexp(peak)[1]
    return k if abs(k) > ordinary else 0


@functools.cache
def range_of(dtype: torch.dtype) -> int:
    """Return k such that numbers from `2**-k` to `2**k`, and their squares, are well within the range of a dtype."""
    return int(0.45 * math.frexp(torch.finfo(dtype).max)[1])


def magnitudes(tensor: Tensor) -> Tensor:
    """Return the absolute values of real numbers, and the larger part of complex ones, which cannot overflow.

    >>> magnitudes(torch.tensor([3e38 - 2e38j]))
    tensor([3.0000e+38])
    """
    numbers = tensor.detach()
    return torch.view_as_real(numbers.resolve_conj()).abs().amax(-1) if numbers.is_complex() else numbers.abs()


def peak(tensor: Tensor) -> float:
    """Return the largest of the `magnitudes`; under `torch.vmap` the largest of all samples.

    Raises:
        TensorTrainError: the samples differ so much in size that no common power of two suits them.
    """
    largest = magnitudes(tensor).amax()  # for large tensors many times faster than the ∞-norm
    return float(largest_sample(largest, range_of(tensor.dtype)))


def largest_sample(sizes: Tensor, apart: int) -> Tensor:
    """Return the sizes unchanged, or under `torch.vmap` the largest of each size among the samples.

    Raises:
        TensorTrainError: the samples differ by more than a factor of `2**apart`, so that no common power of two suits
            them.
    """
    if not batched(sizes):
        return sizes
    every = samples(sizes).reshape(-1, *sizes.shape)
    largest = every.amax(0)
    smallest = torch.where(every > 0, every, largest).amin(0)
    differ = smallest < largest * 2.0**-apart
    if bool(differ.any()):
        raise TensorTrainError(
            f"under torch.vmap the samples differ too much in size, from {float(smallest[differ][0]):.1e} to"
            f" {float(largest[differ][0]):.1e}; scale them to similar sizes"
        )
    return largest


def shifted(tensor: Tensor, k: int) -> Tensor:
    """Return `tensor · 2**k`, multiplied in steps that fit the range of the dtype."""
    if k == 0:
        return tensor
    step = math.frexp(torch.finfo(tensor.dtype).max)[1] - 2
    while k:
        part = max(-step, min(k, step))
        tensor = tensor * 2.0**part
        k -= part
    return tensor


def shifted_each(tensor: Tensor, powers: "np.ndarray[Any, Any]") -> Tensor:
    """Return `tensor · 2**powers`, elementwise, for integers that broadcast to its shape."""
    step = math.frexp(torch.finfo(tensor.dtype).max)[1] - 2
    powers = powers.clip(-3 * step, 3 * step)
    while powers.any():
        part = powers.clip(-step, step)
        tensor = tensor * torch.from_numpy(np.ldexp(1.0, part)).to(tensor.device, tensor.real.dtype)
        powers = powers - part
    return tensor


def shifted_along(tensor: Tensor, powers: Sequence[int], dim: int) -> Tensor:
    """Return the tensor with each slice along an axis multiplied by its own power of two, exactly.

    >>> shifted_along(torch.ones(2, 2), [0, 3], 1)
    tensor([[1., 8.],
            [1., 8.]])
    """
    if not any(powers):
        return tensor
    return shifted_each(tensor, np.array(powers).reshape([-1 if d == dim else 1 for d in range(tensor.dim())]))


def unit(tensor: Tensor, ordinary: int = _ORDINARY) -> tuple[Tensor, int]:
    """Return `(t, k)` with `tensor = t · 2**k`, where the largest entry of t is ordinary."""
    k = exponent(peak(tensor), ordinary)
    return shifted(tensor, -k), k


def ordinary(tensor: Tensor) -> bool:
    """Return whether the size of a tensor is not far from 1; zero and infinite tensors are not ordinary."""
    size = peak(tensor) if batched(tensor) else float(torch.linalg.vector_norm(tensor.detach()))
    return _LOW < size < _HIGH


def contract(carry: Tensor, core: Tensor) -> tuple[Tensor, int]:
    """Return `(p, k)` with `carry · core = p · 2**k`, where the largest entry of p is ordinary; usually k is 0."""
    product = (carry @ core.flatten(1)).reshape(-1, *core.shape[1:])
    if ordinary(product):
        return product, 0
    core, before = unit(core)
    product, after = unit(torch.tensordot(carry, core, 1))
    return product, before + after


def rescaled(cores: Sequence[Tensor], k: int) -> list[Tensor]:
    """Return cores of the train times `2**k`: the last core is scaled, or all cores if one cannot hold the factor."""
    if abs(k) <= range_of(cores[0].dtype):
        return [*cores[:-1], shifted(cores[-1], k)]
    return spread(cores, k)


def spread(cores: Sequence[Tensor], k: int) -> list[Tensor]:
    """Return cores of the train times `2**k`, with an equal share of the factor in each core."""
    share, rest = divmod(k, len(cores))
    return [shifted(core, share + (l < rest)) for l, core in enumerate(cores)]
