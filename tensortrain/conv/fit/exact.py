"""Exact chains for any kernel at sufficient rank: all cores except one contain only shifted identities.

One *data core* contains the entries of W, and every other core selects. On one axis, for 3 + 3 positions (K = 5) and
the data in T(2), two shifts cover all positions:

    position of W     0    1    2    3    4
    shift 0        [ w0   w1   w2 ]              T(1) has I at position 0 in block 0, T(2) has these entries in block 0
    shift 2                  [ 0    w3   w4 ]    T(1) has I at position 2 in block 1, T(2) has these entries in block 1

Therefore `T(1) = [I 0 0 | 0 0 I]`, `(p, 2p, 3)`, `T(2) = [w0 w1 w2 ; 0 w3 w4]`, `(2p, q, 3)`, and the bond has rank 2p.
(Position 2 is covered twice and stored once.) With the data in T(1) the picture is mirrored and the rank is 2q.

In general, a prefix core on the output side turns the shifts `S_l` (sets of positions on each axis, `S_0 = {0}`) into
the shifts `S_{l+1}`, each of which is a shift of `S_l` plus a position in the core. Suffix cores do the same from the
input side. The chain is exact if `S + S' + [0, k_data)` covers every position of W. Bond l then needs rank
`|S_l| · R_0` before the data core and `|S'_l| · R_m` after it. The axes are independent, so the numbers of shifts
multiply.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

Axes = tuple[int, ...]
Shifts = tuple[int, ...]


@dataclass(frozen=True)
class AxisPlan:
    """The shift sets on one axis, in the order of the cores.

    Attributes:
        prefix: one set after each core 0 … data - 1.
        suffix: one set before each core data + 1 … m - 1.
    """

    prefix: tuple[Shifts, ...]
    suffix: tuple[Shifts, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Return the number of shifts at each bond."""
        return tuple(len(s) for s in self.prefix + self.suffix)

    @property
    def shifts(self) -> tuple[Shifts, ...]:
        """Return the shift sets at bonds 0 … m; at both ends of the chain the only shift is 0."""
        return ((0,), *self.prefix, *self.suffix, (0,))


def _ancestors(shifts: Shifts, taps: Sequence[int]) -> tuple[Shifts, ...]:
    """Return small shift sets through which cores of these sizes reach `shifts`, one set after each core."""
    sets = [shifts]
    for l in reversed(range(1, len(taps))):
        farthest = sum(k - 1 for k in taps[:l])
        sets.append(_parents(sets[-1], taps[l], farthest))
    return tuple(reversed(sets))


def _parents(shifts: Shifts, taps: int, farthest: int) -> Shifts:
    """Return as few shifts within `0 … farthest` as possible from which a core of `taps` positions reaches `shifts`.

    Shift s is reached from each of `s - taps + 1 … s`. The algorithm is greedy, in ascending order: a shift that no
    parent reaches gets its largest possible parent, because this parent reaches most of the larger shifts.

    >>> _parents((0, 1, 2, 4), 3, 2)   # 0, 1 and 2 are reached from 0, and 4 from 2
    (0, 2)
    """
    parents: list[int] = []
    for s in sorted(shifts):
        if not parents or parents[-1] < s - taps + 1:
            parents.append(min(s, farthest))
    return tuple(parents)


def _candidates(reach: int, taps: int) -> Iterator[Shifts]:
    """Yield shift sets within `0 … reach`: all sets with both ends, or evenly spaced ones if these are too many."""
    if reach == 0:
        yield (0,)
    elif reach <= 8:
        for inner in itertools.product((False, True), repeat=reach - 1):
            yield (0, *(i for i, keep in enumerate(inner, start=1) if keep), reach)
    else:
        for step in range(1, taps + 1):
            yield tuple(sorted({*range(0, reach + 1, step), reach}))


@cache
def axis_plans(taps: tuple[int, ...], data: int) -> tuple[AxisPlan, ...]:
    """Return the plans on one axis with the data core at `data`, except those that another one undercuts everywhere."""
    before, after = sum(k - 1 for k in taps[:data]), sum(k - 1 for k in taps[data + 1 :])
    length = sum(k - 1 for k in taps) + 1
    plans: dict[tuple[int, ...], AxisPlan] = {}
    for left in _candidates(before, length):
        prefix = _ancestors(left, taps[:data]) if data else ()
        for right in _candidates(after, length):
            covered = {s + t + a for s in left for t in right for a in range(taps[data])}
            if len(covered) < length:
                continue
            suffix = _ancestors(right, taps[:data:-1])[::-1] if data + 1 < len(taps) else ()
            plan = AxisPlan(prefix, suffix)
            plans.setdefault(plan.sizes, plan)
    return tuple(
        plan
        for sizes, plan in plans.items()
        if not any(other != sizes and all(a <= b for a, b in zip(other, sizes, strict=True)) for other in plans)
    )


@dataclass(frozen=True)
class ExactChain:
    """The position of the data core, the shifts of each axis, and the inner ranks that they need."""

    data: int
    axes: tuple[AxisPlan, ...]
    ranks: tuple[int, ...]

    @property
    def shifts(self) -> list[list[Axes]]:
        """Return the shifts at bonds 0 … m, each with its position on every axis."""
        return [list(itertools.product(*sets)) for sets in zip(*(plan.shifts for plan in self.axes), strict=True)]


def exact_chains(kernel_sizes: Sequence[Axes], outputs: int, inputs: int) -> list[ExactChain]:
    """Return all exact chains with these core sizes for a kernel of `outputs × inputs` channels."""
    chains = []
    for data in range(len(kernel_sizes)):
        plans_by_axis = [axis_plans(taps, data) for taps in zip(*kernel_sizes, strict=True)]
        for axes in itertools.product(*plans_by_axis):
            counts = [math.prod(sizes) for sizes in zip(*(plan.sizes for plan in axes), strict=True)]
            ranks = tuple(n * (outputs if l < data else inputs) for l, n in enumerate(counts))
            chains.append(ExactChain(data, axes, ranks))
    return chains


def build(weight: Tensor, kernel_sizes: Sequence[Axes], chain: ExactChain, ranks: Sequence[int]) -> list[Tensor]:
    """Return the cores `(G, r_{l-1}, r_l, *k_l)` of an exact chain for `weight`, `(G, p, q, *K)`.

    `ranks` are the inner ranks, which are at least those that the chain needs; the rest of each core is zero.
    """
    groups, p, q = weight.shape[:3]
    bounds, shifts = (p, *ranks, q), chain.shifts
    cores = []
    for l, taps in enumerate(kernel_sizes):
        core = weight.new_zeros(groups, bounds[l], bounds[l + 1], *taps)
        if l < chain.data:
            _fill_selector(core, shifts[l], shifts[l + 1], channels=p)
        elif l == chain.data:
            _fill_data(core, weight, shifts[l], shifts[l + 1])
        else:  # mirrored: here the shifts grow from the input side
            _fill_selector(core.transpose(1, 2), shifts[l + 1], shifts[l], channels=q)
        cores.append(core)
    return cores


def _fill_data(core: Tensor, weight: Tensor, outer: list[Axes], inner: list[Axes]) -> None:
    """Write for each pair of shifts s + t the block `(p, q, *k)` of W that begins there; each entry is written once.

    Args:
        core: the core, `(G, |outer| · p, |inner| · q, *k)` or larger, which is filled in place.
        weight: the kernel, `(G, p, q, *K)`.
        outer: the shifts at the bond before the core.
        inner: the shifts at the bond after the core.
    """
    p, q, *taps = *weight.shape[1:3], *core.shape[3:]
    left = weight.clone()  # entries that are not in any block yet
    for (i, s), (j, t) in itertools.product(enumerate(outer), enumerate(inner)):
        part = left
        for axis, (a, b, k) in enumerate(zip(s, t, taps, strict=True), start=3):
            part = part.narrow(axis, a + b, k)
        core[:, i * p : (i + 1) * p, j * q : (j + 1) * q] = part
        part.zero_()


def _fill_selector(core: Tensor, parents: list[Axes], children: list[Axes], channels: int) -> None:
    """Write for each child the identity in the block of one of its parents, at the position between both.

    Args:
        core: the core, `(G, |parents| · channels, |children| · channels, *k)` or larger, which is filled in place.
        parents: the shifts at the bond nearer to the end of the chain.
        children: the shifts at the bond nearer to the data core.
        channels: p on the output side, q on the input side.
    """
    taps = tuple(core.shape[3:])
    eye = torch.eye(channels, dtype=core.dtype, device=core.device)
    for c, child in enumerate(children):
        i, tap = _step(child, parents, taps)
        rows, columns = slice(i * channels, (i + 1) * channels), slice(c * channels, (c + 1) * channels)
        at: tuple[slice | int, ...] = (slice(None), rows, columns, *tap)
        core[at] = eye


def _step(child: Axes, parents: list[Axes], taps: Axes) -> tuple[int, Axes]:
    """Return the index of the first parent from which a core position leads to `child`, and that position."""
    steps = (tuple(a - b for a, b in zip(child, parent, strict=True)) for parent in parents)
    return next((i, step) for i, step in enumerate(steps) if all(0 <= s < k for s, k in zip(step, taps, strict=True)))


def exact_cores(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> list[Tensor] | None:
    """Return the cores of an exact chain if the inner `ranks` suffice for one, otherwise None."""
    p, q = weight.shape[1:3]
    bounds = (p, *ranks, q)
    entries = [math.prod(k) * a * b for k, a, b in zip(kernel_sizes, bounds[:-1], bounds[1:], strict=True)]
    # the data core needs room for all entries; this test avoids a long search for many cores
    if max(entries) < weight[0].numel():
        return None
    for chain in exact_chains(kernel_sizes, *weight.shape[1:3]):
        if all(need <= have for need, have in zip(chain.ranks, ranks, strict=True)):
            return build(weight, kernel_sizes, chain, ranks)
    return None
