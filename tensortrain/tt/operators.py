"""What one calculates with trains: the operators of Python, inner product and norm."""

import cmath
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeGuard

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.transforms import physical
from tensortrain.tt import arithmetic, interfaces
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.container import Cores
from tensortrain.tt.interpolation import MAX_EVALUATIONS, mapped


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

    def norm(self, squared: bool = False) -> Tensor:
        """Frobenius norm, or its square, a real 0-d tensor, from orthogonal factors: accurate after cancellation, too.

        Infinite only where the result itself is too large for the dtype.
        """
        tt_checks.check_numbers("the train", self.cores[0])
        norm = interfaces.tt_norm(self.cores)
        return norm.square() if squared else norm

    def __add__(self, other: Self | complex | Tensor) -> Self:
        """With a train the sum, whose ranks add up; a number or 0-d tensor is added to every entry, for one rank more.

        Raises:
            TensorTrainError: trains that differ in shape, boundary ranks, dtype or device; a number that is not finite.

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
        return self + -other if isinstance(other, Operators) or _is_number(other) else NotImplemented

    def __rsub__(self, other: complex | Tensor) -> Self:
        return -self + other

    def __neg__(self) -> Self:
        return self * -1

    def __mul__(self, other: Self | complex | Tensor) -> Self:
        """With a number or 0-d tensor the scalar product, with a train the elementwise (Hadamard) product."""
        if isinstance(other, Operators):
            return self._of(arithmetic.hadamard(self.cores, self._matching(other).cores))
        if not _is_number(other):
            return NotImplemented
        return self._with_first(self.cores[0] * _finite("the factor", other))

    __rmul__ = __mul__

    def __truediv__(self, other: Self | complex | Tensor) -> Self:
        """Every entry divided by a number or 0-d tensor, or by that of another train: then by `map`.

        Raises:
            TensorTrainError: a divisor that is zero or not finite, or a train that is zero where it is evaluated.

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
        """A number or 0-d tensor divided by every entry, by `map`.

        Raises:
            TensorTrainError: a dividend that is not finite, or a train that is zero where it is evaluated.
        """
        if not _is_number(other):
            return NotImplemented
        dividend = _finite("the dividend", other)
        return self.map(lambda entries: dividend / entries)

    def __pow__(self, exponent: complex) -> Self:
        """Every entry to a power.

        Of an integer of at least 0 it is exact, and rank R becomes at most `R**exponent`. Others are taken by `map`,
        and must be finite for every entry: 0.5 has no negative ones in a real train, and -1 no zeros.

        >>> import tensortrain as tt
        >>> (tt.TensorTrain.full((2, 2), 3.0) ** 2).reconstruct()
        tensor([[9., 9.],
                [9., 9.]])
        """
        if isinstance(exponent, bool | Tensor) or not _is_number(exponent):
            return NotImplemented
        if not isinstance(exponent, numbers.Integral) or exponent < 0:
            _finite("the exponent", exponent)
            return self.map(lambda entries: entries**exponent)
        if exponent == 0:
            return self._of(arithmetic.constant(self.cores, 1))
        if exponent * math.log2(max(self.ranks)) > 30:
            raise TensorTrainError(
                f"the exponent {exponent} makes ranks of up to {max(self.ranks)}**{exponent}; use train.map, or round()"
                " between smaller powers"
            )
        return self._of(arithmetic.power(self.cores, int(exponent)))

    def _with_first(self, first: Tensor) -> Self:
        """The train with another first core, of whose dtype the others become."""
        return self._of([first, *(core.to(first.dtype) for core in self.cores[1:])])

    __iter__ = None  # indexing alone would make trains iterable

    __array_ufunc__ = None  # so that NumPy leaves `array_scalar * train` to the train

    def map(
        self,
        function: Callable[..., Tensor],
        *others: Self,
        rtol: float | None = None,
        max_evaluations: int = MAX_EVALUATIONS,
        seed: int = 0,
    ) -> Self:
        """`function` of every entry, and of those of `others` at the same place, by cross interpolation.

        The entries are those of this train, evaluated where the interpolation asks for them, without gradients.
        What is known of the result, and what is warned of, is as of `tensortrain.interpolate`.

        Args:
            function: from tensors `(B,)`, one for each train, to one tensor `(B,)`, such as `torch.exp`.
            others: trains of the same shape, dtype and device.
            rtol: tolerance for every entry, relative to the largest; by default 1e-10, in single precision 1e-5.
            max_evaluations: cap on the entries that are evaluated.
            seed: of the random indices.

        Raises:
            TensorTrainError: trains that differ, boundary ranks above 1, or values that are not finite.

        Cost: about `4 Σ_l I_l R²` entries for each of some four to eight sweeps, with R the ranks of the result.

        >>> import torch, tensortrain as tt
        >>> train = tt.TensorTrain([torch.ones(1, 8, 1, dtype=torch.float64)] * 10)
        >>> train.map(torch.exp)[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        tensor(2.7183, dtype=torch.float64)
        """
        trains = [self.cores, *(self._matching(other).cores for other in others)]
        return self._of(mapped(function, trains, rtol=rtol, max_evaluations=max_evaluations, seed=seed).cores)

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


def _is_number(value: object) -> TypeGuard[complex | Tensor]:
    return value.dim() == 0 if isinstance(value, Tensor) else isinstance(value, numbers.Complex)


def _finite(name: str, value: complex | Tensor) -> complex | Tensor:
    try:  # torch takes no integers beyond 64 bits
        value = float(value) if isinstance(value, numbers.Integral) and abs(value) >= 2**63 else value
    except OverflowError:
        value = math.inf
    if not (bool(physical(value).isfinite().all()) if isinstance(value, Tensor) else cmath.isfinite(value)):
        raise TensorTrainError(f"{name} {value} is not finite")
    return value


def _all(condition: bool | Tensor) -> bool:
    return bool(physical(condition).all()) if isinstance(condition, Tensor) else bool(condition)
