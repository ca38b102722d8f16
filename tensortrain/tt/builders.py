"""Build trains without a decomposition: random trains, constants, and functions of one index."""

import cmath
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from tensortrain import checks, counts
from tensortrain.errors import TensorTrainError
from tensortrain.tt import checks as tt_checks
from tensortrain.tt import interpolation
from tensortrain.tt.container import Cores


def _check_fits(name: str, value: object, number: complex, dtype: torch.dtype) -> None:
    """Refuse a value unless its `number`, a float or a complex number, is finite and fits the dtype."""
    if not cmath.isfinite(number):
        raise TensorTrainError(f"{name} = {counts.shown(value)} is not a finite floating-point number")
    parts = (number.real, number.imag)  # the absolute value might overflow
    if (isinstance(number, complex) and not dtype.is_complex) or max(map(abs, parts)) > torch.finfo(dtype).max:
        raise TensorTrainError(f"{name} = {value} does not fit {dtype}")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Builders(Cores):
    """Classmethods that build cores `(R_{l-1}, I_l, R_l)` from a shape and a few numbers."""

    @classmethod
    def random(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int],
        seed: int = 0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Return a train of normally distributed cores, scaled so that the entries of the tensor have variance 1.

        Args:
            shape: the shape I_1 … I_m.
            ranks: one int or the inner ranks, which are not lowered, even if they are larger than useful. The boundary
                ranks R_0 and R_m, which are 1, may be included.
            seed: seed of the random generator; equal seeds give equal trains.
            dtype: data type; by default torch's default dtype.
            device: device; by default torch's default device. The numbers do not depend on it.

        Raises:
            TensorTrainError: an argument is out of range.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.random((4, 5, 6), 2).ranks
        (1, 2, 2, 1)
        """
        shape, ranks = tt_checks.check_new(shape, ranks, dtype)
        generator = torch.Generator().manual_seed(checks.seed(seed))
        place = checks.device(device)
        cores = []
        for left, size, right in zip(ranks[:-1], shape, ranks[1:], strict=True):
            core = torch.randn(left, size, right, generator=generator, dtype=dtype, device="cpu") / math.sqrt(right)
            cores.append(core.to(place))
        return cls._of(cores)

    @classmethod
    def zeros(
        cls,
        shape: Sequence[int],
        ranks: int | Sequence[int] = 1,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Return the zero tensor. The arguments are those of `random`, without a seed.

        Raises:
            TensorTrainError: an argument is out of range.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.zeros((4, 5, 6)).n_parameters
        15
        """
        shape, ranks = tt_checks.check_new(shape, ranks, dtype)
        triples = zip(ranks[:-1], shape, ranks[1:], strict=True)
        place = checks.device(device)
        return cls._of([torch.zeros(triple, dtype=dtype, device=place) for triple in triples])

    @classmethod
    def full(
        cls,
        shape: Sequence[int],
        value: complex,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Return a tensor of rank 1 all of whose entries are `value`.

        Args:
            shape: the shape I_1 … I_m.
            value: a finite number; a complex number gives a complex train.
            dtype: data type; by default torch's default dtype, or for a complex value the complex dtype of the same
                precision.
            device: device; by default torch's default device.

        Raises:
            TensorTrainError: the value is not finite or does not fit the dtype.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.full((2, 3), 0.5).reconstruct()
        tensor([[0.5000, 0.5000, 0.5000],
                [0.5000, 0.5000, 0.5000]])
        """
        shape, _ = tt_checks.check_new(shape, 1, dtype)
        is_complex = isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)
        number = complex(value) if is_complex else checks.real(value)
        if dtype is None:
            dtype = torch.get_default_dtype().to_complex() if is_complex else torch.get_default_dtype()
        _check_fits("value", value, number, dtype)
        place = checks.device(device)
        first, *others = [torch.ones(1, size, 1, dtype=dtype, device=place) for size in shape]
        return cls._of([first * number, *others])

    @classmethod
    def ones(
        cls,
        shape: Sequence[int],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Return the tensor of ones; all its ranks are 1. The arguments are those of `full`, without `value`.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.ones((2,) * 100).sum().log2()
        tensor(100.)
        """
        return cls.full(shape, 1.0, dtype, device)

    @classmethod
    def along(cls, values: Tensor, shape: Sequence[int], dim: int) -> Self:
        """Return a tensor of rank 1 that depends on one index only, `T[i_1, …, i_m] = values[i_l]`.

        Functions of the coordinates can be written as sums and products of such trains.

        Args:
            values: the values, `(I_l,)`, finite.
            shape: the shape I_1 … I_m.
            dim: the axis l, counted from 0.

        Raises:
            TensorTrainError: the axis does not exist, or the values do not fit it.

        >>> import torch, tensortrain as tt
        >>> x, y = (tt.TensorTrain.along(torch.arange(3.0), (3, 3), axis) for axis in (0, 1))
        >>> (10 * x + y).reconstruct()
        tensor([[ 0.,  1.,  2.],
                [10., 11., 12.],
                [20., 21., 22.]])
        """
        sizes = tt_checks.check_sizes("shape", shape)
        axis = tt_checks.check_axis("dim", dim, len(sizes))
        values = checks.tensor("values", values)
        if tuple(values.shape) != (sizes[axis],):
            raise TensorTrainError(f"values has shape {tuple(values.shape)}; ({sizes[axis]},) is needed")
        ones = [values.new_ones(1, size, 1) for size in sizes]
        return cls._of([*ones[:axis], values.reshape(1, -1, 1), *ones[axis + 1 :]])

    @classmethod
    def linspace(
        cls,
        start: float,
        end: float,
        shape: Sequence[int],
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """Return the points of a regular grid from `start` to `end`, both included; the last axis is the fastest.

        The entries are `T[i_1, …, i_m] = start + (end − start) n / (N − 1)`, where n is the position of the entry and
        `N = I_1 ⋯ I_m`. The train has rank 2. The shape `(2,) * m` gives a quantised grid of `2**m` points.

        Args:
            start: the first point.
            end: the last point.
            shape: the shape I_1 … I_m, with at least two entries in total.
            dtype: data type; by default torch's default dtype.
            device: device; by default torch's default device.

        Raises:
            TensorTrainError: the shape has fewer than two entries, or `start` or `end` is not finite or does not fit
                the dtype.

        >>> import tensortrain as tt
        >>> tt.TensorTrain.linspace(0, 7, (2, 2, 2)).reconstruct().flatten()
        tensor([0., 1., 2., 3., 4., 5., 6., 7.])
        """
        sizes, _ = tt_checks.check_new(shape, 1, dtype)
        dtype = torch.get_default_dtype() if dtype is None else dtype
        first, last = checks.real(start), checks.real(end)
        _check_fits("start", start, first, dtype)
        _check_fits("end", end, last, dtype)
        most = torch.finfo(dtype).max * (1 - 32 * torch.finfo(dtype).eps)  # rounding errors must not overflow
        first, last = max(-most, min(first, most)), max(-most, min(last, most))
        points = math.prod(sizes)
        if points < 2:
            raise TensorTrainError(f"shape = {sizes} has one point; at least two are needed")
        # the value at t = n / (N − 1) is a mean of both ends, and the weights of all digits of n add up to t; where the
        # difference of the ends may overflow, t is counted from the middle and in units of 1 / 2
        far = abs(last / 2 - first / 2) > most / 4
        center, unit = (0.5, 0.5) if far else (0.0, 1.0)
        cores, rest = [], points
        for size in sizes:
            rest //= size
            steps = torch.arange(size, dtype=torch.float64, device="cpu") - center * (size - 1)
            core = torch.zeros(2, size, 2, dtype=torch.float64, device="cpu")
            core[0, :, 0] = core[1, :, 1] = 1
            core[0, :, 1] = steps * (rest / (points - 1) / unit)
            cores.append(core)
        origin = first * (1 - center) + last * center
        ends = torch.tensor([origin, last * unit - first * unit], dtype=torch.float64, device="cpu")
        cores[-1] = (cores[-1] @ ends)[..., None]
        cores[0] = cores[0][:1]
        place = checks.device(device)
        return cls._of([core.to(place, dtype) for core in cores])

    @classmethod
    def from_function(
        cls,
        function: Callable[[Tensor], Tensor],
        shape: Sequence[int],
        *,
        rtol: float,
        max_evaluations: int = interpolation.MAX_EVALUATIONS,
        pivots: Tensor | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
    ) -> Self:
        """Return the train of a function of indices `(B, m)` by cross interpolation, from some of its values.

        The arguments are described in `tensortrain.interpolate`, which also returns an estimate of the error; this
        method only warns if the tolerance was not reached. The `error` of the result is None, because no Frobenius
        error is known.

        Raises:
            TensorTrainError: in the same cases as `tensortrain.interpolate`.

        >>> import tensortrain as tt
        >>> train = tt.TensorTrain.from_function(lambda i: 1 / (1.0 + i.sum(1).double()), (8,) * 6, rtol=1e-8)
        >>> train.shape, max(train.ranks) < 10
        ((8, 8, 8, 8, 8, 8), True)
        """
        options: dict[str, Any] = {"max_evaluations": max_evaluations, "pivots": pivots, "seed": seed, "device": device}
        return cls._of(interpolation.interpolated(function, shape, rtol=rtol, **options).cores)
