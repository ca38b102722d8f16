"""Decomposing an arbitrary convolution kernel: which ranks, which solver, what the result guarantees.

| module | what it does |
|---|---|
| `kernel` | the kernel as the solvers see it |
| `selectors` | exact chains of shifted identities |
| `sweep` | starts and their a-priori bound |
| `spectral`, `lbfgs` | refinement of chains |
| `depthwise` | chains with depthwise or blocked middle cores |
| `bounds` | what no chain can go below |
| `ranks` | useful ranks and how they grow |
| `solve` | one kernel, one format, given ranks |
| `auto` | choice of the format |
"""

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tensortrain.checks import Limits, choice, integer
from tensortrain.conv import formats
from tensortrain.conv.fit.bounds import lower_bound
from tensortrain.conv.fit.choose_format import best_format
from tensortrain.conv.fit.exact import exact as exact_cores
from tensortrain.conv.fit.kernel import Kernel
from tensortrain.conv.fit.options import Task, threads_for
from tensortrain.conv.fit.progress import Ticker
from tensortrain.conv.fit.ranks import Growth, largest_useful, with_ends
from tensortrain.conv.fit.solver import Fit, solve
from tensortrain.errors import TensorTrainError

__all__ = ["Fitted", "decompose"]

PROBE = 0.25  # fraction of the dense parameters
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3)


@dataclass(frozen=True)
class Fitted:
    """Cores as plain conv weights, and what is known of their error."""

    cores: list[Tensor]
    groups: tuple[int, ...]
    error: float
    upper_bound: float
    lower_bound: float


def decompose(
    weight: Tensor,
    kernel_sizes: str | Sequence[int | Sequence[int]] | formats.Format,
    *,
    ranks: int | Sequence[int] | None,
    rtol: float | None,
    max_parameters: int | None,
    budget: float | None,
    groups: int,
    transposed: bool,
    seed: int,
    progress: bool | None,
) -> Fitted:
    """`ConvTensorTrain.decompose`, which documents the arguments, without the container around the result."""
    kernel = Kernel.of(weight, groups, transposed)
    seed = integer("seed", seed, minimum=0)
    form = format_of(kernel_sizes, kernel)
    limits = Limits.of(
        bonds=form.order - 1 if form else None,
        dense_parameters=kernel.dense_parameters,
        ranks=ranks,
        rtol=rtol,
        max_parameters=max_parameters,
        budget=budget,
    )
    if form is None and limits.ranks is not None:
        raise TensorTrainError(
            f'ranks = {ranks} with kernel_sizes="auto", which chooses them; give a budget, or name the kernel_sizes'
        )
    with torch.no_grad(), threads_for(kernel.weight.numel()), Ticker(progress) as tick:
        task = Task(seed, (limits.rtol or 0.0) * (1 - 1e-6), tick)
        if form is None:
            found = automatic(kernel, limits, task)
        else:
            clip = isinstance(ranks, numbers.Integral)
            caps = rank_caps(form, kernel, limits.ranks, clip)
            found = within_limits(kernel, Growth(form, kernel, caps), limits, task)
        cores, total_groups, error = rounded(kernel, found, task)
    if limits.rtol is not None and error > limits.rtol + 4 * torch.finfo(kernel.dtype).eps:
        raise TensorTrainError(
            f"rtol = {limits.rtol:g} is not reached within the given ranks or budget: achieved {error:.4g} with ranks"
            f" {tuple(r * kernel.conv_groups for r in found.ranks)}; raise them, or the tolerance"
        )
    lower = lower_bound(kernel.weight, found.form.kernel_sizes, found.ranks)
    return Fitted(cores, total_groups, error, max(found.upper_bound, error), min(lower, error))


def format_of(
    kernel_sizes: str | Sequence[int | Sequence[int]] | formats.Format, kernel: Kernel
) -> formats.Format | None:
    """The format that is asked for, None for "auto"."""
    if isinstance(kernel_sizes, str):
        name = choice("kernel_sizes", kernel_sizes, ("auto", *formats.NAMED))
        return None if name == "auto" else formats.NAMED[name](kernel.size)
    if not isinstance(kernel_sizes, formats.Format):
        return formats.chain(kernel_sizes, kernel.size)
    if kernel_sizes.kernel_size != kernel.size:
        found = kernel_sizes.kernel_size
        raise TensorTrainError(f"kernel_sizes is a format for {found} kernels, weight has {kernel.size}")
    return kernel_sizes


def rank_caps(form: formats.Format, kernel: Kernel, wanted: tuple[int, ...] | None, clip: bool) -> tuple[int, ...]:
    """Caps on the interior ranks within a conv group.

    Args:
        form: core sizes and groups.
        kernel: what is decomposed.
        wanted: totals over all groups, or None for no caps.
        clip: whether to clip each to what its bond can use, as for one int that is meant for all bonds.

    Raises:
        TensorTrainError: ranks that the groups do not divide, or beyond what any kernel can use.
    """
    useful = largest_useful(form, kernel)
    if wanted is None:
        return useful
    g = kernel.conv_groups
    for l, rank in enumerate(wanted):
        if rank % g:
            raise TensorTrainError(f"ranks[{l}] = {rank} is not divisible by groups = {g}")
    uniform = clip and any(rank <= most * g for rank, most in zip(wanted, useful, strict=True))
    for l, (rank, most) in enumerate(zip(wanted, useful, strict=True)):
        if rank > most * g and not uniform:
            p, q = kernel.channels
            sizes = tuple(k[0] if len(set(k)) == 1 else k for k in form.kernel_sizes)
            raise TensorTrainError(
                f"ranks[{l}] = {rank} exceeds {most * g}, the largest useful rank for cores {sizes} of a"
                f" {q * g} → {p * g} kernel"
            )
    return tuple(min(rank // g, most) for rank, most in zip(wanted, useful, strict=True))


def rounded(kernel: Kernel, found: Fit, task: Task) -> tuple[list[Tensor], tuple[int, ...], float]:
    """Cores of a fit in the dtype of the kernel, their total groups, and the error with rounding.

    Refinement may end in large cores that cancel each other, of which a short dtype keeps nothing. Where rounding
    shows, the chain is fitted again with a ridge on its cores.
    """
    if found.form.dense and (exact := exact_cores(kernel.raw, found.form.kernel_sizes, found.ranks)):
        # an exact chain holds the very entries of the kernel, so it is built from them without any scaling
        return kernel.export(exact, found.groups)
    best = kernel.finish(found.cores, found.groups)
    precision = 4 * torch.finfo(kernel.dtype).eps
    for ridge in RIDGES:
        if best[2] <= 1.01 * found.error + precision:
            break
        again = solve(kernel, found.form, found.ranks, replace(task, ridge=ridge))
        best = min(best, kernel.finish(again.cores, again.groups), key=lambda finished: finished[2])
    return best


def automatic(kernel: Kernel, limits: Limits, task: Task) -> Fit:
    """The best format at the budget; with a tolerance, the smallest chain of the format that does best at `PROBE`."""
    allowed = kernel.dense_parameters if limits.parameters is None else limits.parameters
    if limits.rtol is None:
        return best_format(kernel, allowed, task)
    probe = min(allowed, max(1, round(PROBE * kernel.dense_parameters)))
    try:
        form = best_format(kernel, probe, task).form
    except TensorTrainError:  # a kernel too small for a chain of that size
        form = best_format(kernel, allowed, task).form
    found = within_limits(kernel, Growth(form, kernel, largest_useful(form, kernel)), limits, task)
    if found.error <= limits.rtol and form.n_parameters(with_ends(kernel, found.ranks)) < kernel.weight[0].numel():
        return found
    return best_format(kernel, allowed, task)


def within_limits(kernel: Kernel, growth: Growth, limits: Limits, task: Task) -> Fit:
    """The smallest chain of one format found to reach the tolerance; without a tolerance the caps are used up."""
    largest = growth.largest_within(limits.parameters)
    if limits.rtol is None:
        return solve(kernel, growth.form, largest, task)
    steps = [ranks for ranks in growth.path() if all(r <= most for r, most in zip(ranks, largest, strict=True))]
    low, high, best = 0, len(steps) - 1, None
    while low < high:  # the error falls along the path; a chain below its lower bound needs no fit
        middle = (low + high) // 2
        found = None
        if lower_bound(kernel.weight, growth.form.kernel_sizes, steps[middle]) <= limits.rtol:
            found = solve(kernel, growth.form, steps[middle], task)
        if found is not None and found.error <= limits.rtol:
            best, high = found, middle
        else:
            low = middle + 1
    return best if best is not None and best.ranks == steps[high] else solve(kernel, growth.form, largest, task)
