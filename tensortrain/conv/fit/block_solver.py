"""Alternating least squares for sums of blocks, with extrapolation and a ridge that differs from sweep to sweep."""

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

from tensortrain.conv.fit.blocks import Blocks, product
from tensortrain.conv.fit.options import OVERHEAD, SMALL_KERNEL, SolverOptions
from tensortrain.conv.fit.spectral import cholesky

RENEWED = 4  # normal matrices are factorised again after so many sweeps
FEW = 20  # with fewer sweeps than this, they are factorised in each, because they change much then
LONGEST = 2.0  # the longest step is so many times the one by an old inverse; only rounding would make it longer
RISE = 1e-4  # a sweep whose objective rises by more than this fraction is undone; a smaller rise may be rounding
STALL = 10  # number of sweeps over which progress is judged
STALLED = 1e-5  # a fit stops if these sweeps lower the squared error by less than this fraction


class NormalEquations:
    """Solves the normal equations of one sweep after another, of which only every few sweeps factorise the matrices.

    From one sweep to the next, a normal matrix M changes little. With the inverse P of an earlier one, the step from
    the last solution u to `u + α P (rhs - M u)` with the best length α ≤ 2 is nearly exact, never raises the objective,
    and takes three products instead of a factorisation.

    Args:
        relative: whether ridges are relative to the diagonal of the matrices.
        period: matrices are factorised in every sweep whose number is a multiple of it; at 1 every solution is exact.
    """

    def __init__(self, relative: bool = False, period: int = 1) -> None:
        self.relative, self.period = relative, period
        self._inverses: dict[str, Tensor] = {}
        self._exact = True
        self._again: Tensor | None = None

    def begin(self, number: int, again: Tensor | None) -> None:
        """Begin a sweep.

        Args:
            number: number of the sweep; it decides, with `period`, whether all matrices are factorised.
            again: numbers of the problems whose matrices are factorised in any case.
        """
        self._exact, self._again = number % self.period == 0, again

    def solve(self, part: str, gram: Tensor, rhs: Tensor, ridge: Tensor, u: Tensor) -> Tensor:
        """Return the solution of `(gram + ridge) u = rhs` for each problem, or nearly the solution.

        Args:
            part: the part of the blocks that is solved for.
            gram: `(g, n, n)`; the ridge is added to it in place.
            rhs: `(g, n, columns)`.
            ridge: `(g,)`, relative to the diagonal of `gram` if `relative` is set.
            u: the last solution, `(g, n, columns)`.
        """
        diagonal = gram.diagonal(dim1=-2, dim2=-1)
        diagonal.mul_(1 + ridge[:, None]) if self.relative else diagonal.add_(ridge[:, None])
        if self._exact:
            factor = _factor(gram)
            if self.period > 1:
                self._inverses[part] = torch.cholesky_inverse(factor)
            return torch.cholesky_solve(rhs, factor)
        if self._again is not None:
            self._inverses[part][self._again] = torch.cholesky_inverse(_factor(gram[self._again]))
        residual = torch.baddbmm(rhs, gram, u, alpha=-1)
        step = torch.bmm(self._inverses[part], residual)
        curvature = (torch.bmm(gram, step) * step).sum((1, 2), keepdim=True)
        length = (residual * step).sum((1, 2), keepdim=True) / curvature.clamp(min=torch.finfo(gram.dtype).tiny)
        return torch.addcmul(u, step, length.clamp_(0, LONGEST))


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

    Capitals are the second index of a Gram matrix, the one that the unknowns have. A block's channels come before the
    blocks in these shapes: elementwise operations are slow if the last axis has only two entries.

    The ridge is the weight of a penalty, the sum of the squared norms of all parts of all blocks. For blocks of norms σ
    with P parts, that is P times the sum of all `σ^(2/P)`. A *relative* ridge is on the sum of all σ² instead; it is
    for blocks of one channel only.
    """

    def __init__(self, weight: Tensor, starts: int = 1, relative: bool = False) -> None:
        self.groups, p = weight.shape[:2]
        self.size = weight.shape[3:]
        wide = weight.flatten(3).transpose(2, 3).reshape(self.groups, p, -1)
        self.wide = wide.repeat(starts, 1, 1)  # (g, p, x·q)
        self.energy = self.wide.square().sum((1, 2))  # (g,)
        self.relative = relative

    def sweep(self, x: Blocks, ridge: Tensor, equations: NormalEquations | None = None) -> tuple[Blocks, Tensor]:
        """Solve for A, each factor and B in turn, and return the new point and its squared errors.

        Args:
            x: the point from which the sweep begins.
            ridge: `(g,)`, one for each problem.
            equations: the solver, with inverses from earlier sweeps; without it, each solution is exact.
        """
        equations = equations or NormalEquations(self.relative)
        a, *factors, b = x.parts()
        a, b = a.transpose(1, 2), b.transpose(1, 2)  # (g, s, n, p), (g, t, n, q)
        factors = [factor.movedim(1, 3) for factor in factors]  # (g, s, t, n, *k)
        bb = _gram(b)[:, None, :, :, None]  # (g, ·, t, n, ·, T, N)
        a = self._solve_a(equations, a, product(factors), b, bb, ridge)

        aa = _gram(a)[:, :, None, :, :, None]  # (g, s, ·, n, S, ·, N)
        projected = torch.bmm(a.flatten(1, 2), self.wide)
        projected = projected.reshape(*a.shape[:3], -1, b.shape[3])  # W seen through A: (g, s, n, x, q)
        factors = self._solve_factors(equations, factors, b, aa * bb, projected, ridge)

        b, error = self._solve_b(equations, b, product(factors), aa, projected, ridge)
        return Blocks.of([a.transpose(1, 2), *(f.movedim(3, 1) for f in factors), b.transpose(1, 2)]), error

    def error(self, x: Blocks) -> Tensor:
        """Return the squared error of each problem at a point."""
        a, *factors, b = x.parts()
        inner = _inner(product(factors).movedim(1, 3), b.transpose(1, 2))
        return (self.wide - torch.bmm(a.transpose(1, 2).flatten(1, 2).mT, inner)).square().sum((1, 2))

    def _solve_a(
        self, equations: NormalEquations, a: Tensor, d: Tensor, b: Tensor, bb: Tensor, ridge: Tensor
    ) -> Tensor:
        """Return the best A `(g, s, n, p)` for given filters D `(g, s, t, n, *K)` and B."""
        rhs = torch.bmm(_inner(d, b), self.wide.mT)  # (g, s·n, p)
        filters = _filter_gram(d)
        pairs = itertools.product(range(b.shape[1]), repeat=2)
        gram = _sum(filters[:, :, t, :, :, u] * bb[:, :, t, :, :, u] for t, u in pairs)  # (g, s, n, S, N)
        gram = gram.reshape(len(rhs), rhs.shape[1], -1)
        return equations.solve("A", gram, rhs, ridge, a.flatten(1, 2)).reshape(a.shape)

    def _solve_factors(
        self,
        equations: NormalEquations,
        factors: list[Tensor],
        b: Tensor,
        channels: Tensor,
        projected: Tensor,
        ridge: Tensor,
    ) -> list[Tensor]:
        """Return the factors of D, `(g, s, t, n, *k)`, each the best for given A, B and other factors."""
        g, unknowns = len(b), math.prod(channels.shape[1:4])  # for each position, s·t·n
        if b.shape[1] == 1:
            rhs_d = (projected * b[:, :, :, None]).sum(4)[:, :, None]
        else:
            rhs_d = (projected @ b.permute(0, 2, 3, 1)[:, None]).movedim(4, 2)
        rhs_d = rhs_d.reshape(*rhs_d.shape[:4], *self.size)  # (g, s, t, n, *K)
        solutions = list(factors)
        for j, factor in enumerate(factors):
            others = solutions[:j] + solutions[j + 1 :]
            rhs, gram = rhs_d, channels.clone()
            if others:  # they fill the axes on which this factor is 1 long
                other = product(others)
                across = [i for i, k in enumerate(factor.shape) if i > 3 and k == 1]
                rhs = (rhs_d * other).sum(across, keepdim=True)  # (g, s, t, n, *k)
                gram = channels * _filter_gram(other)  # (g, s, t, n, S, T, N)
            square, rhs = gram.reshape(g, unknowns, unknowns), rhs.reshape(g, unknowns, -1)
            solution = equations.solve(f"D{j}", square, rhs, ridge, factor.reshape(rhs.shape))
            solutions[j] = solution.reshape(factor.shape)
        return solutions

    def _solve_b(
        self, equations: NormalEquations, b: Tensor, d: Tensor, aa: Tensor, projected: Tensor, ridge: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the best B `(g, t, n, q)` for given A and filters D `(g, s, t, n, *K)`, and the squared errors."""
        rows, outputs = d.flatten(4), range(d.shape[1])
        if d.shape[2] == 1:
            rhs = _sum((projected[:, s] * rows[:, s, 0, :, :, None]).sum(2) for s in outputs)  # (g, n, q)
        else:
            rhs = _sum((rows.movedim(2, 3) @ projected).unbind(1)).transpose(1, 2).flatten(1, 2)  # (g, t·n, q)
        filters, pairs = _filter_gram(d), itertools.product(outputs, repeat=2)
        gram = _sum(filters[:, s, :, :, u] * aa[:, s, :, :, u] for s, u in pairs)  # (g, t, n, T, N)
        gram = gram.reshape(len(rhs), rhs.shape[1], -1)
        solution = equations.solve("B", gram, rhs, ridge, b.flatten(1, 2))
        explained = ((2 * rhs - torch.bmm(gram, solution)) * solution).sum((1, 2))
        weights = (
            gram.diagonal(dim1=-2, dim2=-1) / (1 + ridge[:, None]) if self.relative else torch.ones_like(gram[:, 0])
        )
        explained += ridge * (weights * solution.square().sum(2)).sum(1)
        return solution.reshape(b.shape), self.energy - explained

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
        equations, rejected, parts = NormalEquations(self.relative, self._period(len(ridges))), None, len(x.shapes)
        for number in range(len(ridges)):  # iterating over the tensor would first make all rows, which may be millions
            ridge = ridges[number]
            beta = ((age - 1) / (age + 2)).clamp_(max=0.99)
            equations.begin(number, rejected)
            point, squared = self.sweep(x.at(torch.lerp(previous.entries, x.entries, 1 + beta)), ridge, equations)
            options.tick(cost)
            norms = point.norms()
            logarithms = norms.log()
            mean = logarithms.mean(2, keepdim=True)
            even = point.scaled((mean - logarithms).exp_())  # the norm of each block, spread evenly over its parts
            if self.relative:
                even_penalty = (2 * parts * mean).exp_().sum((1, 2))
                objective = squared + ridge * even_penalty
            else:
                even_penalty = parts * (2 * mean).exp_().sum((1, 2))
                objective = squared + ridge * norms.square().sum((1, 2))
            accepted = objective <= (1 + RISE) * (error + ridge * penalty)
            previous = x
            rejected = None if bool(accepted.all()) else (~accepted).nonzero()[:, 0]
            if rejected is None:
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

    def _period(self, sweeps: int) -> int:
        """Return after how many sweeps the normal matrices are factorised again.

        Double precision is for the last digits, which steps by old inverses reach slowly. The sweeps of a small kernel
        take as long as their operations are many, and a step has more of them than a factorisation.
        """
        small = self.wide[: self.groups].numel() <= SMALL_KERNEL
        return 1 if small or self.wide.dtype == torch.float64 or sweeps < FEW else RENEWED

    def _reached(self, error: Tensor, target: float) -> bool:
        """Return whether one start is at the target, all groups of the convolution together."""
        return target > 0 and float(error.reshape(-1, self.groups).sum(1).min()) <= target**2

    def step_cost(self, x: Blocks) -> float:
        """Return the multiplications of one sweep: two products with the whole kernel, and the factorisations."""
        s, t = x.shapes[1][:2]
        return sweep_cost(self.wide.numel(), x.entries.shape[0], x.entries.shape[1], s, t)


def _inner(d: Tensor, b: Tensor) -> Tensor:
    """Return the product of filters `(g, s, t, n, *K)` and B `(g, t, n, q)`, as a matrix `(g, s·n, x·q)`."""
    filters, rows = d.flatten(4)[..., None], b[:, None, :, :, None]
    inner = filters[:, :, 0] * rows[:, :, 0]  # (g, s, n, x, q)
    for t in range(1, d.shape[2]):
        inner.addcmul_(filters[:, :, t], rows[:, :, t])
    return inner.flatten(3).flatten(1, 2)


def _factor(gram: Tensor) -> Tensor:
    """Return the Cholesky factors of matrices `(g, n, n)`, with a larger ridge where rounding makes one indefinite."""
    factor, failed = torch.linalg.cholesky_ex(gram)
    return cholesky(gram, 0.1 * torch.finfo(gram.dtype).eps) if bool(failed.any()) else factor


def _sum(terms: Iterable[Tensor]) -> Tensor:
    """Return the sum of the terms, of which the first is overwritten. It is faster than `sum` over a short axis."""
    first, *others = terms
    for term in others:
        first += term
    return first


def _gram(rows: Tensor) -> Tensor:
    """Return the inner products of all rows of A or B, `(g, c, n, q)`: `(g, c, n, C, N)`."""
    flat = rows.flatten(1, 2)
    return torch.bmm(flat, flat.mT).reshape(*rows.shape[:3], *rows.shape[1:3])


def _filter_gram(d: Tensor) -> Tensor:
    """Return the inner products over space of all filters `(g, s, t, n, *K)`: `(g, s, t, n, S, T, N)`."""
    flat = d.flatten(4).flatten(1, 3)
    return torch.bmm(flat, flat.mT).reshape(*d.shape[:4], *d.shape[1:4])


def sweep_cost(entries: int, groups: int, count: int, outputs: int, inputs: int) -> float:
    """Return the multiplications of one sweep: two products with the whole kernel, and the factorisations."""
    return 2 * entries * max(outputs, inputs) * count + groups * (outputs * inputs * count) ** 3 / 3
