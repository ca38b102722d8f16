"""Lower bounds with proofs that exact arithmetic can check: P8.6 of proofs/README.md.

A kernel determines matrices whose rank the ranks of a chain bound: its unfoldings, and its spectrum on a grid of 1, 2
or 4 frequencies per axis, where the discrete Fourier transform needs no other numbers than 1 and i. A proof holds a
basis for each of them, nearly that of its singular vectors. In such a basis Gershgorin's discs bound the largest
singular values from above, and so the energy of the others from below.
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

BITS = 40  # after the binary point of the bases, whose entries are stored as integers
MOST = 3e9  # multiplications of integers that take the checker less than a minute
SPECTRUM = 0  # in place of a bond


@dataclass(frozen=True)
class Cut:
    """Which matrices of a kernel a proof is about.

    Attributes:
        bond: whose rank bounds theirs, 1 … m - 1; `SPECTRUM` stands for the smallest of all ranks.
        axes: of an unfolding, how many positions of each axis are in its rows, 1 or all; of a spectrum, frequencies.
        rank: that each matrix of a chain has at most.
    """

    bond: int
    axes: Axes
    rank: int

    def matrices(self, kernel: Tensor) -> Iterator[tuple[Tensor, float]]:
        """Each matrix of a kernel `(p, q, *K)`, real or complex, and its share in the kernel's energy."""
        if self.bond != SPECTRUM:
            yield self._unfolding(kernel), 1.0
            return
        spectrum = torch.fft.rfftn(kernel, s=self.axes, dim=tuple(range(2, kernel.dim())))
        for f in itertools.product(*map(range, spectrum.shape[2:])):
            alone = 2 * f[-1] % self.axes[-1] == 0  # else its complex conjugate is left out
            yield spectrum[(slice(None), slice(None), *f)], (1 if alone else 2) / math.prod(self.axes)

    def _unfolding(self, kernel: Tensor) -> Tensor:
        """Rows `(positions of axes, p)`, columns `(the other positions, q)`."""
        axes = range(2, kernel.dim())
        rows = [axis for axis, count in zip(axes, self.axes, strict=True) if count > 1]
        columns = [axis for axis in axes if axis not in rows]
        return kernel.permute(*rows, 0, *columns, 1).reshape(kernel.shape[0] * math.prod(self.axes), -1)

    def multiplications(self, shape: Sequence[int]) -> int:
        """How many the checker needs for a kernel `(p, q, *K)`; a complex matrix is twice as high and wide to it."""
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
        value: no chain of the given sizes and ranks is closer to the kernel, in relative Frobenius distance.
        cut: which matrices prove it.
        bases: for each of them a basis, as lines of integers over `2^BITS`, one for each vector; of a complex one
            first its real parts, then its imaginary ones.
    """

    value: float
    cut: Cut
    bases: list[list[str]]


def best_lower_bound(weight: Tensor, groups: int, sizes: Sequence[Axes], ranks: Sequence[int]) -> LowerBound | None:
    """The best lower bound that can be checked within a minute; None if there is none above zero.

    Args:
        weight: `(p, q / groups, *K)`; real, of any dtype.
        groups: of the weight.
        sizes: of the cores of a chain.
        ranks: `(R_0, …, R_m)`.
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
    """All cuts of a kernel `(p, q, *K)`, for chains of these core sizes and interior ranks, that the checker knows."""
    whole = tuple(shape[2:])
    if ranks and 1 < max(whole) <= 4:  # of a single position the unfolding at the bond is the spectrum
        yield Cut(SPECTRUM, tuple(4 if k > 2 else k for k in whole), min(ranks))
    for bond, rank in enumerate(ranks, start=1):
        left, right = whole_size(sizes[:bond]), whole_size(sizes[bond:])
        for axes in itertools.product(*(sorted({1, k}) for k in whole)):
            # W[a + b] = Σ_z T_left[a + z] T_right[b - z]: the number of z that occur on each axis
            shifts = (min(l, k - a + 1) + min(r, a) - 1 for k, l, r, a in zip(whole, left, right, axes, strict=True))
            yield Cut(bond, axes, rank * math.prod(shifts))


def _tail(matrix: Tensor, rank: int) -> float:
    """Energy beyond the leading singular values, about."""
    count = min(matrix.shape) - rank
    return float(torch.linalg.eigvalsh(_gram(matrix))[:count].sum()) if count > 0 else 0.0


def _gram(matrix: Tensor) -> Tensor:
    """The smaller of its Gram matrices."""
    short = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mH
    return short @ short.mH


def _basis(matrix: Tensor) -> list[str]:
    """The singular vectors on the shorter side of a matrix, as lines of integers."""
    vectors = torch.linalg.eigh(_gram(matrix))[1].mT
    rows = torch.cat([vectors.real, vectors.imag], 1) if vectors.is_complex() else vectors
    return [" ".join(map(str, row)) for row in (rows * 2**BITS).round().long().tolist()]


def _proved(kernel: Kernel, sizes: Sequence[Axes], ranks: Sequence[int], cut: Cut, bases: list[list[str]]) -> float:
    """What the checker will find proved, rounded down."""
    energy = tensortrain_check.energy(kernel, sizes, ranks, cut.bond, cut.axes, bases)
    share = Fraction(energy) / sum(entry**2 for rows in kernel.values() for row in rows for entry in row)
    value = math.sqrt(share)
    while Fraction(value) ** 2 > share:
        value = math.nextafter(value, 0.0)
    return value
