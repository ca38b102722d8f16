"""Fit chains whose middle cores are depthwise or have small groups, `1×1 | grouped, … | 1×1`, for example CP.

Plain alternating least squares often leads to blocks that cancel each other. A ridge that decays slowly prevents
this, and extrapolation accelerates the convergence. Small kernels are fitted from several starts in one batch, because
the cost of their sweeps is the number of operations, which does not grow with the batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain.conv.fit.block_solver import STALLED, BlockSolver, sweep_cost
from tensortrain.conv.fit.blocks import (
    Blocks,
    critical_ridge,
    from_cores,
    join,
    start,
    to_cores,
    with_noise,
)
from tensortrain.conv.fit.options import OVERHEAD, SMALL_KERNEL, SolverOptions
from tensortrain.conv.formats import Format

Axes = tuple[int, ...]

SWEEPS = (340, 560)  # fewest and most sweeps of a depthwise fit with the usual effort, if its sweeps are cheap
PER_BLOCK = 5  # sweeps for each of its blocks between these limits
DEAR_SWEEPS = 480  # the same if its sweeps are dear, before they are made fewer
SLOWER_SWEEPS = 2_400  # the same for CP and for blocks of several channels, which converge more slowly
DEAR = 1e7  # from so many multiplications per sweep on, fewer sweeps are made
ONE_START = 5e6  # from so many multiplications per sweep on, there is one start, whatever the effort
SMALL_SWEEPS = 225  # number of sweeps of a depthwise fit from several starts
SLOWER_SMALL_SWEEPS = 450  # the same for CP and for blocks of several channels
SINGLE = 3e8  # from so many multiplications per sweep on, single precision is used; the ridge keeps it well conditioned
POLISHED = 0.06  # fraction of the sweeps that run at the end with the ridge `LAST`, nearly none
ANNEALED = 0.95  # fraction of the other sweeps in which the ridge decays
LOWEST = 0.001  # the ridge at the end of its decay, as a fraction of `RIDGE`
RELATIVE_LOWEST = 1e-4  # a relative ridge at the end of its decay, as a fraction of the first one
LAST = 1e-5  # the ridge after its decay, as a fraction of `RIDGE`, so that it causes no bias
CONVERGED = 1e-10  # `STALLED` at the end of a fit of a small kernel, which is cheap
RIDGE = 0.05  # times R^(-2/3)
START = (0.1, 0.02)  # the first ridge, relative or as a fraction of `critical_ridge`, and the relative noise
WIDE_START = (0.5, 0.02)  # the same for blocks of several channels
LONG_WIDE_START = (0.5, 0.2)  # the same in fits of full effort, where a slow decay needs noise to separate equal blocks
SIMILAR = 0.3  # the ridge is relative if the weakest block is at least this fraction of the strongest one
STRONGEST = 0.9  # the first ridge for kernels without structure, as that fraction; at 1 all blocks would vanish
RELATIVE_STRONGEST = 3.0  # the same for a relative ridge
EVEN = (0.6, 0.7)  # between these ratios of the weakest to the strongest block, the first ridge rises to the strongest
SMALL_STARTS = (  # the same for small kernels, of which some need a strong ridge and some a weak one
    (0.02, 0.02),
    (0.1, 0.02),
    (0.05, 0.2),
    (0.25, 0.02),
    (0.02, 0.05),
    (0.5, 0.02),
    (0.05, 0.05),
    (0.1, 0.2),
    (0.02, 0.2),
    (0.25, 0.2),
    (0.05, 0.5),
    (1.0, 0.5),
    (0.5, 0.2),
    (1.0, 0.2),
    (0.1, 0.5),
    (0.25, 0.5),
)
STARTS = 8  # so many of them with the usual effort
LARGEST_BATCH = 8  # largest number of starts of a fit


def supports(chain_format: Format) -> bool:
    """Return whether `fit_blocks` can fit this format."""
    middle = chain_format.blocks[1:-1]
    if (
        chain_format.order < 3
        or chain_format.blocks[0] is not None
        or chain_format.blocks[-1] is not None
        or None in middle
    ):
        return False
    pointwise = all(k == 1 for end in (chain_format.kernel_sizes[0], chain_format.kernel_sizes[-1]) for k in end)
    disjoint = all(sum(k > 1 for k in axis) <= 1 for axis in zip(*chain_format.kernel_sizes, strict=True))
    return pointwise and disjoint and (len(middle) == 1 or set(middle) == {(1, 1)})


def step_cost(weight: Tensor, chain_format: Format, ranks: Sequence[int]) -> float:
    """Return the multiplications of one sweep for a kernel `(G, p, q, *K)`."""
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    return sweep_cost(weight.numel(), len(weight), ranks[0] // outputs, outputs, inputs)


def plan(
    weight: Tensor, chain_format: Format, ranks: Sequence[int], options: SolverOptions
) -> tuple[list[tuple[float, float]], int]:
    """Return the starts of a fit, each as `START`, and the number of sweeps from each.

    Where the effort allows several times as many sweeps as usual, fits with cheap sweeps get as many starts, up to
    `LARGEST_BATCH`, and the others a slower decay of the ridge: in each case that lowers the error more.
    """
    cost = step_cost(weight, chain_format, ranks)
    if _several(weight, options):
        most = SMALL_SWEEPS if single_channels(chain_format) else SLOWER_SMALL_SWEEPS
        return list(SMALL_STARTS[: round(STARTS * options.effort)]), options.steps(cost, most)
    single = chain_format.blocks[1] == (1, 1)
    most = usual_sweeps(weight, chain_format, ranks)
    sweeps = _allowed(most, cost, options)
    count = max(1, min(LARGEST_BATCH, int(sweeps / most))) if cost < ONE_START else 1
    wide = LONG_WIDE_START if options.effort >= 1 else WIDE_START
    return [START if single else wide] * count, sweeps // count


def effort_for(sweeps: int, weight: Tensor, chain_format: Format, ranks: Sequence[int]) -> float:
    """Return the effort of a fit with a given number of sweeps instead of the usual one."""
    cost, usual = step_cost(weight, chain_format, ranks), usual_sweeps(weight, chain_format, ranks)
    options = SolverOptions(0, 0.0, lambda work: None)
    return _allowed(sweeps, cost, options) / _allowed(usual, cost, options)


def _allowed(sweeps: int, cost: float, options: SolverOptions) -> int:
    """Return how many of the given sweeps are made: dear ones are made fewer, and the work is limited."""
    return options.steps(cost, sweeps * min(1.0, (DEAR / cost) ** 0.3))


def usual_sweeps(weight: Tensor, chain_format: Format, ranks: Sequence[int]) -> int:
    """Return the number of sweeps of a fit with the usual effort, before dear sweeps are made fewer."""
    if not single_channels(chain_format):
        return SLOWER_SWEEPS
    if step_cost(weight, chain_format, ranks) >= DEAR:
        return DEAR_SWEEPS
    fewest, most = SWEEPS
    return min(most, max(fewest, PER_BLOCK * ranks[0]))


def single_channels(chain_format: Format) -> bool:
    """Return whether a format is `1×1 | depthwise | 1×1`."""
    return chain_format.order == 3 and chain_format.blocks[1] == (1, 1)


def _several(weight: Tensor, options: SolverOptions) -> bool:
    """Return whether a kernel is small enough for a batch of different starts."""
    return weight.numel() <= SMALL_KERNEL and options.effort >= 1


def work(weight: Tensor, chain_format: Format, ranks: Sequence[int], options: SolverOptions) -> float:
    """Return a rough upper limit of the multiplications of a fit."""
    cost = step_cost(weight, chain_format, ranks)
    starts, sweeps = plan(weight, chain_format, ranks, options)
    rounds = 2 if _several(weight, options) else 1  # as many sweeps in double precision follow
    return (len(starts) * cost + OVERHEAD) * sweeps * rounds


def fit_blocks(
    weight: Tensor,
    chain_format: Format,
    ranks: Sequence[int],
    options: SolverOptions,
    earlier: Sequence[Tensor] | None = None,
) -> tuple[list[Tensor], float]:
    """Return cores `(G, r_{l-1}, r_l / g_l, *k_l)` and a bound of the squared error.

    Args:
        weight: the kernel, `(G, p, q, *K)`.
        chain_format: a format that `supports` accepts.
        ranks: the inner ranks.
        options: the seed, target error, work limit and ridge.
        earlier: cores of another fit, from which this fit continues if its own starts lead to nothing better.
    """
    count = ranks[0] // (chain_format.blocks[1] or (1, 1))[0]
    begin, bound = start(weight, chain_format, count)
    several = _several(weight, options)
    relative = single_channels(chain_format) and not several and _evenness(begin) >= SIMILAR and options.ridge == 0
    starts, sweeps = plan(weight, chain_format, ranks, options)
    if not several:
        strongest = RELATIVE_STRONGEST if relative else STRONGEST
        starts = [(_strength(begin, first, strongest), noise) for first, noise in starts]
    polished = max(1, round(POLISHED * sweeps))
    scale = (1.0 if chain_format.order == 3 else 0.25) * RIDGE * (count * len(weight)) ** (-2 / 3)
    last = max(LAST * scale, options.ridge)
    if relative:
        spans = [(first, RELATIVE_LOWEST * first, 0.0) for first, _ in starts]
    else:
        critical, lowest = critical_ridge(begin), max(LOWEST * scale, options.ridge)
        spans = [(max(share * critical, 2 * lowest), lowest, last) for share, _ in starts]
    ridges = torch.stack([_ridges(*span, sweeps - polished) for span in spans], 1)
    points = join([with_noise(begin, noise, options.seed + number) for number, (_, noise) in enumerate(starts)])
    # single precision leads near the minimum; the sweeps with nearly no ridge need double precision to reach it
    single = BlockSolver(weight.float(), len(starts), relative)
    x, errors = single.solve(
        points.at(points.entries.float()),
        ridges.repeat_interleave(len(weight), 1).to(single.energy),
        options,
    )
    if earlier is not None:
        known = from_cores(earlier, chain_format)
        known = known.at(known.entries.float())
        x, errors = join([x, known]), torch.cat([errors, BlockSolver(weight.float()).error(known)])
    best = errors.reshape(-1, len(weight)).argmin(0) * len(weight) + torch.arange(len(weight), device=weight.device)
    dear = step_cost(weight, chain_format, ranks) > SINGLE
    double = BlockSolver(weight.float() if dear else weight)
    x, errors = double.solve(
        x.at(x.entries[best].to(double.wide.dtype)),
        double.energy.new_full((sweeps if several else polished, len(weight)), last),
        options,
        CONVERGED if several else STALLED,
    )
    if x.entries.dtype != weight.dtype:  # single precision does not settle whether it is below a small bound
        x = x.at(x.entries.to(weight.dtype))
        errors = BlockSolver(weight).error(x)
    return to_cores(x if float(errors.sum()) < bound else begin, chain_format), bound


def _evenness(x: Blocks) -> float:
    """Return the norm of the weakest block divided by that of the strongest one."""
    norms = x.norms().prod(-1)
    return float(norms.min() / norms.max())


def _strength(x: Blocks, usual: float, strongest: float) -> float:
    """Return the first ridge of a fit, either a relative one or a fraction of `critical_ridge`.

    The blocks of a trained or smooth kernel are of very different sizes, and the start is nearly right: a strong ridge
    would undo it. If all blocks are of nearly the same size, as for a random kernel, the start means little, and a
    strong ridge leads to a lower error.
    """
    low, high = EVEN
    return usual + (strongest - usual) * min(1.0, max(0.0, (_evenness(x) - low) / (high - low)))


def _ridges(first: float, lowest: float, last: float, sweeps: int) -> Tensor:
    """Return the ridge of each sweep: geometric decay from `first` to `lowest`, then `last`."""
    annealed = round(ANNEALED * sweeps)
    ridges = torch.full((sweeps,), last, dtype=torch.float64, device="cpu")
    shares = torch.arange(annealed, dtype=torch.float64, device="cpu") / max(1, annealed - 1)
    ridges[:annealed] = first * (lowest / first) ** shares
    return ridges
