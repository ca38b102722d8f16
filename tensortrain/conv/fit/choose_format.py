"""Choose the format for `kernel_sizes="auto"`: all formats get short fits, and the best one gets a long fit.

The candidates are all named formats, or formats that contain them, with two exceptions: `cttd` with more than five
cores (kernels longer than 11), whose fit takes minutes, and chains whose initial chain alone would take longer than all
other fits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from tensortrain.conv import formats
from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit import depthwise
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.options import SolverOptions
from tensortrain.conv.fit.ranks import Growth, largest_useful
from tensortrain.conv.fit.solver import Fit, solve, work
from tensortrain.errors import TensorTrainError

Axes = tuple[int, ...]

SHORT, MEDIUM, LONG = 0.05, 0.15, 2.4  # efforts of the first and second round and of the last fit of the best format
LONG_DEPTHWISE = 1.8  # effort of the last fit of a depthwise chain, to which a second start would add little
LEADERS = 2  # number of formats in the second round
CLOSE = 1.1  # a format may still win if the error of its short fit is at most so many times the best one
LARGEST_LIFT = 2_400  # largest number of rows of a square lift whose singular values are computed


def candidates(size: Axes) -> Iterator[formats.Format]:
    """Yield the formats that are tried for a kernel of `size`, those that win most often first."""
    one = (1,) * len(size)
    yield formats.chain([size], size, "dense")
    if size == one:
        yield formats.chain([one, one], size, "low rank")
        return
    yield formats.depthwise(size)
    if sum(k > 1 for k in size) > 1:
        yield formats.cp(size)
        yield formats.separable(size)
        yield formats.tt4(size)
    for outputs, inputs in ((2, 2), (2, 1), (1, 2)):
        yield formats.block_term(size, outputs, inputs)
    yield formats.tucker2(size)
    yield formats.chain([one, size], size, "1×1 | K×K")
    yield formats.chain([size, one], size, "K×K | 1×1")
    halves = [tuple((k + 1) // 2 for k in size), tuple(k - (k + 1) // 2 + 1 for k in size)]
    squares = {formats.chain(halves, size, "cttd").kernel_sizes: None}
    squares[formats.cttd(size).kernel_sizes] = None
    for sizes in squares:
        if 1 < len(sizes) <= 5:
            yield formats.chain(sizes, size, "cttd")
        if 1 < len(sizes) <= 4:
            yield formats.chain([one, *sizes, one], size, "cttd with 1×1 ends")


def affordable(chain_format: formats.Format, kernel: NormalizedKernel) -> bool:
    """Return whether the lifts of a kernel at the bonds of a format are small enough to compute singular values.

    >>> import torch
    >>> long = NormalizedKernel.of(torch.ones(16, 16, 512), 1, False)
    >>> affordable(formats.depthwise((512,)), long), affordable(formats.chain((256, 257), (512,)), long)
    (True, False)
    """
    p, q = kernel.channels
    for bond in range(1, chain_format.order):
        left, right = (
            prod(whole_size(sizes)) for sizes in (chain_format.kernel_sizes[:bond], chain_format.kernel_sizes[bond:])
        )
        if min(left * p, right * q) > LARGEST_LIFT:
            return False
    return True


@dataclass(frozen=True)
class Entrant:
    """A format with its ranks for the budget, and a lower bound of its error."""

    chain_format: formats.Format
    ranks: tuple[int, ...]
    bound: float

    @classmethod
    def of(cls, kernel: NormalizedKernel, chain_format: formats.Format, ranks: tuple[int, ...]) -> "Entrant":
        """Return the format with these ranks, and its bound for a kernel."""
        return cls(chain_format, ranks, kernel.quick_lower_bound(chain_format.kernel_sizes, ranks))


def affordable_candidates(kernel: NormalizedKernel) -> list[formats.Format]:
    """Return the candidates whose ranks can be chosen at low cost."""
    return [chain_format for chain_format in candidates(kernel.size) if affordable(chain_format, kernel)]


def entrants(kernel: NormalizedKernel, parameters: int) -> list[Entrant]:
    """Return all candidates that have a chain within a number of parameters.

    Raises:
        TensorTrainError: no format has a chain that small.
    """
    smallest, entered = kernel.dense_parameters, []
    for chain_format in affordable_candidates(kernel):
        growth = Growth(chain_format, kernel, largest_useful(chain_format, kernel))
        need = growth.n_parameters(growth.ranks(growth.smallest))
        smallest = min(smallest, need)
        if need <= parameters:
            entered.append(Entrant.of(kernel, chain_format, growth.largest_within(parameters)))
    if not entered:
        raise TensorTrainError(
            f"max_parameters (or budget) = {parameters} is below the smallest chain of any format, {smallest}"
            f" of {kernel.dense_parameters} dense parameters; raise it"
        )
    return entered


def best_format(kernel: NormalizedKernel, field: Sequence[Entrant], options: SolverOptions) -> Fit:
    """Return the chain with the smallest error among several formats.

    The method is successive halving (Jamieson and Talwalkar 2016): every format gets a short fit, the best few get a
    longer fit, and the best of these gets a long fit. A format whose lower bound exceeds the best error so far cannot
    win and is not fitted. Neither is one that would only repeat its fit of the round before, as the largest kernels
    do: their fits have the smallest number of steps in both rounds.
    """
    fits: list[Fit] = []
    places = (len(field), LEADERS, 1)
    options.expect(sum(_work(kernel, e, options, number) for number, n in enumerate(places) for e in field[:n]))
    for number, count in enumerate(places):
        for entrant in field[:count]:
            again = _options(entrant, options, number)
            if number == 1 and _work(kernel, entrant, options, 1) <= _work(kernel, entrant, options, 0):
                continue
            if fits and (entrant.bound >= min(fit.error for fit in fits) or options.late()):
                continue
            earlier = min((fit for fit in fits if _is_of(fit, entrant)), key=lambda fit: fit.error, default=None)
            fits.append(solve(kernel, entrant.chain_format, entrant.ranks, again, earlier))
            if fits[-1].error <= options.target:
                return fits[-1]
        field = _ranked(field, fits)
    return min(fits, key=lambda fit: fit.error)


def _options(entrant: Entrant, options: SolverOptions, number: int) -> SolverOptions:
    """Return the options of a fit in one of the three rounds.

    In the first two rounds depthwise chains take as many sweeps as the other formats with blocks, so that their errors
    can be compared. A fit of full effort needs fewer.
    """
    effort = (SHORT, MEDIUM, LONG)[number]
    if depthwise.supports(entrant.chain_format) and depthwise.patience(entrant.chain_format) == 1:
        effort = LONG_DEPTHWISE if number == 2 else effort * depthwise.SLOWER
    return replace(options, effort=options.effort * effort, seed=options.seed + number // 2)


def _work(kernel: NormalizedKernel, entrant: Entrant, options: SolverOptions, number: int) -> float:
    """Return roughly the multiplications of a fit in one of the rounds."""
    return work(kernel, entrant.chain_format, entrant.ranks, _options(entrant, options, number))


def _ranked(field: Sequence[Entrant], fits: Sequence[Fit]) -> list[Entrant]:
    """Return the formats that may still win, best first."""
    best = {entrant: min((f.error for f in fits if _is_of(f, entrant)), default=2.0) for entrant in field}
    close = CLOSE * min(best.values())
    return sorted((entrant for entrant in field if best[entrant] <= close), key=best.__getitem__)


def _is_of(fit: Fit, entrant: Entrant) -> bool:
    """Return whether a fit has the format and the ranks of an entrant."""
    return (fit.chain_format, fit.ranks) == (entrant.chain_format, entrant.ranks)
