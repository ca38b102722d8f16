"""Permute, split, merge and join axes of trains. No rank is truncated: results are exact up to rounding error."""

import itertools
import math
import operator
from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt.interfaces import mirrored
from tensortrain.tt.pieces import Pieces, split


def permute(cores: Sequence[Tensor], order: Sequence[int]) -> list[Tensor]:
    """Return cores with axis `order[l]` at place l, by exchanging neighbours."""
    places = list(range(len(cores)))
    reverse = [places[-1] - axis for axis in order]
    if cores[0].shape[0] == cores[-1].shape[2] == 1 and _exchanges(reverse) < _exchanges(order):
        cores, order = [core.contiguous() for core in mirrored(cores)], reverse
    moved = list(cores)
    for target, axis in enumerate(order):
        at = places.index(axis)
        for l in range(at, target, -1):
            moved[l - 1 : l + 1] = _exchanged(moved[l - 1], moved[l])
        places.insert(target, places.pop(at))
    return moved


def _exchanges(order: Sequence[int]) -> int:
    """Return the number of exchanges of neighbours that sort `order`."""
    return sum(a > b for a, b in itertools.combinations(order, 2))


def _exchanged(first: Tensor, second: Tensor) -> list[Tensor]:
    """Return two cores with their axes in the other order."""
    both = torch.tensordot(first, second, 1).transpose(1, 2)
    return split(both.flatten(1, 2), both.shape[1:3])


def reshape(cores: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Return the cores of the reshaped tensor; the last axis is the fastest.

    Raises:
        TensorTrainError: the number of entries differs, or a new axis contains parts of several old axes.
    """
    shape = tuple(core.shape[1] for core in cores)
    if math.prod(sizes) != math.prod(shape):
        raise TensorTrainError(f"shape = {tuple(sizes)} has {math.prod(sizes)} entries, the train {math.prod(shape)}")
    ends = _cuts(shape), _cuts(sizes)
    cuts = sorted(set(ends[0]) | set(ends[1]))
    if any(after % before for before, after in itertools.pairwise(cuts)):
        raise TensorTrainError(
            f"shape {tuple(sizes)} overlaps axes of {shape}: an axis can be split into several and neighbours can be "
            "merged, but a part of one axis cannot be merged with a part of the next"
        )
    fine = [b // a for a, b in itertools.pairwise([1, *cuts])]
    return _merged(_split_at(cores, fine), sizes)


def _cuts(sizes: Sequence[int]) -> list[int]:
    """Return the products of the first sizes, which are the positions where the axes end, counted in entries."""
    return list(itertools.accumulate(sizes, operator.mul))


def _split_at(cores: Sequence[Tensor], fine: Sequence[int]) -> list[Tensor]:
    """Return cores for the axes `fine`, all longer than 1, into which the axes of the train can be split."""
    pieces, waiting = Pieces(), [size for size in fine if size > 1]
    for core in cores:
        if core.shape[1] == 1:
            pieces.fix(core[:, 0])
            continue
        sizes: list[int] = []
        while math.prod(sizes) < core.shape[1]:
            sizes.append(waiting.pop(0))
        for part in split(core, sizes):
            pieces.keep(part)
    rest = pieces.finish()
    return [rest[:, None]] if isinstance(rest, Tensor) else rest


def _merged(cores: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Return cores for the axes `sizes`, each of which is a product of axes of the train, or 1."""
    waiting, merged = list(cores), []
    rank = cores[0].shape[0]
    if math.prod(sizes) == 1:
        merged, sizes, rank = waiting, sizes[1:], cores[0].shape[2]
    for size in sizes:
        core = torch.eye(rank, dtype=cores[0].dtype, device=cores[0].device)[:, None]
        while core.shape[1] < size:
            following = waiting.pop(0)
            core = following if core.shape[1] == 1 else torch.tensordot(core, following, 1).flatten(1, 2)
        merged.append(core)
        rank = core.shape[2]
    return merged


def kron(a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
    """Return the cores of the Kronecker product of trains of the same order; all axes and ranks multiply."""
    pairs = zip(a, b, strict=True)
    return [torch.einsum("pis,qjt->pqijst", x, y).flatten(4, 5).flatten(2, 3).flatten(0, 1) for x, y in pairs]


def placed(cores: Sequence[Tensor], axis: int, before: int, after: int) -> list[Tensor]:
    """Return cores with zeros before and after the entries of one axis."""
    padded = torch.nn.functional.pad(cores[axis], (0, 0, before, after))
    return [*cores[:axis], padded, *cores[axis + 1 :]]


def tensordot(a: Sequence[Tensor], b: Sequence[Tensor], axes: int) -> list[Tensor] | Tensor:
    """Return the sum over the last `axes` axes of a and the first of b; the boundary ranks where they meet are 1."""
    kept, summed = a[: len(a) - axes], a[len(a) - axes :]
    value = torch.eye(len(summed[0]), dtype=a[0].dtype, device=a[0].device)[..., None]
    for x, y in zip(summed, b, strict=False):
        value = torch.einsum("pas,aiq,sit->pqt", value, x, y)
    pieces = Pieces()
    for core in kept:
        pieces.keep(core)
    pieces.fix(value[:, 0])
    for core in b[axes:]:
        pieces.keep(core)
    return pieces.finish()
