"""Operations on the axes (modes) of trains: indexing, sums, contraction, permutation, reshaping and joining."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise
from tensortrain.tt import arithmetic, axes
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.operators import Operators
from tensortrain.tt.pieces import Index, Pieces, select


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Modes(Operators):
    """A tensor as cores `(R_{l-1}, I_l, R_l)`; its axes are numbered like those of the dense tensor."""

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Self | Tensor:
        """Return `train[i, j, …]` as PyTorch would: integers remove their axis, slices and an ellipsis keep theirs.

        Several tensors of integers index their axes jointly, as in PyTorch: they are broadcast, and their common axes
        replace the indexed axes. `None` inserts a new axis of length 1. Gradients flow to the cores.

        Returns:
            A train of the axes that are left. If none of the train's axes is left, a tensor: the entry, 0-d, or the
            entries `(…)` for index tensors of shape `(…)`; the result is `(R_0, …, R_m)` unless both boundary ranks
            are 1.

        Raises:
            TensorTrainError: an index is out of range or selects no entry, there are too many indices, or an axis
                between index tensors is kept.

        Complexity: `Σ_l R_{l-1} R_l` multiplications for each entry.

        >>> import torch, tensortrain as tt
        >>> train = tt.TensorTrain.random((4, 5, 6), 2)
        >>> train[1, ..., ::2].shape, train[1, 2, 3].shape, train[1, None].shape
        ((5, 3), torch.Size([]), (1, 5, 6))
        >>> i, j, k = torch.tensor([[0, 1, 3], [4, 0, 2], [5, 5, -1]])
        >>> train[i, j, k].shape, train[i, j].shape
        (torch.Size([3]), (3, 6))
        """
        return self._left(select(self.cores, index if isinstance(index, tuple) else (index,)))

    def _left(self, pieces: list[Tensor] | Tensor) -> Self | Tensor:
        """Return a train, or a tensor, whose axes R_0 and R_m are dropped if both are 1 long."""
        if not isinstance(pieces, Tensor):
            return self._of(pieces)
        return pieces[0, ..., 0] if pieces.shape[0] == pieces.shape[-1] == 1 else pieces

    def sum(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Self | Tensor:
        """Return the sum over some axes; None means all axes.

        Args:
            dim: one axis or several axes, counted from 0 or from the end; None means all axes.
            keepdim: whether the axes are kept with length 1.

        Returns:
            A train of the axes that are left, or a tensor as in indexing if no axis is left.

        Raises:
            TensorTrainError: an axis does not exist or is named twice.

        >>> import tensortrain as tt
        >>> train = tt.TensorTrain.ones((4, 5, 6))
        >>> train.sum(), train.sum(1).shape, train.sum((0, 1), keepdim=True).shape
        (tensor(120.), (4, 6), (1, 1, 6))
        """
        return self._reduced(dim, keepdim, torch.sum)

    def mean(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Self | Tensor:
        """Return the mean over some axes; arguments and result are those of `sum`.

        The mean of each core is computed before the cores are multiplied, so that the number of entries, which may be
        larger than every floating-point number, is never needed.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((4,) * 600).mean()
        tensor(1.)
        """
        return self._reduced(dim, keepdim, torch.mean)

    @precise
    def _reduced(self, dim: int | Sequence[int] | None, keepdim: bool, reduce: Callable[..., Tensor]) -> Self | Tensor:
        """Return the result of `reduce`, applied to the named axes of the cores."""
        reduced = tt_checks.check_axes("dim", dim, self.order)
        pieces = Pieces()
        for axis, core in enumerate(self.cores):
            if axis in reduced and not keepdim:
                pieces.fix(reduce(core, 1))
            else:
                pieces.keep(reduce(core, 1, keepdim=True) if axis in reduced else core)
        return self._left(pieces.finish())

    @precise
    def contract(self, vectors: Mapping[int, Tensor]) -> Self | Tensor:
        """Contract some axes with a vector each, `Σ_i T[…, i, …] u[i]`, without conjugation.

        Args:
            vectors: a dict from axes to vectors u, `(I_l,)`.

        Returns:
            A train or a tensor, as in `sum`. To contract all axes with batches of vectors, use `evaluate`.

        Raises:
            TensorTrainError: an axis does not exist or is named twice, or a vector does not fit.

        >>> import torch, tensortrain as tt
        >>> tt.TensorTrain.ones((4, 5, 6)).contract({0: torch.ones(4), -1: torch.ones(6)}).shape
        (5,)
        """
        if not isinstance(vectors, Mapping):
            raise TensorTrainError(f"vectors is a {type(vectors).__name__}; a dict from axes to vectors is needed")
        tt_checks.check_axes("axis", list(vectors), self.order)
        named = {tt_checks.check_axis("axis", axis, self.order): vector for axis, vector in vectors.items()}
        pieces = Pieces()
        for axis, core in enumerate(self.cores):
            if axis in named:
                vector = self._operand(f"vectors[{axis}]", named[axis], (core.shape[1],))
                pieces.fix(torch.einsum("ris,i->rs", core, vector))
            else:
                pieces.keep(core)
        return self._left(pieces.finish())

    @precise
    def mode_product(self, matrix: Tensor, dim: int) -> Self:
        """Multiply one axis by a matrix, `Σ_i M[j, i] T[…, i, …]`; the ranks do not change.

        Args:
            matrix: the matrix M, `(J, I_l)`.
            dim: the axis l, counted from 0.

        Raises:
            TensorTrainError: the axis does not exist, or the matrix does not fit.

        >>> import torch, tensortrain as tt
        >>> tt.TensorTrain.ones((4, 5, 6)).mode_product(torch.ones(3, 5), 1).shape
        (4, 3, 6)
        """
        axis = tt_checks.check_axis("dim", dim, self.order)
        core = self.cores[axis]
        matrix = self._operand("matrix", matrix, (None, core.shape[1]))
        product = torch.einsum("ris,ji->rjs", core, matrix)
        return self._of([*self.cores[:axis], product, *self.cores[axis + 1 :]])

    @precise
    def tensordot(self, other: Self, dims: int) -> Self | Tensor:
        """Sum over the last `dims` axes of this train and the first `dims` axes of another, as `torch.tensordot` does.

        Args:
            other: the other train.
            dims: the number of axes that are summed, at least 1.

        Raises:
            TensorTrainError: the axes differ in length, the dtype or device differs, or a boundary rank between both
                trains is above 1.

        Complexity: `Σ R_b R S I (R + S)` over the axes that are summed, where R and S are the ranks of the trains, I is
        the length of the axis, and R_b is the rank before the first of these axes.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((4, 5)).tensordot(tt.TensorTrain.ones((5, 6)), 1).reconstruct()[0, 0]
        tensor(5.)
        """
        self._neighbour(other)
        count = checks.integer("dims", dims)
        if self.shape[-count:] != other.shape[:count] or count > min(self.order, other.order):
            raise TensorTrainError(
                f"dims = {dims}: the last axes of {self.shape} and the first of {other.shape} must be the same"
            )
        return self._left(axes.tensordot(self.cores, other.cores, count))

    @precise
    def permute(self, *dims: int) -> Self:
        """Return the tensor with its axes in another order, as `Tensor.permute` does, exactly.

        Neighbouring axes are exchanged one pair after the other. After an exchange, the rank between both axes can be
        as large as the rank of a neighbouring bond times the length of an axis; `round()` lowers the ranks again. If
        all axes are reversed, the ranks do not change.

        Raises:
            TensorTrainError: `dims` does not contain every axis exactly once.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.random((4, 5, 6), 2).permute(2, 0, 1).shape
        (6, 4, 5)
        """
        order = tt_checks.check_axes("dims", dims[0] if len(dims) == 1 else dims, self.order)
        if len(order) != self.order:
            raise TensorTrainError(f"dims = {dims} has {len(order)} axes; all {self.order} are needed")
        return self._of(axes.permute(self.cores, order))

    @precise
    def reshape(self, *shape: int) -> Self:
        """Split axes, merge neighbouring axes, or add and remove axes of length 1, exactly.

        The last axis is the fastest, as for dense tensors. One length may be -1. Splitting an axis creates a bond with
        the largest possible rank; `round()` lowers it to the rank that is needed.

        Raises:
            TensorTrainError: the number of entries differs, or a new axis contains parts of several old axes, as in
                (4, 6) to (6, 4), which would need the dense tensor.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.random((4, 6), 2).reshape(6, -1)
        Traceback (most recent call last):
        tensortrain.errors.TensorTrainError: shape (6, 4) overlaps axes of (4, 6): ...
        >>> tt.TensorTrain.random((4, 6, 5), 2).reshape(2, 2, -1).shape
        (2, 2, 30)
        """
        sizes = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else list(shape)
        unknown = sizes.count(-1) if all(isinstance(size, numbers.Integral) for size in sizes) else 0
        if unknown > 1:
            raise TensorTrainError(f"shape = {tuple(sizes)} has {unknown} lengths of -1; only one may be -1")
        if unknown and all(sizes):
            entries, others = math.prod(self.shape), -math.prod(sizes)
            if entries % others:
                raise TensorTrainError(
                    f"shape = {tuple(sizes)}: the other lengths have the product {others}, which does not divide the"
                    f" {entries} entries of the train, so there is no length for -1"
                )
            sizes[sizes.index(-1)] = entries // others
        return self._of(axes.reshape(self.cores, tt_checks.check_sizes("shape", sizes)))

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Self | Tensor:
        """Remove the axes of length 1, all of them or those that `dim` names. With no axis left, return a tensor.

        Args:
            dim: one axis or several axes, counted from 0 or from the end; those of another length are kept. None means
                all axes.

        Raises:
            TensorTrainError: an axis does not exist or is named twice.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((1, 5, 1)).squeeze().shape
        (5,)
        """
        named = tt_checks.check_axes("dim", dim, self.order)
        index = tuple(0 if l in named and size == 1 else slice(None) for l, size in enumerate(self.shape))
        return self[index]

    def kron(self, other: Self) -> Self:
        """Return the Kronecker product, as `torch.kron` does; the lengths of the axes and the ranks multiply.

        Raises:
            TensorTrainError: the trains differ in order, dtype or device, or have boundary ranks above 1.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2, 3)).kron(tt.TensorTrain.ones((4, 5))).shape
        (8, 15)
        """
        self._neighbour(other)
        if self.order != other.order or self.ranks[0] * other.ranks[-1] != 1:
            raise TensorTrainError(
                f"trains of shapes {self.shape} and {other.shape}, ranks {self.ranks} and {other.ranks}: "
                "the same number of axes and boundary ranks of 1 are needed"
            )
        return self._of(axes.kron(self.cores, other.cores))

    def outer(self, other: Self) -> Self:
        """Return the outer product, whose axes and cores are those of this train followed by those of the other.

        Raises:
            TensorTrainError: the trains differ in dtype or device, or a boundary rank between both trains is above 1.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2, 3)).outer(tt.TensorTrain.ones((4, 5))).shape
        (2, 3, 4, 5)
        """
        self._neighbour(other)
        return self._of([*self.cores, *other.cores])

    @classmethod
    def cat(cls, trains: Sequence[Self], dim: int = 0) -> Self:
        """Join trains along one axis, as `torch.cat` does; the ranks of the result are the sums of the ranks.

        Args:
            trains: at least one train; all must agree in everything except the length of the axis.
            dim: the axis, counted from 0 or from the end.

        Raises:
            TensorTrainError: there are no trains, or they differ in more than the length of that axis.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.cat([tt.TensorTrain.ones((2, 3)), tt.TensorTrain.zeros((2, 4))], 1).shape
        (2, 7)
        """
        if not isinstance(trains, Sequence) or not trains or not all(isinstance(train, cls) for train in trains):
            raise TensorTrainError(f"trains is {trains!r}; a list of at least one {cls.__name__} is needed")
        axis = tt_checks.check_axis("dim", dim, trains[0].order)
        kinds = {(t.shape[:axis], t.shape[axis + 1 :], t.ranks[0], t.ranks[-1], t.dtype, t.device) for t in trains}
        if len(kinds) > 1:
            raise TensorTrainError(
                f"trains of shapes {', '.join(str(train.shape) for train in trains)} differ in more than axis {axis};"
                " all other lengths, boundary ranks, dtype and device must be the same"
            )
        lengths = [train.shape[axis] for train in trains]
        joined: list[Tensor] = []
        for n, train in enumerate(trains):
            cores = axes.placed(train.cores, axis, sum(lengths[:n]), sum(lengths[n + 1 :]))
            joined = arithmetic.add(joined, cores) if joined else cores
        return cls._of(joined)

    def _neighbour(self, other: Any) -> None:
        """Refuse an object that cannot follow this train."""
        if not isinstance(other, Modes):
            raise TensorTrainError(f"other is a {type(other).__name__}; a TensorTrain is needed")
        checks.agrees("other", other.cores[0], self.cores[0])
        if self.ranks[-1] != 1 or other.ranks[0] != 1:
            raise TensorTrainError(
                f"ranks {self.ranks} and {other.ranks}: boundary ranks of 1 are needed where the trains meet"
            )

    def _operand(self, name: str, value: object, shape: tuple[int | None, ...]) -> Tensor:
        """Return `value` as a tensor of this shape, None standing for any length, in the dtype of the train."""
        tensor = checks.tensor(name, value)
        if tensor.dim() != len(shape) or any(n not in (None, m) for n, m in zip(shape, tensor.shape, strict=True)):
            text = ", ".join("any" if n is None else str(n) for n in shape)
            raise TensorTrainError(f"{name} has shape {tuple(tensor.shape)}; ({text}) is needed")
        checks.agrees(name, tensor, self.cores[0])
        return tensor
