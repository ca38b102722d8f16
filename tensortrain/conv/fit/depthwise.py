"""Fit chains whose middle cores are depthwise or have small groups, `1×1 | grouped, … | 1×1`, for example CP.

Plain alternating least squares often leads to blocks that cancel each other. A ridge that decays slowly prevents
this, and extrapolation accelerates the convergence. Small kernels are fitted from several starts in one batch, because
the cost of their sweeps is the number of operations, which does not grow with the batch.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from tensortrain.conv.fit.blocks import (
    Blocks,
    critical_ridge,
    from_cores,
    join,
    product,
    start,
    to_cores,
    with_noise,
)
from tensortrain.conv.fit.options import OVERHEAD, SMALL_KERNEL, SolverOptions
from tensortrain.conv.fit.spectral import cholesky
from tensortrain.conv.formats import Format

Axes = tuple[int, ...]

SWEEPS = 480  # number of sweeps of a depthwise fit with the usual effort, if its sweeps are cheap
SLOWER = 2.0  # factor on the sweeps of CP and of blocks of several channels, because they converge more slowly
DEAR = 1e7  # from so many multiplications per sweep on, fewer sweeps are made
ONE_START = 5e6  # from so many multiplications per sweep on, there is one start, whatever the effort
SMALL_SWEEPS = 270  # number of sweeps of a fit from several starts
SINGLE = 3e8  # from so many multiplications per sweep on, single precision is used; the ridge keeps it well conditioned
POLISHED = 0.06  # fraction of the sweeps that run at the end with the ridge `LAST`, nearly none
ANNEALED = 0.95  # fraction of the other sweeps in which the ridge decays
LOWEST = 0.001  # the ridge at the end of its decay, as a fraction of `RIDGE`
LAST = 1e-5  # the ridge after its decay, as a fraction of `RIDGE`, so that it causes no bias
STALL = 10  # number of sweeps over which progress is judged
STALLED = 1e-5  # a fit stops if these sweeps lower the squared error by less than this fraction
CONVERGED = 1e-10  # the same at the end of a fit of a small kernel, which is cheap
RIDGE = 0.05  # times R^(-2/3)
START = (0.1, 0.02)  # the first ridge as a fraction of `critical_ridge`, and the relative noise
WIDE_START = (0.5, 0.02)  # the same for blocks of several channels
STRONGEST = 0.9  # the same fraction for kernels without structure; at 1 all blocks would vanish
EVEN = (0.6, 0.7)  # between these ratios of the weakest to the strongest block, the fraction rises to `STRONGEST`
SMALL_STARTS = (  # the same for small kernels, of which some need a strong ridge and some a weak one
    (0.1, 0.02),
    (0.25, 0.02),
    (0.5, 0.02),
    (0.1, 0.2),
    (0.25, 0.2),
    (0.05, 0.5),
    (1.0, 0.5),
    (0.25, 0.5),
)
LARGEST_BATCH = 8  # largest number of starts of a fit
RISE = 1e-4  # a sweep whose objective rises by more than this fraction is undone; a smaller rise may be rounding


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


class BlockSolver:
    """Alternating least squares for one kernel `(G, p, q, *K)`, from one or several starts at once.

    The groups of a convolution, and the starts, are independent problems, which share the operations of a sweep only.

    The letters in the shapes have these meanings:

    | letter | axis |
    |---|---|
    | g | problem: a start, and a group of the convolution |
    | p, q | output, input channel of the group |
    | x | position in the kernel |
    | n, N | block |
    | s, S | channel of a block on its output side, behind A |
    | t, T | channel of a block on its input side, before B |

    Capitals are the second index of a Gram matrix, the one that the unknowns have. All products are matrix products
    batched over problems and blocks: for small kernels the number of operations is what a sweep costs.
    """

    def __init__(self, weight: Tensor, starts: int = 1) -> None:
        self.groups, p = weight.shape[:2]
        self.size = weight.shape[3:]
        wide = weight.flatten(3).transpose(2, 3).reshape(self.groups, p, -1)
        self.wide = wide.repeat(starts, 1, 1)  # (g, p, x·q)
        self.energy = self.wide.square().sum((1, 2))  # (g,)

    def sweep(self, x: Blocks, ridge: Tensor) -> tuple[Blocks, Tensor]:
        """Solve for A, each factor and B in turn, and return the new point and its squared errors.

        Args:
            x: the point from which the sweep begins.
            ridge: `(g,)`, one for each problem.
        """
        _, *factors, b = x.parts()
        g, count, t, q = b.shape
        b_flat = b.flatten(1, 2)  # (g, n·t, q)
        bb = torch.bmm(b_flat, b_flat.mT).reshape(g, count, 1, t, count, 1, t)  # (g, n, ·, t, N, ·, T)
        a = self._solve_a(product(factors), b, bb, ridge)  # (g, n·s, p)

        s = a.shape[1] // count
        aa = torch.bmm(a, a.mT).reshape(g, count, s, 1, count, s, 1)  # (g, n, s, ·, N, S, ·)
        projected = torch.bmm(a, self.wide).reshape(g, count, -1, q)  # W seen through A: (g, n, s·x, q)
        factors = self._solve_factors(factors, b, aa * bb, projected, ridge)

        b, error = self._solve_b(product(factors), aa, projected, ridge)
        lines = [a.reshape(g, count, -1), *(f.flatten(2) for f in factors), b.reshape(g, count, -1)]
        return x.at(torch.cat(lines, 2)), error

    def error(self, x: Blocks) -> Tensor:
        """Return the squared error of each problem at a point."""
        a, *factors, b = x.parts()
        approximation = torch.bmm(a.flatten(1, 2).mT, _inner(product(factors), b))
        return (self.wide - approximation).square().sum((1, 2))

    def _solve_a(self, d: Tensor, b: Tensor, bb: Tensor, ridge: Tensor) -> Tensor:
        """Return the best A `(g, n·s, p)` for given filters D `(g, n, s, t, *K)` and B."""
        rhs = torch.bmm(_inner(d, b), self.wide.mT)  # (g, n·s, p)
        gram = _gram(d) * bb
        gram = gram.sum((3, 6)) if b.shape[2] > 1 else gram  # (g, n, s, N, S)
        return _solve(gram.reshape(len(rhs), rhs.shape[1], -1), rhs, ridge)

    def _solve_factors(
        self, factors: list[Tensor], b: Tensor, channels: Tensor, projected: Tensor, ridge: Tensor
    ) -> list[Tensor]:
        """Return the factors of D, `(g, n, s, t, *k)`, each the best for given A, B and other factors."""
        g, n = len(b), math.prod(factors[0].shape[1:4])  # n: unknowns for each position, n·s·t
        if b.shape[2] == 1:
            rhs_d = (projected * b).sum(3).reshape(*channels.shape[:4], *self.size)  # (g, n, s, t, *K)
        else:
            rhs_d = projected @ b.mT  # (g, n, s·x, t)
            shape = (*channels.shape[:3], -1, channels.shape[3])  # (g, n, s, x, t)
            rhs_d = rhs_d.reshape(shape).transpose(3, 4).reshape(*channels.shape[:4], *self.size)
        solutions = list(factors)
        for j, factor in enumerate(factors):
            others = solutions[:j] + solutions[j + 1 :]
            rhs, gram = rhs_d, channels.clone()
            if others:  # they fill the axes on which this factor is 1 long
                other = product(others)
                across = [i for i, k in enumerate(factor.shape) if i > 3 and k == 1]
                rhs = (rhs_d * other).sum(across, keepdim=True)  # (g, n, s, t, *k)
                gram = channels * _gram(other)  # (g, n, s, t, N, S, T)
            solution = _solve(gram.reshape(g, n, n), rhs.reshape(g, n, -1), ridge)  # (g, n·s·t, positions)
            solutions[j] = solution.reshape(factor.shape)
        return solutions

    def _solve_b(self, d: Tensor, aa: Tensor, projected: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best B `(g, n·t, q)` for given A and filters D `(g, n, s, t, *K)`, and the squared errors."""
        g, n, s, t = d.shape[:4]
        columns = d.flatten(4).transpose(2, 3).reshape(g * n, t, -1)  # (g·n, t, s·x)
        rhs = torch.bmm(columns, projected.flatten(0, 1)).reshape(g, n * t, -1)
        gram = _gram(d) * aa
        gram = (gram.sum((2, 5)) if s > 1 else gram).reshape(g, n * t, n * t)
        b = _solve(gram, rhs, ridge)
        explained = ((2 * rhs - torch.bmm(gram, b)) * b).sum((1, 2)) + ridge * b.square().sum((1, 2))
        return b, self.energy - explained

    def solve(
        self, x: Blocks, ridges: Tensor, options: SolverOptions, stalled: float = STALLED
    ) -> tuple[Blocks, Tensor]:
        """Do one sweep with extrapolation for each ridge; a problem whose objective rises stays at its last point.

        The ridges decrease slowly, so the momentum is kept from one ridge to the next. The sweeps at the last ridge end
        as soon as they no longer lower the error.

        Args:
            x: a start of every problem.
            ridges: `(sweeps, problems)`.
            options: the target error, time limit and callback.
            stalled: the sweeps end if the last `STALL` of them lower the squared error by less than this fraction.

        Returns:
            The last point, and the squared errors of its problems.
        """
        age = torch.ones_like(self.energy)[:, None, None]  # accepted sweeps since the last rejection, and one
        error, penalty = torch.full_like(self.energy, math.inf), torch.zeros_like(self.energy)
        previous, errors = x, [error]  # errors: at the last ridge
        cost = self.step_cost(x) + OVERHEAD
        annealed = int((ridges != ridges[-1]).any(1).sum())
        for number, ridge in enumerate(ridges):
            beta = ((age - 1) / (age + 2)).clamp_(max=0.99)
            point, squared = self.sweep(x.at(torch.lerp(previous.entries, x.entries, 1 + beta)), ridge)
            options.tick(cost)
            norms = point.norms()
            logarithms = norms.log()
            mean = logarithms.mean(2, keepdim=True)
            even = point.scaled((mean - logarithms).exp_())  # the norm of each block, spread evenly over its parts
            even_penalty = norms.shape[2] * (2 * mean).exp_().sum((1, 2))
            accepted = squared + ridge * norms.square().sum((1, 2)) <= (1 + RISE) * (error + ridge * penalty)
            previous = x
            if bool(accepted.all()):
                x, error, penalty, age = even, squared, even_penalty, age + 1
            else:
                accepted |= age[:, 0, 0] == 1
                wide = accepted[:, None, None]
                x, age = x.at(torch.where(wide, even.entries, x.entries)), torch.where(wide, age + 1, 1.0)
                error = torch.where(accepted, squared, error)
                penalty = torch.where(accepted, even_penalty, penalty)
            if self._reached(error, options.target) or options.late():
                break
            if number >= annealed:
                errors.append(error)
                if len(errors) > STALL and bool((errors[-1 - STALL] - error <= stalled * error).all()):
                    break
        return x, error

    def _reached(self, error: Tensor, target: float) -> bool:
        """Return whether one start is at the target, all groups of the convolution together."""
        return target > 0 and float(error.reshape(-1, self.groups).sum(1).min()) <= target**2

    def step_cost(self, x: Blocks) -> float:
        """Return the multiplications of one sweep: two products with the whole kernel, and the factorisations."""
        s, t = x.shapes[1][:2]
        return sweep_cost(self.wide.numel(), x.entries.shape[0], x.entries.shape[1], s, t)


def _inner(d: Tensor, b: Tensor) -> Tensor:
    """Return the product of filters `(g, n, s, t, *K)` and B, `(g, n·s, x·q)`."""
    rows = d.flatten(4).transpose(3, 4).flatten(2, 3)  # (g, n, s·x, t)
    inner = rows * b if b.shape[2] == 1 else rows @ b  # (g, n, s·x, q)
    return inner.reshape(len(d), d.shape[1] * d.shape[2], -1)


def _gram(d: Tensor) -> Tensor:
    """Return the inner products over space of all filters `(g, n, s, t, *K)`: `(g, n, s, t, N, S, T)`."""
    flat = d.flatten(4).flatten(1, 3)
    return torch.bmm(flat, flat.mT).reshape(d.shape[0], *d.shape[1:4], *d.shape[1:4])


def _solve(gram: Tensor, rhs: Tensor, ridge: Tensor) -> Tensor:
    """Solve `(gram + ridge) u = rhs` for each problem.

    Args:
        gram: `(g, n, n)`; the ridge is added to it in place.
        rhs: `(g, n, columns)`.
        ridge: `(g,)`.
    """
    gram.diagonal(dim1=-2, dim2=-1).add_(ridge[:, None])
    factor, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed.any()):
        factor = cholesky(gram, 0.1 * torch.finfo(gram.dtype).eps)
    if float(ridge.amin()) > 1e2 * torch.finfo(gram.dtype).eps:  # well conditioned: the inverse is as good and faster
        return torch.bmm(torch.cholesky_inverse(factor), rhs)
    solution: Tensor = torch.cholesky_solve(rhs, factor)
    return solution.contiguous()


def sweep_cost(entries: int, groups: int, count: int, outputs: int, inputs: int) -> float:
    """Return the multiplications of one sweep: two products with the whole kernel, and the factorisations."""
    return 2 * entries * max(outputs, inputs) * count + groups * (outputs * inputs * count) ** 3 / 3


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
        return list(SMALL_STARTS), options.steps(cost, SMALL_SWEEPS)
    single = chain_format.blocks[1] == (1, 1)
    most = SWEEPS * patience(chain_format)
    sweeps = options.steps(cost, most * min(1.0, (DEAR / cost) ** 0.3))
    count = max(1, min(LARGEST_BATCH, int(sweeps / most))) if cost < ONE_START else 1
    return [START if single else WIDE_START] * count, sweeps // count


def patience(chain_format: Format) -> float:
    """Return the factor by which a format gets more sweeps than depthwise chains, which converge faster."""
    return 1.0 if chain_format.order == 3 and chain_format.blocks[1] == (1, 1) else SLOWER


def _several(weight: Tensor, options: SolverOptions) -> bool:
    """Return whether a kernel is small enough for a batch of different starts."""
    return weight.numel() <= SMALL_KERNEL and options.effort >= 1


def work(weight: Tensor, chain_format: Format, ranks: Sequence[int], options: SolverOptions) -> float:
    """Return a rough upper limit of the multiplications of a fit."""
    cost = step_cost(weight, chain_format, ranks)
    starts, sweeps = plan(weight, chain_format, ranks, options)
    return (len(starts) * cost + OVERHEAD) * sweeps


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
    unit = (1.0 if chain_format.order == 3 else 0.25) * RIDGE * (count * len(weight)) ** (-2 / 3)
    cost = step_cost(weight, chain_format, ranks)
    starts, sweeps = plan(weight, chain_format, ranks, options)
    several = _several(weight, options)
    polished = max(1, round(POLISHED * sweeps))
    critical = critical_ridge(begin) / unit
    # single precision leads near the minimum; the sweeps with nearly no ridge need double precision to reach it
    if weight.numel() > SMALL_KERNEL:
        starts = [(_strength(begin, first), noise) for first, noise in starts]
    noisy = [with_noise(begin, noise, options.seed + number) for number, (_, noise) in enumerate(starts)]
    points = join(noisy)
    ridges = torch.stack(
        [_ridges(unit, strength * critical, sweeps - polished, options.ridge) for strength, _ in starts], dim=1
    )
    single = BlockSolver(weight.float(), len(starts))
    x, errors = single.solve(
        points.at(points.entries.float()), ridges.repeat_interleave(len(weight), 1).to(single.energy), options
    )
    double = BlockSolver(weight.float() if cost > SINGLE else weight)
    if earlier is not None:
        known = from_cores(earlier, chain_format)
        known = known.at(known.entries.float())
        x, errors = join([x, known]), torch.cat([errors, BlockSolver(weight.float()).error(known)])
    best = errors.reshape(-1, len(weight)).argmin(0) * len(weight) + torch.arange(len(weight), device=weight.device)
    ends = [max(unit * LAST, options.ridge)] * (sweeps if several else polished)
    x, errors = double.solve(
        x.at(x.entries[best].to(double.wide.dtype)),
        double.energy.new_tensor(ends)[:, None].expand(-1, len(weight)),
        options,
        CONVERGED if several else STALLED,
    )
    if x.entries.dtype != weight.dtype:  # single precision does not settle whether it is below a small bound
        x = x.at(x.entries.to(weight.dtype))
        errors = BlockSolver(weight).error(x)
    return to_cores(x if float(errors.sum()) < bound else begin, chain_format), bound


def _strength(x: Blocks, usual: float) -> float:
    """Return the first ridge of a fit as a fraction of `critical_ridge`.

    The blocks of a trained or smooth kernel are of very different sizes, and the start is nearly right: a strong ridge
    would undo it. If all blocks are of nearly the same size, as for a random kernel, the start means little, and a
    strong ridge leads to a lower error.
    """
    norms = x.norms().prod(-1)
    low, high = EVEN
    evenness = (float(norms.min() / norms.max()) - low) / (high - low)
    return usual + (STRONGEST - usual) * min(1.0, max(0.0, evenness))


def _ridges(unit: float, first: float, sweeps: int, least: float) -> Tensor:
    """Return the ridge of each sweep: geometric decay from `first · unit`, then the last value; at least `least`."""
    annealed = round(ANNEALED * sweeps)
    first = max(first, 2 * LOWEST)
    decay = [first * (LOWEST / first) ** (n / max(1, annealed - 1)) for n in range(annealed)]
    values = [max(least, unit * r) for r in (*decay, *[LAST] * (sweeps - annealed))]
    return torch.tensor(values, dtype=torch.float64, device="cpu")
