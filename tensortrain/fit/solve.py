"""One kernel, one format, given ranks: the best chain found within a fixed amount of work."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorly
import torch
from tensorly.decomposition import partial_tucker
from torch import Tensor

from tensortrain.fit import depthwise, lbfgs, selectors
from tensortrain.fit.bounds import lower_bound
from tensortrain.fit.kernel import Kernel, balance
from tensortrain.fit.ranks import with_ends
from tensortrain.fit.spectral import SpectralChain
from tensortrain.fit.sweep import sweep
from tensortrain.fit.threads import threads_for
from tensortrain.formats import Format

Axes = tuple[int, ...]

WORK = 6e11  # multiplications after which a fit stops, so that the largest kernels stay within seconds
STALLED = 1e-4  # relative decrease of the squared error over the last steps that counts as none


@dataclass(frozen=True)
class Fit:
    """A chain found for a kernel.

    Attributes:
        form: its format.
        ranks: interior, within a conv group.
        cores: `(G, r_{l-1}, r_l / g_l, *k_l)`.
        groups: of every core, within a conv group.
        error: relative Frobenius error.
        upper_bound: what was certain before refinement.
    """

    form: Format
    ranks: tuple[int, ...]
    cores: list[Tensor]
    groups: tuple[int, ...]
    error: float
    upper_bound: float

    def lower_bound(self, kernel: Kernel) -> float:
        """What no chain with these sizes and ranks can go below."""
        return lower_bound(kernel.weight, self.form.kernel_sizes, self.ranks)


def solve(
    kernel: Kernel, form: Format, ranks: Sequence[int], *, seed: int, target: float, tick: Callable[[], None]
) -> Fit:
    """Fit a chain.

    Args:
        kernel: what to decompose.
        form: core sizes and groups.
        ranks: interior, within a conv group.
        seed: of random starts.
        target: stop at this relative error.
        tick: called after every step of the solver.
    """
    weight = kernel.weight
    groups = form.groups(with_ends(kernel, ranks))
    with threads_for(_step_cost(weight, form, ranks)):
        if form.dense:
            found = selectors.exact(weight, form.kernel_sizes, ranks)
            bound = 0.0
            if found is None:
                found, bound = _dense_chain(weight, form.kernel_sizes, ranks, seed, target, tick)
        elif depthwise.fits(form):
            found, bound = _blocks(weight, form, ranks, seed, target, tick)
        else:
            found, bound = _any_chain(weight, form, groups, ranks, seed, target, tick), 1.0
    return Fit(form, tuple(ranks), found, groups, kernel.error(found, groups), min(1.0, math.sqrt(bound)))


def _steps(multiplications: float, most: int) -> int:
    """Steps that the work allows, at a given cost of one."""
    return max(20, min(most, int(WORK / multiplications)))


def _refine(
    chain: SpectralChain, start: list[Tensor], steps: int, target: float, tick: Callable[[], None]
) -> tuple[list[Tensor], float]:
    """L-BFGS from a start; the last core is replaced by the optimal one."""
    free = balance(start)[:-1]
    x, value = lbfgs.minimise(chain.evaluate, free, steps=steps, tolerance=STALLED, target=target**2, tick=tick)
    return chain.complete(x), value


def _step_cost(weight: Tensor, form: Format, ranks: Sequence[int]) -> float:
    """Multiplications of one step: the products with the whole kernel, and the factorisations."""
    g, p, q = weight.shape[:3]
    positions, bounds = math.prod(form.kernel_size), (p, *ranks, q)
    if depthwise.fits(form):
        outputs, inputs = form.blocks[1] or (1, 1)
        count = ranks[0] // outputs
        return g * (2 * positions * p * q * max(outputs, inputs) * count + (outputs * inputs * count) ** 3)
    products = sum(p * a * b for a, b in itertools.pairwise(bounds[1:])) + p * q * bounds[-2]
    solves = sum((b * math.prod(k)) ** 3 / 3 for b, k in zip(bounds[1:-1], form.kernel_sizes[:-1], strict=True))
    return g * (2 * positions * products + 2 * solves)


def _dense_chain(
    weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int], seed: int, target: float, tick: Callable[[], None]
) -> tuple[list[Tensor], float]:
    """An ungrouped chain: short runs from several starts, then a long one from the best."""
    first, bound = sweep(weight, sizes, ranks)
    starts = [first]
    chain = SpectralChain(weight, sizes, [1] * len(sizes))
    form = Format(tuple(sizes), (None,) * len(sizes))
    steps = _steps(_step_cost(weight, form, ranks), 200)
    if len(sizes) > 2:
        if all(k == 1 for k in sizes[0]) or all(k == 1 for k in sizes[-1]):
            starts.append(_tucker_start(weight, sizes, ranks, seed, target, tick))
        else:
            starts.append(_hierarchical(weight, sizes, ranks, steps // 5, tick))
    elif chain_is_small(weight):
        starts.append(mirrored_sweep(weight, sizes, ranks))
    if len(starts) == 1:
        return _refine(chain, first, steps, target, tick)[0], bound
    trials = [_refine(chain, start, steps // 4, target, tick) for start in starts]
    best, _ = min(trials, key=lambda trial: trial[1])
    return _refine(chain, best, steps, target, tick)[0], bound


def chain_is_small(weight: Tensor) -> bool:
    """Whether a second start costs next to nothing."""
    return weight[0].numel() < 50_000


def mirrored_sweep(weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int]) -> list[Tensor]:
    """The sweep from the input side."""
    cores, _ = sweep(weight.transpose(1, 2), sizes[::-1], ranks[::-1])
    return [core.transpose(1, 2).contiguous() for core in reversed(cores)]


def _hierarchical(
    weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int], steps: int, tick: Callable[[], None]
) -> list[Tensor]:
    """Split off T(1) with the rest of the chain free, orthonormalise it, and go on with the rest."""
    if len(sizes) == 1:
        return [weight]
    rest = tuple(k - t + 1 for k, t in zip(weight.shape[3:], sizes[0], strict=True))
    start, _ = sweep(weight, [sizes[0], rest], ranks[:1])
    chain = SpectralChain(weight, [sizes[0], rest], [1, 1])
    (outer, _), _ = _refine(chain, start, steps, 0.0, tick)
    columns = outer.movedim(2, -1)
    outer = torch.linalg.qr(columns.flatten(1, -2))[0].reshape(columns.shape[:-1] + (-1,)).movedim(-1, 2)
    if outer.shape[2] < ranks[0]:
        outer = start[0]
    inner = chain.last_core(chain.product([outer]))
    return [outer, *_hierarchical(inner, sizes[1:], ranks[1:], steps, tick)]


def _tucker_start(
    weight: Tensor, sizes: Sequence[Axes], ranks: Sequence[int], seed: int, target: float, tick: Callable[[], None]
) -> list[Tensor]:
    """1×1 ends from a Tucker decomposition over the channels, the inner chain fitted to its small core."""
    pointwise = [all(k == 1 for k in size) for size in (sizes[0], sizes[-1])]
    p, q, taps = *weight.shape[1:3], weight[0, 0, 0].numel()
    modes = [mode for mode in (0, 1) if pointwise[mode]]
    wanted = (
        (min(ranks[0], ranks[-1] * taps), min(ranks[-1], ranks[0] * taps)) if all(pointwise) else (ranks[0], ranks[-1])
    )
    ends: list[list[Tensor]] = []
    inner = []
    with tensorly.backend_context("pytorch", local_threadsafe=True):
        for one in weight:
            (core, factors), _ = partial_tucker(
                one, [wanted[mode] for mode in modes], modes=modes, n_iter_max=50, tol=1e-6, random_state=seed
            )
            inner.append(core)
            ends.append(list(factors))
    ones = [1] * (weight.dim() - 3)
    middle = torch.stack(inner)
    left = right = None
    if pointwise[0]:
        left = torch.stack([f[0] for f in ends]).reshape(len(weight), p, -1, *ones)
        left, middle = _widen(left, middle, ranks[0], 2, 1)
    if pointwise[1]:
        right = torch.stack([f[-1] for f in ends]).mT.reshape(len(weight), -1, q, *ones)
        right, middle = _widen(right, middle, ranks[-1], 1, 2)
    span = slice(1 if pointwise[0] else 0, -1 if pointwise[1] else None)
    inner_sizes = list(sizes[span])
    inner_ranks = list(ranks[span.start : len(ranks) - 1 if pointwise[1] else None])
    chain = [middle]
    if len(inner_sizes) > 1:
        exact = selectors.exact(middle, inner_sizes, inner_ranks)
        chain = exact or _dense_chain(middle, inner_sizes, inner_ranks, seed, target, tick)[0]
    return [*([left] if left is not None else []), *chain, *([right] if right is not None else [])]


def _widen(end: Tensor, middle: Tensor, rank: int, end_axis: int, middle_axis: int) -> tuple[Tensor, Tensor]:
    """Zero channels between an end core and the middle for a rank beyond what Tucker can use."""

    def grow(x: Tensor, axis: int) -> Tensor:
        shape = list(x.shape)
        shape[axis] = rank - shape[axis]
        return torch.cat([x, x.new_zeros(shape)], axis) if shape[axis] else x

    return grow(end, end_axis), grow(middle, middle_axis)


def _blocks(
    weight: Tensor, form: Format, ranks: Sequence[int], seed: int, target: float, tick: Callable[[], None]
) -> tuple[list[Tensor], float]:
    """A chain with depthwise or blocked middle cores."""
    block = form.blocks[1] or (1, 1)
    count = ranks[0] // block[0]
    begin, bound = depthwise.start(weight, form, count, seed)
    ridges = depthwise.ridges(form, count, len(weight))
    solver = depthwise.BlockSolver(weight)
    found, _ = solver.solve(begin, ridges, _steps(_step_cost(weight, form, ranks), 300), target**2, tick)
    return depthwise.cores(found, form), bound


def _any_chain(
    weight: Tensor,
    form: Format,
    groups: Sequence[int],
    ranks: Sequence[int],
    seed: int,
    target: float,
    tick: Callable[[], None],
) -> list[Tensor]:
    """A chain with grouped cores of no special kind: L-BFGS from a random start."""
    generator = torch.Generator().manual_seed(seed)
    bounds = (weight.shape[1], *ranks, weight.shape[2])
    start = []
    for l, (size, g) in enumerate(zip(form.kernel_sizes, groups, strict=True)):
        shape = (weight.shape[0], bounds[l], bounds[l + 1] // g, *size)
        core = torch.randn(shape, generator=generator, dtype=torch.float64).to(weight.device)
        start.append(core / math.sqrt(core[0, 0].numel()))
    chain = SpectralChain(weight, form.kernel_sizes, groups)
    steps = _steps(_step_cost(weight, form, ranks), 200)
    return _refine(chain, start, steps, target, tick)[0]
