"""Intervals that contain an exact norm, from float64 values and bounds of their rounding errors.

The bounds are those of P10 in proofs/README.md: a sum of n terms in any order differs from the exact sum by at most
`γ_n = n u / (1 - n u)` times the sum of the absolute values, where u = 2⁻⁵³. Sums of millions of squares are computed
by `math.fsum`, which rounds only once.
"""

import math
from collections.abc import Sequence

from torch import Tensor

from tensortrain.conv.functional import compose_all, ungroup
from tensortrain.errors import TensorTrainError

Interval = tuple[float, float]

_CHUNK = 2**20  # number of squares that are summed at a time, so that their list stays small
_TINY = 1e-290  # added to numbers near 1: the total of all underflows is far smaller


def gamma(operations: int, bits: int = 53) -> float:
    """Return `γ_n` for n operations that round to so many bits, rounded up.

    >>> gamma(8, 24) > 8 * 2**-24
    True
    """
    share = operations * 2.0**-bits
    if share >= 0.5:
        raise TensorTrainError(f"{operations} operations in {bits} bits leave no correct digit")
    return share / (1 - share) * (1 + 1e-15)


def norm_interval(x: Tensor) -> Interval:
    """Return an interval that contains the Frobenius norm of a float64 tensor with entries near 1 or smaller."""
    squares = x.square().flatten()
    total = math.fsum(math.fsum(squares[i : i + _CHUNK].tolist()) for i in range(0, len(squares), _CHUNK))
    low, high = math.sqrt(total * (1 - 2e-15)), math.sqrt(total * (1 + 2e-15) + _TINY)
    return low * (1 - 1e-15), high * (1 + 1e-15)


def relative_interval(distance: Tensor, off: Tensor, by: float, reference: Interval) -> Interval:
    """Return an interval that contains the norm of a difference, relative to a reference.

    Args:
        distance: the difference, as computed.
        off: a tensor of the same shape; the exact difference is entrywise within `by · off` plus one rounding of the
            computed one.
        by: a relative error.
        reference: an interval that contains the norm of the reference.

    Raises:
        TensorTrainError: the reference may be zero, or a number is beyond the range of float64.
    """
    if reference[0] <= 0:
        raise TensorTrainError("a relative distance from zero is undefined and cannot be certified")
    low, high = norm_interval(distance)
    slack = (by * norm_interval(off)[1] * (1 + 2 * by) + 2.0**-52 * high + _TINY) * (1 + 1e-15)
    ends = max(0.0, (low - slack) / reference[1] * (1 - 1e-15)), (high + slack) / reference[0] * (1 + 1e-15)
    if not ends[1] < math.inf:  # a NaN fails too
        raise TensorTrainError(
            f"a relative distance of {ends[1]} cannot be certified, because numbers overflow; scale the tensors first"
        )
    return ends


def scaled(x: Tensor) -> tuple[Tensor, int]:
    """Return a float64 tensor, divided by a power of two so that its largest entry is in [1/2, 1), and the exponent."""
    exponent = math.frexp(float(x.abs().max()))[1]
    return times_power(x.double(), -exponent), exponent


def times_power(x: Tensor, exponent: int) -> Tensor:
    """Return `2^exponent · x`, computed in two steps, because the power may be beyond the range of float64."""
    half = exponent // 2
    return x * 2.0**half * 2.0 ** (exponent - half)


def error_interval(weight: Tensor, own: int, cores: Sequence[Tensor], groups: Sequence[int]) -> Interval:
    """Return an interval that contains the relative Frobenius distance of the kernel of a chain from a weight.

    Args:
        weight: the weight, `(R_0, R_m / own, *K)`.
        own: number of groups of the weight, a divisor of the greatest common divisor of the groups of the cores.
        cores: the cores, `(R_{l-1}, R_l / g_l, *k_l)`; real, of any dtype.
        groups: the groups of the cores.

    Raises:
        TensorTrainError: the weight is zero, or the kernel is more than 2^500 times as large.
    """
    near, exponent = scaled(weight)
    parts = [scaled(core) for core in cores]
    factors, shift = [factor for factor, _ in parts], sum(e for _, e in parts) - exponent
    if shift > 500:
        raise TensorTrainError("the kernel of the cores is more than 2^500 times the weight; scale one of them")
    scale = 2.0 ** max(shift, -1000)
    shared = math.gcd(*groups)  # a kernel with more groups than the weight is zero outside of its blocks
    chains = (factors, [factor.abs() for factor in factors])
    kernel, sizes = (ungroup(compose_all(chain, groups) * scale, shared, own) for chain in chains)
    # operations for one entry: the sums of each matrix product, the sums over kernel positions, and the difference
    operations = sum(core.shape[1] + math.prod(core.shape[2:]) for core in cores[:-1]) + 1
    return relative_interval(kernel - near, sizes, gamma(operations), norm_interval(near))
