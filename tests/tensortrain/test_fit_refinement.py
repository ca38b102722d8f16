"""Refinement of chains and blocks; P7.5 and the like are numbered steps of proofs/README.md.

Values, gradients and preconditioners of chains, and the alternating solver of blocks.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from tensortrain import ConvTensorTrain
from tensortrain.conv import formats
from tensortrain.conv.fit import blocks, depthwise, lbfgs
from tensortrain.conv.fit.block_solver import BlockSolver, NormalEquations
from tensortrain.conv.fit.kernel import NormalizedKernel, balance
from tensortrain.conv.fit.lower_bounds import lower_bound
from tensortrain.conv.fit.solver import solve
from tensortrain.conv.fit.spectral import SpectralChain
from tensortrain.conv.fit.sweep import sweep
from tensortrain.conv.formats import Format
from tensortrain.conv.functional import compose_all
from tests.support import oracles
from tests.support.decompositions import (
    QUIET,
    SEEDS,
    Axes,
    composed,
    norm,
    svd_tail,
)
from tests.support.examples import examples

# ---- refinement of chains --------------------------------------------------------------------------------


@st.composite
def spectral(draw: st.DrawFn) -> tuple[Tensor, SpectralChain, list[Tensor]]:
    """A kernel, its least-squares problem with groups of any kind, and a random point."""
    axes, order, conv_groups = draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(st.integers(1, 2))
    longest = {1: 4, 2: 3, 3: 2}[axes]
    sizes = [tuple(draw(st.integers(1, longest)) for _ in range(axes)) for _ in range(order)]
    groups = [draw(st.sampled_from((1, 1, 2, 3))) for _ in range(order)]
    ranks = [math.lcm(*groups[max(l - 1, 0) : l + 1]) * draw(st.integers(1, 2)) for l in range(order + 1)]
    seed = draw(st.integers(0, 2**20))
    whole = [sum(k - 1 for k in axis) + 1 for axis in zip(*sizes, strict=True)]
    weight = oracles.floats(seed, conv_groups, ranks[0], ranks[-1], *whole)
    point = [
        oracles.floats(seed + 1 + l, conv_groups, ranks[l], ranks[l + 1] // groups[l], *sizes[l])
        for l in range(order - 1)
    ]
    weight = weight / weight.norm()
    return weight, SpectralChain(weight, sizes, groups, ridge=draw(st.sampled_from((0.0, 0.0, 1e-3)))), balance(point)


def objective(weight: Tensor, problem: SpectralChain, cores: list[Tensor]) -> float:
    """Squared error plus ridge of all cores, by the oracle."""
    penalty = problem.ridge * sum(norm(core) ** 2 for core in cores)
    return norm(composed(cores, problem.groups) - weight) ** 2 + penalty


@given(case=spectral())
def test_the_value_is_that_of_the_completed_chain(case: tuple[Tensor, SpectralChain, list[Tensor]]) -> None:
    weight, problem, point = case
    wanted = objective(weight, problem, problem.complete(point))
    assert problem.evaluate(point).value == pytest.approx(wanted, rel=1e-6, abs=1e-8)


@examples(30)
@given(case=spectral(), seed=SEEDS)
def test_the_last_core_is_optimal(case: tuple[Tensor, SpectralChain, list[Tensor]], seed: int) -> None:
    weight, problem, point = case
    cores = problem.complete(point)
    best = objective(weight, problem, cores)
    noise = oracles.floats(seed, *cores[-1].shape)
    for step in (1e-3, -1e-3, 0.1):
        other = [*cores[:-1], cores[-1] + step * noise * cores[-1].norm() / noise.norm()]
        assert objective(weight, problem, other) >= best - 1e-9


@examples(30)
@given(case=spectral(), seed=SEEDS)
def test_the_gradient_is_the_slope(case: tuple[Tensor, SpectralChain, list[Tensor]], seed: int) -> None:
    _, problem, point = case
    at = problem.evaluate(point)
    assume(1e-6 < at.value < 1 - 1e-6)
    along = [oracles.floats(seed + l, *x.shape) for l, x in enumerate(point)]
    step = 1e-5
    ahead, behind = (
        problem.evaluate([x + sign * step * d for x, d in zip(point, along, strict=True)]).value for sign in (1, -1)
    )
    gradient = at.derivatives().gradient
    slope = sum(float((g * d).sum()) for g, d in zip(gradient, along, strict=True))
    scale = math.sqrt(sum(norm(g) ** 2 for g in gradient) * sum(norm(d) ** 2 for d in along))
    assert (ahead - behind) / (2 * step) == pytest.approx(slope, abs=1e-4 * scale + 1e-7)


@examples(30)
@given(case=spectral())
def test_the_preconditioner_solves_the_normal_equations_of_the_first_core(
    case: tuple[Tensor, SpectralChain, list[Tensor]],
) -> None:
    """A full preconditioned step in T(1) alone, the rest fixed, leaves no slope in it."""
    _, problem, point = case
    at = problem.evaluate(point).derivatives()
    step = at.preconditioner()(at.gradient)[0]
    rest = problem.complete(point)[1:]
    first = (point[0] - step).requires_grad_()
    spectra = [problem.spectrum(core, g) for core, g in zip([first, *rest], problem.groups, strict=True)]
    product = spectra[0]
    for spectrum in spectra[1:]:
        product = product @ spectrum
    squared = ((product - problem.target).abs().square().sum((0, 2, 3)) * problem.parseval).sum()
    (squared + problem.ridge * first.square().sum()).backward()
    # directions that the rest does not see keep whatever slope they had: none
    assert norm(first.grad) <= 1e-4 * norm(at.gradient[0]) + 1e-7


def test_the_gradient_of_many_cores_is_the_slope_too() -> None:
    """More inputs than ranks: the products with the last core are replaced by smaller ones."""
    weight = oracles.floats(0, 1, 3, 7, 11)
    problem = SpectralChain(weight / weight.norm(), [(2,)] * 10, [1] * 10)
    point = [oracles.floats(l, 1, 3 if l == 0 else 4, 4, 2) for l in range(9)]
    leaves = [x.clone().requires_grad_() for x in point]
    cores = [core[0] for core in (*leaves, problem.complete(point)[-1])]
    (compose_all(cores, problem.groups) - problem.weight[0]).square().sum().backward()
    for x, slope in zip(leaves, problem.evaluate(point).derivatives().gradient, strict=True):
        torch.testing.assert_close(x.grad, slope, rtol=1e-6, atol=1e-9)


@examples(15)
@given(case=spectral())
def test_refinement_never_raises_the_error(case: tuple[Tensor, SpectralChain, list[Tensor]]) -> None:
    """P7.7."""
    _, problem, point = case
    values = [lbfgs.minimise(problem.evaluate, point, steps=steps, tolerance=0.0)[1] for steps in (0, 1, 2, 4, 8, 16)]
    assert values[0] == problem.evaluate(point).value
    assert all(after <= before for before, after in itertools.pairwise(values))


def test_refinement_stops_at_its_target_and_tells_of_every_step() -> None:
    weight = oracles.smooth(6, 5, 0)[None]
    problem = SpectralChain(weight / weight.norm(), [(3, 3), (3, 3)], [1, 1])
    start = sweep(weight / weight.norm(), [(3, 3), (3, 3)], [8])[0][:-1]
    ticks: list[int] = []
    reached, value = lbfgs.minimise(problem.evaluate, start, steps=60, tolerance=0.0, tick=lambda: ticks.append(1))
    assert len(ticks) == 60
    assert value == problem.evaluate(reached).value
    target = (problem.evaluate(start).value + value) / 2
    _, early = lbfgs.minimise(problem.evaluate, start, steps=60, tolerance=0.0, target=target)
    assert value < early <= target


def test_lbfgs_minimises_a_quadratic_in_a_few_steps() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(12, 12, generator=generator, dtype=torch.float64)
    matrix, solution = root @ root.T + torch.eye(12), torch.randn(12, generator=generator, dtype=torch.float64)

    def quadratic(x: list[Tensor]) -> lbfgs.Evaluation:
        off = x[0] - solution
        derivatives = lbfgs.Derivatives([2 * matrix @ off], lambda: lambda g: [u / 2 for u in g])
        return lbfgs.Evaluation(float(off @ matrix @ off), lambda: derivatives)

    x, value = lbfgs.minimise(quadratic, [torch.zeros(12, dtype=torch.float64)], steps=60, tolerance=0.0, target=1e-16)
    assert value <= 1e-16
    torch.testing.assert_close(x[0], solution, rtol=0, atol=1e-6)


@examples(15)
@given(case=spectral())
def test_balanced_cores_are_the_same_chain(case: tuple[Tensor, SpectralChain, list[Tensor]]) -> None:
    _, problem, point = case
    cores = problem.complete(point)
    even = balance([core * 10.0**l for l, core in enumerate(cores)])
    scale = math.prod(10.0**l for l in range(len(cores)))
    torch.testing.assert_close(composed(even, problem.groups), scale * composed(cores, problem.groups))
    assert max(map(norm, even)) == pytest.approx(min(map(norm, even)))


# ---- chains of blocks ------------------------------------------------------------------------------------

BLOCKS: list[Callable[[Axes], Format]] = [
    formats.depthwise,
    formats.cp,
    formats.block_term,
    lambda size: formats.block_term(size, 2, 1),
    lambda size: formats.block_term(size, 1, 3),
]
EACH_BLOCK = pytest.mark.parametrize("make", BLOCKS, ids=["depthwise", "cp", "2→2", "1→2", "3→1"])


def block_problem(make: Callable[[Axes], Format], seed: int, count: int) -> tuple[Tensor, Format, list[int]]:
    chain_format = make((3, 4))
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    weight = oracles.floats(seed, 2, 4, 3, 3, 4)
    ranks = [count] * 3 if chain_format.order == 4 else [count * outputs, count * inputs]
    return weight / weight.norm(), chain_format, ranks


@EACH_BLOCK
@examples(10)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 40))
def test_the_start_leaves_out_what_it_says(make: Callable[[Axes], Format], seed: int, count: int) -> None:
    weight, chain_format, _ = block_problem(make, seed, count)
    begin, bound = blocks.start(weight, chain_format, count)
    groups = [1, *[count] * (chain_format.order - 2), 1]
    left = norm(composed(blocks.to_cores(begin, chain_format), groups) - weight) ** 2
    assert left == pytest.approx(bound, abs=1e-12)


@EACH_BLOCK
@pytest.mark.parametrize("exact", [True, False])
def test_sweeps_at_one_ridge_never_raise_the_objective_and_know_their_error(
    make: Callable[[Axes], Format], exact: bool
) -> None:
    """They do not with exact solutions, nor with steps by the inverses of the first sweep."""
    weight, chain_format, _ = block_problem(make, seed=1, count=5)
    solver = BlockSolver(weight)
    equations = NormalEquations(period=1 if exact else 100)
    x = blocks.with_noise(blocks.start(weight, chain_format, 5)[0], 0.02, seed=0)
    groups = [1, *[5] * (chain_format.order - 2), 1]
    last = math.inf
    for number in range(12):
        equations.begin(number, None)
        x, each = solver.sweep(x, torch.full((2,), 1e-3, dtype=torch.float64), equations)
        squared = float(each.sum())
        penalty = 1e-3 * sum(norm(part) ** 2 for part in x.parts())
        objective = squared + penalty
        assert objective <= last + 1e-12
        assert norm(composed(blocks.to_cores(x, chain_format), groups) - weight) ** 2 == pytest.approx(
            squared, abs=1e-12
        )
        last = objective


@EACH_BLOCK
def test_equal_norms_change_no_block(make: Callable[[Axes], Format]) -> None:
    weight, chain_format, _ = block_problem(make, seed=2, count=3)
    x = blocks.with_noise(blocks.start(weight, chain_format, 3)[0], 0.02, seed=0)
    x.parts()[0].mul_(100)
    logarithms = x.norms().log()
    mean = logarithms.mean(2, keepdim=True)
    even = x.scaled((mean - logarithms).exp())
    groups = [1, *[3] * (chain_format.order - 2), 1]
    torch.testing.assert_close(
        composed(blocks.to_cores(even, chain_format), groups), composed(blocks.to_cores(x, chain_format), groups)
    )
    assert norm(even.parts()[0]) < norm(x.parts()[0])
    torch.testing.assert_close(even.norms(), mean.exp().expand_as(even.norms()))


@pytest.mark.parametrize("make", [formats.depthwise, formats.cp])
def test_a_fit_continues_from_an_earlier_one(make: Callable[[Axes], Format]) -> None:
    """A start that is the planted kernel itself is never lost, even by a fit of three sweeps."""
    weight, chain_format, ranks = block_problem(make, seed=5, count=3)
    cores = depthwise.fit_blocks(weight, chain_format, ranks, QUIET)[0]
    groups = [1, *[3] * (chain_format.order - 2), 1]
    planted = composed(cores, groups)
    planted = planted / planted.norm()
    scaled = [cores[0] / composed(cores, groups).norm(), *cores[1:]]
    short = replace(QUIET, effort=0.001)
    again, _ = depthwise.fit_blocks(planted, chain_format, ranks, short, earlier=scaled)
    assert norm(composed(again, groups) - planted) <= 1e-3
    alone, _ = depthwise.fit_blocks(planted, chain_format, ranks, short)
    assert norm(composed(alone, groups) - planted) >= 0.05


def test_a_block_vanishes_above_its_critical_ridge() -> None:
    weight, chain_format, _ = block_problem(formats.depthwise, seed=3, count=1)
    begin, _ = blocks.start(weight[:1], chain_format, 1)
    solver, critical = BlockSolver(weight[:1]), blocks.critical_ridge(begin)
    ridges = [torch.full((400, 1), share * critical, dtype=torch.float64) for share in (0.9, 1.3)]
    ends = [solver.solve(begin, ridge, QUIET)[0].parts()[0] for ridge in ridges]
    assert norm(ends[0]) > 0.1 > 0.01 > norm(ends[1])


@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_a_relative_ridge_is_on_the_squared_norms_of_the_blocks(ridge: float) -> None:
    """The point where sweeps end is a minimum of the error and this penalty: no part has a gradient."""
    weight, chain_format, _ = block_problem(formats.depthwise, seed=4, count=4)
    solver = BlockSolver(weight, relative=True)
    x = blocks.with_noise(blocks.start(weight, chain_format, 4)[0], 0.02, seed=0)
    x, squared = solver.solve(x, torch.full((3000, 2), ridge, dtype=torch.float64), QUIET, stalled=-1.0)
    parts = [part.clone().requires_grad_() for part in x.parts()]
    norms = math.prod(part.flatten(2).norm(dim=2) for part in parts)
    approximation = torch.einsum("gnsp,gnstij,gntq->gpqij", *parts)
    error = (approximation - weight).square().sum()
    for gradient in torch.autograd.grad(error + ridge * norms.square().sum(), parts):
        assert norm(gradient) < 1e-5
    assert float(error.detach()) == pytest.approx(float(squared.sum()), abs=1e-12)


@EACH_BLOCK
def test_starts_and_groups_in_one_batch_do_not_touch_each_other(make: Callable[[Axes], Format]) -> None:
    weight, chain_format, _ = block_problem(make, seed=6, count=4)
    begin = blocks.start(weight, chain_format, 4)[0]
    points = [blocks.with_noise(begin, 0.3, seed) for seed in range(3)]
    ridges = torch.logspace(-2, -4, 40, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.1, 0.5])
    together, errors = BlockSolver(weight, 3).solve(
        blocks.join(points), ridges.repeat_interleave(2, 1), QUIET, stalled=-1.0
    )
    for number, point in enumerate(points):
        for group in range(2):
            alone, error = BlockSolver(weight[group : group + 1]).solve(
                point.at(point.entries[group : group + 1]), ridges[:, number : number + 1], QUIET, stalled=-1.0
            )
            assert float(errors[2 * number + group]) == pytest.approx(float(error), abs=1e-9)
            torch.testing.assert_close(together.entries[2 * number + group], alone.entries[0], rtol=1e-4, atol=1e-6)


@EACH_BLOCK
@examples(2)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 12))
def test_blocks_end_between_their_bounds(make: Callable[[Axes], Format], seed: int, count: int) -> None:
    weight, chain_format, ranks = block_problem(make, seed, count)
    kernel = NormalizedKernel.of(weight.flatten(0, 1), 2, False)
    fit = solve(kernel, chain_format, ranks, QUIET)
    assert lower_bound(kernel.weight, chain_format.kernel_sizes, ranks) - 1e-9 <= fit.error <= fit.upper_bound + 1e-9
    assert norm(composed(fit.cores, list(fit.groups)) - weight) == pytest.approx(fit.error, abs=1e-12)


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize("side", ["input", "output"])
def test_depthwise_ends_reach_one_svd_for_each_channel(multiplier: int, side: str) -> None:
    """`1×1 | K×K depthwise` and its mirror have a known optimum; the general solver for groups finds it."""
    weight = oracles.smooth(5, 3, 0)
    if side == "input":
        chain_format = Format(((1, 1), (3, 3)), (None, (multiplier, 1)))
    else:
        chain_format = Format(((3, 3), (1, 1)), ((1, multiplier), None))
    chain = ConvTensorTrain.decompose(weight, chain_format, ranks=5 * multiplier)
    channels = weight.transpose(0, 1) if side == "input" else weight
    optimum = math.sqrt(sum(svd_tail(one.flatten(1), multiplier) for one in channels)) / norm(weight)
    assert chain.error == pytest.approx(optimum, rel=1e-6)
    assert chain.groups == ((1, 5) if side == "input" else (5, 1))


def test_rounding_does_not_stop_the_extrapolation():
    """In single precision the objective of a good sweep may seem to rise by a few roundings."""
    weight = oracles.smooth(16, 3, 0).double()[None]
    weight /= weight.norm()
    begin = blocks.with_noise(blocks.start(weight, formats.depthwise((3, 3)), 24)[0], 0.02, 0)
    errors = []
    for dtype in (torch.float32, torch.float64):
        x = begin.at(begin.entries.to(dtype))
        ridges = torch.full((400, 1), 1e-6, dtype=dtype)
        errors.append(float(BlockSolver(weight.to(dtype)).solve(x, ridges, QUIET, stalled=0)[1]) ** 0.5)
    assert errors[0] <= 1.02 * errors[1]
