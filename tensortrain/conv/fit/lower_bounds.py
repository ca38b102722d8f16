"""Lower bounds of the error of all chains with given ranks."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.spectral import frequency_weights, transform
from tensortrain.conv.fit.sweep import lift

Axes = tuple[int, ...]

NEAR = 0.8  # fraction of the best bound; in experiments a finer grid improved the bound by at most an eighth
FINER = (1, 2)  # by how much the additional grids of the Fourier bound are longer than the kernel
FAINT = 1e-10  # below this energy, for a kernel of unit norm, a Gram matrix is too inaccurate
COSTLY = 1e8  # with more multiplications for its SVDs, the last grid would take long compared with the fit


def _tail(matrices: Tensor, rank: int) -> Tensor:
    """Return the energy beyond the leading `rank` singular values of each matrix in the batch."""
    if rank >= min(matrices.shape[-2:]):
        return matrices.new_zeros(matrices.shape[:-2], dtype=torch.float64)
    values: Tensor = torch.linalg.svdvals(matrices)
    return values[..., rank:].square().sum(-1)


def fourier_bound(weight: Tensor, rank: int, grid: Axes | None = None) -> float:
    """Return the root of `N^{-d} Σ_ω Σ_{i > r} σ_i(Ŵ(ω))²`, a lower bound of the error.

    At each frequency the Fourier transform of a chain is a matrix of rank at most r = min R_l.

    Args:
        weight: the kernel, `(G, p, q, *K)`.
        rank: the smallest rank within one group of the convolution.
        grid: number of frequencies per axis, at least K, which is the default.
    """
    grid = grid or tuple(weight.shape[3:])
    tails = _tail(transform(weight, grid), rank)
    return math.sqrt(float((tails * frequency_weights(grid, weight)).sum()))


def unfolding_bound(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> float:
    """Return a lower bound from the unfoldings of W at each bond, whose ranks a chain bounds.

    Bond l connects `R_l` filters over the positions of T(1) * … * T(l) with the rest of the chain. The unfolding
    `p × (positions, q)` of a chain therefore has rank at most `R_l · positions`, and similarly from the input side. If
    both sides of the bond extend along different axes, the unfolding with the positions split between the sides has
    rank at most `R_l`.
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
    """Return the energy beyond the leading `rank` singular values of a batch, if possible by a Gram matrix."""
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.mT
    count = matrices.shape[-2] - rank
    if count <= 0:
        return 0.0
    values: Tensor = torch.linalg.eigvalsh(matrices @ matrices.mT)
    tail = float(values[..., :count].sum())
    return tail if tail > FAINT else float(_tail(matrices, rank).sum())


def quick_lower_bound(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> float:
    """Return a lower bound of the error of a chain with these inner ranks at low cost, for searches.

    Args:
        weight: the kernel, `(G, p, q, *K)`, of unit norm, so that the bound is relative.
        kernel_sizes: the size of each core.
        ranks: the inner ranks within one group of the convolution.
    """
    if not ranks:
        return 0.0
    return max(fourier_bound(weight, min(ranks)), unfolding_bound(weight, kernel_sizes, ranks))


def lower_bound(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int], error: float = math.inf) -> float:
    """Return the best lower bound that the unfoldings and two or three grids of frequencies give, for reports.

    The best grid depends on the kernel. For nine in ten of the 3×3 kernels of a trained ResNet-20, a finer grid
    improves the bound, by up to 10 %.

    Args:
        weight: the kernel, `(G, p, q, *K)`, of unit norm, so that the bound is relative.
        kernel_sizes: the size of each core.
        ranks: the inner ranks.
        error: the error of a chain with these ranks; if the unfoldings prove it optimal, no grid can improve the bound.
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
    """Yield grids for the Fourier bound: the kernel's own size, and finer ones along axes longer than 1."""
    g, p, q, *size = weight.shape
    yield tuple(size)
    for more in FINER if max(size) > 1 else ():
        grid = tuple(k + more if k > 1 else 1 for k in size)
        if more == FINER[0] or g * math.prod(grid) / 2 * p * q * min(p, q) < COSTLY:
            yield grid
