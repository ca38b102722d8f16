"""Checks and counts of the standard format: cores, shapes, ranks and limits."""

import math
import numbers
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.checks import Limits
from tensortrain.errors import TensorTrainError

PRECISIONS = (torch.float32, torch.float64, torch.complex64, torch.complex128)


def check_cores(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The cores as a tuple, if they are those of a train: `(R_{l-1}, I_l, R_l)`, neighbours sharing their rank."""
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
    """The axis lengths as a tuple of positive ints, at least one."""
    if not checks.iterates(sizes):
        raise TensorTrainError(f"{name} = {sizes!r} is no sequence of axis lengths")
    checked = tuple(checks.integer(f"{name}[{l}]", size, maximum=2**63 - 1) for l, size in enumerate(sizes))
    if not checked:
        raise TensorTrainError(f"{name} is empty; at least one axis is needed")
    return checked


def check_new(
    shape: Iterable[int], ranks: int | Sequence[int], dtype: torch.dtype | None
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Check the shape and the ranks of a new train; returns both, the ranks with the boundary ranks of 1."""
    sizes = check_sizes("shape", shape)
    if dtype is not None and not (dtype.is_floating_point or dtype.is_complex):
        raise TensorTrainError(f"dtype = {dtype} is neither floating nor complex")
    return sizes, (1, *checks.per_axis("ranks", interior(ranks, len(sizes) - 1, (1, 1)), len(sizes) - 1), 1)


def interior(ranks: Any, bonds: int, ends: tuple[int, int]) -> Any:
    """`ranks` without the boundary ranks R_0 and R_m, if they are given as well.

    Raises:
        TensorTrainError: boundary ranks other than `ends`.
    """
    if not isinstance(ranks, Sequence) or len(ranks) != bonds + 2:
        return ranks
    if (ranks[0], ranks[-1]) != ends:
        raise TensorTrainError(
            f"ranks = {tuple(ranks)} begins and ends with {(ranks[0], ranks[-1])}; the boundary ranks R_0 and R_m are"
            f" {ends} here, and need not be given"
        )
    return tuple(ranks[1:-1])


def check_axis(name: str, value: object, order: int) -> int:
    """An axis of a train, counted from 0, or from the end if it is negative."""
    axis = checks.integer(name, value, minimum=-order)
    if axis >= order:
        raise TensorTrainError(f"{name} = {axis} is no axis of {order}; legal: {-order} … {order - 1}")
    return axis % order


def check_axes(name: str, value: object, order: int) -> tuple[int, ...]:
    """Different axes of a train: one, several, or all of them for None."""
    if value is None:
        return tuple(range(order))
    values = tuple(value) if checks.iterates(value) else (value,)
    axes = tuple(check_axis(name, axis, order) for axis in values)
    if len(set(axes)) < len(axes):
        raise TensorTrainError(f"{name} = {value} names an axis twice")
    return axes


def digits(name: str, size: int, base: int) -> int:
    """k with `size = base**k`, the length of an axis of what is called `name`."""
    count, rest = 0, size
    while rest % base == 0 and rest > 1:
        count, rest = count + 1, rest // base
    if rest != 1:
        raise TensorTrainError(f"{name} has an axis of length {size}, which is no power of base = {base}")
    return count


def check_numbers(name: str, tensor: Tensor) -> None:
    """Refuse a tensor or core whose matrices torch cannot factorise: of another precision, or without numbers."""
    if tensor.dtype not in PRECISIONS:
        raise TensorTrainError(
            f"{name} has dtype {tensor.dtype}; single or double precision is needed: .to(torch.float32)"
        )
    if tensor.is_meta:
        raise TensorTrainError(f"{name} is on the device meta and has no numbers, from which the result would follow")


def count(shape: Sequence[int], ranks: Sequence[int]) -> int:
    """Entries of the cores, `Σ_l R_{l-1} I_l R_l`.

    >>> count((2, 4), (1, 3, 1))
    18
    """
    return sum(a * size * b for a, size, b in zip(ranks[:-1], shape, ranks[1:], strict=True))


def useful_ranks(shape: Sequence[int], ends: tuple[int, int] = (1, 1)) -> tuple[int, ...]:
    """The largest useful rank of each bond: `min(R_0 I_1 ⋯ I_l, I_{l+1} ⋯ I_m R_m)`, l = 1 … m - 1.

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
    """The limits of a train of this shape, `ranks` filled in for every bond.

    One int is a cap for all bonds, clipped to what each can use. A tuple stays as it is, but for the
    boundary ranks, which it may include.

    Raises:
        TensorTrainError: an argument out of range, an entry of `ranks` above what the other entries leave
            useful, other boundary ranks than `ends`, or fewer parameters than ranks of 1 need.
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
    """For each bond the largest rank that the caps on the bonds to its left and right leave useful."""
    left, right = [ends[0]], [ends[1]]
    for size, cap in zip(shape, caps, strict=False):
        left.append(min(cap, left[-1] * size))
    for size, cap in zip(reversed(shape), reversed(caps), strict=False):
        right.append(min(cap, right[-1] * size))
    right.reverse()
    return [min(left[l] * shape[l], shape[l + 1] * right[l + 1]) for l in range(len(caps))]
