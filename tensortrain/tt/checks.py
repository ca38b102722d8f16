"""Checks of the cores, shapes, ranks and limits of standard tensor trains, and their parameter counts."""

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.checks import Limits
from tensortrain.errors import TensorTrainError
from tensortrain.transforms import batched, physical

PRECISIONS = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def check_cores(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Return the cores as a tuple if they form a train: shapes `(R_{l-1}, I_l, R_l)` with matching ranks."""
    checked = tuple(
        checks.tensor(f"cores[{l}]", core, min_dim=3) for l, core in enumerate(checks.listed("cores", cores))
    )
    if not checked:
        raise TensorTrainError("cores is empty; at least one core is needed")
    for l, core in enumerate(checked):
        if core.dim() != 3:
            raise TensorTrainError(f"cores[{l}] has shape {tuple(core.shape)}; (R_{l}, I_{l + 1}, R_{l + 1}) is needed")
        if core.dtype != checked[0].dtype or core.device != checked[0].device:
            raise TensorTrainError(
                f"cores[{l}] is {core.dtype} on {core.device}, cores[0] {checked[0].dtype} on {checked[0].device};"
                " all must agree: use .to()"
            )
        if l and core.shape[0] != checked[l - 1].shape[2]:
            raise TensorTrainError(
                f"cores[{l}] begins with rank {core.shape[0]}, cores[{l - 1}] ends with {checked[l - 1].shape[2]};"
                " neighbours must share their rank"
            )
    return checked


def check_sizes(name: str, sizes: Iterable[int]) -> tuple[int, ...]:
    """Return the axis lengths as a non-empty tuple of positive ints."""
    if not checks.iterates(sizes):
        raise TensorTrainError(f"{name} = {sizes!r} is not a sequence of axis lengths")
    checked = tuple(checks.integer(f"{name}[{l}]", size, maximum=2**63 - 1) for l, size in enumerate(sizes))
    if not checked:
        raise TensorTrainError(f"{name} is empty; at least one axis is needed")
    return checked


def check_new(
    shape: Iterable[int], ranks: int | Sequence[int], dtype: torch.dtype | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Check the shape and the ranks of a new train, and return both; the ranks include the boundary ranks of 1."""
    sizes = check_sizes("shape", shape)
    check_dtype(dtype)
    return sizes, (1, *checks.per_axis("ranks", interior(ranks, len(sizes) - 1, (1, 1)), len(sizes) - 1), 1)


def check_dtype(dtype: object) -> None:
    """Refuse a dtype of new cores with which torch cannot calculate; None is torch's default dtype."""
    if dtype is None:
        return
    if not isinstance(dtype, torch.dtype):
        raise TensorTrainError(f"dtype = {dtype!r} is a {type(dtype).__name__}; use torch.float64 or another dtype")
    if not (dtype.is_floating_point or dtype.is_complex):
        raise TensorTrainError(f"dtype = {dtype} is neither floating nor complex")
    if dtype == torch.complex32 or dtype.itemsize < 2:
        larger = "torch.complex64" if dtype.is_complex else "torch.float16"
        raise TensorTrainError(f"dtype = {dtype} is one with which torch does not calculate; use {larger}")


def check_single(operation: str, *tensors: Tensor) -> None:
    """Refuse the tensors of an operation that reads single numbers from them, if `torch.vmap` runs over any of them."""
    if any(batched(tensor) for tensor in tensors):
        raise under_vmap(operation)


def under_vmap(operation: str) -> TensorTrainError:
    """Return the error of an operation that does not work under `torch.vmap`."""
    return TensorTrainError(
        f"{operation} does not work under torch.vmap, because it decides by the values of the entries; use a loop over"
        " the samples"
    )


def interior(ranks: Any, bonds: int, ends: tuple[int, int]) -> Any:
    """Return `ranks` without the boundary ranks R_0 and R_m, if `ranks` includes them.

    Raises:
        TensorTrainError: the boundary ranks in `ranks` differ from `ends`.
    """
    if not isinstance(ranks, Sequence) or len(ranks) != bonds + 2:
        return ranks
    if (ranks[0], ranks[-1]) != ends:
        raise TensorTrainError(
            f"ranks = {tuple(ranks)} begins and ends with {(ranks[0], ranks[-1])}; the boundary ranks R_0 and R_m are"
            f" {ends} here; you can leave them out"
        )
    return tuple(ranks[1:-1])


def check_axis(name: str, value: object, order: int) -> int:
    """Return an axis of a train, counted from 0; negative numbers count from the end."""
    axis = checks.integer(name, value, minimum=-order)
    if axis >= order:
        raise TensorTrainError(f"{name} = {axis} is not one of the {order} axes; legal: {-order} … {order - 1}")
    return axis % order


def check_axes(name: str, value: object, order: int) -> tuple[int, ...]:
    """Return different axes of a train as a tuple: one axis, several axes, or all of them for None."""
    if value is None:
        return tuple(range(order))
    values = tuple(value) if checks.iterates(value) else (value,)
    axes = tuple(check_axis(name, axis, order) for axis in values)
    if len(set(axes)) < len(axes):
        raise TensorTrainError(f"{name} = {value} names an axis twice")
    return axes


def digits(name: str, size: int, base: int) -> int:
    """Return k with `size = base**k`, where `size` is the length of an axis of the argument `name`."""
    count, rest = 0, size
    while rest % base == 0 and rest > 1:
        count, rest = count + 1, rest // base
    if rest != 1:
        raise TensorTrainError(f"{name} has an axis of length {size}, which is not a power of base = {base}")
    return count


def check_numbers(name: str, tensor: Tensor) -> None:
    """Refuse a tensor or core whose matrices torch cannot factorise: of another precision, or on the meta device."""
    if tensor.dtype not in PRECISIONS:
        raise TensorTrainError(
            f"{name} has dtype {tensor.dtype}; single or double precision is needed: .to(torch.float32)"
        )
    if tensor.is_meta:
        raise TensorTrainError(f"{name} is on the meta device and has no entries to calculate with; load it first")


def signed(name: str, indices: Tensor) -> Tensor:
    """Return a tensor of integers as int64; torch neither compares nor selects with the wider unsigned types."""
    converted = indices.long()
    if indices.dtype == torch.uint64 and not indices.is_meta and bool((physical(converted) < 0).any()):
        raise TensorTrainError(f"{name} holds numbers of 2**63 or more, which are too large for an index")
    return converted


def count(shape: Sequence[int], ranks: Sequence[int]) -> int:
    """Return the number of entries of all cores, `Σ_l R_{l-1} I_l R_l`.

    >>> count((2, 4), (1, 3, 1))
    18
    """
    return sum(a * size * b for a, size, b in zip(ranks[:-1], shape, ranks[1:], strict=True))


def useful_ranks(shape: Sequence[int], ends: tuple[int, int] = (1, 1)) -> tuple[int, ...]:
    """Return the largest useful rank of each bond, `min(R_0 I_1 ⋯ I_l, I_{l+1} ⋯ I_m R_m)` for l = 1 … m - 1.

    >>> useful_ranks((4, 10, 10, 4))
    (4, 40, 4)
    """
    return tuple(min(ends[0] * math.prod(shape[:l]), math.prod(shape[l:]) * ends[1]) for l in range(1, len(shape)))


def check_limits(
    shape: Sequence[int],
    ends: tuple[int, int] = (1, 1),
    *,
    ranks: int | Sequence[int] | None,
    rtol: float | None,
    max_parameters: int | None,
    budget: float | None,
) -> Limits:
    """Return the checked limits of a train of this shape, with an upper limit of the rank for every bond.

    One int is the upper limit for all bonds, and each bond lowers it to its largest useful rank. A tuple is used
    unchanged, without its boundary ranks if it includes them.

    Raises:
        TensorTrainError: an argument is out of range, an entry of `ranks` exceeds the largest rank that the other
            entries leave useful, the boundary ranks differ from `ends`, or ranks of 1 need more parameters than
            allowed.
    """
    useful = useful_ranks(shape, ends)
    ranks = interior(ranks, len(useful), ends)
    limits = Limits.of(
        bonds=len(useful),
        dense_parameters=ends[0] * math.prod(shape) * ends[1],
        ranks=ranks,
        rtol=rtol,
        max_parameters=max_parameters,
        budget=budget,
    )
    caps = useful
    if isinstance(ranks, numbers.Integral):
        caps = tuple(min(int(ranks), u) for u in useful)
    elif limits.ranks is not None:
        caps = limits.ranks
        for l, (rank, most) in enumerate(zip(caps, supported_ranks(shape, ends, caps), strict=True)):
            if rank > most:
                raise TensorTrainError(
                    f"ranks[{l}] = {rank} exceeds {most}, the largest useful rank there for shape {tuple(shape)}"
                    f" with the other ranks of {caps}"
                )
    smallest = count(shape, (ends[0], *(1 for _ in useful), ends[1]))
    if limits.parameters is not None and limits.parameters < smallest:
        argument = f"budget = {budget}" if budget is not None else f"max_parameters = {max_parameters}"
        raise TensorTrainError(
            f"{argument} allows {limits.parameters} parameters; a train of shape {tuple(shape)} has at least {smallest}"
        )
    return Limits(caps, limits.rtol, limits.parameters)


def supported_ranks(shape: Sequence[int], ends: tuple[int, int], caps: Sequence[int]) -> list[int]:
    """Return the largest useful rank of each bond when the ranks of the other bonds are at most `caps`."""
    left, right = [ends[0]], [ends[1]]
    for size, cap in zip(shape, caps, strict=False):
        left.append(min(cap, left[-1] * size))
    for size, cap in zip(reversed(shape), reversed(caps), strict=False):
        right.append(min(cap, right[-1] * size))
    right.reverse()
    return [min(left[l] * shape[l], shape[l + 1] * right[l + 1]) for l in range(len(caps))]
