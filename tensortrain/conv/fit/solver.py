"""Fit one kernel in one format at fixed ranks: the best chain that a limited amount of work finds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from tensortrain.conv.fit import chain, depthwise
from tensortrain.conv.fit.exact import exact_cores
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.lower_bounds import lower_bound
from tensortrain.conv.fit.options import SolverOptions
from tensortrain.conv.fit.ranks import with_ends
from tensortrain.conv.fit.sweep import sweep
from tensortrain.conv.formats import Format


@dataclass(frozen=True)
class Fit:
    """A chain fitted to a kernel.

    Attributes:
        chain_format: its format.
        ranks: interior, within a conv group.
        cores: `(G, r_{l-1}, r_l / g_l, *k_l)`.
        groups: of every core, within a conv group.
        error: relative Frobenius error.
        upper_bound: what the error was certain not to exceed before refinement.
    """

    chain_format: Format
    ranks: tuple[int, ...]
    cores: list[Tensor]
    groups: tuple[int, ...]
    error: float
    upper_bound: float


def solve(kernel: NormalizedKernel, chain_format: Format, ranks: Sequence[int], options: SolverOptions) -> Fit:
    """Fit a chain with the solver that its groups call for.

    Args:
        kernel: what to decompose.
        chain_format: core sizes and groups.
        ranks: interior, within a conv group.
        options: seed, target error, work limit, ridge.
    """
    weight = kernel.weight
    groups = chain_format.groups(with_ends(kernel, ranks))
    effective = _without_single_blocks(chain_format, groups)
    if effective.dense:
        cores, bound = chain.fit_ungrouped(weight, chain_format.kernel_sizes, ranks, options)
    elif depthwise.supports(effective):
        cores, bound = depthwise.fit_blocks(weight, chain_format, ranks, options)
    else:
        cores, bound = chain.fit_grouped(weight, chain_format, groups, ranks, options), 1.0
    return Fit(chain_format, tuple(ranks), cores, groups, kernel.error(cores, groups), _root(bound))


def _root(bound: float) -> float:
    """A bound on the error from one on its square; 1 is one too, since zero as the last core has no smaller error."""
    return min(1.0, math.sqrt(bound))


def _without_single_blocks(chain_format: Format, groups: Sequence[int]) -> Format:
    """The same chains with a core of one group as what it is, an ungrouped core; nothing in a file tells them apart."""
    blocks = tuple(None if g == 1 else block for g, block in zip(groups, chain_format.blocks, strict=True))
    return replace(chain_format, blocks=blocks)


def certified(kernel: NormalizedKernel, chain_format: Format, ranks: Sequence[int]) -> tuple[float, float]:
    """Lower and upper bound on the error of a chain with these interior ranks (within a conv group), without a fit."""
    weight, upper = kernel.weight, 1.0
    chain_format = _without_single_blocks(chain_format, chain_format.groups(with_ends(kernel, ranks)))
    if chain_format.dense and exact_cores(weight, chain_format.kernel_sizes, ranks) is not None:
        upper = 0.0
    elif chain_format.dense:
        upper = sweep(weight, chain_format.kernel_sizes, ranks)[1]
    elif depthwise.supports(chain_format):
        upper = depthwise.start(weight, chain_format, ranks[0] // (chain_format.blocks[1] or (1, 1))[0])[1]
    return lower_bound(weight, chain_format.kernel_sizes, ranks), _root(upper)
