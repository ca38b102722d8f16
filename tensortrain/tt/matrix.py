"""`TensorTrainMatrix` represents a matrix by cores with a row and a column axis each (Novikov et al. 2015)."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, overload

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.precision import full_precision, precise
from tensortrain.tt import checks as tt_checks
from tensortrain.tt import functional as tt_functional
from tensortrain.tt import sketch, sums
from tensortrain.tt.container import Cores, describe
from tensortrain.tt.scaling import rescaled
from tensortrain.tt.tensor_train import TensorTrain


@dataclass(frozen=True, init=False, eq=False, repr=False)
class TensorTrainMatrix(Cores):
    """An immutable train that represents a matrix of `O_1 ⋯ O_m` rows and `I_1 ⋯ I_m` columns.

    `cores[l - 1]` is `(R_{l-1}, O_l, I_l, R_l)` with R_0 = R_m = 1. Row number i stands for the indices (i_1, …, i_m)
    in row-major order, as in `reshape`; the same holds for columns. A `TensorTrainMatrix` is a pytree whose leaves are
    the cores.

    Args:
        cores: the cores. All entries must be finite, and all cores must have the same dtype and device.
        error: the value of the attribute `error`.

    Attributes:
        error: relative Frobenius error of the decomposition or rounding that computed the cores. None if the matrix was
            built from cores or under `torch.vmap`.

    Raises:
        TensorTrainError: the cores do not form a TT-matrix.

    >>> matrix = TensorTrainMatrix([torch.ones(1, 2, 3, 4), torch.ones(4, 5, 2, 1)])
    >>> matrix.shape, matrix.ranks, matrix.n_parameters, (matrix @ torch.ones(6)).shape
    ((10, 6), (1, 4, 1), 64, torch.Size([10]))
    """

    kind: ClassVar[str] = "matrix"

    @staticmethod
    def _checked(cores: Iterable[Tensor]) -> tuple[Tensor, ...]:
        """Return the cores as a tuple if they form a TT-matrix."""
        checked = tuple(checks.tensor(f"cores[{l}]", core) for l, core in enumerate(checks.listed("cores", cores)))
        for l, core in enumerate(checked):
            if core.dim() != 4:
                raise TensorTrainError(f"cores[{l}] has shape {tuple(core.shape)}; (R_{l}, O, I, R_{l + 1}) is needed")
        train = TensorTrain([core.flatten(1, 2) for core in checked])
        if train.ranks[0] * train.ranks[-1] != 1:
            raise TensorTrainError(f"ranks = {train.ranks}: the first and the last must be 1")
        return checked

    @property
    def out_shape(self) -> tuple[int, ...]:
        """Return the axes of the rows, `(O_1, …, O_m)`."""
        return tuple(core.shape[1] for core in self.cores)

    @property
    def in_shape(self) -> tuple[int, ...]:
        """Return the axes of the columns, `(I_1, …, I_m)`."""
        return tuple(core.shape[2] for core in self.cores)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the numbers of rows and columns of the matrix."""
        return math.prod(self.out_shape), math.prod(self.in_shape)

    @property
    def dense_parameters(self) -> int:
        """Return the number of entries of the matrix."""
        return self.train.dense_parameters

    @property
    def train(self) -> TensorTrain:
        """Return the matrix as a train of order m with the merged axes `O_l · I_l`."""
        return TensorTrain._of([core.flatten(1, 2) for core in self.cores], self.error)

    @classmethod
    def decompose(
        cls,
        matrix: Tensor,
        out_shape: Sequence[int],
        in_shape: Sequence[int],
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
        seed: int = 0,
    ) -> "TensorTrainMatrix":
        """Decompose a matrix by TT-SVD; limits, guarantee and gradients are those of `TensorTrain.decompose`.

        Args:
            matrix: the matrix, `(O_1 ⋯ O_m, I_1 ⋯ I_m)`.
            out_shape: the axes of the rows, O_1 … O_m.
            in_shape: the axes of the columns, I_1 … I_m.
            ranks: upper limits of the inner ranks, as in `TensorTrain.decompose`.
            rtol: relative Frobenius tolerance in [0, 1).
            max_parameters: upper limit on the number of stored entries.
            budget: the same limit as a fraction of the dense parameters.
            seed: ignored, because TT-SVD draws no random numbers.

        Raises:
            TensorTrainError: the products of the axes differ from the shape of the matrix, or `TensorTrain.decompose`
                fails.

        >>> kron = torch.kron(torch.ones(2, 3), torch.arange(8.0).reshape(4, 2))
        >>> TensorTrainMatrix.decompose(kron, (2, 4), (3, 2), rtol=1e-5).ranks
        (1, 1, 1)
        """
        matrix = checks.entries("matrix", matrix, min_dim=2)
        rows, columns = _check_shapes(out_shape, in_shape)
        if tuple(matrix.shape) != (math.prod(rows), math.prod(columns)):
            raise TensorTrainError(
                f"matrix has shape {tuple(matrix.shape)}; out_shape = {rows} and in_shape = {columns}"
                f" need {(math.prod(rows), math.prod(columns))}"
            )
        order = len(rows)
        paired = [axis for l in range(order) for axis in (l, order + l)]
        merged = matrix.reshape(*rows, *columns).permute(paired)
        train = TensorTrain.decompose(
            merged.reshape([o * i for o, i in zip(rows, columns, strict=True)]),
            ranks=ranks,
            rtol=rtol,
            max_parameters=max_parameters,
            budget=budget,
            seed=seed,
        )
        return _split(train, rows, columns)

    @classmethod
    def random(
        cls,
        out_shape: Sequence[int],
        in_shape: Sequence[int],
        ranks: int | Sequence[int],
        seed: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> "TensorTrainMatrix":
        """Return a random matrix whose entries have variance 1; the arguments are those of `TensorTrain.random`.

        Args:
            out_shape: the axes of the rows, O_1 … O_m.
            in_shape: the axes of the columns, I_1 … I_m.
            ranks, seed, dtype, device: as in `TensorTrain.random`.

        Raises:
            TensorTrainError: an argument is out of range.

        >>> TensorTrainMatrix.random((2, 5), (3, 2), 4).shape
        (10, 6)
        """
        rows, columns = _check_shapes(out_shape, in_shape)
        merged = [o * i for o, i in zip(rows, columns, strict=True)]
        return _split(TensorTrain.random(merged, ranks, seed, dtype, device), rows, columns)

    @classmethod
    def eye(
        cls, shape: Sequence[int], dtype: torch.dtype | None = None, device: torch.device | str | None = None
    ) -> "TensorTrainMatrix":
        """Return the identity matrix of `I_1 ⋯ I_m` rows; all its ranks are 1.

        Args:
            shape: the axes of rows and columns, I_1 … I_m.
            dtype: data type; by default torch's default dtype.
            device: device; by default torch's default device.

        Raises:
            TensorTrainError: an argument is out of range.

        >>> TensorTrainMatrix.eye((2, 5)).trace()
        tensor(10.)
        """
        sizes, _ = tt_checks.check_new(shape, 1, dtype)
        place = checks.device(device)
        return cls._of([torch.eye(size, dtype=dtype, device=place)[None, ..., None] for size in sizes])

    @property
    def T(self) -> "TensorTrainMatrix":
        """Return the transpose, which has `I_1 ⋯ I_m` rows."""
        return self._of([core.transpose(1, 2) for core in self.cores])

    @property
    def H(self) -> "TensorTrainMatrix":
        """Return the conjugate transpose."""
        return self._of([core.transpose(1, 2).conj() for core in self.cores])

    @precise
    def trace(self) -> Tensor:
        """Return the sum of the diagonal entries of a square matrix, a 0-d tensor.

        Raises:
            TensorTrainError: an axis has `O_l ≠ I_l`, so that the diagonal is not a train.
        """
        ones = [torch.ones(size, dtype=self.dtype, device=self.device) for size in self.out_shape]
        return self.diagonal().evaluate(ones)

    def diagonal(self) -> TensorTrain:
        """Return the diagonal as a train of shape `(I_1, …, I_m)`.

        Raises:
            TensorTrainError: an axis has `O_l ≠ I_l`, so that the diagonal is not a train.

        >>> TensorTrainMatrix.eye((2, 3)).diagonal().reconstruct()
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
        """
        if self.out_shape != self.in_shape:
            raise TensorTrainError(
                f"out_shape = {self.out_shape} and in_shape = {self.in_shape} differ; only a square matrix with equal"
                " axes has a diagonal that is a train"
            )
        return TensorTrain._of([core.diagonal(dim1=1, dim2=2).movedim(-1, 1) for core in self.cores])

    def kron(self, other: "TensorTrainMatrix") -> "TensorTrainMatrix":
        """Return the Kronecker product, which has the cores of both matrices.

        Raises:
            TensorTrainError: the argument is not a TT-matrix, or has another dtype or device.

        >>> TensorTrainMatrix.eye((2, 3)).kron(TensorTrainMatrix.eye((4,))).out_shape
        (2, 3, 4)
        """
        return self._of([*self.cores, *self._compatible(other).cores])

    def __add__(self, other: "TensorTrainMatrix") -> "TensorTrainMatrix":
        """Return the sum, whose inner ranks are the sums of the ranks.

        Raises:
            TensorTrainError: the matrices differ in their axes, dtype or device.
        """
        if not isinstance(other, TensorTrainMatrix):
            return NotImplemented
        return _split(self.train + self._alike(other).train, self.out_shape, self.in_shape)

    def __sub__(self, other: "TensorTrainMatrix") -> "TensorTrainMatrix":
        return self + -other if isinstance(other, TensorTrainMatrix) else NotImplemented

    def __neg__(self) -> "TensorTrainMatrix":
        return self * -1

    def __mul__(self, other: "TensorTrainMatrix | complex | Tensor") -> "TensorTrainMatrix":
        """Return the product with a number or 0-d tensor, or the elementwise (Hadamard) product with a TT-matrix."""
        factor = self._alike(other).train if isinstance(other, TensorTrainMatrix) else other
        product = self.train * factor
        return NotImplemented if product is NotImplemented else _split(product, self.out_shape, self.in_shape)

    __rmul__ = __mul__

    __array_ufunc__ = None  # NumPy would split an array; now it calls the matrix's operator, which refuses arrays

    @overload
    def __matmul__(self, other: Tensor) -> Tensor: ...
    @overload
    def __matmul__(self, other: TensorTrain) -> TensorTrain: ...
    @overload
    def __matmul__(self, other: "TensorTrainMatrix") -> "TensorTrainMatrix": ...
    def __matmul__(
        self, other: "Tensor | TensorTrain | TensorTrainMatrix"
    ) -> "Tensor | TensorTrain | TensorTrainMatrix":
        """Return the product with a vector `(I_1 ⋯ I_m,)`, a matrix `(I_1 ⋯ I_m, B)`, a train or a TT-matrix.

        The dense matrix is never formed; see `tensortrain.tt.functional.tt_matvec`. For a batch of rows
        `(B, I_1 ⋯ I_m)` use `(matrix @ batch.mT).mT`. The product with a train of shape `(I_1, …, I_m)` is a train, and
        that with a TT-matrix is a TT-matrix. Both are exact, and their ranks are the products of the ranks; `matmul`
        computes a rounded product instead.

        Raises:
            TensorTrainError: the right operand does not fit.
        """
        if isinstance(other, TensorTrain | TensorTrainMatrix):
            a, b = self.cores, _with_columns(self._fitting(other))
            with full_precision():
                exact = [torch.einsum("aojb,pjiq->apoibq", x, y) for x, y in zip(a, b, strict=True)]
            cores = [core.flatten(4).flatten(0, 1) for core in exact]
            return _as_operand(cores, other)
        if not isinstance(other, Tensor):
            return NotImplemented
        checks.ordinary("the right operand", other)
        if other.dim() not in (1, 2) or other.shape[0] != self.shape[1]:
            raise TensorTrainError(
                f"the right operand has shape {tuple(other.shape)};"
                f" ({self.shape[1]},) or ({self.shape[1]}, batch) is needed"
            )
        checks.agrees("the right operand", other, self.cores[0])
        product = tt_functional.tt_matvec(self.cores, other.reshape(self.shape[1], -1))
        return product.reshape(self.shape[0], *other.shape[1:])

    @overload
    def matmul(
        self, other: TensorTrain, *, ranks: int | Sequence[int] | None = None, rtol: float | None = None, seed: int = 0
    ) -> TensorTrain: ...
    @overload
    def matmul(
        self,
        other: "TensorTrainMatrix",
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        seed: int = 0,
    ) -> "TensorTrainMatrix": ...
    @precise
    def matmul(
        self,
        other: "TensorTrain | TensorTrainMatrix",
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        seed: int = 0,
    ) -> "TensorTrain | TensorTrainMatrix":
        """Return the rounded product `self @ other`, without forming the train with the products of the ranks.

        Limits, method and the estimated `error` are those of `tensortrain.round_sum`. Gradients flow to both operands.

        Args:
            other: a train of shape `(I_1, …, I_m)`, or a TT-matrix whose rows have these axes.
            ranks, rtol, seed: as in `tensortrain.round_sum`.

        Raises:
            TensorTrainError: the right operand does not fit, or `tensortrain.round_sum` fails.

        Complexity: `Σ_l (A B J I K (A O + B) + A B O I K²)` for ranks A and B of the operands and K of the result. O
        and J are the row and column axes of this matrix, and I is the column axis of `other`, 1 for a train. Rounding
        the exact product would need `Σ_l O I (A B)³`.

        >>> a = TensorTrainMatrix.random((4, 4, 4), (4, 4, 4), 3, dtype=torch.float64)
        >>> a.matmul(a, ranks=5).ranks
        (1, 5, 5, 1)
        """
        fitting = self._fitting(other)
        tt_checks.check_numbers("the matrix", self.cores[0])
        tt_checks.check_single("matmul", *self.cores, *fitting.cores)
        (first,), left = sketch.balanced([self.cores])
        (second,), right = sketch.balanced([_with_columns(fitting)])
        sizes = [o * core.shape[2] for o, core in zip(self.out_shape, second, strict=True)]
        cores, power, error = sums.rounded(
            [sketch.Product(first, second)],
            sizes,
            first_rank=max(*self.ranks, *other.ranks),
            like=self.cores[0],
            ranks=ranks,
            rtol=rtol,
            seed=seed,
        )
        triples = zip(rescaled(cores, left + right + power), self.out_shape, strict=True)
        return _as_operand([core.reshape(len(core), o, -1, core.shape[2]) for core, o in triples], other, error)

    def _fitting(self, other: "TensorTrain | TensorTrainMatrix") -> "TensorTrain | TensorTrainMatrix":
        """Return `other` if this matrix can be multiplied with it."""
        if not isinstance(other, TensorTrain | TensorTrainMatrix):
            raise TensorTrainError(f"the right operand is a {type(other).__name__}; a train or a TT-matrix is needed")
        rows = other.shape if isinstance(other, TensorTrain) else other.out_shape
        if rows != self.in_shape or other.ranks[0] * other.ranks[-1] != 1:
            raise TensorTrainError(
                f"the right operand has axes {rows} and boundary ranks {other.ranks[0]} and {other.ranks[-1]};"
                f" {self.in_shape} and 1 are needed"
            )
        checks.agrees("the right operand", other.cores[0], self.cores[0])
        return other

    def _compatible(self, other: "TensorTrainMatrix") -> "TensorTrainMatrix":
        """Return `other` if it is a TT-matrix of the same dtype and device."""
        if not isinstance(other, TensorTrainMatrix):
            raise TensorTrainError(f"other is a {type(other).__name__}; a TensorTrainMatrix is needed")
        checks.agrees("other", other.cores[0], self.cores[0])
        return other

    def _alike(self, other: "TensorTrainMatrix") -> "TensorTrainMatrix":
        """Return `other` if its rows and columns have the same axes."""
        for name, mine, theirs in (
            ("out_shape", self.out_shape, other.out_shape),
            ("in_shape", self.in_shape, other.in_shape),
        ):
            if mine != theirs:
                raise TensorTrainError(f"the matrices differ in {name}: {mine} and {theirs}; it must be the same")
        return self._compatible(other)

    def reconstruct(self) -> Tensor:
        """Return the dense matrix `(O_1 ⋯ O_m, I_1 ⋯ I_m)`.

        >>> TensorTrainMatrix.eye((2,)).reconstruct()
        tensor([[1., 0.],
                [0., 1.]])
        """
        pairs = [size for pair in zip(self.out_shape, self.in_shape, strict=True) for size in pair]
        axes = range(2 * self.order)
        return self.train.reconstruct().reshape(pairs).permute(*axes[::2], *axes[1::2]).reshape(self.shape)

    def round(
        self,
        *,
        ranks: int | Sequence[int] | None = None,
        rtol: float | None = None,
        max_parameters: int | None = None,
        budget: float | None = None,
    ) -> "TensorTrainMatrix":
        """Return a matrix with lower ranks; the limits are those of `TensorTrain.round`.

        Args:
            ranks, rtol, max_parameters, budget: limits as in `TensorTrain.decompose`.

        Raises:
            TensorTrainError: in the same cases as `TensorTrain.round`.

        >>> eye = TensorTrainMatrix.eye((2, 3))
        >>> (eye + eye).round(rtol=1e-5).ranks
        (1, 1, 1)
        """
        rounded = self.train.round(ranks=ranks, rtol=rtol, max_parameters=max_parameters, budget=budget)
        return _split(rounded, self.out_shape, self.in_shape)

    def macs(self) -> int:
        """Return the multiplications of a product with one vector, `Σ_l (O_1 ⋯ O_l) R_{l-1} R_l (I_l ⋯ I_m)`.

        >>> matrix = TensorTrainMatrix.eye((4, 4))
        >>> matrix.macs(), matrix.dense_macs()
        (128, 256)
        """
        return tt_functional.matvec_macs(self.out_shape, self.in_shape, self.ranks)

    def dense_macs(self) -> int:
        """Return the multiplications of the dense product with one vector, `Π_l O_l I_l`."""
        return self.dense_parameters

    def __repr__(self) -> str:
        rows, columns = ("·".join(map(str, sizes)) for sizes in (self.out_shape, self.in_shape))
        return describe(f"TensorTrainMatrix of {rows} rows and {columns} columns", self)


def _split(train: TensorTrain, out_shape: Sequence[int], in_shape: Sequence[int]) -> TensorTrainMatrix:
    """Return the TT-matrix of a train over merged axes."""
    triples = zip(train.cores, out_shape, in_shape, strict=True)
    return TensorTrainMatrix._of([core.reshape(core.shape[0], o, i, -1) for core, o, i in triples], train.error)


def _with_columns(operand: "TensorTrain | TensorTrainMatrix") -> list[Tensor]:
    """Return the cores `(R_{l-1}, J_l, I_l, R_l)` of the right operand of a product, with I_l = 1 for a train."""
    return [core if core.dim() == 4 else core[:, :, None] for core in operand.cores]


def _as_operand(
    cores: Sequence[Tensor], operand: "TensorTrain | TensorTrainMatrix", error: float | None = None
) -> "TensorTrain | TensorTrainMatrix":
    """Return a train or a TT-matrix, as `operand` is, with cores `(R_{l-1}, O_l, I_l, R_l)`."""
    if isinstance(operand, TensorTrain):
        return TensorTrain._of([core[:, :, 0] for core in cores], error)
    return TensorTrainMatrix._of(cores, error)


def _check_shapes(out_shape: Sequence[int], in_shape: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the checked axes of rows and columns."""
    rows, columns = tt_checks.check_sizes("out_shape", out_shape), tt_checks.check_sizes("in_shape", in_shape)
    if len(rows) != len(columns):
        raise TensorTrainError(
            f"out_shape = {rows} and in_shape = {columns} must have the same length, one entry for each core"
        )
    return rows, columns


pytree.register_pytree_node(
    TensorTrainMatrix,
    lambda matrix: (list(matrix.cores), None),
    lambda cores, _: TensorTrainMatrix._of(cores),
    serialized_type_name="tensortrain.TensorTrainMatrix",
    flatten_with_keys_fn=lambda matrix: ([(pytree.SequenceKey(l), core) for l, core in enumerate(matrix.cores)], None),
)
