"""Fit one kernel in one format with fixed ranks: find the best chain within a limited amount of work."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tensortrain.conv.fit import blocks, chain, depthwise, lbfgs
from tensortrain.conv.fit.exact import exact_cores
from tensortrain.conv.fit.kernel import NormalizedKernel, balance
from tensortrain.conv.fit.lower_bounds import lower_bound
from tensortrain.conv.fit.metric import Metric
from tensortrain.conv.fit.metric_chain import MetricChain, closed_form, whitening
from tensortrain.conv.fit.options import OVERHEAD, SolverOptions
from tensortrain.conv.fit.ranks import with_ends
from tensortrain.conv.fit.sweep import sweep
from tensortrain.conv.formats import Format


@dataclass(frozen=True)
class Fit:
    """A chain that was fitted to a kernel.

    Attributes:
        chain_format: the format of the chain.
        ranks: the inner ranks, within one group of the convolution.
        cores: the cores, `(G, r_{l-1}, r_l / g_l, *k_l)`.
        groups: the groups of each core, within one group of the convolution.
        error: the relative error in the metric of the kernel.
        upper_bound: an upper bound of the error that was known before refinement.
    """

    chain_format: Format
    ranks: tuple[int, ...]
    cores: list[Tensor]
    groups: tuple[int, ...]
    error: float
    upper_bound: float


def solve(
    kernel: NormalizedKernel,
    chain_format: Format,
    ranks: Sequence[int],
    options: SolverOptions,
    earlier: Fit | None = None,
) -> Fit:
    """Fit a chain with the solver that fits its groups and the metric.

    Args:
        kernel: the kernel to decompose.
        chain_format: the core sizes and groups.
        ranks: the inner ranks, within one group of the convolution.
        options: the seed, target error, work limit and ridge.
        earlier: a shorter fit of the same chain, from which some solvers can continue.
    """
    if kernel.metric is not None:
        return _solve_in_metric(kernel, kernel.metric, chain_format, ranks, options, earlier)
    weight = kernel.weight
    groups = chain_format.groups(with_ends(kernel, ranks))
    effective = _without_single_blocks(chain_format, groups)
    if effective.dense:
        cores, bound = chain.fit_ungrouped(weight, chain_format.kernel_sizes, ranks, options)
    elif not ranks:
        cores, bound = chain.single_core(weight, groups[0])
    elif depthwise.supports(effective):
        cores, bound = depthwise.fit_blocks(weight, chain_format, ranks, options, earlier.cores if earlier else None)
    else:
        cores, bound = chain.fit_grouped(weight, chain_format, groups, ranks, options), 1.0
    return Fit(chain_format, tuple(ranks), cores, groups, kernel.error(cores, groups), _root(bound))


def _root(bound: float) -> float:
    """Return a bound of the error from a bound of its square; the bound is at most 1, the error of the zero chain."""
    return min(1.0, math.sqrt(bound))


def _without_single_blocks(chain_format: Format, groups: Sequence[int]) -> Format:
    """Return the format in which cores of one group are ungrouped; a file does not distinguish them."""
    blocks = tuple(None if g == 1 else block for g, block in zip(groups, chain_format.blocks, strict=True))
    return replace(chain_format, blocks=blocks)


def continued(kernel: NormalizedKernel, fit: Fit, options: SolverOptions) -> Fit:
    """Return a chain for this kernel that continues the fit of the same chain to another kernel.

    In the metric of data, the fit is refined without other starts. In the Frobenius norm, and where the best chain has
    a closed form, this is `solve` with `fit` as the earlier fit.
    """
    chain_format, ranks = fit.chain_format, fit.ranks
    closed = chain_format.dense and len(ranks) == 1 and all(k == 1 for k in chain_format.kernel_sizes[0])
    if kernel.metric is None or not ranks or closed:
        return solve(kernel, chain_format, ranks, options, fit)
    problem = MetricChain(kernel.weight, chain_format.kernel_sizes, fit.groups, kernel.metric, options.ridge)
    steps = options.steps(problem.step_cost(ranks), chain.STEPS)
    cores = _refine_in_metric(problem, [fit.cores], steps, ranks, options)
    return Fit(chain_format, ranks, cores, fit.groups, kernel.error(cores, fit.groups), 1.0)


def _solve_in_metric(
    kernel: NormalizedKernel,
    metric: Metric,
    chain_format: Format,
    ranks: Sequence[int],
    options: SolverOptions,
    earlier: Fit | None,
) -> Fit:
    """Fit a chain in the metric of the data, starting from Frobenius fits of the kernel and the whitened kernel."""
    weight, sizes = kernel.weight, chain_format.kernel_sizes
    groups = chain_format.groups(with_ends(kernel, ranks))
    if chain_format.dense and (cores := exact_cores(weight, sizes, ranks)) is not None:
        return Fit(chain_format, tuple(ranks), cores, groups, kernel.error(cores, groups), 0.0)
    if not ranks:
        cores = MetricChain(weight, sizes, groups, metric).complete([])
        return Fit(chain_format, tuple(ranks), cores, groups, kernel.error(cores, groups), 1.0)
    if chain_format.dense and len(sizes) == 2 and all(k == 1 for k in sizes[0]):
        cores = closed_form(weight, ranks[0], metric)
        return Fit(chain_format, tuple(ranks), cores, groups, kernel.error(cores, groups), 1.0)
    starts = [solve(replace(kernel, metric=None), chain_format, ranks, options).cores]
    if groups[-1] == 1:  # the last core undoes the whitening of the channels
        root, inverse = whitening(metric.moment, weight.shape[2], kernel.size)
        white = torch.einsum("gpq...,gqr->gpr...", weight, root)
        fit = solve(replace(kernel, weight=white / white.norm(), metric=None), chain_format, ranks, options)
        first, *middle, last = fit.cores
        starts.append([first * white.norm(), *middle, torch.einsum("grq...,gqs->grs...", last, inverse)])
    if earlier is not None:
        starts.append(earlier.cores)
    problem = MetricChain(weight, sizes, groups, metric, options.ridge)
    steps = options.steps(problem.step_cost(ranks), chain.STEPS)
    cores = _refine_in_metric(problem, starts, steps, ranks, options)
    return Fit(chain_format, tuple(ranks), cores, groups, kernel.error(cores, groups), 1.0)


def _refine_in_metric(
    problem: MetricChain, starts: Sequence[list[Tensor]], steps: int, ranks: Sequence[int], options: SolverOptions
) -> list[Tensor]:
    """Take a few steps from every start, and the remaining steps from the best one."""

    cost = problem.step_cost(ranks) + OVERHEAD

    def refine(x: list[Tensor], steps: int) -> tuple[list[Tensor], float]:
        """Take some steps from a start, and return the cores and the error."""
        return lbfgs.minimise(
            problem.evaluate,
            x,
            steps=steps,
            tolerance=chain.STALLED,
            target=options.target**2,
            tick=lambda: options.tick(cost),
            late=options.late,
        )

    trials = [refine(balance(start)[1:], steps // 8) for start in starts]
    best, _ = refine(min(trials, key=lambda trial: trial[1])[0], steps)
    return problem.complete(best)


def work(kernel: NormalizedKernel, chain_format: Format, ranks: Sequence[int], options: SolverOptions) -> float:
    """Return a rough upper limit of the multiplications of `solve`."""
    if depthwise.supports(_without_single_blocks(chain_format, chain_format.groups(with_ends(kernel, ranks)))):
        return depthwise.work(kernel.weight, chain_format, ranks, options)
    return chain.work(kernel.weight, chain_format.kernel_sizes, ranks, options) if ranks else 0.0


def certified(kernel: NormalizedKernel, chain_format: Format, ranks: Sequence[int]) -> tuple[float, float]:
    """Return a lower and an upper bound of the error of a chain with these inner ranks, without a fit."""
    weight, upper = kernel.weight, 1.0
    chain_format = _without_single_blocks(chain_format, chain_format.groups(with_ends(kernel, ranks)))
    if chain_format.dense and exact_cores(weight, chain_format.kernel_sizes, ranks) is not None:
        upper = 0.0
    elif chain_format.dense:
        upper = sweep(weight, chain_format.kernel_sizes, ranks)[1]
    elif not ranks:
        upper = chain.single_core(weight, chain_format.groups(with_ends(kernel, ranks))[0])[1]
    elif depthwise.supports(chain_format):
        upper = blocks.start(weight, chain_format, ranks[0] // (chain_format.blocks[1] or (1, 1))[0])[1]
    return lower_bound(weight, chain_format.kernel_sizes, ranks), _root(upper)
