"""Exact chains for any kernel at sufficient rank: cores that only hold shifted identities.

One *data core* holds the entries of W, every other core selects. On one axis, for 3 + 3 taps (K = 5) and the data
in T(2), two shifts cover all positions:

    position of W     0    1    2    3    4
    shift 0        [ w0   w1   w2 ]              T(1) has I at tap 0 in block 0, T(2) these taps in block 0
    shift 2                  [ 0    w3   w4 ]    T(1) has I at tap 2 in block 1, T(2) these taps in block 1

so `T(1) = [I 0 0 | 0 0 I]`, `(p, 2p, 3)`, `T(2) = [w0 w1 w2 ; 0 w3 w4]`, `(2p, q, 3)`, and the bond has rank 2p.
(Position 2 is covered twice and stored once.) With the data in T(1) the picture is mirrored and the rank is 2q.

In general a prefix core at the output side turns the shifts `S_l` (sets of positions on each axis, `S_0 = {0}`)
into the shifts `S_{l+1}`, each of them a shift of `S_l` plus a tap of the core; suffix cores mirror this from the
input side. The chain is exact where `S + S' + [0, k_data)` covers every position of W. Bond l then needs rank
`|S_l| · R_0` before the data core and `|S'_l| · R_m` after it. Axes are independent: sets multiply.
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
    """Shift sets on one axis: `prefix[l]` behind core l = 0 … data - 1, `suffix[l]` before core l = data + 1 …."""

    prefix: tuple[Shifts, ...]
    suffix: tuple[Shifts, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of shifts at each bond."""
        return tuple(len(s) for s in self.prefix + self.suffix)

    @property
    def shifts(self) -> tuple[Shifts, ...]:
        """The shift sets at bonds 0 … m; both ends of the chain stand at position 0."""
        return ((0,), *self.prefix, *self.suffix, (0,))


def _ancestors(shifts: Shifts, taps: Sequence[int]) -> tuple[Shifts, ...]:
    """Small shift sets through which cores of these `taps` reach `shifts`: behind the first core, …, the last one."""
    sets = [shifts]
    for l in reversed(range(1, len(taps))):
        farthest = sum(k - 1 for k in taps[:l])
        sets.append(_parents(sets[-1], taps[l], farthest))
    return tuple(reversed(sets))


def _parents(shifts: Shifts, taps: int, farthest: int) -> Shifts:
    """As few shifts within `0 … farthest` as possible from which a core of `taps` taps reaches all of `shifts`.

    Shift s is reached from any of `s - taps + 1 … s`. Greedily from below: a shift that no parent reaches yet
    gets the largest parent that it may have, because that one reaches most of the shifts above.

    >>> _parents((0, 1, 2, 4), 3, 2)   # 0, 1 and 2 are reached from 0, and 4 from 2
    (0, 2)
    """
    parents: list[int] = []
    for s in sorted(shifts):
        if not parents or parents[-1] < s - taps + 1:
            parents.append(min(s, farthest))
    return tuple(parents)


def _candidates(reach: int, taps: int) -> Iterator[Shifts]:
    """Shift sets within `0 … reach`: all that hold both ends, or evenly spaced ones where these are too many."""
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
    """The plans on one axis with the data core at `data` that no other plan undercuts at every bond."""
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
    """Where the data core stands, the shifts of each axis, and the interior ranks that they need."""

    data: int
    axes: tuple[AxisPlan, ...]
    ranks: tuple[int, ...]

    @property
    def shifts(self) -> list[list[Axes]]:
        """The shifts at bonds 0 … m, each with its position on every axis."""
        return [list(itertools.product(*sets)) for sets in zip(*(plan.shifts for plan in self.axes), strict=True)]


def exact_chains(kernel_sizes: Sequence[Axes], outputs: int, inputs: int) -> list[ExactChain]:
    """Every exact chain with these core sizes for a kernel of `outputs × inputs` channels."""
    chains = []
    for data in range(len(kernel_sizes)):
        plans_by_axis = [axis_plans(taps, data) for taps in zip(*kernel_sizes, strict=True)]
        for axes in itertools.product(*plans_by_axis):
            counts = [math.prod(sizes) for sizes in zip(*(plan.sizes for plan in axes), strict=True)]
            ranks = tuple(n * (outputs if l < data else inputs) for l, n in enumerate(counts))
            chains.append(ExactChain(data, axes, ranks))
    return chains


def build(weight: Tensor, kernel_sizes: Sequence[Axes], chain: ExactChain, ranks: Sequence[int]) -> list[Tensor]:
    """The cores `(G, r_{l-1}, r_l, *k_l)` of an exact chain for `weight`, `(G, p, q, *K)`.

    `ranks` are the interior ranks, at least those that the chain needs; the rest of each core is zero.
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
    """For each pair of shifts s + t the block `(p, q, *k)` of W that begins there, every entry of W in one block only.

    Args:
        core: `(G, |outer| · p, |inner| · q, *k)` or larger, filled in place.
        weight: `(G, p, q, *K)`.
        outer: shifts at the bond before the core.
        inner: shifts at the bond after it.
    """
    p, q, *taps = *weight.shape[1:3], *core.shape[3:]
    left = weight.clone()  # entries that no block holds yet
    for (i, s), (j, t) in itertools.product(enumerate(outer), enumerate(inner)):
        part = left
        for axis, (a, b, k) in enumerate(zip(s, t, taps, strict=True), start=3):
            part = part.narrow(axis, a + b, k)
        core[:, i * p : (i + 1) * p, j * q : (j + 1) * q] = part
        part.zero_()


def _fill_selector(core: Tensor, parents: list[Axes], children: list[Axes], channels: int) -> None:
    """For each child the identity in the block of one of its parents, at the tap that leads from this to the child.

    Args:
        core: `(G, |parents| · channels, |children| · channels, *k)` or larger, filled in place.
        parents: shifts at the bond that is nearer to the end of the chain.
        children: shifts at the bond that is nearer to the data core.
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
    """Index of the first parent from which one of the `taps` leads to `child`, and that tap."""
    steps = (tuple(a - b for a, b in zip(child, parent, strict=True)) for parent in parents)
    return next((i, step) for i, step in enumerate(steps) if all(0 <= s < k for s, k in zip(step, taps, strict=True)))


def exact_cores(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> list[Tensor] | None:
    """The cores of an exact chain if the interior `ranks` suffice for one, else None."""
    p, q = weight.shape[1:3]
    bounds = (p, *ranks, q)
    entries = [math.prod(k) * a * b for k, a, b in zip(kernel_sizes, bounds[:-1], bounds[1:], strict=True)]
    if max(entries) < weight[0].numel():  # the data core holds them all; the search is long for many cores
        return None
    for chain in exact_chains(kernel_sizes, *weight.shape[1:3]):
        if all(need <= have for need, have in zip(chain.ranks, ranks, strict=True)):
            return build(weight, kernel_sizes, chain, ranks)
    return None
