"""Arithmetic with trains: Python's operators, inner product and norm."""

import cmath
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeGuard

import torch
from torch import Tensor

from tensortrain.counts import shown
from tensortrain.errors import TensorTrainError
from tensortrain.transforms import physical
from tensortrain.tt import arithmetic, interfaces
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.container import Cores
from tensortrain.tt.interpolation import MAX_EVALUATIONS, mapped


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Operators(Cores):
    """A tensor as cores `(R_{l-1}, I_l, R_l)` that supports the arithmetic of dense tensors."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the axis lengths `(I_1, …, I_m)`."""
        return tuple(core.shape[1] for core in self.cores)

    @property
    def dense_parameters(self) -> int:
        """Return the number of entries of the dense tensor, `R_0 I_1 ⋯ I_m R_m`."""
        return self.ranks[0] * math.prod(self.shape) * self.ranks[-1]

    def inner(self, other: Self) -> Tensor:
        """Return `Σ conj(self) · other` over all entries, a 0-d tensor.

        Complexity: `Σ_l I_l R S (R + S)` for trains of the ranks R and S.

        Raises:
            TensorTrainError: the trains differ in shape, boundary ranks, dtype or device.

        >>> import torch, tensortrain as tt
        >>> ones = tt.TensorTrain([torch.ones(1, 2, 1), torch.ones(1, 3, 1)])
        >>> ones.inner(ones)
        tensor(6.)
        """
        return arithmetic.inner(self.cores, self._matching(other).cores)

    def norm(self, squared: bool = False) -> Tensor:
        """Return the Frobenius norm, or its square, as a real 0-d tensor.

        The norm is computed from orthogonal factors, so it is accurate after cancellation as well. It is infinite only
        if the result itself is too large for the dtype. Complexity: `Σ_l I_l R³`.

        Args:
            squared: whether to return the square of the norm.

        Raises:
            TensorTrainError: the dtype is neither single nor double precision.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2, 2)).norm().round()
        tensor(2.)
        """
        tt_checks.check_numbers("the train", self.cores[0])
        return interfaces.tt_norm(self.cores, squared)

    def __add__(self, other: Self | complex | Tensor) -> Self:
        """Return the sum with a train, or with a number or 0-d tensor that is added to every entry.

        The ranks of two trains are added; a number raises the ranks by one.

        Raises:
            TensorTrainError: the trains differ in shape, boundary ranks, dtype or device, or the number is not finite.

        >>> import tensortrain as tt
        >>> (tt.TensorTrain.ones((2, 2)) + 1).reconstruct()
        tensor([[2., 2.],
                [2., 2.]])
        """
        if isinstance(other, Operators):
            return self._of(arithmetic.add(self.cores, self._matching(other).cores))
        if not _is_number(other):
            return NotImplemented
        constant = arithmetic.constant(self.cores, _finite("the summand", other))
        return self._of(arithmetic.add([core.to(constant[0].dtype) for core in self.cores], constant))

    __radd__ = __add__

    def __sub__(self, other: Self | complex | Tensor) -> Self:
        if isinstance(other, Operators):
            return self + -other
        # a number of an unsigned or narrow type has no negative of the same type
        return -(-self + other) if _is_number(other) else NotImplemented

    def __rsub__(self, other: complex | Tensor) -> Self:
        return -self + other

    def __neg__(self) -> Self:
        return self * -1

    def __mul__(self, other: Self | complex | Tensor) -> Self:
        """Return the product with a number or 0-d tensor, or the elementwise (Hadamard) product with a train.

        The ranks R and S of two trains become R S, so rounding their product costs `Σ_l I_l (R S)³`.

        Raises:
            TensorTrainError: the trains differ in shape, boundary ranks, dtype or device, or the number is not finite.
        """
        if isinstance(other, Operators):
            return self._of(arithmetic.hadamard(self.cores, self._matching(other).cores))
        if not _is_number(other):
            return NotImplemented
        return self._with_first(self.cores[0] * _finite("the factor", other))

    __rmul__ = __mul__

    def __truediv__(self, other: Self | complex | Tensor) -> Self:
        """Divide every entry by a number or 0-d tensor, or by the same entry of another train; the latter uses `map`.

        Raises:
            TensorTrainError: the divisor is zero or not finite, or the other train is zero at an evaluated entry.

        >>> import tensortrain as tt
        >>> ones = tt.TensorTrain.ones((2, 2))
        >>> (ones / (ones + ones)).reconstruct()
        tensor([[0.5000, 0.5000],
                [0.5000, 0.5000]])
        """
        if isinstance(other, Operators):
            return self.map(torch.div, other)
        if not _is_number(other):
            return NotImplemented
        other = _finite("the divisor", other)
        if not _all(other != 0):
            raise TensorTrainError(f"the divisor {other} is zero")
        return self._with_first(self.cores[0] / other)

    def __rtruediv__(self, other: complex | Tensor) -> Self:
        """Divide a number or 0-d tensor by every entry, with `map`.

        Raises:
            TensorTrainError: the dividend is not finite, or the train is zero at an evaluated entry.
        """
        if not _is_number(other):
            return NotImplemented
        dividend = _finite("the dividend", other)
        return self.map(lambda entries: dividend / entries)

    def __pow__(self, exponent: complex) -> Self:
        """Raise every entry to a power.

        For a non-negative integer the result is exact, and a rank R becomes at most `R**exponent`. Other exponents use
        `map`, and the power must be finite for every entry. For 0.5 the entries of a real train must not be negative,
        and for -1 no entry may be zero.

        Raises:
            TensorTrainError: the ranks of the exact power would be too large, or a power is not finite.

        >>> import tensortrain as tt
        >>> (tt.TensorTrain.full((2, 2), 3.0) ** 2).reconstruct()
        tensor([[9., 9.],
                [9., 9.]])
        """
        if isinstance(exponent, bool | Tensor) or not _is_number(exponent):
            return NotImplemented
        if not isinstance(exponent, numbers.Integral) or exponent < 0:
            power = _finite("the exponent", exponent)
            return self.map(lambda entries: entries**power)
        if exponent == 0:
            return self._of(arithmetic.constant(self.cores, 1))
        rank = max(self.ranks)
        if rank > 1 and exponent > 30 / math.log2(rank):
            raise TensorTrainError(
                f"the exponent {shown(exponent)} would give ranks of up to {rank}**{shown(exponent)}; use train.map, or"
                " round() between smaller powers"
            )
        return self._of(arithmetic.power(self.cores, int(exponent)))

    def _with_first(self, first: Tensor) -> Self:
        """Return the train with another first core and the other cores in the dtype of that core."""
        return self._of([first, *(core.to(first.dtype) for core in self.cores[1:])])

    def __len__(self) -> int:
        """Return the length of the first axis, as for dense tensors.

        >>> import tensortrain as tt
        >>> len(tt.TensorTrain.ones((2, 3)))
        2
        """
        return self.shape[0]

    __iter__ = None  # without it, Python would iterate over trains by indexing
    __reversed__ = None  # likewise

    __array_ufunc__ = None  # makes NumPy call the train's own operator for `array_scalar * train`

    def map(
        self,
        function: Callable[..., Tensor],
        *others: Self,
        rtol: float | None = None,
        max_evaluations: int = MAX_EVALUATIONS,
        seed: int = 0,
    ) -> Self:
        """Apply `function` to every entry, together with the same entries of `others`, by cross interpolation.

        Only the entries that the interpolation needs are evaluated, without gradients. Accuracy and warnings are those
        of `tensortrain.interpolate`.

        Args:
            function: a function from tensors `(B,)`, one for each train, to a tensor `(B,)`, such as `torch.exp`.
            others: trains of the same shape, dtype and device.
            rtol: error to aim at for every entry, relative to the largest entry; by default 1e-10, or 1e-5 in single
                precision.
            max_evaluations: largest number of entries that are evaluated.
            seed: seed of the random indices.

        Raises:
            TensorTrainError: the trains differ, a boundary rank is above 1, or a value is not finite.

        Complexity: about `4 Σ_l I_l R²` entries for each of about four to eight sweeps, where R is the rank of the
        result.

        >>> import torch, tensortrain as tt
        >>> train = tt.TensorTrain([torch.ones(1, 8, 1, dtype=torch.float64)] * 10)
        >>> train.map(torch.exp)[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        tensor(2.7183, dtype=torch.float64)
        """
        trains = [self.cores, *(self._matching(other).cores for other in others)]
        return self._of(mapped(function, trains, rtol=rtol, max_evaluations=max_evaluations, seed=seed).cores)

    def _matching(self, other: Self) -> Self:
        """Return `other` if it can be combined with this train."""
        if not isinstance(other, Operators):
            raise TensorTrainError(f"other is a {type(other).__name__}; a TensorTrain is needed")
        mine = self.shape, self.ranks[0], self.ranks[-1], self.dtype, self.device
        theirs = other.shape, other.ranks[0], other.ranks[-1], other.dtype, other.device
        for name, a, b in zip(("shape", "R_0", "R_m", "dtype", "device"), mine, theirs, strict=True):
            if a != b:
                raise TensorTrainError(f"the trains differ in {name}: {a} and {b}; it must be the same")
        return other


def _is_number(value: object) -> TypeGuard[complex | Tensor]:
    """Return whether a value is a number or a 0-d tensor."""
    return value.dim() == 0 if isinstance(value, Tensor) else isinstance(value, numbers.Complex)


def _plain(value: complex) -> complex:
    """Return a number of any type, such as a fraction or a NumPy scalar, as an int, float or complex of Python."""
    try:
        if not isinstance(value, numbers.Real):
            return complex(value)
        # torch does not accept integers beyond 64 bits
        return int(value) if isinstance(value, numbers.Integral) and -(2**63) <= int(value) < 2**63 else float(value)
    except OverflowError:
        return math.inf


def _finite(name: str, value: complex | Tensor) -> complex | Tensor:
    """Return a finite int, float, complex or 0-d tensor, or refuse the number under the given name.

    Tensors of integers become floating, because torch does not promote all of them.
    """
    if isinstance(value, Tensor):
        value = value if value.is_floating_point() or value.is_complex() else value.double()
    else:
        value = _plain(value)
    if not (bool(physical(value).isfinite().all()) if isinstance(value, Tensor) else cmath.isfinite(value)):
        raise TensorTrainError(f"{name} {value} is not finite")
    return value


def _all(condition: bool | Tensor) -> bool:
    """Return whether a condition holds, in every sample of a batch."""
    return bool(physical(condition).all()) if isinstance(condition, Tensor) else bool(condition)
