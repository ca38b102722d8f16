"""Choose the format for `kernel_sizes="auto"`: all formats get short fits, and the best one gets a long fit.

The candidates are all named formats, or formats that contain them, with two exceptions: `cttd` with more than five
cores (kernels longer than 11), whose fit takes minutes, and chains whose initial chain alone would take longer than all
other fits.
"""

import math
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

SHORT, MEDIUM = 0.05, 0.15  # efforts of the first and the second round
SWEEPS = 960  # that of formats with blocks is the share of so many sweeps
WHOLE = 2.75  # work of all three rounds, as a multiple of that of the best format alone
SLOWED = 1.45  # short fits take so many times as long as their multiplications suggest
LEAST, MOST = 1.4, 8.0  # limits for the effort of the last fit of the best format
STEP = 1.05  # its factor from one trial to the next
LEADERS = 2  # number of formats in the second round
EQUAL = 1.0005  # errors of short fits count as equal if they are at most so many times the best one
CLOSE = 1.1  # a format may still win if the error of its short fit is at most so many times the best one
LARGEST_LIFT = 2_400  # singular values are computed only of lifts whose shorter side is at most this long


def candidates(size: Axes) -> Iterator[formats.Format]:
    """Yield the formats that are tried for a kernel of `size`, those first whose errors fall most in long fits."""
    one = (1,) * len(size)
    yield formats.chain([size], size, "dense")
    if size == one:
        yield formats.chain([one, one], size, "low rank")
        return
    yield formats.block_term(size)
    yield formats.depthwise(size)
    if sum(k > 1 for k in size) > 1:
        yield formats.cp(size)
        yield formats.separable(size)
        yield formats.tt4(size)
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
    fit three times as long, and the one with the best prospects gets the rest of the work, `WHOLE` times that of a fit
    of this format alone. A format whose lower bound exceeds the best error so far cannot win and is not fitted.
    """
    contest = _Contest(kernel, field, options)
    options.expect(sum(contest.work(entrant, contest.paced(entrant, SHORT)) for entrant in field))
    for effort, places in ((SHORT, len(field)), (MEDIUM, LEADERS)):
        for entrant in field[:places]:
            contest.fit(entrant, contest.paced(entrant, effort))
        field = contest.ranked(field)
    for judged in (contest.prospect, contest.error):
        winner = min(field, key=judged)  # by error it is the same, whose fit ends at once, unless its prospects misled
        contest.fit(winner, contest.longest(winner), seed=1)
    return min(contest.fits.values(), key=lambda fit: fit.error)


class _Contest:
    """The fits of several formats to one kernel, and their work.

    Attributes:
        fits: the best fit of each entrant so far.
        spent: roughly the multiplications of all fits.
    """

    def __init__(self, kernel: NormalizedKernel, field: Sequence[Entrant], options: SolverOptions) -> None:
        self.kernel, self.options = kernel, options
        self._place = {entrant: place for place, entrant in enumerate(field)}
        self.fits: dict[Entrant, Fit] = {}
        self.spent = 0.0
        self._longest: dict[Entrant, float] = {}
        self._first_errors: dict[Entrant, float] = {}

    def work(self, entrant: Entrant, effort: float) -> float:
        """Return roughly the multiplications of a fit."""
        options = replace(self.options, effort=self.options.effort * effort)
        return work(self.kernel, entrant.chain_format, entrant.ranks, options)

    def paced(self, entrant: Entrant, effort: float) -> float:
        """Return the effort of a fit in the first two rounds.

        All formats with blocks take equally many sweeps there, so that their errors can be compared. In fits of full
        effort they do not, and small kernels are fitted from several starts, not in one long fit.
        """
        if depthwise.supports(entrant.chain_format):
            effort *= depthwise.effort_for(SWEEPS, self.kernel.weight, entrant.chain_format, entrant.ranks)
        return effort

    def longest(self, entrant: Entrant) -> float:
        """Return the effort for a last fit with which all fits together have about `WHOLE` times the work of one."""
        left = WHOLE * self.work(entrant, 1.0) - SLOWED * self.spent
        effort = LEAST
        while effort < MOST and self.work(entrant, STEP * effort) <= left:
            effort *= STEP
        return effort

    def fit(self, entrant: Entrant, effort: float, seed: int = 0) -> None:
        """Fit a format, unless that is of no use.

        It is of no use if the format cannot win, if the target is reached, if the time is over, or if the fit would not
        be longer than the last one, as with the largest kernels, whose fits have the smallest number of steps.
        """
        best = min((fit.error for fit in self.fits.values()), default=math.inf)
        cost = self.work(entrant, effort)
        if self.fits and (entrant.bound >= best or best <= self.options.target or self.options.late()):
            return
        if cost <= self._longest.get(entrant, -1.0):
            return
        options = replace(self.options, effort=self.options.effort * effort, seed=self.options.seed + seed)
        earlier = self.fits.get(entrant)
        fit = solve(self.kernel, entrant.chain_format, entrant.ranks, options, earlier)
        self.fits[entrant] = fit if earlier is None or fit.error < earlier.error else earlier
        self._first_errors.setdefault(entrant, fit.error)
        self._longest[entrant] = cost
        self.spent += cost

    def error(self, entrant: Entrant) -> float:
        """Return the error of the best fit of a format so far."""
        return self.fits[entrant].error

    def prospect(self, entrant: Entrant) -> float:
        """Return the error to expect of the last fit, extrapolated from the first two rounds.

        The second fit is three times as long as the first one. Of the fall of the error between them, half is expected
        again from the next factor of three, a quarter from the one after it, and so on. The last fits of some formats
        are forty times as long as their second ones, those of others only five times.
        """
        first, error = self._first_errors[entrant], self.error(entrant)  # equal if there was no second fit
        triplings = math.log(self.longest(entrant) / self.paced(entrant, MEDIUM)) / math.log(MEDIUM / SHORT)
        return error - (first - error) * (1 - math.pow(0.5, max(0.0, triplings)))

    def ranked(self, field: Sequence[Entrant]) -> list[Entrant]:
        """Return the formats that may still win, best first; those of equal error as in the list of candidates."""
        best = min(fit.error for fit in self.fits.values())

        def order(entrant: Entrant) -> tuple[float, int]:
            error = self.fits[entrant].error
            return (0.0 if error <= EQUAL * best else error), self._place[entrant]

        contenders = [entrant for entrant in field if entrant in self.fits]
        return sorted((entrant for entrant in contenders if self.fits[entrant].error <= CLOSE * best), key=order)
