"""The common base class of layers whose weight is a TT-matrix, and functions that build them from plain layers."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.nn.from_cores import FromCores
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.scaling import shifted


class FromMatrix(FromCores):
    """Base class of the layers that store the cores `(R_{l-1}, O_l, I_l, R_l)` of a TT-matrix in plain layers.

    The weight of a plain layer is a core with the axes `(O_l, R_{l-1}, I_l, R_l)`, reshaped to a matrix.

    Args:
        name: name of the TT-matrix in messages.
        matrix: a TT-matrix of a real floating dtype; its cores are copied.
        plain: a function from a core `(O_l, R_{l-1}, I_l, R_l)` to the plain layer that stores it.

    Attributes:
        ranks: the ranks `(R_0, …, R_m)`.
        shapes: the factors `(O_1, …, O_m)` of the rows and `(I_1, …, I_m)` of the columns.
        error: relative error of the decomposition from which the layer was built; None if there was none. Training does
            not update it.

    Raises:
        TensorTrainError: the argument is not a TT-matrix of a real floating dtype.
    """

    def __init__(self, name: str, matrix: TensorTrainMatrix, plain: Callable[[Tensor], nn.Module]) -> None:
        super().__init__()
        if not isinstance(matrix, TensorTrainMatrix) or not matrix.dtype.is_floating_point:
            is_matrix = isinstance(matrix, TensorTrainMatrix)
            actual = f"of dtype {matrix.dtype}" if is_matrix else f"a {type(matrix).__name__}"
            raise TensorTrainError(f"{name} is {actual}; a real floating TensorTrainMatrix is needed")
        self.ranks, self.error = matrix.ranks, matrix.error
        self.shapes = matrix.out_shape, matrix.in_shape
        self.cores = nn.ModuleList(plain(core.transpose(0, 1)) for core in matrix.cores)

    def _matrix_cores(self) -> list[Tensor]:
        """Return the cores `(R_{l-1}, O_l, I_l, R_l)`, which are views of the parameters."""
        quintuples = zip(self.cores, self.ranks[:-1], *self.shapes, self.ranks[1:], strict=True)
        return [core.weight.reshape(o, left, i, right).transpose(0, 1) for core, left, o, i, right in quintuples]

    def _rebuild(self) -> Tensor:
        """Return the dense weight."""
        return TensorTrainMatrix._of(self._matrix_cores()).reconstruct()


def check_plain(name: str, module: Any, kind: type[nn.Module]) -> None:
    """Refuse a module that a layer cannot replace: of another class than `kind`, or with hooks or parametrizations."""
    if not isinstance(module, kind):
        raise TensorTrainError(f"{name} is a {type(module).__name__}; a plain nn.{kind.__name__} is needed")
    if checks.has_own_forward(module, kind):
        raise TensorTrainError(
            f"{name} is a {type(module).__name__} with its own forward; a plain nn.{kind.__name__} is needed"
        )
    if parametrize.is_parametrized(module) or checks.has_hooks(module):
        raise TensorTrainError(f"{name} has hooks or parametrizations that the layer would lose; remove them first")
    checks.no_additions(name, module)
    weight: Any = module.weight
    if nn.parameter.is_lazy(weight):
        raise TensorTrainError(f"{name} has no weight; run it once on an input first")


def decomposed(weight: Tensor, rows: Sequence[int], columns: Sequence[int], **limits: Any) -> TensorTrainMatrix:
    """Return `TensorTrainMatrix.decompose` in the dtype of the weight; half precision is decomposed in single."""
    if weight.dtype not in (torch.float16, torch.bfloat16):
        return TensorTrainMatrix.decompose(weight, rows, columns, **limits)
    matrix = TensorTrainMatrix.decompose(weight.float(), rows, columns, **limits)
    # one core holds the norm of the whole weight, which is often beyond the range of half precision
    return TensorTrainMatrix(_equally_large(matrix.cores), error=matrix.error).to(weight.dtype)


def _equally_large(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return cores of the same matrix whose largest entries differ by at most a factor of four.

    They are multiplied by powers of two, which is exact.
    """
    sizes = [math.frexp(float(core.abs().amax())) for core in cores]
    if any(mantissa == 0 for mantissa, _ in sizes):
        return list(cores)  # the matrix is zero
    exponents = [exponent for _, exponent in sizes]
    share, rest = divmod(sum(exponents), len(cores))
    return [shifted(core, share + (l < rest) - k) for l, (core, k) in enumerate(zip(cores, exponents, strict=True))]


def factors(
    rows: Sequence[int] | None, columns: Sequence[int] | None, size: Sequence[int]
) -> tuple[Sequence[int], Sequence[int]]:
    """Return the axes of the rows and columns of a weight of this size; unknown axes become equal factors.

    >>> factors(None, (4, 4, 2), (1000, 32))
    ((10, 10, 10), (4, 4, 2))
    """
    known = columns if rows is None else rows
    order = len(known) if isinstance(known, Sequence) else 2
    return (
        equal_factors(size[0], order) if rows is None else rows,
        equal_factors(size[1], order) if columns is None else columns,
    )


def equal_factors(number: int, count: int) -> tuple[int, ...]:
    """Return `count` factors of a number in rising order, about as equal as its divisors allow.

    While k factors are missing, the next one is the largest divisor of the remaining number up to its k-th root,
    rounded.

    >>> equal_factors(320, 2), equal_factors(64, 3), equal_factors(7, 2)
    ((16, 20), (4, 4, 4), (1, 7))
    """
    if count < 2:
        return (number,) * count
    root = number ** (1 / count)
    factor = max(n for n in range(1, round(root) + 1) if number % n == 0)
    return tuple(sorted((factor, *equal_factors(number // factor, count - 1))))
