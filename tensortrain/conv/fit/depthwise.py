"""Fit chains whose middle cores are depthwise or have small groups, `1×1 | grouped, … | 1×1`, for example CP.

W is a sum of R blocks `A_n D_n B_n`: A `(p, R·s)`, B `(R·t, q)`, and for each n a small filter bank D_n of s × t
channels, which is the product of one factor for each middle core. Plain alternating least squares often leads to blocks
that cancel each other. A ridge that decays in stages prevents this, and extrapolation accelerates the convergence.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain.conv.fit.options import OVERHEAD, SMALL_KERNEL, SolverOptions
from tensortrain.conv.fit.spectral import cholesky
from tensortrain.conv.formats import Format, cp
from tensortrain.linalg import SEEDS

Axes = tuple[int, ...]

SWEEPS = 400  # number of sweeps for few blocks
MANY = 60  # from so many blocks on, more sweeps are needed, up to 1.25 times as many
SINGLE = 3e8  # from so many multiplications per sweep on, single precision is used; the ridge keeps it well conditioned
KICKED = 0.25  # fraction of the sweeps that repeat the decay from a lower ridge after noise was added
KICK = (0.1, 0.2)  # the first ridge of these sweeps, as a fraction of `RIDGE`, and the relative noise
POLISHED = 0.06  # fraction of the sweeps that run without a ridge at the end
ANNEALED = 0.85  # fraction of the other sweeps in which the ridge decays
LOWEST = 0.01  # the ridge at the end of its decay, as a fraction of `RIDGE`
LAST = 1e-5  # the ridge after its decay, as a fraction of `RIDGE`, so that it causes no bias
STALL = 10  # number of sweeps over which progress is judged
STALLED = 1e-5  # a fit stops if these sweeps lower the squared error by less than this fraction
CONVERGED = 1e-10  # the same at the end of a fit of a small kernel, which is cheap
RIDGE = 0.05  # times R^(-2/3)
STARTS = ((0.5, 0.02), (0.15, 0.5), (0.01, 0.5))  # the first ridge as a fraction of `critical_ridge`, relative noise


@dataclass
class Blocks:
    """The unknowns of R blocks: `a (G, p, R, s)`, the `factors` of D, each `(G, R, s, t, *k)`, and `b (G, R, t, q)`."""

    a: Tensor
    factors: list[Tensor]
    b: Tensor

    @property
    def filters(self) -> Tensor:
        """Return D, `(G, R, s, t, *K)`; the factors vary along different axes, so they are broadcast."""
        return _product(self.factors)

    def parts(self) -> list[Tensor]:
        """Return all unknowns."""
        return [self.a, *self.factors, self.b]

    def to(self, dtype: torch.dtype) -> "Blocks":
        """Return the blocks in another precision."""
        return Blocks(self.a.to(dtype), [f.to(dtype) for f in self.factors], self.b.to(dtype))

    def extrapolate(self, previous: "Blocks", beta: float) -> "Blocks":
        """Return this point, moved further by `beta` times the last step."""
        return Blocks(
            self.a,
            [torch.lerp(g, f, 1 + beta) for f, g in zip(self.factors, previous.factors, strict=True)],
            torch.lerp(previous.b, self.b, 1 + beta),
        )

    def norms(self) -> Tensor:
        """Return the norm of each part of each block, `(G, R, D + 2)`."""
        return torch.stack(
            [
                torch.linalg.vector_norm(self.a, dim=(1, 3)),
                *(torch.linalg.vector_norm(f.flatten(2), dim=2) for f in self.factors),
                torch.linalg.vector_norm(self.b.flatten(2), dim=2),
            ],
            dim=-1,
        ).clamp(min=1e-30)

    def equalised(self, norms: Tensor) -> "Blocks":
        """Return the same sum with the norm of each block, `norms` by part, spread evenly over its parts."""
        a, *middle, b = (_shared(norms)[..., None] / norms).unbind(-1)
        factors = [f * s.reshape(*s.shape, *[1] * (f.dim() - 2)) for f, s in zip(self.factors, middle, strict=True)]
        return Blocks(self.a * a[:, None, :, None], factors, self.b * b[:, :, None, None])


def _shared(norms: Tensor) -> Tensor:
    """Return the common norm of all parts of a block after spreading, from the norms of the parts."""
    return norms.log().mean(-1).exp()


def _product(factors: Sequence[Tensor]) -> Tensor:
    """Return the product of the factors."""
    out = factors[0]
    for factor in factors[1:]:
        out = out * factor
    return out


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


def start(weight: Tensor, chain_format: Format, count: int) -> tuple[Blocks, float]:
    """Return blocks from the strongest channel pairs over a spatial eigenbasis of W, and the energy that they omit.

    Each slice of W along one basis filter is a matrix, and its singular triples are blocks of rank one. The basis is a
    product over the axes if there is a factor for each axis.
    """
    g, p, q, *size = weight.shape
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    basis = _spatial_basis(weight, separable=chain_format.order > 3)
    slices = torch.einsum("gpqa,gan->gnpq", weight.flatten(3), basis)
    u, s, v = torch.linalg.svd(slices, full_matrices=False)
    energy, strongest = s.flatten(1).sort(descending=True, stable=True)
    strongest, strength = strongest[:, :count], energy[:, :count] ** (1 / chain_format.order)
    filters, triple = strongest // s.shape[2], strongest % s.shape[2]
    batch = torch.arange(g, device=weight.device)[:, None]
    n = strongest.shape[1]
    a = weight.new_zeros(g, p, count, outputs)
    a[:, :, :n, 0] = u.mT[batch, filters, triple].mT * strength[:, None]
    b = weight.new_zeros(g, count, inputs, q)
    b[:, :n, 0] = v[batch, filters, triple] * strength[..., None]
    d = basis.mT[batch, filters].reshape(g, n, *size)
    factors = []
    for factor, taps in zip(
        _separate(d, chain_format.kernel_sizes[1:-1]), chain_format.kernel_sizes[1:-1], strict=True
    ):
        wide = weight.new_zeros(g, count, outputs, inputs, *taps)
        wide[:, :n, 0, 0] = factor * strength.reshape(g, n, *[1] * len(size))
        factors.append(wide)
    return Blocks(a, factors, b), float(energy[:, count:].square().sum())


def critical_ridge(x: Blocks) -> float:
    """Return the ridge at which the weakest of the blocks would vanish if it were the only block.

    A block of norm σ, spread over P parts, shrinks to the σ' that minimises `(σ - σ')² + P λ σ'^(2/P)`. The
    minimum is at 0 if `λ > σ^(1+a) a^a / (1+a)^(1+a)` with `a = 1 - 2/P`.
    """
    norms = x.norms()
    a = 1 - 2 / norms.shape[-1]
    weakest = float(norms.prod(-1).min())
    return float(weakest ** (1 + a) * a**a / (1 + a) ** (1 + a))


def with_noise(x: Blocks, share: float, seed: int) -> Blocks:
    """Return the blocks with noise of relative size `share` on every unknown, which breaks ties and changes zeros."""
    generator = torch.Generator().manual_seed(seed)

    def noisy(part: Tensor) -> Tensor:
        """Return one part with noise."""
        noise = torch.randn(part.shape, generator=generator, dtype=torch.float64, device="cpu").to(part)
        size = share * float(part.norm()) / math.sqrt(part.numel())
        return part + size * noise

    return Blocks(noisy(x.a), [noisy(f) for f in x.factors], noisy(x.b))


def _spatial_basis(weight: Tensor, separable: bool) -> Tensor:
    """Return orthonormal filters `(G, positions, positions)`, the principal axes of W over space, leading ones last."""
    if not separable:
        return _principal_axes(weight.flatten(3).flatten(1, 2))
    basis = weight.new_ones(weight.shape[0], 1, 1)
    for axis in range(3, weight.dim()):
        own = _principal_axes(weight.movedim(axis, -1).flatten(1, -2))
        basis = torch.einsum("gab,gcd->gacbd", basis, own).flatten(3, 4).flatten(1, 2)
    return basis


def _principal_axes(x: Tensor) -> Tensor:
    """Return the eigenvectors of `xᵀx` for each matrix of the batch."""
    vectors: Tensor = torch.linalg.eigh(x.mT @ x)[1]
    return vectors


def _separate(filters: Tensor, sizes: Sequence[Axes]) -> list[Tensor]:
    """Return separable unit filters `(G, n, *K)` as one factor for each core; a single core gets the whole filters."""
    if len(sizes) == 1:
        return [filters]
    factors = []
    for taps in sizes:
        line = filters
        for axis, t in enumerate(taps, start=2):
            if t == 1 and line.shape[axis] > 1:  # all lines along the other axes are parallel: use the strongest
                across = [i for i in range(2, line.dim()) if i != axis]
                strongest = line.square().sum(across, keepdim=True).argmax(axis, keepdim=True)
                line = line.take_along_dim(strongest, axis)
        norm = line.flatten(2).norm(dim=2).clamp(min=1e-30)
        factors.append(line / norm.reshape(*norm.shape, *[1] * len(taps)))
    sign = (_product(factors) * filters).flatten(2).sum(2).sign()
    return [factors[0] * sign.reshape(*sign.shape, *[1] * len(sizes[0])), *factors[1:]]


class BlockSolver:
    """Alternating least squares for one kernel `(G, p, q, *K)`.

    The letters in the shapes have these meanings:

    | letter | axis |
    |---|---|
    | g | group of the convolution |
    | p, q | output, input channel of the group |
    | x | position in the kernel |
    | n, N | block |
    | s, S | channel of a block on its output side, behind A |
    | t, T | channel of a block on its input side, before B |

    Capital letters denote the second index of a Gram matrix, which is contracted with the unknowns. All products are
    matrix products that are batched over groups and blocks, because for small kernels the cost of a sweep is its number
    of operations.
    """

    def __init__(self, weight: Tensor) -> None:
        g, p = weight.shape[:2]
        self.size = weight.shape[3:]
        self.wide = weight.flatten(3).transpose(2, 3).reshape(g, p, -1)  # (g, p, x·q)
        self.energy = float(weight.square().sum())

    def sweep(self, x: Blocks, ridge: float) -> tuple[Blocks, float]:
        """Solve for A, each factor and B in turn, and return the point and its squared error."""
        g, count, t, q = x.b.shape
        b_flat = x.b.flatten(1, 2)  # (g, n·t, q)
        bb = (b_flat @ b_flat.mT).reshape(g, count, 1, t, count, 1, t)  # (g, n, ·, t, N, ·, T)
        a = self._solve_a(x, bb, ridge)  # (g, p, n, s)

        s, a_flat = a.shape[3], a.flatten(2)  # (g, p, n·s)
        aa = (a_flat.mT @ a_flat).reshape(g, count, s, 1, count, s, 1)  # (g, n, s, ·, N, S, ·)
        projected = (a_flat.mT @ self.wide).reshape(g, count, -1, q)  # W seen through A: (g, n, s·x, q)
        factors = self._solve_factors(x, aa * bb, projected, ridge)

        b, error = self._solve_b(Blocks(a, factors, x.b), aa, projected, ridge)
        return Blocks(a, factors, b), error

    def error(self, x: Blocks) -> float:
        """Return the squared error of a point."""
        return float((self.wide - x.a.flatten(2) @ _inner(x.filters, x.b)).square().sum())

    def _solve_a(self, x: Blocks, bb: Tensor, ridge: float) -> Tensor:
        """Return the best A `(g, p, n, s)` for given factors and B."""
        (g, n, t, _), s = x.b.shape, x.a.shape[3]
        d = x.filters  # (g, n, s, t, *K)
        rhs = _inner(d, x.b) @ self.wide.mT  # (g, n·s, p)
        gram = _gram(d) * bb
        gram = gram.sum((3, 6)) if t > 1 else gram  # (g, n, s, N, S)
        return _solve(gram.reshape(g, n * s, n * s), rhs, ridge).mT.reshape(x.a.shape)

    def _solve_factors(self, x: Blocks, channels: Tensor, projected: Tensor, ridge: float) -> list[Tensor]:
        """Return the factors of D, `(g, n, s, t, *k)`, each the best for given A, B and other factors."""
        g, n = len(x.b), math.prod(x.factors[0].shape[1:4])  # n: unknowns for each position, n·s·t
        rhs_d = projected @ x.b.mT  # (g, n, s·x, t)
        shape = (*channels.shape[:3], -1, channels.shape[3])  # (g, n, s, x, t)
        rhs_d = rhs_d.reshape(shape).transpose(3, 4).reshape(*channels.shape[:4], *self.size)  # (g, n, s, t, *K)
        factors = list(x.factors)
        for j, factor in enumerate(factors):
            others = factors[:j] + factors[j + 1 :]
            rhs, gram = rhs_d, channels.clone()
            if others:  # they fill the axes on which this factor is 1 long
                other = _product(others)
                across = [i for i, k in enumerate(factor.shape) if i > 3 and k == 1]
                rhs = (rhs_d * other).sum(across, keepdim=True)  # (g, n, s, t, *k)
                gram = channels * _gram(other)  # (g, n, s, t, N, S, T)
            solution = _solve(gram.reshape(g, n, n), rhs.reshape(g, n, -1), ridge)  # (g, n·s·t, positions)
            factors[j] = solution.reshape(factor.shape)
        return factors

    def _solve_b(self, x: Blocks, aa: Tensor, projected: Tensor, ridge: float) -> tuple[Tensor, float]:
        """Return the best B `(g, n, t, q)` for given A and factors, and the squared error of the result."""
        d = x.filters  # (g, n, s, t, *K)
        g, n, t, q = x.b.shape
        columns = d.flatten(4).transpose(2, 3).flatten(3)  # (g, n, t, s·x)
        rhs = (columns @ projected).reshape(g, n * t, q)
        gram = _gram(d) * aa
        gram = (gram.sum((2, 5)) if x.a.shape[3] > 1 else gram).reshape(g, n * t, n * t)
        b = _solve(gram, rhs, ridge)
        explained = float(((2 * rhs - gram @ b) * b).sum()) + ridge * float(b.square().sum())
        return b.reshape(x.b.shape), self.energy - explained

    def solve(
        self, x: Blocks, ridges: Sequence[float], options: SolverOptions, stalled: float = STALLED
    ) -> tuple[Blocks, float]:
        """Do one sweep with extrapolation for each ridge; a sweep that raises the objective is undone.

        The ridges decrease slowly, so the momentum is kept from one ridge to the next. The sweeps at the last ridge end
        as soon as they no longer lower the error.

        Args:
            x: the starting point.
            ridges: the ridge of each sweep.
            options: the target error, time limit and callback.
            stalled: the sweeps end if the last `STALL` of them lower the squared error by less than this fraction.
        """
        previous, age, error, penalty = x, 1, math.inf, 0.0
        errors: list[float] = []  # at the last ridge
        cost = self.step_cost(x) + OVERHEAD
        for ridge in ridges:
            beta = min((age - 1) / (age + 2), 0.99)
            point, squared = self.sweep(x.extrapolate(previous, beta), ridge)
            norms = point.norms()
            options.tick(cost)
            if age > 1 and squared + ridge * float(norms.square().sum()) > error + ridge * penalty:
                age = 1
                continue
            previous, error, age = x, squared, age + 1
            x = point.equalised(norms)
            penalty = norms.shape[-1] * float(_shared(norms).square().sum())
            if error <= options.target**2 or options.late():
                break
            if ridge == ridges[-1]:
                errors.append(error)
                if len(errors) > STALL and errors[-1 - STALL] - error <= stalled * error:
                    break
        return x, error

    def step_cost(self, x: Blocks) -> float:
        """Return the multiplications of one sweep: two products with the whole kernel, and the factorisations."""
        s, t = x.factors[0].shape[2:4]
        return sweep_cost(self.wide.numel(), len(x.a), x.a.shape[2], s, t)


def _inner(d: Tensor, b: Tensor) -> Tensor:
    """Return the product of filters `(g, n, s, t, *K)` and B, `(g, n·s, x·q)`."""
    rows = d.flatten(4).transpose(3, 4).flatten(2, 3)  # (g, n, s·x, t)
    inner = rows * b if b.shape[2] == 1 else rows @ b  # (g, n, s·x, q)
    return inner.reshape(len(d), d.shape[1] * d.shape[2], -1)


def _gram(d: Tensor) -> Tensor:
    """Return the inner products over space of all filters `(g, n, s, t, *K)`: `(g, n, s, t, N, S, T)`."""
    flat = d.flatten(4).flatten(1, 3)
    return (flat @ flat.mT).reshape(d.shape[0], *d.shape[1:4], *d.shape[1:4])


def _solve(gram: Tensor, rhs: Tensor, ridge: float) -> Tensor:
    """Solve `(gram + ridge) u = rhs` for each group: `(g, n, n)`, which is changed in place, and `(g, n, columns)`."""
    gram.diagonal(dim1=-2, dim2=-1).add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed.any()):
        factor = cholesky(gram, 0.1 * torch.finfo(gram.dtype).eps)
    if ridge > 1e3 * torch.finfo(gram.dtype).eps:  # well conditioned: the inverse is as accurate and twice as fast
        return torch.cholesky_inverse(factor) @ rhs
    solution: Tensor = torch.cholesky_solve(rhs, factor)
    return solution.contiguous()


def sweep_cost(entries: int, groups: int, count: int, outputs: int, inputs: int) -> float:
    """Return the multiplications of one sweep: two products with the whole kernel, and the factorisations."""
    return 2 * entries * max(outputs, inputs) * count + groups * (outputs * inputs * count) ** 3 / 3


def step_cost(weight: Tensor, chain_format: Format, ranks: Sequence[int]) -> float:
    """Return the multiplications of one sweep for a kernel `(G, p, q, *K)`."""
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    return sweep_cost(weight.numel(), len(weight), ranks[0] // outputs, outputs, inputs)


def most_sweeps(count: int) -> int:
    """Return the number of sweeps of a fit of so many blocks with the usual effort."""
    return round(SWEEPS * min(1.25, max(1.0, math.sqrt(count / MANY))))


def work(weight: Tensor, chain_format: Format, ranks: Sequence[int], options: SolverOptions) -> float:
    """Return a rough upper limit of the multiplications of a fit."""
    cost = step_cost(weight, chain_format, ranks)
    sweeps = options.steps(cost, most_sweeps(ranks[0]))
    return (cost + OVERHEAD) * sweeps * (len(STARTS) if _several(weight, options) else 1)


def _several(weight: Tensor, options: SolverOptions) -> bool:
    """Return whether a fit is cheap enough for several starts."""
    return weight.numel() <= SMALL_KERNEL and options.effort >= 1


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
    share = 1.0 if chain_format.order == 3 else 0.25
    unit = share * RIDGE * (count * len(weight)) ** (-2 / 3)
    cost = step_cost(weight, chain_format, ranks)
    sweeps = options.steps(cost, most_sweeps(count))
    kicked, polished = round(KICKED * sweeps), max(1, round(POLISHED * sweeps))
    slow, several = sweeps - kicked - polished, _several(weight, options)
    critical = critical_ridge(begin) / unit
    # a strong ridge finds better minima for large kernels, but may lose a block of a small kernel
    starts = [
        (with_noise(begin, noise, options.seed), _ridges(unit, strength * critical, slow, options.ridge))
        for strength, noise in (STARTS if several else STARTS[:1])
    ]
    if several and chain_format.kernel_sizes == cp(chain_format.kernel_size).kernel_sizes and chain_format.order > 3:
        last = [max(unit * LAST, options.ridge)] * slow
        starts += [(x, last) for x in tensorly_start(weight, chain_format, count, options.seed)]
    # single precision leads near the minimum; the sweeps without a ridge need double precision to reach it
    single, double = BlockSolver(weight.float()), BlockSolver(weight.float() if cost > SINGLE else weight)
    trials = [single.solve(x.to(torch.float32), ridges, options) for x, ridges in starts]
    if earlier is not None:
        x = _blocks(earlier, chain_format)
        trials.append((x, double.error(x.to(double.wide.dtype))))
    best, _ = min(trials, key=lambda trial: trial[1])
    strength, noise = KICK
    kicked_best = with_noise(best, noise, options.seed).to(torch.float32)
    kick = single.solve(kicked_best, _ridges(unit, strength, kicked, options.ridge), options)
    trials.append(kick)
    best, _ = min(trials, key=lambda trial: trial[1])
    ends = [max(unit * LAST, options.ridge)] * (sweeps if several else polished)
    x, error = double.solve(best.to(double.wide.dtype), ends, options, CONVERGED if several else STALLED)
    if x.b.dtype != weight.dtype:  # single precision cannot decide whether the error is below a small bound
        x = x.to(weight.dtype)
        error = BlockSolver(weight).error(x)
    return _cores(x if error < bound else begin, chain_format), bound


def _ridges(unit: float, first: float, sweeps: int, least: float) -> list[float]:
    """Return the ridge of each sweep: geometric decay from `first · unit`, then the last value; at least `least`."""
    annealed = round(ANNEALED * sweeps)
    first = max(first, 2 * LOWEST)
    decay = [first * (LOWEST / first) ** (n / max(1, annealed - 1)) for n in range(annealed)]
    return [max(least, unit * r) for r in (*decay, *[LAST] * (sweeps - annealed))]


def tensorly_start(weight: Tensor, chain_format: Format, count: int, seed: int) -> list[Blocks]:
    """Return TensorLy's CP decomposition of each `(p, q, *K)`, or nothing if its equations are singular."""
    import tensorly  # only small kernels need TensorLy
    from tensorly.decomposition import parafac

    state = seed % SEEDS
    try:
        with tensorly.backend_context("pytorch", local_threadsafe=True), weight.device:
            fits = [
                parafac(one, count, n_iter_max=100, init="random", random_state=state, normalize_factors=False)[1]
                for one in weight
            ]
    except RuntimeError:  # singular: the kernel needs fewer blocks
        return []
    outputs, inputs, *lines = (torch.stack(factors) for factors in zip(*fits, strict=True))
    if not all(bool(part.isfinite().all()) for part in (outputs, inputs, *lines)):
        return []
    factors = [
        line.mT.reshape(len(weight), count, 1, 1, *taps)
        for line, taps in zip(lines, chain_format.kernel_sizes[1:-1], strict=True)
    ]
    return [Blocks(outputs[..., None], factors, inputs.mT[:, :, None])]


def _blocks(cores: Sequence[Tensor], chain_format: Format) -> Blocks:
    """Return the unknowns for given cores, the inverse of `_cores`."""
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    a, *middle, b = cores
    count = a.shape[2] // outputs
    factors = [f.reshape(len(f), count, outputs, *f.shape[2:]) for f in middle]
    return Blocks(a.reshape(*a.shape[:2], count, outputs), factors, b.reshape(len(b), count, inputs, b.shape[2]))


def _cores(x: Blocks, chain_format: Format) -> list[Tensor]:
    """Return the unknowns as cores."""
    ones = [1] * len(chain_format.kernel_size)
    g, p = x.a.shape[:2]
    middle = [f.flatten(1, 2) for f in x.factors]
    return [x.a.reshape(g, p, -1, *ones), *middle, x.b.flatten(1, 2).reshape(g, -1, x.b.shape[3], *ones)]
