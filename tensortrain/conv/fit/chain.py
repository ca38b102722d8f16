"""Fit chains of spatial cores: compute initial chains, refine each of them briefly, and refine the best one longer."""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tensortrain.conv.fit import lbfgs
from tensortrain.conv.fit.exact import exact_cores
from tensortrain.conv.fit.kernel import balance
from tensortrain.conv.fit.options import OVERHEAD, SHORTEST, SMALL_KERNEL, SolverOptions
from tensortrain.conv.fit.spectral import SpectralChain
from tensortrain.conv.fit.sweep import sweep
from tensortrain.conv.formats import Format
from tensortrain.linalg import SEEDS

Axes = tuple[int, ...]

STEPS = 200
STALLED = 1e-4  # a fit stops if the last steps lower the squared error by less than this fraction
LARGE = 1e9  # above so many multiplications per step, a second start is not worth its cost
MANY_ENTRIES = 1_000_000  # entries of a kernel whose singular value decompositions take long
TUCKER_ROUNDS = 3
LONG_CHAIN = 8  # beyond so many cores, each further core costs about `OVERHEAD`, however small it is
MANY_CORES = 16  # for more cores, a step may take seconds, and the sweep is hardly refined
ONE_START = 0.5  # with less effort, the sweep is the only start
KICKS = (0.3, 1.0, 1.0, 1.0, 1.0)  # relative size of the noise of each restart


def step_cost(weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int]) -> float:
    """Return the multiplications of one step, for about four products over half the spectrum and the factorisations."""
    g, p, q, *size = weight.shape
    bounds = (p, *ranks, q)
    products = sum(p * a * b for a, b in itertools.pairwise(bounds[1:])) + p * q * bounds[-2]
    solves = sum((b * math.prod(k)) ** 3 / 3 for b, k in zip(bounds[1:-1], sizes[:-1], strict=True))
    return g * (4 * math.prod(size) * products + 2 * solves) + OVERHEAD * max(0, len(sizes) - LONG_CHAIN)


def work(weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int], options: SolverOptions) -> float:
    """Return a rough upper limit of the multiplications of a fit."""
    cost = step_cost(weight, sizes, ranks)
    return (cost + OVERHEAD) * options.steps(cost, STEPS) * (1 + _kick_count(len(sizes), weight.numel(), options))


def fit_ungrouped(
    weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int], options: SolverOptions
) -> tuple[list[Tensor], float]:
    """Return the cores of a chain without groups, and the sweep's bound of its squared error.

    Args:
        weight: the kernel, `(G, p, q, *K)`.
        sizes: the size of each core.
        ranks: the inner ranks.
        options: the seed, target error, work limit and ridge.
    """
    cores = exact_cores(weight, sizes, ranks)
    if cores is not None:
        return cores, 0.0
    if len(sizes) == 2 and all(1 in pair for pair in zip(*sizes, strict=True)):
        # no position is a sum of two terms, so a truncated SVD is optimal
        return sweep(weight, sizes, ranks, exact=True)
    first, bound = sweep(weight, sizes, ranks)
    chain = SpectralChain(weight, sizes, [1] * len(sizes), options.ridge)
    cost = step_cost(weight, sizes, ranks)
    steps = options.steps(cost, STEPS) if len(sizes) <= MANY_CORES else SHORTEST
    tucker = len(sizes) == 3 and all(k == 1 for size in (sizes[0], sizes[-1]) for k in size)
    if options.effort < ONE_START:
        return _refine(chain, first, max(SHORTEST, steps // 2), options)[0], bound
    if tucker and cost > LARGE:
        start = _tucker_start(weight, sizes, ranks, options)
        # valid for orthonormal ends; rarely above the bound
        error = float(weight.square().sum() - start[1].square().sum())
        return (start if error < bound else first), bound
    if len(sizes) == 2 or len(sizes) > LONG_CHAIN or cost > LARGE:
        best, value = _refine(chain, first, steps, options)
    else:
        pointwise = any(all(k == 1 for k in size) for size in (sizes[0], sizes[-1]))
        second = (
            _tucker_start(weight, sizes, ranks, options)
            if pointwise
            else _hierarchical(weight, sizes, ranks, steps, options)
        )
        trials = [_refine(chain, start, steps // 4, options) for start in (first, second)]
        best, value = _refine(chain, min(trials, key=lambda trial: trial[1])[0], steps, options)
    for restart in _restarts(weight, sizes, ranks, steps, best, options):
        if value <= options.target**2 or options.late():
            break
        other, lower = _refine(chain, restart, steps, options)
        best, value = (other, lower) if lower < value else (best, value)
    return best, bound


def single_core(weight: Tensor, groups: int) -> tuple[list[Tensor], float]:
    """Return the best chain of one core, the diagonal blocks of every kernel position, and its squared error."""
    count, p, q, *size = weight.shape
    blocks = weight.reshape(count, groups, p // groups, groups, q // groups, *size)
    core = blocks.diagonal(dim1=1, dim2=3).movedim(-1, 1).flatten(1, 2)
    kept = float(core.square().sum())
    return [core], max(0.0, float(weight.square().sum()) - kept)


def fit_grouped(
    weight: Tensor, chain_format: Format, groups: Sequence[int], ranks: Sequence[int], options: SolverOptions
) -> list[Tensor]:
    """Return the cores of a chain of two or more cores with groups of any kind, from a random start."""
    generator = torch.Generator().manual_seed(options.seed)
    bounds = (weight.shape[1], *ranks, weight.shape[2])
    start = []
    for l, (size, g) in enumerate(zip(chain_format.kernel_sizes, groups, strict=True)):
        shape = (weight.shape[0], bounds[l], bounds[l + 1] // g, *size)
        core = torch.randn(shape, generator=generator, dtype=torch.float64, device="cpu").to(weight.device)
        start.append(core / math.sqrt(core[0, 0].numel()))
    chain = SpectralChain(weight, chain_format.kernel_sizes, groups, options.ridge)
    steps = options.steps(step_cost(weight, chain_format.kernel_sizes, ranks), STEPS)
    return _refine(chain, start, steps, options)[0]


def _refine(
    chain: SpectralChain, start: list[Tensor], steps: int, options: SolverOptions
) -> tuple[list[Tensor], float]:
    """Run L-BFGS from a start. The last core of the start is ignored, because the optimal one replaces it."""
    free = balance(start)[:-1]
    cost = step_cost(chain.weight, chain.kernel_sizes, [core.shape[1] for core in start[1:]])
    x, value = lbfgs.minimise(
        chain.evaluate,
        free,
        steps=steps,
        tolerance=STALLED,
        target=options.target**2,
        tick=lambda: options.tick(cost + OVERHEAD),
        late=options.late,
    )
    return chain.complete(x), value


def _restarts(
    weight: Tensor,
    sizes: Sequence[Axes],
    ranks: Sequence[int],
    steps: int,
    cores: list[Tensor],
    options: SolverOptions,
) -> Iterator[list[Tensor]]:
    """Yield starts that may leave a local minimum: from the input side, and the current cores plus noise.

    They are used for two or three small cores. In an experiment with ten known 16-channel chains of two cores and rank
    20, and ten of three cores and rank 16, two fits of each kind ended 40 times above the noise without restarts, for
    every seed of the first start. Kernel 8 of the latter needs the start from the input side.
    """
    entries = weight.numel()
    if len(sizes) == 3 and _kick_count(len(sizes), entries, options):
        mirrored = weight.transpose(1, 2).contiguous()
        start = _hierarchical(mirrored, sizes[::-1], ranks[::-1], steps, options)
        yield [core.transpose(1, 2) for core in reversed(start)]
    generator = torch.Generator().manual_seed(options.seed)
    for size in KICKS[: _kick_count(len(cores), entries, options)]:
        noise = [torch.randn(c.shape, generator=generator, dtype=c.dtype, device="cpu").to(c.device) for c in cores]
        yield [c + n * (size * c.norm() / n.norm()) for c, n in zip(cores, noise, strict=True)]


def _kick_count(order: int, entries: int, options: SolverOptions) -> int:
    """Return the number of restarts with noise."""
    return len(KICKS) if order in (2, 3) and entries <= SMALL_KERNEL and options.effort >= 1 else 0


def _hierarchical(
    weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int], steps: int, options: SolverOptions
) -> list[Tensor]:
    """Split off T(1) while the rest of the chain is free, orthonormalise T(1), and continue with the rest."""
    if len(sizes) == 1:
        return [weight]
    rest = tuple(k - t + 1 for k, t in zip(weight.shape[3:], sizes[0], strict=True))
    start, _ = sweep(weight, [sizes[0], rest], ranks[:1])
    chain = SpectralChain(weight, [sizes[0], rest], [1, 1], options.ridge)
    (outer, _), _ = _refine(chain, start, steps // 5, options)
    columns = outer.movedim(2, -1)
    if columns[0, ..., 0].numel() >= ranks[0]:
        outer = torch.linalg.qr(columns.flatten(1, -2))[0].reshape(columns.shape).movedim(-1, 2)
    inner = chain.last_core(chain.product([outer]))
    return [outer, *_hierarchical(inner, sizes[1:], ranks[1:], steps, options)]


def _tucker_start(weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int], options: SolverOptions) -> list[Tensor]:
    """Return 1×1 ends from a Tucker decomposition over the channels, with the inner chain fitted to its small core."""
    first, last = (all(k == 1 for k in size) for size in (sizes[0], sizes[-1]))
    p, q, taps = *weight.shape[1:3], weight[0, 0, 0].numel()
    useful = [ranks[0], ranks[-1]]
    if first and last:  # Tucker cannot use a larger rank than the other rank allows
        useful = [min(useful[0], useful[1] * taps), min(useful[1], useful[0] * taps)]
    modes = [mode for mode, present in enumerate((first, last)) if present]
    parts = [_partial_tucker(one, modes, [useful[mode] for mode in modes], options.seed) for one in weight]
    middle = torch.stack([core for core, _ in parts])
    ones = [1] * (weight.dim() - 3)
    left, right = [], []
    if first:
        end = torch.stack([factors[0] for _, factors in parts]).reshape(len(weight), p, -1, *ones)
        left, middle = [_widen(end, 2, ranks[0])], _widen(middle, 1, ranks[0])
    if last:
        end = torch.stack([factors[-1] for _, factors in parts]).mT.reshape(len(weight), -1, q, *ones)
        right, middle = [_widen(end, 1, ranks[-1])], _widen(middle, 2, ranks[-1])
    inner = slice(len(left), len(sizes) - len(right))
    if inner.stop - inner.start == 1:
        return [*left, middle, *right]
    cores, _ = fit_ungrouped(middle, sizes[inner], ranks[inner.start : inner.stop - 1], options)
    return [*left, *cores, *right]


def _partial_tucker(one: Tensor, modes: list[int], ranks: list[int], seed: int) -> tuple[Tensor, list[Tensor]]:
    """Return the core of TensorLy's HOOI over the channel axes of one kernel, and a factor for each mode.

    For a large kernel, a few rounds with eigenvectors of Gram matrices replace it, which take seconds instead of
    minutes.
    """
    if one.numel() > MANY_ENTRIES:
        return _gram_tucker(one, modes, ranks)
    import tensorly  # only this start needs TensorLy
    from tensorly.decomposition import partial_tucker

    with tensorly.backend_context("pytorch", local_threadsafe=True), one.device:
        (core, factors), _ = partial_tucker(one, ranks, modes=modes, n_iter_max=10, tol=1e-6, random_state=seed % SEEDS)
    return core, list(factors)


def _gram_tucker(one: Tensor, modes: list[int], ranks: list[int]) -> tuple[Tensor, list[Tensor]]:
    """Return the core and the factors of a Tucker decomposition, computed from eigenvectors of Gram matrices."""
    factors: dict[int, Tensor] = {}
    for _ in range(TUCKER_ROUNDS if len(modes) > 1 else 1):
        for mode, rank in zip(modes, ranks, strict=True):
            core = one
            for other, factor in factors.items():
                core = core if other == mode else torch.tensordot(core, factor, ([other], [0])).movedim(-1, other)
            rows = core.movedim(mode, 0).flatten(1)
            factors[mode] = torch.linalg.eigh(rows @ rows.mT)[1][:, -rank:].flip(1)
    core = torch.tensordot(core, factors[mode], ([mode], [0])).movedim(-1, mode)
    return core, [factors[mode] for mode in modes]


def _widen(x: Tensor, axis: int, length: int) -> Tensor:
    """Return `x` with zeros appended on one axis."""
    shape = list(x.shape)
    shape[axis] = length - shape[axis]
    return torch.cat([x, x.new_zeros(shape)], axis) if shape[axis] else x
