"""The right interfaces of a train, which are the contractions of all cores to the right of a bond, and its norm.

A bond may be scaled: with a diagonal matrix D, `T(l) → T(l) D` and `T(l+1) → D⁻¹ T(l+1)` leave the train unchanged. The
summands of a sum have different scales. If the norm of one summand is in its first core and that of the other in its
last core, their interfaces differ by any factor, although the summands themselves may be equally large. No channel of
a bond may therefore lose digits because another channel is large: the accuracy of each row of an interface is relative
to that row alone. Where numbers come near the ends of the dtype's range, the bonds are scaled by powers of two, which
is exact.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tensortrain.derivatives import measured, root
from tensortrain.errors import TensorTrainError
from tensortrain.linalg import frobenius_norm, triangular_factor
from tensortrain.precision import precise
from tensortrain.transforms import batched, differentiated, physical, samples
from tensortrain.tt.exponents import unscaled
from tensortrain.tt.scaling import largest_sample, magnitudes, range_of, shifted_along, shifted_each

_TOGETHER = 20  # channels that differ by at most so many powers of two get a common scale


class Interfaces(NamedTuple):
    """A train with the contraction of all cores to the right of each of its bonds.

    M_l, `(R_l, …)`, is the contraction of cores l + 1 … m, l = 0 … m - 1.

    Attributes:
        cores: the cores; their bonds are scaled so that no row of any M_l leaves the range of the dtype.
        exponents: R_l integers for each l. Row i of M_l of the original cores is `2**exponents[l][i]` times row i of
            M_l of `cores`. The R_0 integers for l = 0 are equal.
        factors: F_l with `F_l F_lᴴ = M_l M_lᴴ`, from QR, without derivatives; the accuracy of each row is relative to
            the row. Columns that are rounding error in every row are left out, so that trains with redundant ranks,
            such as sums, have small factors.
        grams: the matrices `M_l M_lᴴ`, differentiable but less accurate; None if no derivative is needed.
        projected: whether F_l has only the directions of M_l that the cores before the bond read.
    """

    cores: list[Tensor]
    exponents: list[list[int]]
    factors: list[Tensor]
    grams: list[Tensor] | None
    projected: list[bool]

    @property
    def exponent(self) -> int:
        """Return k such that the train is `2**k` times the train of `cores`."""
        return self.exponents[0][0]

    @property
    def norm(self) -> float | None:
        """Return the Frobenius norm of the train of `cores`, or None under `torch.vmap`."""
        return None if batched(self.factors[0]) else frobenius_norm(self.factors[0])


class _Bond(NamedTuple):
    """A scaled core, with the exponents and the factor of the interface that begins with it; see `Interfaces`."""

    core: Tensor
    exponents: list[int]
    factor: Tensor
    is_projected: bool

    @property
    def has_full_rank(self) -> bool:
        """Return whether the factor spans all directions of the bond, as far as its shape shows."""
        return self.factor.shape[1] == len(self.factor) and not batched(self.factor)


class _Reading(NamedTuple):
    """How the cores before a bond read its channels.

    Attributes:
        bond: the bond of the mirrored train, whose factor has a row for each channel.
        uncertainty: the rounding error of each of these rows, in units of eps; see `_uncertainties`.
    """

    bond: _Bond
    uncertainty: Tensor


@precise
def right_interfaces(cores: Sequence[Tensor]) -> Interfaces:
    """Return the right interfaces of a train of any length and scale.

    Raises:
        TensorTrainError: a derivative is needed, and an interface leaves the range of the dtype.
    """
    bonds = _bonds(cores)
    is_scaled = any(any(bond.exponents) for bond in bonds)
    scaled, exponents, factors, projected = (list(part) for part in zip(*bonds, strict=True))
    grams = _grams(scaled) if differentiated(*cores) else None
    if grams is not None and is_scaled and not bool(physical(grams[0]).isfinite().all()):
        raise TensorTrainError(
            f"the cores grow beyond the range of {cores[0].dtype} in directions that the earlier cores do not read, so"
            " the derivatives would overflow; first round() the train without derivatives"
        )
    return Interfaces(scaled, exponents, factors, grams, projected)


@precise
def scaled_bonds(cores: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """Return `(c, k)`: the train of `cores` is `2**k` times that of c, whose channels all have sizes near 1."""
    bonds = _bonds(cores)
    powers = [*(_leftover(bond, l == 0) for l, bond in enumerate(bonds)), [0] * cores[-1].shape[2]]
    scaled = [
        shifted_each(bond.core, np.array(after) - np.array(before)[:, None, None])
        for bond, before, after in zip(bonds, powers[:-1], powers[1:], strict=True)
    ]
    return scaled, bonds[0].exponents[0] + powers[0][0]


def _leftover(bond: _Bond, is_first: bool) -> list[int]:
    """Return the powers of two by which the channels of a scaled bond still differ from 1."""
    if bond.is_projected:  # its channels are scaled one by one, and rows of its factor may be rounding error
        return [0] * len(bond.core)
    sizes = largest_sample(bond.factor.abs().amax(1), 2 * range_of(bond.core.dtype)).tolist()
    return _alike([math.frexp(size)[1] if size > 0 else None for size in sizes], is_first)


def drifts(cores: Sequence[Tensor], exponents: Sequence[int]) -> bool:
    """Return whether interfaces of the cores times `2**-exponents` may come near the ends of the range.

    Interfaces of products of two trains count as well, in which channels of different sizes differ even more.
    """
    sizes = cores[-1].new_zeros(cores[-1].shape[2], dtype=cores[-1].real.dtype)
    bounds, spans = [sizes], [sizes[:1]]
    for core, k in zip(reversed(cores), reversed(exponents), strict=True):
        sizes = (samples(magnitudes(core).amax(1)).log2() - k + sizes[..., None, :]).amax(-1)
        bounds.append(sizes.flatten())
        spans.append((sizes.amax(-1) - torch.where(sizes.isfinite(), sizes, math.inf).amin(-1)).flatten())
    every, limit = torch.cat(bounds), range_of(cores[0].dtype)
    return bool((every.isfinite() & (every.abs() > limit)).any()) or bool((torch.cat(spans) > limit / 4).any())


def _bonds(cores: Sequence[Tensor]) -> list[_Bond]:
    """Return the scaled bonds of a train."""
    bonds = _sweep(cores, [None] * len(cores))
    if len(cores) > 1 and any(any(bond.exponents) for bond in bonds):
        # the numbers out of range may belong to directions that no earlier core reads
        earlier = _sweep(mirrored(cores), [None] * len(cores))
        if not all(bond.has_full_rank for bond in earlier[1:]):
            readings = list(map(_Reading, earlier, _uncertainties(earlier)))[:0:-1]
            bonds = _sweep(cores, [None, *(None if reading.bond.has_full_rank else reading for reading in readings)])
    return bonds


def _uncertainties(bonds: Sequence[_Bond]) -> list[Tensor]:
    """Return the rounding error of each row of the factor of each bond, `(R_l,)`, in units of eps.

    A row is the sum of the rows of the next factor, weighted with numbers of the core. If these terms cancel, its error
    is as large as without cancellation, although the row is small or consists of nothing but this error. The errors of
    the terms are taken to be independent, because a bound would grow exponentially with the number of cores.
    """
    last = bonds[-1].core
    size = error = torch.ones(last.shape[2], dtype=torch.float64, device=last.device)
    errors = []
    for bond in reversed(bonds):
        squares = bond.core.detach().abs().to(torch.float64).square().sum(1)
        error = (squares @ (size.square() + error.square())).sqrt()
        errors.append(error)
        size = torch.linalg.vector_norm(bond.factor, dim=1).to(torch.float64)
    return errors[::-1]


def _sweep(cores: Sequence[Tensor], earlier: Sequence[_Reading | None]) -> list[_Bond]:
    """Return the bonds from the first core on, each projected on the directions that its `earlier` reading has."""
    bonds: list[_Bond] = []
    for n, (core, before) in enumerate(zip(reversed(cores), reversed(earlier), strict=True), start=1):
        is_first = n == len(cores)
        after = bonds[-1] if bonds else None
        beyond = [0] if after is None else after.exponents
        own = [beyond[0]] * len(core)
        # rows of very different sizes would be projected inaccurately
        is_scaled = before is not None or min(beyond) < max(beyond)
        if is_scaled:
            core, own = _scaled(core, beyond, is_first)
        triangle = _triangle(core, own, after, before)
        rows, columns = _sizes(triangle)
        if not _fits(columns, core.dtype):
            if not bool(physical(core).isfinite().all()):
                raise TensorTrainError(
                    f"core {len(cores) - n} holds NaN or infinite numbers; if the train is a product of trains with"
                    " large cores, round() these trains first"
                )
            if not is_scaled:
                core, own = _scaled(core, [beyond[0]] * core.shape[2], is_first)
                triangle = _triangle(core, own, after, before)
                rows, columns = _sizes(triangle)
            more = _alike([math.frexp(size)[1] if size > 0 else None for size in columns], is_first)
            core, triangle = shifted_along(core, [-k for k in more], 0), shifted_along(triangle, [-k for k in more], 1)
            own = [a + b for a, b in zip(own, more, strict=True)]
        noise = 8 * torch.finfo(core.dtype).eps * math.hypot(*rows)
        kept = next((k for k in range(len(rows), 1, -1) if math.hypot(*rows[k - 1 :]) > noise), 1)
        factor = (triangle if batched(triangle) else triangle[:kept]).mH
        bonds.append(_Bond(core, own, factor, before is not None))
    return bonds[::-1]


def _fits(columns: Sequence[float], dtype: torch.dtype) -> bool:
    """Return whether the largest row of an interface has a size near 1 and no row is so small that it may underflow."""
    smallest = min((size for size in columns if size > 0), default=1.0)
    return 2.0**-20 < math.hypot(*columns) < 2.0**20 and smallest > 2.0 ** (-range_of(dtype) / 2)


def _scaled(core: Tensor, beyond: Sequence[int], is_first: bool) -> tuple[Tensor, list[int]]:
    """Return `(c, k)`: the core times `2**beyond` at its last bond and `2**-k` at its first, and the powers k.

    The rows of c have sizes near 1. The first bond of a train is an axis of the tensor, so all its rows get one power.
    """
    peaks = np.array(largest_sample(magnitudes(core).amax(1), 2 * range_of(core.dtype)).tolist())
    mantissas, powers = np.frexp(peaks)
    # the rows themselves may be out of range
    sizes = np.where(mantissas > 0, powers + np.array(beyond), -math.inf).max(1)
    own = _alike([int(size) if math.isfinite(size) else None for size in sizes], is_first)
    return shifted_each(core, np.array(beyond) - np.array(own)[:, None, None]), own


def _alike(powers: Sequence[int | None], is_first: bool) -> list[int]:
    """Return one power of two for all channels, or one for each if they differ too much; None marks a zero channel."""
    known = [power for power in powers if power is not None] or [0]
    if is_first or max(known) - min(known) <= _TOGETHER:
        return [max(known)] * len(powers)
    return [max(known) if power is None else power for power in powers]


def _triangle(core: Tensor, own: Sequence[int], after: _Bond | None, before: _Reading | None) -> Tensor:
    """Return the triangular factor of the interface that begins with a core whose first bond is scaled by `2**-own`."""
    core = core.detach() if core.requires_grad else core
    rest = (core if after is None else core.flatten(0, 1) @ after.factor).reshape(len(core), -1)
    return triangular_factor((rest if before is None else _read(rest, own, before)).mH)


def _read(rest: Tensor, own: Sequence[int], before: _Reading) -> Tensor:
    """Return the part of an interface that the cores before the bond read; channels are weighted by these cores.

    Directions that these cores do not read are subtracted, which exchanges parts of the value between channels. A
    channel that is read inaccurately, because the terms of its row cancel, must not receive such parts. Its weight is
    therefore larger than its row.
    """
    factor, exponents = before.bond.factor, before.bond.exponents
    largest = torch.linalg.vector_norm(factor, math.inf, dim=1)  # squares might underflow
    scale = torch.where(largest > 0, largest * _caution(factor, before.uncertainty), 1)
    limit, powers = range_of(rest.dtype), [a + b for a, b in zip(own, exponents, strict=True)]
    sizes = largest_sample(largest, 2 * limit).tolist()
    top = max((power for power, size in zip(powers, sizes, strict=True) if size > 0), default=0)
    # only channels that are not read have powers above `top`
    weights = [min(max(power - top, -limit), 0) for power in powers]
    reads = shifted_along((factor / scale[:, None]).mT, [p - top - w for p, w in zip(powers, weights, strict=True)], 1)
    weighted = shifted_along(rest, weights, 0) * scale[..., None]
    return shifted_along(on_row_space(reads, weighted) / scale[..., None], [-w for w in weights], 0)


def on_row_space(matrix: Tensor, vectors: Tensor) -> Tensor:
    """Return the orthogonal projections of column vectors on the row space of a matrix.

    The product with the matrix comes first, so that large numbers that cancel in it leave nothing behind. Factors are
    applied one by one: the product of a pseudo-inverse would have an error that grows with its norm.
    """
    left, sizes, rows = torch.linalg.svd(matrix, full_matrices=False)
    kept = sizes > max(matrix.shape) * torch.finfo(matrix.dtype).eps * sizes[..., :1]
    inverse = torch.where(kept, 1 / torch.where(kept, sizes, 1), 0)
    projections: Tensor = rows.mH @ (inverse[..., None] * (left.mH @ (matrix @ vectors)))
    return projections


def _caution(factor: Tensor, uncertainty: Tensor) -> Tensor:
    """Return the factor by which each row is less accurate than the most accurate row, at most `eps**(-2/3)`.

    The parts of the value that a row receives are proportional to the inverse of this factor, and so is the row itself.
    With this limit errors are below eps, and rows are still well above the singular values that count as zero.
    """
    size = torch.linalg.vector_norm(factor, dim=1).to(torch.float64)
    known = (size > 0) & (uncertainty > 0)
    loss = torch.where(known, uncertainty / torch.where(known, size, 1), math.inf)
    least = loss.amin()
    relative = torch.where(known, loss / torch.where(least.isfinite(), least, 1), 1)
    limit: float = torch.finfo(factor.dtype).eps ** (-2 / 3)
    return relative.clamp(max=limit).to(factor.real.dtype)


def _sizes(triangle: Tensor) -> tuple[list[float], list[float]]:
    """Return the largest absolute value of each row, after scaling the columns to 1, and of each unscaled column."""
    entries = triangle.abs()  # squares might underflow
    if batched(triangle):
        return [1.0] * len(triangle), largest_sample(entries.amax(0), 2 * range_of(triangle.dtype)).tolist()
    largest = entries.amax(0)
    rows = (entries / torch.where(largest > 0, largest, 1)).amax(1)
    numbers = torch.cat([rows, largest]).tolist()
    return numbers[: len(rows)], numbers[len(rows) :]


def normalized_columns(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Return a matrix with columns whose largest entry is 1, and the divisors; zero columns are not changed."""
    largest = torch.linalg.vector_norm(matrix, math.inf, dim=0)  # squares might underflow
    scale = torch.where(largest > 0, largest, 1)
    return matrix / scale, scale


def _grams(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return the differentiable matrices `M_l M_lᴴ` of all bonds."""
    last = cores[-1].flatten(1)
    grams = [last @ last.mH]
    for core in reversed(cores[:-1]):
        grams.append(torch.tensordot(core, grams[-1], 1).flatten(1) @ core.flatten(1).mH)
    return grams[::-1]


@precise
def tt_norm(cores: Sequence[Tensor], squared: bool = False) -> Tensor:
    """Return the Frobenius norm of a train, or its square, as a real 0-d tensor.

    It is infinite only if the dtype is too small. The square has all derivatives where it is zero as well, which the
    square of the norm would not have.
    """
    return unscaled(lambda cores: _norm(cores, squared), cores, 2 if squared else 1)


def _norm(cores: Sequence[Tensor], squared: bool) -> tuple[Tensor, int]:
    """Return `(n, k)`: the norm, or its square, is `n · 2**k`."""
    right = right_interfaces(cores)
    norm: Tensor = torch.linalg.vector_norm(right.factors[0])
    value = norm.square() if squared else norm
    if right.grams is not None:
        square = right.grams[0].diagonal().sum().real
        value = measured(square, value) if squared else root(square, value)
    return value, right.exponent * (2 if squared else 1)


def mirrored(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return the cores of the train with its axes in reverse order."""
    return [core.transpose(0, 2) for core in reversed(cores)]
