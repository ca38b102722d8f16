"""Exact chains for any kernel at sufficient rank: cores that only hold shifted identities.

One *data core* holds the entries of W, every other core selects. A prefix core at the output side turns
the shifts `S_l` (sets of positions on each axis, `S_0 = {0}`) into the shifts `S_{l+1}`, each of them a
shift of `S_l` plus a tap of the core; suffix cores mirror this from the input side. The chain is exact
where `S + S' + [0, k_data)` covers every position of W. Bond l then needs rank `|S_l| · R_0` before the data
core and `|S'_l| · R_m` after it. Axes are independent: sets multiply.
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


def _ancestors(shifts: Shifts, taps: Sequence[int]) -> tuple[Shifts, ...]:
    """Small shift sets that lead to `shifts`, from behind the first core to `shifts` itself.

    A shift s behind a core of k taps needs one of `s - k + 1 … s` before it: a minimum set of points that
    stabs all these intervals, taken greedily.
    """
    chain = [shifts]
    for l in range(len(taps) - 1, 0, -1):
        reach = sum(k - 1 for k in taps[:l])
        points: list[int] = []
        for s in sorted(chain[0]):
            if not points or points[-1] < s - taps[l] + 1:
                points.append(min(s, reach))
        chain.insert(0, tuple(points))
    return tuple(chain)


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
class Selector:
    """An exact chain: where the data stands, the shifts of each axis, and the interior ranks it needs."""

    data: int
    axes: tuple[AxisPlan, ...]
    ranks: tuple[int, ...]


def selectors(kernel_sizes: Sequence[Axes], outputs: int, inputs: int) -> list[Selector]:
    """Every exact chain with these core sizes for a kernel of `outputs × inputs` channels."""
    found = []
    for data in range(len(kernel_sizes)):
        options = [axis_plans(taps, data) for taps in zip(*kernel_sizes, strict=True)]
        for axes in itertools.product(*options):
            counts = [math.prod(sizes) for sizes in zip(*(plan.sizes for plan in axes), strict=True)]
            ranks = tuple(n * (outputs if l < data else inputs) for l, n in enumerate(counts))
            found.append(Selector(data, axes, ranks))
    return found


def build(weight: Tensor, kernel_sizes: Sequence[Axes], selector: Selector, ranks: Sequence[int]) -> list[Tensor]:
    """The exact cores of `(G, p, q, *K)`, padded with zeros to the given interior `ranks`."""
    groups, p, q = weight.shape[:3]
    bounds = (p, *ranks, q)
    data, space = selector.data, range(3, weight.dim())
    origin = ((0,),)
    shifts = [
        list(itertools.product(*axis))
        for axis in zip(*(origin + plan.prefix + plan.suffix + origin for plan in selector.axes), strict=True)
    ]
    cores = []
    for l, taps in enumerate(kernel_sizes):
        core = weight.new_zeros(groups, bounds[l], bounds[l + 1], *taps)
        outer, inner = shifts[l], shifts[l + 1]
        if l == data:
            left = weight.clone()
            for (i, s), (j, t) in itertools.product(enumerate(outer), enumerate(inner)):
                part = left
                for axis, a, b, k in zip(space, s, t, taps, strict=True):
                    part = part.narrow(axis, a + b, k)
                core[:, i * p : (i + 1) * p, j * q : (j + 1) * q] = part
                part.zero_()  # each entry of W goes into one block only
        else:
            width = p if l < data else q
            eye = torch.eye(width, dtype=weight.dtype, device=weight.device)
            children, parents = (inner, outer) if l < data else (outer, inner)
            for c, child in enumerate(children):
                parent = next(
                    i
                    for i, s in enumerate(parents)
                    if all(0 <= a - b < k for a, b, k in zip(child, s, taps, strict=True))
                )
                row, column = (parent, c) if l < data else (c, parent)
                tap = tuple(a - b for a, b in zip(child, parents[parent], strict=True))
                rows, columns = slice(row * width, (row + 1) * width), slice(column * width, (column + 1) * width)
                core[(slice(None), rows, columns, *tap)] = eye
        cores.append(core)
    return cores


def exact(weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int]) -> list[Tensor] | None:
    """Exact cores if some selector fits under the interior `ranks`, else None."""
    for selector in selectors(kernel_sizes, *weight.shape[1:3]):
        if all(need <= have for need, have in zip(selector.ranks, ranks, strict=True)):
            return build(weight, kernel_sizes, selector, ranks)
    return None
