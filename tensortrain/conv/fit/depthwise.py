"""Chains whose middle cores are depthwise or have small groups: `1×1 ∣ grouped, … ∣ 1×1`, CP among them.

W is a sum of R blocks `A_n D_n B_n`: A `(p, R·s)`, B `(R·t, q)`, and for each n a small filter bank D_n of
s × t channels, itself the product of one factor for each middle core. Plain alternating least squares drifts
into blocks that cancel each other; a ridge that decays in stages prevents it, and extrapolation speeds it up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain.conv.fit.options import SMALL_KERNEL, SolverOptions
from tensortrain.conv.fit.spectral import cholesky
from tensortrain.conv.formats import Format, cp
from tensortrain.linalg import SEEDS

Axes = tuple[int, ...]

SWEEPS = 600
SINGLE = 3e8  # multiplications of a sweep from which single precision is used: the ridge keeps it well conditioned
STAGES = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-5)  # of the ridge; the last one removes its bias
STALL = 10  # sweeps over which progress is judged
STALLED = 1e-5  # relative decrease of the objective over them that counts as none
RIDGE = 0.05
STARTS = ((1.0, 0.02), (0.25, 0.5), (0.02, 0.5))  # of each start: share of the ridge, relative noise


@dataclass
class Blocks:
    """The unknowns of R blocks: `a (G, p, R, s)`, `factors` of D `(G, R, s, t, *k)` each, `b (G, R, t, q)`."""

    a: Tensor
    factors: list[Tensor]
    b: Tensor

    @property
    def filters(self) -> Tensor:
        """D, `(G, R, s, t, *K)`: factors vary along different axes, so they broadcast."""
        return _product(self.factors)

    def parts(self) -> list[Tensor]:
        """All unknowns."""
        return [self.a, *self.factors, self.b]

    def to(self, dtype: torch.dtype) -> "Blocks":
        """The same in another precision."""
        return Blocks(self.a.to(dtype), [f.to(dtype) for f in self.factors], self.b.to(dtype))

    def extrapolate(self, previous: "Blocks", beta: float) -> "Blocks":
        """This point, moved further by `beta` times the last step."""
        return Blocks(
            self.a,
            [f + beta * (f - g) for f, g in zip(self.factors, previous.factors, strict=True)],
            self.b + beta * (self.b - previous.b),
        )

    def equalised(self) -> "Blocks":
        """The same sum with the norm of each block spread evenly over its parts."""
        norms = [
            self.a.norm(dim=(1, 3)),
            *(f.flatten(2).norm(dim=2) for f in self.factors),
            self.b.flatten(2).norm(dim=2),
        ]
        norms = [n.clamp(min=1e-30) for n in norms]
        mean = torch.stack([n.log() for n in norms]).mean(0).exp()
        scale = [mean / n for n in norms]
        factors = [
            f * s.reshape(*s.shape, *[1] * (f.dim() - 2)) for f, s in zip(self.factors, scale[1:-1], strict=True)
        ]
        return Blocks(self.a * scale[0][:, None, :, None], factors, self.b * scale[-1][:, :, None, None])


def _product(factors: Sequence[Tensor]) -> Tensor:
    out = factors[0]
    for factor in factors[1:]:
        out = out * factor
    return out


def supports(chain_format: Format) -> bool:
    """Whether `fit_blocks` can fit this format."""
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
    """The strongest channel pairs over a spatial eigenbasis of W, and the energy they leave out.

    Each slice of W along one basis filter is a matrix; its singular triples are rank-one blocks. The basis is a
    product over axes if there is a factor for each axis.
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


def with_noise(x: Blocks, share: float, seed: int) -> Blocks:
    """Noise of relative size `share` on every unknown, which breaks ties and wakes what is zero."""
    generator = torch.Generator().manual_seed(seed)

    def noisy(part: Tensor) -> Tensor:
        noise = torch.randn(part.shape, generator=generator, dtype=torch.float64, device="cpu").to(part)
        size = share * float(part.norm()) / math.sqrt(part.numel())
        return part + size * noise

    return Blocks(noisy(x.a), [noisy(f) for f in x.factors], noisy(x.b))


def _spatial_basis(weight: Tensor, separable: bool) -> Tensor:
    """Orthonormal filters `(G, positions, positions)`, leading ones last: principal axes of W over space."""
    if not separable:
        return _principal_axes(weight.flatten(3).flatten(1, 2))
    basis = weight.new_ones(weight.shape[0], 1, 1)
    for axis in range(3, weight.dim()):
        own = _principal_axes(weight.movedim(axis, -1).flatten(1, -2))
        basis = torch.einsum("gab,gcd->gacbd", basis, own).flatten(3, 4).flatten(1, 2)
    return basis


def _principal_axes(x: Tensor) -> Tensor:
    """Eigenvectors of `xᵀx` for each matrix of the batch."""
    vectors: Tensor = torch.linalg.eigh(x.mT @ x)[1]
    return vectors


def _separate(filters: Tensor, sizes: Sequence[Axes]) -> list[Tensor]:
    """Separable unit filters `(G, n, *K)` as one factor for each core; a single core takes them whole."""
    if len(sizes) == 1:
        return [filters]
    factors = []
    for taps in sizes:
        line = filters
        for axis, t in enumerate(taps, start=2):
            if t == 1 and line.shape[axis] > 1:  # all lines along the other axes are parallel: take the strongest
                across = [i for i in range(2, line.dim()) if i != axis]
                strongest = line.square().sum(across, keepdim=True).argmax(axis, keepdim=True)
                line = line.take_along_dim(strongest, axis)
        norm = line.flatten(2).norm(dim=2).clamp(min=1e-30)
        factors.append(line / norm.reshape(*norm.shape, *[1] * len(taps)))
    sign = (_product(factors) * filters).flatten(2).sum(2).sign()
    return [factors[0] * sign.reshape(*sign.shape, *[1] * len(sizes[0])), *factors[1:]]


class BlockSolver:
    """Alternating least squares for one kernel `(G, p, q, *K)`.

    Letters of the shapes and of the einsums:

    | letter | axis |
    |---|---|
    | g | group of the convolution |
    | p, q | output, input channel of the group |
    | x | position in the kernel |
    | n, N | block |
    | s, S | channel of a block on its output side, behind A |
    | t, T | channel of a block on its input side, before B |

    Capitals are the second index of a Gram matrix, the one that the unknowns have.
    """

    def __init__(self, weight: Tensor) -> None:
        g, p, q = weight.shape[:3]
        self.size = weight.shape[3:]
        by_position = weight.flatten(3).transpose(2, 3).contiguous()  # (g, p, x, q)
        self.tall = by_position.reshape(g, -1, q)  # (g, p·x, q)
        self.wide = by_position.reshape(g, p, -1)  # (g, p, x·q)
        self.energy = float(weight.square().sum())

    def sweep(self, x: Blocks, ridge: float) -> tuple[Blocks, float, float]:
        """Solve for A, each factor and B in turn; returns the point, its objective and its squared error."""
        g, count, t, q = x.b.shape
        b_flat = x.b.flatten(1, 2)  # (g, n·t, q)
        bb = (b_flat @ b_flat.mT).reshape(g, count, t, count, t)  # (g, n, t, N, T)
        a = self._solve_a(x, b_flat, bb, ridge)  # (g, p, n, s)

        s, a_flat = a.shape[3], a.flatten(2, 3)  # (g, p, n·s)
        aa = (a_flat.mT @ a_flat).reshape(g, count, s, count, s)  # (g, n, s, N, S)
        projected = (a_flat.mT @ self.wide).reshape(g, count, s, -1, q)  # W seen through A: (g, n, s, x, q)
        factors = self._solve_factors(x, aa, bb, projected, ridge)

        b, error = self._solve_b(Blocks(a, factors, x.b), aa, projected, ridge)
        point = Blocks(a, factors, b)
        return point, error + ridge * sum(float(part.square().sum()) for part in point.parts()), error

    def _solve_a(self, x: Blocks, b_flat: Tensor, bb: Tensor, ridge: float) -> Tensor:
        """The best A `(g, p, n, s)` for given factors and B."""
        g, p, d = len(x.a), x.a.shape[1], x.filters  # d: (g, n, s, t, *K)
        towards = (self.tall @ b_flat.mT).reshape(g, p, -1, *x.b.shape[1:3])  # W seen through B: (g, p, x, n, t)
        rhs = torch.einsum("gpxnt,gnstx->gpns", towards, d.flatten(4))
        gram = torch.einsum("gnstNST,gntNT->gnsNS", _gram(d), bb)
        gram = gram.flatten(3, 4).flatten(1, 2)  # (g, n·s, N·S)
        return _solve(gram, rhs.flatten(2, 3).mT, ridge).mT.reshape(rhs.shape)

    def _solve_factors(self, x: Blocks, aa: Tensor, bb: Tensor, projected: Tensor, ridge: float) -> list[Tensor]:
        """The factors of D, `(g, n, s, t, *k)`, each the best for given A, B and other factors."""
        g, n = len(x.b), math.prod(x.factors[0].shape[1:4])  # n: unknowns for each position, n·s·t
        channels = torch.einsum("gnsNS,gntNT->gnstNST", aa, bb)
        rhs_d = torch.einsum("gnsxq,gntq->gnstx", projected, x.b)
        rhs_d = rhs_d.reshape(*channels.shape[:4], *self.size)  # (g, n, s, t, *K)
        factors = list(x.factors)
        for j, factor in enumerate(factors):
            others = factors[:j] + factors[j + 1 :]
            rhs, gram = rhs_d, channels
            if others:  # they fill the axes on which this factor is 1 long
                other = _product(others)
                across = [i for i, k in enumerate(factor.shape) if i > 3 and k == 1]
                rhs = (rhs_d * other).sum(across, keepdim=True)  # (g, n, s, t, *k)
                gram = channels * _gram(other)  # (g, n, s, t, N, S, T)
            solution = _solve(gram.reshape(g, n, n), rhs.reshape(g, n, -1), ridge)  # (g, n·s·t, positions)
            factors[j] = solution.reshape(factor.shape)
        return factors

    def _solve_b(self, x: Blocks, aa: Tensor, projected: Tensor, ridge: float) -> tuple[Tensor, float]:
        """The best B `(g, n, t, q)` for given A and factors, and the squared error of the result."""
        d = x.filters  # (g, n, s, t, *K)
        rhs = torch.einsum("gnsxq,gnstx->gntq", projected, d.flatten(4)).flatten(1, 2)  # (g, n·t, q)
        gram = torch.einsum("gnstNST,gnsNS->gntNT", _gram(d), aa).flatten(3, 4).flatten(1, 2)  # (g, n·t, N·T)
        b = _solve(gram, rhs, ridge)
        return b.reshape(x.b.shape), self.energy + float(((gram @ b - 2 * rhs) * b).sum())

    def solve(self, x: Blocks, ridges: Sequence[float], sweeps: int, options: SolverOptions) -> tuple[Blocks, float]:
        """Sweeps with extrapolation, an equal number for each ridge; a step that raises the objective is undone."""
        error = math.inf
        for ridge in ridges:
            previous, age, values = x, 1, [math.inf]
            for _ in range(sweeps // len(ridges)):
                beta = min((age - 1) / (age + 2), 0.99)
                point, objective, squared = self.sweep(x.extrapolate(previous, beta), ridge)
                options.tick()
                if objective > values[-1] and age > 1:
                    age = 1
                    continue
                previous, error, age = x, squared, age + 1
                x = point.equalised()
                values.append(objective)
                if error <= options.target**2:
                    return x, error
                if len(values) > STALL and values[-STALL] - objective <= STALLED * objective:
                    break
        return x, error


def _gram(d: Tensor) -> Tensor:
    """Inner products over space of all filters `(g, n, s, t, *K)`: `(g, n, s, t, N, S, T)`."""
    flat = d.flatten(4).flatten(1, 3)
    return (flat @ flat.mT).reshape(d.shape[0], *d.shape[1:4], *d.shape[1:4])


def _solve(gram: Tensor, rhs: Tensor, ridge: float) -> Tensor:
    """Solve `(gram + ridge) u = rhs` for each conv group: `(g, n, n)` and `(g, n, columns)`."""
    eye = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    solution: Tensor = torch.cholesky_solve(rhs, cholesky(gram + ridge * eye, 0.1 * torch.finfo(gram.dtype).eps))
    return solution


def step_cost(weight: Tensor, chain_format: Format, ranks: Sequence[int]) -> float:
    """Multiplications of one sweep: two products with the whole kernel, and the factorisations."""
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    count = ranks[0] // outputs
    return 2 * weight.numel() * max(outputs, inputs) * count + len(weight) * (outputs * inputs * count) ** 3 / 3


def fit_blocks(
    weight: Tensor, chain_format: Format, ranks: Sequence[int], options: SolverOptions
) -> tuple[list[Tensor], float]:
    """Cores `(G, r_{l-1}, r_l / g_l, *k_l)` and a bound on the squared error.

    Args:
        weight: `(G, p, q, *K)`.
        chain_format: a format that `supports` accepts.
        ranks: interior ranks.
        options: seed, target error, work limit, ridge.
    """
    count = ranks[0] // (chain_format.blocks[1] or (1, 1))[0]
    begin, bound = start(weight, chain_format, count)
    share = 1.0 if chain_format.order == 3 else 0.25
    unit = share * RIDGE * (count * len(weight)) ** (-2 / 3)
    cost = step_cost(weight, chain_format, ranks)
    dtype = torch.float32 if cost > SINGLE else weight.dtype
    solver = BlockSolver(weight.to(dtype))
    small = weight.numel() <= SMALL_KERNEL
    # a strong ridge finds better minima of large kernels, and may lose a block of a small one
    starts = [
        (with_noise(begin, noise, options.seed), [unit * strength * stage for stage in STAGES])
        for strength, noise in (STARTS if small else STARTS[:1])
    ]
    if small and chain_format.kernel_sizes == cp(chain_format.kernel_size).kernel_sizes and chain_format.order > 3:
        starts += [(x, [unit * STAGES[-1]]) for x in tensorly_start(weight, chain_format, count, options.seed)]
    best, least = begin, bound
    for x, stages in starts:
        stages = [max(options.ridge, ridge) for ridge in stages]
        x, error = solver.solve(x.to(dtype), stages, options.steps(cost, SWEEPS), options)
        if dtype != weight.dtype:  # single precision does not settle whether it is below a small bound
            x = x.to(weight.dtype)
            error = _squared_error(weight, x)
        if error < least:
            best, least = x, error
        if least <= options.target**2:
            break
    return _cores(best, chain_format), bound


def _squared_error(weight: Tensor, x: Blocks) -> float:
    """Squared distance of the kernel `(G, p, q, *K)` from the sum of the blocks."""
    kernel = torch.einsum("gpns,gnstx,gntq->gpqx", x.a, x.filters.flatten(4), x.b)
    return float((kernel - weight.flatten(3)).square().sum())


def tensorly_start(weight: Tensor, chain_format: Format, count: int, seed: int) -> list[Blocks]:
    """TensorLy's CP decomposition of each `(p, q, *K)`, from a random start; none where its equations are singular."""
    import tensorly  # only small kernels need it, and large ones run without it
    from tensorly.decomposition import parafac

    state = seed % SEEDS
    try:
        with tensorly.backend_context("pytorch", local_threadsafe=True), weight.device:
            fits = [
                parafac(one, count, n_iter_max=100, init="random", random_state=state, normalize_factors=False)[1]
                for one in weight
            ]
    except RuntimeError:  # singular: the kernel needs fewer blocks than that
        return []
    outputs, inputs, *lines = (torch.stack(factors) for factors in zip(*fits, strict=True))
    if not all(bool(part.isfinite().all()) for part in (outputs, inputs, *lines)):
        return []
    factors = [
        line.mT.reshape(len(weight), count, 1, 1, *taps)
        for line, taps in zip(lines, chain_format.kernel_sizes[1:-1], strict=True)
    ]
    return [Blocks(outputs[..., None], factors, inputs.mT[:, :, None])]


def _cores(x: Blocks, chain_format: Format) -> list[Tensor]:
    """The unknowns as cores."""
    ones = [1] * len(chain_format.kernel_size)
    g, p = x.a.shape[:2]
    middle = [f.flatten(1, 2) for f in x.factors]
    return [x.a.reshape(g, p, -1, *ones), *middle, x.b.flatten(1, 2).reshape(g, -1, x.b.shape[3], *ones)]
