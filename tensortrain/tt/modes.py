"""The axes (modes) of trains: indexed, summed, contracted, reordered, split, merged and joined."""

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.tt import arithmetic, axes
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.operators import Operators
from tensortrain.tt.pieces import Index, Pieces, select


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Modes(Operators):
    """A tensor as cores `(R_{l-1}, I_l, R_l)`, the axes of which are named as those of the dense tensor."""

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Self | Tensor:
        """`train[i, j, …]`, as of the dense tensor: integers contract their axis, slices and an ellipsis keep it.

        Tensors of integers are looked up together, as in PyTorch: they are broadcast, and their common axes take the
        place of theirs. `None` is a new axis of length 1. Gradients flow to the cores.

        Returns:
            A train of the axes that are left. If none of its axes is, a tensor: the entry, 0-d, or all that index
            tensors of shape `(…)` look up, `(…)`; `(R_0, …, R_m)` unless both ends are 1.

        Raises:
            TensorTrainError: an index outside its axis, or too many; index tensors with an axis between them that is
                kept.

        Cost: `Σ_l R_{l-1} R_l` multiplications for each entry that is looked up.

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
        """A train, or a tensor without the axes R_0 and R_m if both are 1 long."""
        if not isinstance(pieces, Tensor):
            return self._of(pieces)
        return pieces[0, ..., 0] if pieces.shape[0] == pieces.shape[-1] == 1 else pieces

    def sum(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Self | Tensor:
        """The sum over some axes, or over all of them for None.

        Returns:
            A train of the axes that are left, or a tensor as of indexing if none is.

        Raises:
            TensorTrainError: no such axis, or one named twice.

        >>> import tensortrain as tt
        >>> train = tt.TensorTrain.ones((4, 5, 6))
        >>> train.sum(), train.sum(1).shape, train.sum((0, 1), keepdim=True).shape
        (tensor(120.), (4, 6), (1, 1, 6))
        """
        return self._reduced(dim, keepdim, torch.sum)

    def mean(self, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Self | Tensor:
        """The mean over some axes, of each core before they are multiplied; arguments and result as of `sum`.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((4,) * 600).mean()   # of more entries than fit any number
        tensor(1.)
        """
        return self._reduced(dim, keepdim, torch.mean)

    def _reduced(self, dim: int | Sequence[int] | None, keepdim: bool, reduce: Callable[..., Tensor]) -> Self | Tensor:
        """What `reduce` makes of the axes of the cores that are named."""
        reduced = tt_checks.check_axes("dim", dim, self.order)
        pieces = Pieces()
        for axis, core in enumerate(self.cores):
            if axis in reduced and not keepdim:
                pieces.fix(reduce(core, 1))
            else:
                pieces.keep(reduce(core, 1, keepdim=True) if axis in reduced else core)
        return self._left(pieces.finish())

    def contract(self, vectors: Mapping[int, Tensor]) -> Self | Tensor:
        """Some axes contracted with a vector each, `Σ_i T[…, i, …] u[i]`, without conjugation.

        Args:
            vectors: u for each axis to contract, `(I_l,)`.

        Returns:
            As of `sum`. To contract all axes with batches of vectors use `evaluate`.

        Raises:
            TensorTrainError: no such axis, or a vector that does not fit.

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

    def mode_product(self, matrix: Tensor, dim: int) -> Self:
        """One axis multiplied by a matrix, `Σ_i M[j, i] T[…, i, …]`; the ranks stay.

        Args:
            matrix: M, `(J, I_l)`.
            dim: the axis l.

        Raises:
            TensorTrainError: no such axis, or a matrix that does not fit.

        >>> import torch, tensortrain as tt
        >>> tt.TensorTrain.ones((4, 5, 6)).mode_product(torch.ones(3, 5), 1).shape
        (4, 3, 6)
        """
        axis = tt_checks.check_axis("dim", dim, self.order)
        core = self.cores[axis]
        matrix = self._operand("matrix", matrix, (None, core.shape[1]))
        product = torch.einsum("ris,ji->rjs", core, matrix)
        return self._of([*self.cores[:axis], product, *self.cores[axis + 1 :]])

    def tensordot(self, other: Self, dims: int) -> Self | Tensor:
        """The last `dims` axes summed with the first `dims` of another train, in order, as `torch.tensordot`.

        Raises:
            TensorTrainError: axes of other lengths, another dtype or device, or boundary ranks above 1 where they meet.

        Cost: `Σ R_b R S (R + I S)` over the axes that are summed, with R and S the ranks of the trains and R_b that
        before the first of these axes.

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

    def permute(self, *dims: int) -> Self:
        """The axes in another order, as `Tensor.permute`, exactly.

        Exchanges of neighbours raise the ranks, each at most by the factor of an axis; `round()` lowers them again. All
        axes in reverse order keep theirs.

        Raises:
            TensorTrainError: not every axis once.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.random((4, 5, 6), 2).permute(2, 0, 1).shape
        (6, 4, 5)
        """
        order = tt_checks.check_axes("dims", dims[0] if len(dims) == 1 else dims, self.order)
        if len(order) != self.order:
            raise TensorTrainError(f"dims = {dims} has {len(order)} axes; all {self.order} are needed")
        return self._of(axes.permute(self.cores, order))

    def reshape(self, *shape: int) -> Self:
        """Axes split, merged with their neighbours, or of length 1 added and removed, exactly.

        As of the dense tensor, the last axis is the fastest. One length may be -1. Splitting an axis makes a bond of
        the largest rank there; `round()` lowers it to what is needed.

        Raises:
            TensorTrainError: another number of entries, or axes that end where no old one can be split, such as
                (4, 6) to (6, 4): trains cannot do that without building the whole.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.random((4, 6), 2).reshape(6, -1)
        Traceback (most recent call last):
        tensortrain.errors.TensorTrainError: shape (6, 4) overlaps axes of (4, 6): ...
        >>> tt.TensorTrain.random((4, 6, 5), 2).reshape(2, 2, -1).shape
        (2, 2, 30)
        """
        sizes = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else list(shape)
        if all(isinstance(size, numbers.Integral) and size for size in sizes) and sizes.count(-1) == 1:
            sizes[sizes.index(-1)] = math.prod(self.shape) // -math.prod(sizes)
        return self._of(axes.reshape(self.cores, tt_checks.check_sizes("shape", sizes)))

    def squeeze(self, dim: int | Sequence[int] | None = None) -> Self | Tensor:
        """Without those of the axes that are 1 long, or of all axes for None; a tensor if no axis is left.

        Raises:
            TensorTrainError: no such axis, or one named twice.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((1, 5, 1)).squeeze().shape
        (5,)
        """
        named = tt_checks.check_axes("dim", dim, self.order)
        index = tuple(0 if l in named and size == 1 else slice(None) for l, size in enumerate(self.shape))
        return self[index]

    def kron(self, other: Self) -> Self:
        """The Kronecker product, as `torch.kron`: axes I_l and J_l become one of `I_l · J_l`, and ranks multiply.

        Raises:
            TensorTrainError: trains of different order, dtype or device, or with boundary ranks above 1.

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
        """The outer product: the axes of this train, then those of the other; the cores are put behind each other.

        Raises:
            TensorTrainError: trains of different dtype or device, or with boundary ranks above 1 where they meet.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2, 3)).outer(tt.TensorTrain.ones((4, 5))).shape
        (2, 3, 4, 5)
        """
        self._neighbour(other)
        return self._of([*self.cores, *other.cores])

    @classmethod
    def cat(cls, trains: Sequence[Self], dim: int = 0) -> Self:
        """Trains joined along one axis, as `torch.cat`; their ranks add up.

        Raises:
            TensorTrainError: no trains, or ones that differ in more than the length of that axis.

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
        """Refuse what cannot stand behind this train."""
        if not isinstance(other, Modes):
            raise TensorTrainError(f"other is a {type(other).__name__}; a TensorTrain is needed")
        checks.agrees("other", other.cores[0], self.cores[0])
        if self.ranks[-1] != 1 or other.ranks[0] != 1:
            raise TensorTrainError(
                f"ranks {self.ranks} and {other.ranks}: boundary ranks of 1 are needed where the trains meet"
            )

    def _operand(self, name: str, value: object, shape: tuple[int | None, ...]) -> Tensor:
        """A tensor of this shape, None standing for any length, in the dtype of the train."""
        tensor = checks.tensor(name, value)
        if tensor.dim() != len(shape) or any(n not in (None, m) for n, m in zip(shape, tensor.shape, strict=True)):
            text = ", ".join("any" if n is None else str(n) for n in shape)
            raise TensorTrainError(f"{name} has shape {tuple(tensor.shape)}; ({text}) is needed")
        checks.agrees(name, tensor, self.cores[0])
        return tensor
