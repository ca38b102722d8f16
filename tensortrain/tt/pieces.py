"""Trains some of whose axes are fixed by an index, by a batch of indices, or by a sum over the axis."""

import numbers
from collections.abc import Sequence
from types import EllipsisType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise
from tensortrain.transforms import batched, physical
from tensortrain.tt.checks import signed

Index = int | slice | EllipsisType | None | Tensor | np.ndarray[Any, Any]


class Pieces:
    """Builds the rest of a train whose axes are kept or fixed one after the other, from the first to the last.

    A fixed core has no axis, `(R, R')`, or one batch axis, `(R, B, R')`, which all fixed axes share. It is multiplied
    with its neighbours.

    Args:
        batch: shape of the batch; the product of its sizes is B.
    """

    def __init__(self, batch: tuple[int, ...] = ()) -> None:
        self.batch = batch
        self.cores: list[Tensor] = []
        self._carry: Tensor | None = None
        self._batch_at: int | None = None

    def keep(self, core: Tensor) -> None:
        """Keep the axis of a core `(R, I, R')`."""
        if self._carry is None:
            self.cores.append(core)
        elif self._carry.dim() == 2:
            self.cores.append(torch.tensordot(self._carry, core, 1))
        else:
            self._place(self._carry)
            self.cores.append(core)
        self._carry = None

    def _place(self, batch: Tensor) -> None:
        """Append the core of the batch."""
        self._batch_at = len(self.cores)
        self.cores.append(batch)

    def fix(self, piece: Tensor) -> None:
        """Append a matrix `(R, R')` or a batch of matrices `(R, B, R')`.

        Raises:
            TensorTrainError: there is a kept axis between two batches.
        """
        if piece.dim() == 3 and self._batch_at is not None:
            raise TensorTrainError(
                "index tensors on both sides of an axis that is kept would give a train of large ranks; "
                "index the axes between them as well, or make the indexed axes neighbours with permute() first"
            )
        if self._carry is None:
            self._carry = piece
        elif piece.dim() == self._carry.dim() == 3:
            self._carry = (self._carry.movedim(1, 0) @ piece.movedim(1, 0)).movedim(0, 1)
        else:
            self._carry = torch.tensordot(self._carry, piece, 1)

    def look_up(self, core: Tensor, places: Tensor) -> None:
        """Append the slices of a core at the positions `(B,)` of a batch."""
        if self._carry is not None and self._carry.dim() == 3 and _repeated(core, places):
            self._carry = _by_slices(self._carry, core, places)
        else:
            slices = core.transpose(0, 1).contiguous()[places]  # makes each slice contiguous
            self.fix(slices.transpose(0, 1))

    def finish(self) -> list[Tensor] | Tensor:
        """Return the cores of the rest, or a tensor `(R_0, …, R_m)` with the axes of the batch if no axis was kept."""
        if not self.cores:
            assert self._carry is not None
            return self._carry.reshape(len(self._carry), *self.batch, self._carry.shape[-1])
        if self._carry is not None and self._carry.dim() == 3:
            self._place(self._carry)
        elif self._carry is not None:
            self.cores[-1] = torch.tensordot(self.cores[-1], self._carry, 1)
        if self._batch_at is None:
            return self.cores
        if 0 in self.batch:
            raise TensorTrainError(f"an index tensor of shape {self.batch} selects no entry; give at least one index")
        at = self._batch_at
        return [*self.cores[:at], *split(self.cores[at], self.batch), *self.cores[at + 1 :]]


def _repeated(core: Tensor, places: Tensor) -> bool:
    """Return whether slices of a core are so large and so often repeated that copies of them would fill the cache."""
    left, size, right = core.shape
    is_eager = not batched(places) and not torch.compiler.is_compiling()
    return is_eager and places.device.type == "cpu" and left * right > 128 and len(places) > 4 * size


def _by_slices(carry: Tensor, core: Tensor, places: Tensor) -> Tensor:
    """Return `carry[:, b] · core[:, places[b]]`, `(R_0, B, R')`, computed slice by slice."""
    groups = grouped(places, core.shape[1])
    order = torch.cat(groups)
    parts = [torch.tensordot(carry[:, group], core[:, i], 1) for i, group in enumerate(groups)]
    return torch.cat(parts, 1)[:, torch.argsort(order)]


def grouped(places: Tensor, size: int) -> list[Tensor]:
    """Return for each number below `size` its positions in `places`, `(B,)`.

    >>> grouped(torch.tensor([1, 0, 1]), 3)
    [tensor([1]), tensor([0, 2]), tensor([], dtype=torch.int64)]
    """
    order = torch.argsort(places, stable=True)
    return list(torch.split(order, torch.bincount(places, minlength=size).tolist()))


def split(core: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Return cores of a train equal to `core`, `(R, I_1 ⋯ I_k, R')`, with its axis split.

    All new cores but one consist of identities, so no number changes.

    >>> [tuple(part.shape) for part in split(torch.ones(2, 12, 5), (3, 4))]
    [(2, 3, 6), (6, 4, 5)]
    """
    parts = []
    for size in sizes[:-1]:
        left, length, right = core.shape
        rows, columns = left * size, length // size * right
        matrix = core.reshape(rows, columns)
        unit = torch.eye(min(rows, columns), dtype=core.dtype, device=core.device)
        head, core = (unit, matrix) if rows <= columns else (matrix, unit)
        parts.append(head.reshape(left, size, -1))
        core = core.reshape(-1, length // size, right)
    return [*parts, core]


@precise
def select(cores: Sequence[Tensor], index: Sequence[Index]) -> list[Tensor] | Tensor:
    """Return the train of an index, or a tensor with the axes R_0 and R_m if no axis of the train is left."""
    sizes = [core.shape[1] for core in cores]
    items = _expand(index, sizes)
    if not cores[0].is_meta and any(isinstance(item, Tensor) and item.is_meta for item in items):
        raise TensorTrainError("an index tensor is on the meta device and holds no indices; load it first")
    pieces = Pieces(_batch_shape(items))
    rank, following = cores[0].shape[0], iter(cores)
    for item in items:
        if item is None:
            pieces.keep(torch.eye(rank, dtype=cores[0].dtype, device=cores[0].device)[:, None])
            continue
        core = next(following)
        rank = core.shape[2]
        if isinstance(item, slice):
            whole = item == slice(None)
            pieces.keep(core if whole else core[:, torch.tensor(range(core.shape[1])[item], device=core.device)])
        elif isinstance(item, Tensor) and item.dim() > 0:
            pieces.look_up(core, item.to(core.device).expand(pieces.batch).reshape(-1))
        else:
            pieces.fix(core[:, item.to(core.device) if isinstance(item, Tensor) else item])
    return pieces.finish()


def _batch_shape(items: Sequence[Any]) -> tuple[int, ...]:
    """Return the common shape of the index tensors after broadcasting."""
    shapes = [item.shape for item in items if isinstance(item, Tensor)]
    try:
        return tuple(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise TensorTrainError(
            f"index tensors of shapes {', '.join(str(tuple(shape)) for shape in shapes)} do not broadcast"
        ) from None


def _expand(index: Sequence[Index], sizes: Sequence[int]) -> list[int | slice | Tensor | None]:
    """Return one checked item for each axis, and every None, with full slices for the ellipsis and missing items."""
    items = list(index) if any(item is ... for item in index) else [*index, ...]
    at = next(i for i, item in enumerate(items) if item is ...)
    missing = len(sizes) - sum(item is not None for item in items) + 1
    if missing < 0 or sum(item is ... for item in items) > 1:
        raise TensorTrainError(f"the index does not fit {len(sizes)} axes: at most one entry each and one ellipsis")
    filled: list[int | slice | Tensor | None] = []
    axis = 0
    for item in items[:at] + [slice(None)] * missing + items[at + 1 :]:
        filled.append(None if item is None else _checked(item, axis, sizes[axis]))
        axis += item is not None
    return filled


def _checked(item: object, axis: int, size: int) -> int | slice | Tensor:
    """Return an index of one axis if it is legal and in range."""
    if isinstance(item, np.ndarray) and item.dtype.kind in "iu":
        item = torch.from_numpy(np.array(item, item.dtype.newbyteorder("="), order="C"))
    if isinstance(item, Tensor):
        return _checked_tensor(item, axis, size)
    if isinstance(item, slice):
        try:
            length = len(range(size)[item])
        except (TypeError, ValueError):
            raise TensorTrainError(
                f"index[{axis}] = {item} is not a valid slice; integers and a step other than 0 are needed"
            ) from None
        if length == 0:
            raise TensorTrainError(f"index[{axis}] = {item} selects no entry of an axis of length {size}")
        return item
    if isinstance(item, bool) or not isinstance(item, numbers.Integral):
        raise TensorTrainError(
            f"index[{axis}] is a {type(item).__name__}; an int, a slice, a tensor of integers, None or ... is needed"
        )
    position = checks.integer(f"index[{axis}]", item, minimum=-size)
    if position >= size:
        raise TensorTrainError(f"index[{axis}] = {position} is outside an axis of length {size}")
    return position


def _checked_tensor(item: Tensor, axis: int, size: int) -> Tensor:
    """Return an index tensor with non-negative entries if all of them are in range."""
    if item.is_floating_point() or item.is_complex() or item.dtype == torch.bool:
        hint = "; for a mask use mask.nonzero()" if item.dtype == torch.bool else ""
        raise TensorTrainError(f"index[{axis}] has dtype {item.dtype}; integers are needed{hint}")
    checks.ordinary(f"index[{axis}]", item)
    item = signed(f"index[{axis}]", item)
    plain = physical(item)
    if plain.numel() > 0 and not plain.is_meta:
        low, high = int(plain.min()), int(plain.max())
        if low < -size or high >= size:
            outside = low if low < -size else high
            raise TensorTrainError(f"index[{axis}] holds {outside}, which is outside an axis of length {size}")
    return torch.where(item < 0, item + size, item)
