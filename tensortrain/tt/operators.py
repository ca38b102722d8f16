"""What one calculates with trains: the operators of Python, inner product and norm."""

import cmath
import math
import numbers
from dataclasses import dataclass
from typing import Self

from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt import arithmetic, svd
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.arithmetic import Index
from tensortrain.tt.container import Cores


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Operators(Cores):
    """A tensor as cores `(R_{l-1}, I_l, R_l)`, with which one calculates as with the dense tensor."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`(I_1, …, I_m)`."""
        return tuple(core.shape[1] for core in self.cores)

    @property
    def dense_parameters(self) -> int:
        """Entries of the dense tensor, `R_0 I_1 ⋯ I_m R_m`."""
        return self.ranks[0] * math.prod(self.shape) * self.ranks[-1]

    def inner(self, other: Self) -> Tensor:
        """`Σ conj(self) · other` over all entries, a 0-d tensor.

        Raises:
            TensorTrainError: trains of different shape, boundary ranks, dtype or device.

        >>> import torch, tensortrain as tt
        >>> ones = tt.TensorTrain([torch.ones(1, 2, 1), torch.ones(1, 3, 1)])
        >>> ones.inner(ones)
        tensor(6.)
        """
        return arithmetic.inner(self.cores, self._matching(other).cores)

    def norm(self) -> Tensor:
        """Frobenius norm, a real 0-d tensor, from orthogonal factors: accurate after cancellation, too.

        Infinite only where the norm itself is too large for the dtype.
        """
        tt_checks.check_precision("the train", self.dtype)
        return svd.tt_norm(self.cores)

    def __add__(self, other: Self) -> Self:
        if not isinstance(other, Operators):
            return NotImplemented
        return self._of(arithmetic.add(self.cores, self._matching(other).cores))

    def __sub__(self, other: Self) -> Self:
        return self + -other if isinstance(other, Operators) else NotImplemented

    def __neg__(self) -> Self:
        return self * -1

    def __mul__(self, other: Self | complex | Tensor) -> Self:
        """With a number or 0-d tensor the scalar product, with a train the elementwise (Hadamard) product."""
        if isinstance(other, Operators):
            return self._of(arithmetic.hadamard(self.cores, self._matching(other).cores))
        if (isinstance(other, Tensor) and other.dim() > 0) or not isinstance(other, Tensor | numbers.Complex):
            return NotImplemented
        if not cmath.isfinite(complex(other)):
            raise TensorTrainError(f"the factor {other} is not finite")
        first = self.cores[0] * other
        return self._of([first, *(core.to(first.dtype) for core in self.cores[1:])])

    __rmul__ = __mul__

    __iter__ = None  # indexing alone would make trains iterable

    def __getitem__(self, index: Index | tuple[Index, ...]) -> Self | Tensor:
        """`train[i, j, …]`: integers contract their axis, slices and an ellipsis keep it.

        Returns:
            A train of the axes that are left, or the entry, a 0-d tensor, if none is; the entry is
            `(R_0, R_m)` unless both ends are 1.

        Raises:
            TensorTrainError: an index outside its axis, or too many.

        >>> import tensortrain as tt
        >>> train = tt.TensorTrain.random((4, 5, 6), 2)
        >>> train[1, ..., ::2].shape, train[1, 2, 3].shape
        ((5, 3), torch.Size([]))
        """
        selected = arithmetic.select(self.cores, index if isinstance(index, tuple) else (index,))
        if isinstance(selected, Tensor):
            return selected.reshape(()) if selected.numel() == 1 else selected
        return self._of(selected)

    def _matching(self, other: Self) -> Self:
        """`other`, if it can be combined with this train."""
        if not isinstance(other, Operators):
            raise TensorTrainError(f"other is a {type(other).__name__}; a TensorTrain is needed")
        mine = self.shape, self.ranks[0], self.ranks[-1], self.dtype, self.device
        theirs = other.shape, other.ranks[0], other.ranks[-1], other.dtype, other.device
        for name, a, b in zip(("shape", "R_0", "R_m", "dtype", "device"), mine, theirs, strict=True):
            if a != b:
                raise TensorTrainError(f"the trains differ in {name}: {a} and {b}; it must be the same")
        return other
