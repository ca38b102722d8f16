"""What no chain of given ranks can go below."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.spectral import frequency_weights, transform
from tensortrain.conv.fit.sweep import lift

Axes = tuple[int, ...]


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
    """Energy beyond the leading `rank` singular values, summed over the batch, from the smaller Gram matrix."""
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.mT
    count = matrices.shape[-2] - rank
    if count <= 0:
        return 0.0
    values: Tensor = torch.linalg.eigvalsh(matrices @ matrices.mT)
    return float(values[..., :count].clamp(min=0).sum())


def lower_bound(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> float:
    """The larger of both bounds on the error of a chain with these interior ranks (within a conv group).

    Args:
        weight: `(G, p, q, *K)` of unit norm, for a relative bound.
        kernel_sizes: of every core.
        ranks: interior ranks.
    """
    if not ranks:
        return 0.0
    return max(fourier_bound(weight, min(ranks)), unfolding_bound(weight, kernel_sizes, ranks))
