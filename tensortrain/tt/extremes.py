"""Search for the largest entry of a train, and compute an upper bound of all entries."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain.tt.interfaces import Interfaces, mirrored, right_interfaces

_EPS = torch.finfo(torch.float64).eps


class Extreme(NamedTuple):
    """The largest or smallest entry that a search found.

    Attributes:
        position: the index of the entry.
        value: the value of the entry.
        bound: a bound of all entries: an upper bound for the largest entry, a lower bound for the smallest.
    """

    position: tuple[int, ...]
    value: float
    bound: float

    @property
    def gap(self) -> float:
        """Return the largest possible difference between the true extreme entry and `value`, up to rounding error."""
        return abs(self.bound - self.value)


def candidates(cores: Sequence[Tensor], width: int) -> tuple[Tensor, float]:
    """Return indices of large entries, `(≤ 2 width, m)`, and an upper bound of all entries with other indices.

    The search is run from both ends, and the smaller one of both bounds is returned.
    """
    forward, bound = _search(cores, width)
    backward, other = _search(mirrored(cores), width)
    return torch.cat([forward, backward.flip(1)]), min(bound, other)


def _search(cores: Sequence[Tensor], width: int) -> tuple[Tensor, float]:
    """Extend the indices by one axis at a time, and keep the `width` prefixes with the largest bounds.

    The entries of a prefix have two upper bounds, by interval arithmetic and by mean and standard deviation, and the
    smaller one is used. The first bound is sharp if most entries of the cores have the same sign; the second bound does
    not depend on the signs.

    Args:
        cores: real cores in double precision with boundary ranks 1.
        width: number of prefixes to keep.
    """
    right = right_interfaces(cores)
    means, ranges = _means(right.cores), _ranges(right.cores)
    rows, indices, dropped = right.cores[0].new_ones(1, 1), torch.zeros(1, 0, dtype=torch.long, device="cpu"), -math.inf
    points = math.prod(core.shape[1] for core in cores)
    for l, core in enumerate(right.cores):
        points //= core.shape[1]
        slices = torch.einsum("pr,ris->pis", rows, core).flatten(0, 1)
        bounds = torch.minimum(_bounds(slices, right, means, l + 1, points), _reach(slices, *ranges[l + 1])[1])
        order = torch.argsort(bounds, descending=True, stable=True)
        if len(order) > width:
            dropped = max(dropped, float(bounds[order[width]]))
        kept = order[:width]
        rows = slices[kept]
        places = kept.to(indices.device)
        indices = torch.cat([indices[places // core.shape[1]], places[:, None] % core.shape[1]], 1)
    try:
        return indices, math.ldexp(dropped, right.exponent)
    except OverflowError:
        return indices, math.copysign(math.inf, dropped)


def _means(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return for each bond, with both ends, the sum of the right interface over its n indices times 1/√n, `(R_l,)`."""
    means = [cores[-1].new_ones(1)]
    for core in reversed(cores):
        means.append(core.sum(1) @ means[-1] / math.sqrt(core.shape[1]))
    return means[::-1]


def _ranges(cores: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return for each bond, with both ends, lower and upper bounds of the right interface, `(R_l,)` each."""
    low = high = cores[-1].new_ones(1)
    ranges = [(low, high)]
    for core in reversed(cores):
        lows, highs = _reach(core, low, high)
        low, high = lows.amin(1), highs.amax(1)
        ranges.append((low, high))
    return ranges[::-1]


def _reach(rows: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest value of `rows · x` for x between `low` and `high`, with rounding errors."""
    up, down = rows.clamp(min=0), rows.clamp(max=0)
    uncertain = 8 * len(low) * _EPS * (rows.abs() @ torch.maximum(low.abs(), high.abs()))
    return up @ low + down @ high - uncertain, up @ high + down @ low + uncertain


def _bounds(rows: Tensor, right: Interfaces, means: Sequence[Tensor], bond: int, points: int) -> Tensor:
    """Return for each prefix an upper bound of the entries that begin with it, `(p,)`, with rounding errors.

    Among n numbers with mean μ and sum of squares q none is larger than `μ + √((n − 1) / n) √(q − n μ²)` (Samuelson
    1968).
    """
    if points == 1:
        return rows[:, 0]
    factor = right.factors[bond]
    size = torch.linalg.vector_norm(rows, dim=1) * torch.linalg.vector_norm(factor)
    uncertain = 64 * _EPS * len(right.cores) * size
    mean = rows @ means[bond]
    spread = (rows @ factor).square().sum(1) - mean.square()
    spread = (spread.clamp(min=0) + uncertain * size).sqrt()
    bounds: Tensor = mean * math.exp(-0.5 * math.log(points)) + spread * math.sqrt(1 - 1 / points) + uncertain
    return bounds
