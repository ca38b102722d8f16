"""`decompose` is the function behind `ConvTensorTrain.decompose`; `bounds` bounds its error without a fit."""

import math
import numbers
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tensortrain.checks import Limits, choice, per_axis, positive
from tensortrain.checks import seed as checked_seed
from tensortrain.conv import formats
from tensortrain.conv.checks import SLACK, contradictions
from tensortrain.conv.fit.choose_format import best_format, entrants
from tensortrain.conv.fit.exact import exact_cores
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.options import SolverOptions, threads_for
from tensortrain.conv.fit.progress import Follower, follower
from tensortrain.conv.fit.ranks import Growth, largest_useful, with_ends
from tensortrain.conv.fit.solver import Fit, certified, solve, work
from tensortrain.conv.fit.speed import fast_enough
from tensortrain.conv.planner import OBJECTIVES
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise

PROBE = 0.25  # fraction of the dense parameters for which formats are compared if only a tolerance is given
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3)  # tried in this order if rounding to a short dtype increases the error


@dataclass(frozen=True)
class Decomposition:
    """The cores as convolution weights, and their relative Frobenius error with its bounds.

    Attributes:
        cores: convolution weights, output side first.
        groups: the groups of each core, totals over the groups of the convolution.
        error: relative Frobenius error of the cores, including their rounding to the dtype.
        upper_bound: an upper bound of the error that was known before refinement, increased by the effect of rounding
            to the dtype if the error is above it. None for fits in the metric of data.
        lower_bound: a lower bound of the error of all chains of this format with these ranks.
        data_error: relative error of the outputs on the data; None without data.
        data_lower_bound: a lower bound of `data_error` for all chains of this format with these ranks.
    """

    cores: list[Tensor]
    groups: tuple[int, ...]
    error: float
    upper_bound: float | None
    lower_bound: float
    data_error: float | None = None
    data_lower_bound: float | None = None


@precise
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
    inputs: Tensor | None,
    effort: float,
    seconds: float | None,
    objective: str,
    size: int | Sequence[int] | None,
    progress: bool | Follower | None,
) -> Decomposition:
    """Return the result of `ConvTensorTrain.decompose`, which documents the arguments, as plain tensors."""
    kernel = NormalizedKernel.of(weight, groups, transposed, inputs)
    seed = checked_seed(seed)
    effort = positive("effort", effort)
    deadline = math.inf if seconds is None else time.monotonic() + positive("seconds", seconds)
    chain_format = format_of(kernel_sizes, kernel)
    limits = Limits.of(
        bonds=chain_format.order - 1 if chain_format else None,
        dense_parameters=kernel.dense_parameters,
        ranks=ranks,
        rtol=rtol,
        max_parameters=max_parameters,
        budget=budget,
    )
    if chain_format is None and limits.ranks is not None:
        raise TensorTrainError(
            f'ranks = {ranks} cannot be combined with kernel_sizes="auto", which chooses the ranks; give a budget'
            " instead, or name the kernel_sizes"
        )
    choice("objective", objective, OBJECTIVES)
    image = None if size is None else per_axis("size", size, len(kernel.size))
    with torch.no_grad(), threads_for(kernel.weight.numel()), follower(progress, _title(kernel)) as tick:
        target = (limits.rtol or 0.0) * (1 - 1e-6)
        options = SolverOptions(seed, target, tick, effort, expect=tick.expect, deadline=deadline)
        if chain_format is None:
            fit = automatic(kernel, limits, options, objective, image)
        else:
            clip = isinstance(ranks, numbers.Integral)
            caps = rank_caps(chain_format, kernel, limits.ranks, clip)
            fit = within_limits(kernel, Growth(chain_format, kernel, caps), limits, options)
        cores, total_groups, error = rounded(kernel, fit, options)
        lower = kernel.lower_bound(fit.chain_format.kernel_sizes, fit.ranks, fit.error)
        upper = upper_bound(kernel, fit, error)
    if limits.rtol is not None and error > limits.rtol + 4 * torch.finfo(kernel.dtype).eps:
        raise TensorTrainError(
            f"rtol = {limits.rtol:g} is not reached within the ranks or budget: the error is {error:.4g} with ranks"
            f" {tuple(r * kernel.conv_groups for r in fit.ranks)}; raise them, or the tolerance"
        )
    failures = contradictions(lower, error, math.inf if kernel.metric else upper)
    if kernel.metric is None:
        failures += contradictions(lower, fit.error, fit.upper_bound)
    for failure in failures:
        raise TensorTrainError(f"{failure}; this is a fault of the library: please report the kernel and the arguments")
    if kernel.metric is None:
        data = (None, None) if inputs is None else (error, lower)  # Σ is a multiple of the identity
        return Decomposition(cores, total_groups, error, upper, lower, *data)
    plain = replace(kernel, metric=None)
    frobenius = plain.stored_error(cores, total_groups)
    bound = plain.lower_bound(fit.chain_format.kernel_sizes, fit.ranks)
    return Decomposition(cores, total_groups, frobenius, None, bound, error, lower)


def _title(kernel: NormalizedKernel) -> str:
    """Return the name of a decomposition in progress messages."""
    p, q = (channels * kernel.conv_groups for channels in kernel.channels)
    return f"decompose a kernel {p}×{q}×{'×'.join(map(str, kernel.size))}"


@precise
def bounds(
    weight: Tensor,
    chain_format: formats.Format,
    ranks: Sequence[int],
    *,
    groups: int = 1,
    transposed: bool = False,
) -> tuple[float, float]:
    """Return a lower and an upper bound of the relative Frobenius error of a decomposition, without fitting it.

    The error of every chain of this format with these ranks is at least the lower bound, which follows from the ranks
    of the kernel's unfoldings and of its Fourier transform. The error of the initial chain of `decompose` is at most
    the upper bound, which follows from the singular values that its truncated SVDs discard.

    Args:
        weight: the kernel, `(out, in / groups, *K)`, or `(in, out / groups, *K)` if `transposed`.
        chain_format: a format with the kernel size of `weight`.
        ranks: the ranks `(R_0, …, R_m)`, with output and input channels. They are totals over all groups, as in
            `ConvTensorTrain.ranks` and in the headers of files.
        groups: number of groups of the convolution that `weight` belongs to.
        transposed: whether `weight` belongs to a transposed convolution.

    Returns:
        The lower and the upper bound, each in [0, 1].

    Raises:
        TensorTrainError: the format or the ranks do not fit the kernel.

    >>> weight = torch.randn(8, 6, 5, 5, generator=torch.Generator().manual_seed(0))
    >>> bounds(weight, formats.chain((3, 3), (5, 5)), (8, 24, 6))   # rank 24 = 4·6 is exact for every kernel
    (0.0, 0.0)
    """
    kernel = NormalizedKernel.of(weight, groups, transposed)
    format_of(chain_format, kernel)
    ends = tuple(channels * kernel.conv_groups for channels in kernel.channels)
    if len(ranks) != chain_format.order + 1 or (ranks[0], ranks[-1]) != ends:
        raise TensorTrainError(
            f"ranks = {tuple(ranks)}; {chain_format.order + 1} are needed for {chain_format.order} cores, from"
            f" {ends[0]} output channels to {ends[1]} input channels"
        )
    _check_divisible(ranks, kernel.conv_groups)
    chain_format.groups(ranks)
    interior = [rank // kernel.conv_groups for rank in ranks[1:-1]]
    with torch.no_grad(), threads_for(kernel.weight.numel()):
        return certified(kernel, chain_format, interior)


def format_of(
    kernel_sizes: str | Sequence[int | Sequence[int]] | formats.Format, kernel: NormalizedKernel
) -> formats.Format | None:
    """Return the format that `kernel_sizes` names or describes, or None for "auto".

    Raises:
        TensorTrainError: the name is unknown, or the format is for kernels of another size.
    """
    if isinstance(kernel_sizes, str):
        name = choice("kernel_sizes", kernel_sizes, ("auto", *formats.NAMED))
        return None if name == "auto" else formats.NAMED[name](kernel.size)
    if not isinstance(kernel_sizes, formats.Format):
        return formats.chain(kernel_sizes, kernel.size)
    if kernel_sizes.kernel_size != kernel.size:
        raise TensorTrainError(
            f"kernel_sizes is a format for {kernel_sizes.kernel_size} kernels, but weight has {kernel.size}"
        )
    return kernel_sizes


def rank_caps(
    chain_format: formats.Format, kernel: NormalizedKernel, ranks: tuple[int, ...] | None, clip: bool
) -> tuple[int, ...]:
    """Return the upper limits of the inner ranks within one group of the convolution.

    Args:
        chain_format: the core sizes and groups.
        kernel: the kernel to decompose.
        ranks: the upper limits of the caller, totals over all groups, or None for no limits.
        clip: whether a limit that is larger than useful is lowered, as for one int that applies to all bonds.

    Raises:
        TensorTrainError: the groups do not divide the ranks, or a rank exceeds the largest useful one.
    """
    useful = largest_useful(chain_format, kernel)
    if ranks is None:
        return useful
    g = kernel.conv_groups
    _check_divisible(ranks, g)
    for l, (rank, most) in enumerate(zip(ranks, useful, strict=True)):
        if rank > most * g and not clip:
            p, q = kernel.channels
            sizes = tuple(k[0] if len(set(k)) == 1 else k for k in chain_format.kernel_sizes)
            raise TensorTrainError(
                f"ranks[{l}] = {rank} exceeds {most * g}, the largest useful rank for cores {sizes} of a"
                f" {q * g} → {p * g} kernel"
            )
    return tuple(min(rank // g, most) for rank, most in zip(ranks, useful, strict=True))


def _check_divisible(ranks: Sequence[int], groups: int) -> None:
    """Refuse ranks that the groups do not divide."""
    for l, rank in enumerate(ranks):
        if rank % groups:
            raise TensorTrainError(f"ranks[{l}] = {rank} is not divisible by groups = {groups}")


def rounded(kernel: NormalizedKernel, fit: Fit, options: SolverOptions) -> tuple[list[Tensor], tuple[int, ...], float]:
    """Return the cores of a fit in the dtype of the kernel, their total groups, and the error after rounding.

    Refinement may end in large cores that cancel each other, and a short dtype then loses all digits of the result. If
    rounding increases the error, the chain is fitted again with a ridge on its cores.
    """
    if fit.chain_format.dense and (cores := exact_cores(kernel.raw, fit.chain_format.kernel_sizes, fit.ranks)):
        # an exact chain contains the entries of the kernel themselves, so it is built without any scaling
        return kernel.export(cores, fit.groups)
    best = kernel.finish(fit.cores, fit.groups)
    precision = 4 * torch.finfo(kernel.dtype).eps
    for ridge in RIDGES:
        if best[2] <= 1.01 * fit.error + precision or options.late():
            break
        again = solve(kernel, fit.chain_format, fit.ranks, replace(options, ridge=ridge))
        best = min(best, kernel.finish(again.cores, again.groups), key=lambda export: export[2])
    return best


def upper_bound(kernel: NormalizedKernel, fit: Fit, error: float) -> float:
    """Return the upper bound of a fit whose rounded cores have this error.

    The bound ignores rounding. If the error is above it, as with cores of 16 bits, the distance by which rounding moves
    the fit is added. By the triangle inequality the sum is an upper bound.
    """
    if error <= fit.upper_bound + SLACK:
        return fit.upper_bound
    return fit.upper_bound + kernel.rounding(fit.cores, fit.groups)


def automatic(
    kernel: NormalizedKernel, limits: Limits, options: SolverOptions, objective: str, size: Sequence[int] | None
) -> Fit:
    """Return the best fit within the budget, or with a tolerance the smallest chain of the format best at `PROBE`."""

    def best(parameters: int) -> Fit:
        """Return the best fit with this number of parameters."""
        return best_format(kernel, fast_enough(entrants(kernel, parameters), kernel, objective, size), options)

    allowed = kernel.dense_parameters if limits.parameters is None else limits.parameters
    if limits.rtol is None:
        return best(allowed)
    probe = min(allowed, max(1, round(PROBE * kernel.dense_parameters)))
    try:
        chain_format = best(probe).chain_format
    except TensorTrainError:  # the kernel is too small for a chain of that size
        chain_format = best(allowed).chain_format
    growth = Growth(chain_format, kernel, largest_useful(chain_format, kernel))
    fit = within_limits(kernel, growth, limits, options)
    if fit.error <= limits.rtol and chain_format.n_parameters(with_ends(kernel, fit.ranks)) < kernel.weight[0].numel():
        return fit
    # the tolerance comes first: a format that the objective does not admit, such as the dense kernel, may reach it
    return best_format(kernel, entrants(kernel, allowed), options)


def within_limits(kernel: NormalizedKernel, growth: Growth, limits: Limits, options: SolverOptions) -> Fit:
    """Return the smallest chain on the path of ranks that reaches the tolerance, or the largest allowed chain.

    The latter is returned if there is no tolerance, or if no smaller chain reaches it.
    """
    largest = growth.largest_within(limits.parameters)
    whole = work(kernel, growth.chain_format, largest, options)
    options.expect(whole)
    if limits.rtol is None:
        return solve(kernel, growth.chain_format, largest, options)
    steps = [ranks for ranks in growth.path() if all(r <= most for r, most in zip(ranks, largest, strict=True))]
    low, high, best = 0, len(steps) - 1, None
    options.expect(whole * math.log2(len(steps)) / 2)
    while low < high:  # the error falls along the path; a chain whose lower bound is above the tolerance needs no fit
        middle = (low + high) // 2
        fit = None
        if kernel.quick_lower_bound(growth.chain_format.kernel_sizes, steps[middle]) <= limits.rtol:
            fit = solve(kernel, growth.chain_format, steps[middle], options)
        if fit is not None and fit.error <= limits.rtol:
            best, high = fit, middle
        else:
            low = middle + 1
    if best is not None and best.ranks == steps[high]:
        return best
    return solve(kernel, growth.chain_format, largest, options)
