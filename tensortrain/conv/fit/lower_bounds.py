"""What no chain of given ranks can go below."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.spectral import frequency_weights, transform
from tensortrain.conv.fit.sweep import lift

Axes = tuple[int, ...]

NEAR = 0.8  # of the best bound: a finer grid improves on the kernel's own by an eighth at most, as far as was seen
FINER = (1, 2)  # by how much the further grids of the Fourier bound are longer than the kernel
FAINT = 1e-10  # energy, of a kernel of unit norm, below which half the digits of a Gram matrix do not settle it
COSTLY = 1e8  # multiplications for the SVDs of a grid above which the last of them would take long beside the fit


def _tail(matrices: Tensor, rank: int) -> Tensor:
    """Energy beyond the leading `rank` singular values of each matrix in the batch."""
    if rank >= min(matrices.shape[-2:]):
        return matrices.new_zeros(matrices.shape[:-2], dtype=torch.float64)
    values: Tensor = torch.linalg.svdvals(matrices)
    return values[..., rank:].square().sum(-1)


def fourier_bound(weight: Tensor, rank: int, grid: Axes | None = None) -> float:
    """`err² ≥ N^{-d} Σ_ω Σ_{i > r} σ_i(Ŵ(ω))²`: at each frequency a chain is a matrix of rank at most r = min R_l.

    Args:
        weight: `(G, p, q, *K)`.
        rank: the smallest rank within a conv group.
        grid: number of frequencies per axis, at least K (the default).
    """
    grid = grid or tuple(weight.shape[3:])
    tails = _tail(transform(weight, grid), rank)
    return math.sqrt(float((tails * frequency_weights(grid, weight)).sum()))


def unfolding_bound(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> float:
    """From the unfoldings of W at each bond, whose rank a chain bounds.

    Behind bond l stand `R_l` filters over the positions of T(1) * … * T(l): unfolded to `p × (positions, q)` the
    chain has rank at most `R_l · positions`, and likewise from the input side. Where both sides of the bond
    extend along different axes, the unfolding with the positions split between the sides has rank at most `R_l`.
    """
    rows, columns = weight.flatten(2), weight.transpose(1, 2).flatten(2)
    best = 0.0
    for l, rank in enumerate(ranks, start=1):
        left, right = whole_size(kernel_sizes[:l]), whole_size(kernel_sizes[l:])
        best = max(best, _wide_tail(rows, rank * math.prod(left)), _wide_tail(columns, rank * math.prod(right)))
        if all(min(a, b) == 1 for a, b in zip(left, right, strict=True)):
            best = max(best, _wide_tail(lift(weight, left), rank))
    return math.sqrt(best)


def _wide_tail(matrices: Tensor, rank: int) -> float:
    """Energy beyond the leading `rank` singular values, of a batch, by the smaller Gram matrix if that will do."""
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.mT
    count = matrices.shape[-2] - rank
    if count <= 0:
        return 0.0
    values: Tensor = torch.linalg.eigvalsh(matrices @ matrices.mT)
    tail = float(values[..., :count].sum())
    return tail if tail > FAINT else float(_tail(matrices, rank).sum())


def quick_lower_bound(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> float:
    """A lower bound on the error of a chain with these interior ranks (within a conv group), for searches.

    Args:
        weight: `(G, p, q, *K)` of unit norm, for a relative bound.
        kernel_sizes: of every core.
        ranks: interior ranks.
    """
    if not ranks:
        return 0.0
    return max(fourier_bound(weight, min(ranks)), unfolding_bound(weight, kernel_sizes, ranks))


def lower_bound(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int], error: float = math.inf) -> float:
    """The best lower bound that the unfoldings and two or three grids of frequencies give, for reports.

    Which grid gives the best bound depends on the kernel: of the 3×3 kernels of a trained ResNet-20 nine in ten gain
    by the finer ones, up to a tenth.

    Args:
        weight: `(G, p, q, *K)` of unit norm, for a relative bound.
        kernel_sizes: of every core.
        ranks: interior ranks.
        error: of a chain of these ranks; where the unfoldings prove it the least, no grid can do better.
    """
    if not ranks:
        return 0.0
    best = unfolding_bound(weight, kernel_sizes, ranks)
    for grid in _grids(weight) if best < (1 - 1e-12) * error else ():
        bound = fourier_bound(weight, min(ranks), grid)
        if bound < NEAR * best:
            break
        best = max(best, bound)
    return best


def _grids(weight: Tensor) -> Iterator[Axes]:
    """Grids for the Fourier bound: of the kernel's own size, and finer along the axes where it is longer than 1."""
    g, p, q, *size = weight.shape
    yield tuple(size)
    for more in FINER if max(size) > 1 else ():
        grid = tuple(k + more if k > 1 else 1 for k in size)
        if more == FINER[0] or g * math.prod(grid) / 2 * p * q * min(p, q) < COSTLY:
            yield grid
