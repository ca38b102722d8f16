"""Compute an initial chain by a sweep, a sequence of truncated SVDs, with an upper bound of its error.

The fold `F(M)[p] = Σ_{a+b=p} M[a, b]` adds up all pairs of positions with the same sum. Its minimum-norm inverse, the
*lift*, divides every entry of W by its number of pairs. A truncated SVD splits the lift of W, unfolded to
`(position in T(1), output) × (position in the rest, input)`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain.linalg import randomized_svd

Axes = tuple[int, ...]

LARGE_SVD = 1000  # matrices with more rows and columns are not decomposed as a whole
LONG_SIDE = 10_000  # nor are matrices whose longer side is above this, as the lifts of long kernels


def lift(weight: Tensor, taps: Axes) -> Tensor:
    """Return the minimum-norm lift of `(G, p, q, *K)`: `(G, taps·p, rest·q)`, rest = K - taps + 1 on each axis."""
    axes = len(taps)
    rest = tuple(k - t + 1 for k, t in zip(weight.shape[3:], taps, strict=True))
    for axis, (t, r) in enumerate(zip(taps, rest, strict=True), start=3):
        position = torch.arange(t + r - 1, device=weight.device)
        pairs = torch.minimum(position + 1, position.flip(0) + 1).clamp(max=min(t, r))
        shape = [1] * weight.dim()
        shape[axis] = -1
        weight = weight / pairs.to(weight.dtype).reshape(shape)
    for axis, r in enumerate(rest, start=3):
        weight = weight.unfold(axis, r, 1)
    order = (0, *range(3, 3 + axes), 1, *range(3 + axes, 3 + 2 * axes), 2)
    return weight.permute(order).reshape(weight.shape[0], math.prod(taps) * weight.shape[1], -1)


def split(weight: Tensor, taps: Axes, rank: int, exact: bool = False) -> tuple[Tensor, Tensor, float]:
    """Return T(1) with orthonormal columns, the rest of the kernel, and the discarded energy of the lift."""
    g, p, q = weight.shape[:3]
    rest = tuple(k - t + 1 for k, t in zip(weight.shape[3:], taps, strict=True))
    matrix = lift(weight, taps)
    rank = min(rank, *matrix.shape[1:])
    u, s, v = _truncated_svd(matrix, rank, exact)
    outer = u.reshape(g, *taps, p, rank).movedim((-2, -1), (1, 2))
    inner = (s[..., None] * v).reshape(g, rank, *rest, q).movedim(-1, 2)
    discarded = float(matrix.square().sum() - s.square().sum())
    return outer, inner, max(discarded, 0.0)


def _truncated_svd(matrix: Tensor, rank: int, exact: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading triples of each matrix in the batch, without a full decomposition if that is much cheaper."""
    fewer, more = sorted(matrix.shape[1:])
    if not exact and fewer > LARGE_SVD and rank < fewer // 6:
        triples = [randomized_svd(m, rank, seed=0) for m in matrix]
        u, s, v = (torch.stack(parts) for parts in zip(*triples, strict=True))
        return u, s, v
    if not exact and (fewer > LARGE_SVD or more > LONG_SIDE):
        # eigenvectors of the smaller Gram matrix take a tenth of the time
        turned = matrix.shape[1] > matrix.shape[2]
        wide = matrix.mT if turned else matrix
        u = torch.linalg.eigh(wide @ wide.mT)[1][..., -rank:].flip(-1)
        rows = u.mT @ wide
        s = torch.linalg.vector_norm(rows, dim=-1)
        v = rows / s.clamp(min=1e-300)[..., None]
        return (v.mT, s, u.mT) if turned else (u, s, v)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    return u[..., :rank], s[..., :rank], v[..., :rank, :]


def sweep(
    weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int], exact: bool = False
) -> tuple[list[Tensor], float]:
    """Split off one core after the other, and return the cores and the bound of the squared error.

    The bound is `err² ≤ c_1 ε_1² + c_1 c_2 ε_2² + …` with `c_l = Π_axes min(k_l, K_rest)`, where `ε_l²` is the energy
    discarded at bond l. It holds because the fold adds at most c_l terms for one entry.

    Args:
        weight: the kernel, `(G, p, q, *K)`.
        kernel_sizes: the size of each core.
        ranks: the inner ranks; if the lift has a smaller rank, the rest is padded with zeros.
        exact: whether randomised SVDs are never used, however large the kernel is.
    """
    cores, bound, factor = [], 0.0, 1.0
    for taps, rank in zip(kernel_sizes[:-1], ranks, strict=True):
        rest = [k - t + 1 for k, t in zip(weight.shape[3:], taps, strict=True)]
        factor *= math.prod(min(t, r) for t, r in zip(taps, rest, strict=True))
        outer, weight, discarded = split(weight, taps, rank, exact)
        bound += factor * discarded
        missing = rank - outer.shape[2]
        if missing:  # random columns that the rest does not use yet; from zeros no gradient would lead away
            generator = torch.Generator().manual_seed(0)
            extra = torch.randn(*outer.shape[:2], missing, *taps, generator=generator, dtype=outer.dtype, device="cpu")
            outer = torch.cat([outer, extra.to(outer.device) / math.sqrt(extra[0, :, 0].numel())], 2)
            weight = torch.cat([weight, weight.new_zeros(weight.shape[0], missing, *weight.shape[2:])], 1)
        cores.append(outer)
    return [*cores, weight], bound
