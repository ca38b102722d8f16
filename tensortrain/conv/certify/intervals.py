"""Intervals that contain an exact norm, from float64 values and bounds on what rounding does to them.

The bounds are those of P10 in proofs/README.md: a sum of n terms in any order is within `γ_n = n u / (1 - n u)` of the
sum of their absolute values, u = 2⁻⁵³. The sums of squares, of millions of entries, go through `math.fsum`, which
rounds once.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from tensortrain.conv.functional import compose_all, ungroup
from tensortrain.errors import TensorTrainError

Interval = tuple[float, float]

_CHUNK = 2**20  # squares summed at a time, so that their list stays small
_TINY = 1e-290  # beside numbers near 1: what underflows on the way to a result is far less


def gamma(operations: int, bits: int = 53) -> float:
    """`γ_n` of n operations that round to so many bits, rounded up.

    >>> gamma(8, 24) > 8 * 2**-24
    True
    """
    share = operations * 2.0**-bits
    if share >= 0.5:
        raise TensorTrainError(f"{operations} operations in {bits} bits leave no correct digit")
    return share / (1 - share) * (1 + 1e-15)


def norm_interval(x: Tensor) -> Interval:
    """The Frobenius norm of a float64 tensor with entries near 1 or smaller, as an interval."""
    squares = x.square().flatten()
    total = math.fsum(math.fsum(squares[i : i + _CHUNK].tolist()) for i in range(0, len(squares), _CHUNK))
    low, high = math.sqrt(total * (1 - 2e-15)), math.sqrt(total * (1 + 2e-15) + _TINY)
    return low * (1 - 1e-15), high * (1 + 1e-15)


def relative_interval(distance: Tensor, off: Tensor, by: float, reference: Interval) -> Interval:
    """The norm of a difference, relative to a reference.

    Args:
        distance: the difference, as computed.
        off: of its shape; the exact difference is within `by · off` and one more rounding of it, entry by entry.
        by: a relative error.
        reference: the norm of the reference, as an interval.

    Raises:
        TensorTrainError: a reference that may be zero.
    """
    if reference[0] <= 0:
        raise TensorTrainError("a relative distance from zero has no value to certify")
    low, high = norm_interval(distance)
    slack = (by * norm_interval(off)[1] * (1 + 2 * by) + 2.0**-52 * high + _TINY) * (1 + 1e-15)
    return max(0.0, (low - slack) / reference[1] * (1 - 1e-15)), (high + slack) / reference[0] * (1 + 1e-15)


def scaled(x: Tensor) -> tuple[Tensor, int]:
    """A tensor in float64 over a power of two, so that its largest entry is between 1/2 and 1, and the exponent."""
    exponent = math.frexp(float(x.abs().max()))[1]
    return times_power(x.double(), -exponent), exponent


def times_power(x: Tensor, exponent: int) -> Tensor:
    """`2^exponent · x`, in two steps, as the power may be beyond the range of float64."""
    half = exponent // 2
    return x * 2.0**half * 2.0 ** (exponent - half)


def error_interval(weight: Tensor, own: int, cores: Sequence[Tensor], groups: Sequence[int]) -> Interval:
    """The relative Frobenius distance of the kernel of a chain from a weight, as an interval.

    Args:
        weight: `(R_0, R_m / own, *K)`.
        own: groups of the weight, a divisor of what all groups of the cores share.
        cores: `(R_{l-1}, R_l / g_l, *k_l)`; real, of any dtype.
        groups: of the cores.

    Raises:
        TensorTrainError: a weight of zeros only, or a kernel that is beyond all scale beside it.
    """
    near, exponent = scaled(weight)
    parts = [scaled(core) for core in cores]
    factors, shift = [factor for factor, _ in parts], sum(e for _, e in parts) - exponent
    if shift > 500:
        raise TensorTrainError("the kernel of the cores is more than 2^500 times the weight; scale one of them")
    scale = 2.0 ** max(shift, -1000)
    shared = math.gcd(*groups)  # with more groups than the weight the kernel is zero off its blocks
    chains = (factors, [factor.abs() for factor in factors])
    kernel, sizes = (ungroup(compose_all(chain, groups) * scale, shared, own) for chain in chains)
    # on the way to an entry: the products and sums of each matrix product, the sums over taps, and the difference
    operations = sum(core.shape[1] + math.prod(core.shape[2:]) for core in cores[:-1]) + 1
    return relative_interval(kernel - near, sizes, gamma(operations), norm_interval(near))
