"""One kernel, one format, given ranks: the best chain found within a fixed amount of work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tensortrain.conv.fit import chain, depthwise
from tensortrain.conv.fit import exact as selectors
from tensortrain.conv.fit.bounds import lower_bound
from tensortrain.conv.fit.kernel import Kernel
from tensortrain.conv.fit.options import Task
from tensortrain.conv.fit.ranks import with_ends
from tensortrain.conv.fit.sweep import sweep
from tensortrain.conv.formats import Format


@dataclass(frozen=True)
class Fit:
    """A chain found for a kernel.

    Attributes:
        form: its format.
        ranks: interior, within a conv group.
        cores: `(G, r_{l-1}, r_l / g_l, *k_l)`.
        groups: of every core, within a conv group.
        error: relative Frobenius error.
        upper_bound: what was certain before refinement.
    """

    form: Format
    ranks: tuple[int, ...]
    cores: list[Tensor]
    groups: tuple[int, ...]
    error: float
    upper_bound: float


def solve(kernel: Kernel, form: Format, ranks: Sequence[int], task: Task) -> Fit:
    """Fit a chain with the solver that its groups call for.

    Args:
        kernel: what to decompose.
        form: core sizes and groups.
        ranks: interior, within a conv group.
        task: seed, target and effort.
    """
    weight = kernel.weight
    groups = form.groups(with_ends(kernel, ranks))
    if form.dense:
        cores, bound = chain.ungrouped(weight, form.kernel_sizes, ranks, task)
    elif depthwise.fits(form):
        cores, bound = depthwise.fit(weight, form, ranks, task)
    else:
        cores, bound = chain.grouped(weight, form, groups, ranks, task), 1.0
    return Fit(form, tuple(ranks), cores, groups, kernel.error(cores, groups), min(1.0, math.sqrt(bound)))


def certified(kernel: Kernel, form: Format, ranks: Sequence[int]) -> tuple[float, float]:
    """Lower and upper bound on the error of a chain, without fitting it."""
    weight, upper = kernel.weight, 1.0
    if form.dense and selectors.exact(weight, form.kernel_sizes, ranks) is not None:
        upper = 0.0
    elif form.dense:
        upper = sweep(weight, form.kernel_sizes, ranks)[1]
    elif depthwise.fits(form):
        upper = depthwise.start(weight, form, ranks[0] // (form.blocks[1] or (1, 1))[0])[1]
    return lower_bound(weight, form.kernel_sizes, ranks), min(1.0, math.sqrt(upper))
