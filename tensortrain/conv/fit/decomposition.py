"""`decompose`, the function behind `ConvTensorTrain.decompose`, and `bounds`, which fits nothing."""

import math
import numbers
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tensortrain.checks import Limits, choice, integer, per_axis, positive
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

PROBE = 0.25  # fraction of the dense parameters at which formats are compared where a tolerance is the limit
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3)  # tried in this order where rounding to a short dtype shows


@dataclass(frozen=True)
class Decomposition:
    """Cores as plain conv weights, and what is known of their relative Frobenius error.

    Attributes:
        cores: conv weights, output side first.
        groups: of each core, totals over the groups of the convolution.
        error: relative Frobenius error of the cores as they are, rounding to their dtype included.
        upper_bound: what the error was certain not to exceed before refinement, with what rounding to the dtype
            adds where the error shows it; None of fits in the metric of data.
        lower_bound: what no chain of this format and these ranks can go below.
        data_error: the same in the metric of the data, None without data.
        data_lower_bound: likewise what no chain can go below.
    """

    cores: list[Tensor]
    groups: tuple[int, ...]
    error: float
    upper_bound: float | None
    lower_bound: float
    data_error: float | None = None
    data_lower_bound: float | None = None


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
    """`ConvTensorTrain.decompose`, which documents the arguments, without the container around the result."""
    kernel = NormalizedKernel.of(weight, groups, transposed, inputs)
    seed = integer("seed", seed, minimum=0)
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
            f'ranks = {ranks} with kernel_sizes="auto", which chooses them; give a budget, or name the kernel_sizes'
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
            f"rtol = {limits.rtol:g} is not reached within the given ranks or budget: achieved {error:.4g} with ranks"
            f" {tuple(r * kernel.conv_groups for r in fit.ranks)}; raise them, or the tolerance"
        )
    failures = contradictions(lower, error, math.inf if kernel.metric else upper)
    if kernel.metric is None:
        failures += contradictions(lower, fit.error, fit.upper_bound)
    for failure in failures:
        raise TensorTrainError(f"{failure}, so the library is at fault: please report the kernel and the arguments")
    if kernel.metric is None:
        data = (None, None) if inputs is None else (error, lower)  # Σ is a multiple of the identity
        return Decomposition(cores, total_groups, error, upper, lower, *data)
    plain = replace(kernel, metric=None)
    frobenius = plain.stored_error(cores, total_groups)
    bound = plain.lower_bound(fit.chain_format.kernel_sizes, fit.ranks)
    return Decomposition(cores, total_groups, frobenius, None, bound, error, lower)


def _title(kernel: NormalizedKernel) -> str:
    """What progress calls a decomposition."""
    p, q = (channels * kernel.conv_groups for channels in kernel.channels)
    return f"decompose {p}←{q} {'×'.join(map(str, kernel.size))}"


def bounds(
    weight: Tensor,
    chain_format: formats.Format,
    ranks: Sequence[int],
    *,
    groups: int = 1,
    transposed: bool = False,
) -> tuple[float, float]:
    """Lower and upper bound on the relative Frobenius error of a decomposition, without fitting it.

    No chain of this format and these ranks can do better than the lower bound (from the ranks of the kernel's
    unfoldings and of its Fourier transform); the first guess of `decompose` does no worse than the upper bound
    (from the singular values that its truncated SVDs discard).

    Args:
        weight: `(out, in / groups, *K)`, or `(in, out / groups, *K)` if `transposed`.
        chain_format: core sizes and the channels in one group of each core; its kernel size is that of `weight`.
        ranks: `(R_0, …, R_m)`, output and input channels included, totals over all groups, as in
            `ConvTensorTrain.ranks` and in the header of a file.
        groups: groups of the convolution that `weight` belongs to.
        transposed: whether that is a transposed convolution.

    Returns:
        The two bounds, each in [0, 1].

    Raises:
        TensorTrainError: a format or ranks that do not fit the kernel.

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
    """The format that `kernel_sizes` names or spells out; None for "auto".

    Raises:
        TensorTrainError: an unknown name, or a format for kernels of another size.
    """
    if isinstance(kernel_sizes, str):
        name = choice("kernel_sizes", kernel_sizes, ("auto", *formats.NAMED))
        return None if name == "auto" else formats.NAMED[name](kernel.size)
    if not isinstance(kernel_sizes, formats.Format):
        return formats.chain(kernel_sizes, kernel.size)
    if kernel_sizes.kernel_size != kernel.size:
        raise TensorTrainError(
            f"kernel_sizes is a format for {kernel_sizes.kernel_size} kernels, weight has {kernel.size}"
        )
    return kernel_sizes


def rank_caps(
    chain_format: formats.Format, kernel: NormalizedKernel, ranks: tuple[int, ...] | None, clip: bool
) -> tuple[int, ...]:
    """Caps on the interior ranks within a conv group.

    Args:
        chain_format: core sizes and groups.
        kernel: what is decomposed.
        ranks: the caller's caps, totals over all groups, or None for no caps.
        clip: whether to clip each to what its bond can use, as for one int that is meant for all bonds.

    Raises:
        TensorTrainError: ranks that the groups do not divide, or beyond what any kernel can use.
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
    for l, rank in enumerate(ranks):
        if rank % groups:
            raise TensorTrainError(f"ranks[{l}] = {rank} is not divisible by groups = {groups}")


def rounded(kernel: NormalizedKernel, fit: Fit, options: SolverOptions) -> tuple[list[Tensor], tuple[int, ...], float]:
    """Cores of a fit in the dtype of the kernel, their total groups, and the error with rounding.

    Refinement may end in large cores that cancel each other, of which a short dtype keeps nothing. Where rounding
    shows, the chain is fitted again with a ridge on its cores.
    """
    if fit.chain_format.dense and (cores := exact_cores(kernel.raw, fit.chain_format.kernel_sizes, fit.ranks)):
        # an exact chain holds the very entries of the kernel, so it is built from them without any scaling
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
    """The upper bound of a fit whose rounded cores have this error.

    The bound knows nothing of rounding. Where the error is above it, as with cores of 16 bits, the distance that
    rounding moves the fit is added, which the triangle inequality allows.
    """
    if error <= fit.upper_bound + SLACK:
        return fit.upper_bound
    return fit.upper_bound + kernel.rounding(fit.cores, fit.groups)


def automatic(
    kernel: NormalizedKernel, limits: Limits, options: SolverOptions, objective: str, size: Sequence[int] | None
) -> Fit:
    """The best format at the budget; with a tolerance, the smallest chain of the format that does best at `PROBE`."""

    def best(parameters: int) -> Fit:
        return best_format(kernel, fast_enough(entrants(kernel, parameters), kernel, objective, size), options)

    allowed = kernel.dense_parameters if limits.parameters is None else limits.parameters
    if limits.rtol is None:
        return best(allowed)
    probe = min(allowed, max(1, round(PROBE * kernel.dense_parameters)))
    try:
        chain_format = best(probe).chain_format
    except TensorTrainError:  # a kernel too small for a chain of that size
        chain_format = best(allowed).chain_format
    growth = Growth(chain_format, kernel, largest_useful(chain_format, kernel))
    fit = within_limits(kernel, growth, limits, options)
    if fit.error <= limits.rtol and chain_format.n_parameters(with_ends(kernel, fit.ranks)) < kernel.weight[0].numel():
        return fit
    return best_format(kernel, entrants(kernel, allowed), options)


def within_limits(kernel: NormalizedKernel, growth: Growth, limits: Limits, options: SolverOptions) -> Fit:
    """The smallest chain on the path of ranks that reaches the tolerance; without a tolerance the largest allowed."""
    largest = growth.largest_within(limits.parameters)
    whole = work(kernel, growth.chain_format, largest, options)
    options.expect(whole)
    if limits.rtol is None:
        return solve(kernel, growth.chain_format, largest, options)
    steps = [ranks for ranks in growth.path() if all(r <= most for r, most in zip(ranks, largest, strict=True))]
    low, high, best = 0, len(steps) - 1, None
    options.expect(whole * math.log2(len(steps)) / 2)
    while low < high:  # the error falls along the path; a chain below its lower bound needs no fit
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
