"""Lower bounds of errors with proofs that exact arithmetic can check (P8.6 of proofs/README.md).

The ranks of a chain bound the ranks of certain matrices of its kernel: the unfoldings, and the spectrum on a grid of 1,
2 or 4 frequencies per axis, for which the discrete Fourier transform needs only the numbers 1 and i. A proof contains a
basis for each of these matrices, which is nearly the basis of its singular vectors. In such a basis Gershgorin's discs
bound the largest singular values from above, and therefore the energy of the other singular values from below.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

import tensortrain_check
from tensortrain.conv.alignment import whole_size
from tensortrain.conv.certify.exact import Kernel, exact_kernel
from tensortrain.conv.certify.intervals import scaled
from tensortrain.conv.functional import ungroup

Axes = tuple[int, ...]

BITS = 40  # number of bits after the binary point in the bases, whose entries are stored as integers
MOST = 3e9  # number of integer multiplications that the checker does in less than a minute
SPECTRUM = 0  # stands for the spectrum in place of a bond


@dataclass(frozen=True)
class Cut:
    """The selection of matrices of a kernel that a proof uses.

    Attributes:
        bond: the bond whose rank bounds the ranks of the matrices, 1 … m - 1; `SPECTRUM` stands for the smallest of all
            ranks.
        axes: for an unfolding, the number of positions of each axis in its rows, 1 or all; for a spectrum, the
            frequencies.
        rank: the largest rank of each such matrix of a chain.
    """

    bond: int
    axes: Axes
    rank: int

    def matrices(self, kernel: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Yield each matrix of a kernel `(p, q, *K)`, real or complex, and its weight in the kernel's energy."""
        if self.bond != SPECTRUM:
            yield self._unfolding(kernel), 1.0
            return
        spectrum = torch.fft.rfftn(kernel, s=self.axes, dim=tuple(range(2, kernel.dim())))
        for f in itertools.product(*map(range, spectrum.shape[2:])):
            alone = 2 * f[-1] % self.axes[-1] == 0  # otherwise its complex conjugate is left out
            yield spectrum[(slice(None), slice(None), *f)], (1 if alone else 2) / math.prod(self.axes)

    def _unfolding(self, kernel: Tensor) -> Tensor:
        """Return the unfolding with rows `(positions of axes, p)` and columns `(the other positions, q)`."""
        axes = range(2, kernel.dim())
        rows = [axis for axis, count in zip(axes, self.axes, strict=True) if count > 1]
        columns = [axis for axis in axes if axis not in rows]
        return kernel.permute(*rows, 0, *columns, 1).reshape(kernel.shape[0] * math.prod(self.axes), -1)

    def multiplications(self, shape: Sequence[int]) -> int:
        """Return the checker's multiplications for a kernel `(p, q, *K)`; complex matrices count as twice as large."""
        p, q, *size = shape
        if self.bond == SPECTRUM:
            count, sides = math.prod(self.axes[:-1]) * (self.axes[-1] // 2 + 1), (2 * p, 2 * q)
        else:
            count, sides = 1, (p * math.prod(self.axes), q * math.prod(size) // math.prod(self.axes))
        return count * min(sides) ** 2 * (min(sides) + 2 * max(sides))


@dataclass(frozen=True)
class LowerBound:
    """A lower bound and its proof.

    Attributes:
        value: no chain with the given sizes and ranks has a smaller relative Frobenius distance from the kernel.
        cut: the matrices that prove it.
        bases: for each of them a basis, one line for each vector, with integers over `2^BITS`. For a complex matrix the
            real parts come first and the imaginary parts second.
    """

    value: float
    cut: Cut
    bases: list[list[str]]


def best_lower_bound(weight: Tensor, groups: int, sizes: Sequence[Axes], ranks: Sequence[int]) -> LowerBound | None:
    """Return the best lower bound that can be checked within a minute, or None if there is none above zero.

    Args:
        weight: the weight, `(p, q / groups, *K)`; real, of any dtype.
        groups: number of groups of the weight.
        sizes: sizes of the cores of a chain.
        ranks: the ranks `(R_0, …, R_m)`.
    """
    kernel, _ = scaled(ungroup(weight, groups))
    best, most = None, 0.0
    for cut in _cuts(kernel.shape, sizes, ranks[1:-1]):
        if cut.multiplications(kernel.shape) <= MOST:
            energy = sum(share * _tail(matrix, cut.rank) for matrix, share in cut.matrices(kernel))
            best, most = (cut, energy) if energy > most else (best, most)
    if best is None:
        return None
    bases = [_basis(matrix) for matrix, _ in best.matrices(kernel)]
    value = _proved(exact_kernel(weight, groups), sizes, ranks, best, bases)
    return LowerBound(value, best, bases) if value else None


def _cuts(shape: Sequence[int], sizes: Sequence[Axes], ranks: Sequence[int]) -> Iterator[Cut]:
    """Yield all cuts of a kernel `(p, q, *K)` that the checker knows, for these core sizes and inner ranks."""
    whole = tuple(shape[2:])
    if ranks and 1 < max(whole) <= 4:  # for a single position the spectrum equals the unfolding at the bond
        yield Cut(SPECTRUM, tuple(4 if k > 2 else k for k in whole), min(ranks))
    for bond, rank in enumerate(ranks, start=1):
        left, right = whole_size(sizes[:bond]), whole_size(sizes[bond:])
        for axes in itertools.product(*(sorted({1, k}) for k in whole)):
            # W[a + b] = Σ_z T_left[a + z] T_right[b - z]: the number of z that occur on each axis
            shifts = (min(l, k - a + 1) + min(r, a) - 1 for k, l, r, a in zip(whole, left, right, axes, strict=True))
            yield Cut(bond, axes, rank * math.prod(shifts))


def _tail(matrix: Tensor, rank: int) -> float:
    """Return the approximate energy beyond the leading singular values."""
    count = min(matrix.shape) - rank
    return float(torch.linalg.eigvalsh(_gram(matrix))[:count].sum()) if count > 0 else 0.0


def _gram(matrix: Tensor) -> Tensor:
    """Return the smaller one of the Gram matrices."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mH
    return short @ short.mH


def _basis(matrix: Tensor) -> list[str]:
    """Return the singular vectors on the shorter side of a matrix, as lines of integers."""
    vectors = torch.linalg.eigh(_gram(matrix))[1].mT
    rows = torch.cat([vectors.real, vectors.imag], 1) if vectors.is_complex() else vectors
    return [" ".join(map(str, row)) for row in (rows * 2**BITS).round().long().tolist()]


def _proved(kernel: Kernel, sizes: Sequence[Axes], ranks: Sequence[int], cut: Cut, bases: list[list[str]]) -> float:
    """Return the bound that the checker will derive, rounded down."""
    energy = tensortrain_check.energy(kernel, sizes, ranks, cut.bond, cut.axes, bases)
    share = Fraction(energy) / sum(entry**2 for rows in kernel.values() for row in rows for entry in row)
    value = math.sqrt(share)
    while Fraction(value) ** 2 > share:
        value = math.nextafter(value, 0.0)
    return value
