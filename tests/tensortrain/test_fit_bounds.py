"""Bounds on the error of a decomposition; P7.5 and the like are numbered steps of proofs/README.md.

The sweep's bound from above, those of unfoldings and of spectra from below.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.conv import formats
from tensortrain.conv.fit import bounds
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.lower_bounds import fourier_bound, lower_bound, quick_lower_bound, unfolding_bound
from tensortrain.conv.fit.ranks import largest_useful
from tensortrain.conv.fit.solver import solve
from tensortrain.conv.fit.spectral import frequency_weights, transform
from tensortrain.conv.fit.sweep import _truncated_svd, lift, split, sweep
from tensortrain.conv.formats import Format
from tests.support import oracles
from tests.support.decompositions import QUIET, SEEDS, Problem, composed, norm, problems, relative_error, svd_tail
from tests.support.examples import examples

# ---- the sweep -------------------------------------------------------------------------------------------


@examples(60)
@given(problem=problems())
def test_the_sweep_keeps_its_bound(problem: Problem) -> None:
    """P7.5."""
    weight, sizes, ranks = problem
    cores, bound = sweep(weight, sizes, ranks)
    assert [core.shape[2] for core in cores[:-1]] == ranks
    assert norm(composed(cores) - weight) ** 2 <= bound + 1e-12


@examples(30)
@given(problem=problems(least=2, most=2))
def test_one_step_of_the_bound_is_overlap_times_discarded_energy(
    problem: Problem,
) -> None:
    """P7.4."""
    weight, (taps, rest), (rank,) = problem
    _, bound = sweep(weight, [taps, rest], [rank])
    overlap = math.prod(min(t, r) for t, r in zip(taps, rest, strict=True))
    discarded = sum(svd_tail(matrix, rank) for matrix in lift(weight, taps))
    assert bound == pytest.approx(overlap * discarded, abs=1e-12)


@examples(30)
@given(problem=problems())
def test_the_sweep_is_exact_at_full_lift_rank(problem: Problem) -> None:
    weight, sizes, _ = problem
    p, q = weight.shape[1:3]
    full, rows = [], p
    for l, taps in enumerate(sizes[:-1], start=1):
        positions = [sum(k - 1 for k in axis) + 1 for axis in zip(*sizes[l:], strict=True)]
        rows = min(rows * math.prod(taps), math.prod(positions) * q)
        full.append(rows)
    cores, bound = sweep(weight, sizes, full)
    assert norm(composed(cores) - weight) <= 1e-12
    assert bound <= 1e-12


@examples(15)
@given(
    seed=SEEDS, shape=st.tuples(st.integers(1, 3), st.integers(1, 4)), rank=st.integers(1, 6), groups=st.integers(1, 2)
)
def test_a_separable_chain_is_the_truncated_svd(seed: int, shape: tuple[int, int], rank: int, groups: int) -> None:
    """P7.6: K×1 | 1×K: nothing overlaps, so error and bounds are the tail of one SVD for each conv group."""
    p, q = shape
    weight = oracles.floats(seed, groups * p, q, 3, 4)
    rank = min(rank, *largest_useful(formats.separable((3, 4)), NormalizedKernel.of(weight, groups, False)))
    chain = ConvTensorTrain.decompose(weight, "separable", ranks=groups * rank, groups=groups)
    unfolded = weight.reshape(groups, p, q, 3, 4).permute(0, 3, 1, 4, 2).reshape(groups, 3 * p, 4 * q)
    optimum = math.sqrt(sum(svd_tail(matrix, rank) for matrix in unfolded)) / norm(weight)
    assert chain.error == pytest.approx(optimum, abs=1e-10)
    assert chain.upper_bound == pytest.approx(optimum, abs=1e-7)


@examples(15)
@given(seed=SEEDS, rank=st.integers(1, 3), mirrored=st.booleans())
def test_pointwise_ends_reach_the_unfolding_bound(seed: int, rank: int, mirrored: bool) -> None:
    """P8.5: 1×1 | K×K is one truncated SVD; the lower bound finds it."""
    weight = oracles.floats(seed, 4, 4, 3, 2)
    sizes = [(3, 2), (1, 1)] if mirrored else [(1, 1), (3, 2)]
    chain = ConvTensorTrain.decompose(weight, sizes, ranks=rank)
    unfolded = (weight.transpose(0, 1) if mirrored else weight).flatten(1)
    optimum = math.sqrt(svd_tail(unfolded, rank)) / norm(weight)
    assert chain.error == pytest.approx(optimum, abs=1e-9)
    assert chain.lower_bound == pytest.approx(optimum, abs=1e-7)


def test_large_lifts_are_split_by_random_projection() -> None:
    low_rank = oracles.floats(0, 1, 1010, 8) @ oracles.floats(1, 1, 8, 1015)
    u, s, v = _truncated_svd(low_rank, 8)
    assert norm((u * s[:, None]) @ v - low_rank) <= 1e-12 * norm(low_rank)
    torch.testing.assert_close(s[0], torch.linalg.svdvals(low_rank[0])[:8])


@examples(20)
@given(problem=problems(least=2, most=2))
def test_the_first_core_of_a_split_is_orthonormal(problem: Problem) -> None:
    """P7.4."""
    weight, (taps, _), (rank,) = problem
    outer, inner, _ = split(weight, taps, rank)
    columns = outer.movedim(2, -1).flatten(1, -2)
    eye = torch.eye(columns.shape[-1], dtype=torch.float64).expand(len(weight), -1, -1)
    torch.testing.assert_close(columns.mT @ columns, eye)
    assert inner.shape[1] == outer.shape[2] <= rank


# ---- lower bounds ----------------------------------------------------------------------------------------


@examples(60)
@given(
    problem=problems(1, 4, fewest=2, rank=3),
    more=st.integers(0, 4),
    seed=SEEDS,
    noise=st.sampled_from((0.01, 0.3, 3.0)),
)
def test_no_chain_goes_below_the_bounds(problem: Problem, more: int, seed: int, noise: float) -> None:
    """P8.4: a random chain is some distance from a kernel near it; the bounds of the kernel are never larger."""
    weight, sizes, ranks = problem
    channels = (weight.shape[1], *ranks, weight.shape[2])
    cores = [oracles.floats(seed + l, len(weight), channels[l], channels[l + 1], *size) for l, size in enumerate(sizes)]
    near = composed(cores)
    near = near / near.norm()
    kernel = near + noise * weight
    distance = norm(kernel - near)
    grid = tuple(k + more for k in weight.shape[3:])
    assert fourier_bound(kernel, min(ranks, default=99), grid) <= distance + 1e-12
    assert unfolding_bound(kernel, sizes, ranks) <= distance + 1e-12
    best = max(fourier_bound(kernel, min(ranks)), unfolding_bound(kernel, sizes, ranks)) if ranks else 0.0
    assert quick_lower_bound(kernel, sizes, ranks) == best
    assert best <= lower_bound(kernel, sizes, ranks) <= distance + 1e-12


@examples(30)
@given(problem=problems(2, 2, fewest=2, rank=2), more=st.integers(0, 3))
def test_the_fourier_bound_is_the_mean_tail_of_the_whole_spectrum(problem: Problem, more: int) -> None:
    """P8.1."""
    weight, _, (rank,) = problem
    grid = tuple(k + more for k in weight.shape[3:])
    axes = tuple(range(3, weight.dim()))
    spectrum = np.moveaxis(np.fft.fftn(weight.numpy(), s=grid, axes=axes), (1, 2), (-2, -1))
    tails = (np.linalg.svd(spectrum, compute_uv=False)[..., rank:] ** 2).sum() / math.prod(grid)
    assert fourier_bound(weight, rank, grid) == pytest.approx(math.sqrt(tails), abs=1e-12)
    weights = frequency_weights(grid, weight)
    energy = (transform(weight, grid).abs().square().sum((0, 2, 3)) * weights).sum()
    assert float(energy) == pytest.approx(norm(weight) ** 2)


@examples(12)
@given(problem=problems(2, 3))
def test_decompositions_end_between_their_bounds(problem: Problem) -> None:
    weight, sizes, wanted = problem
    kernel = NormalizedKernel.of(weight.flatten(0, 1), len(weight), False)
    chain_format = Format(tuple(sizes), (None,) * len(sizes))
    ranks = [min(r, most) for r, most in zip(wanted, largest_useful(chain_format, kernel), strict=True)]
    fit = solve(kernel, chain_format, ranks, QUIET)
    assert lower_bound(kernel.weight, chain_format.kernel_sizes, ranks) - 1e-12 <= fit.error <= fit.upper_bound + 1e-12
    chain = ConvTensorTrain.decompose(
        kernel.weight.flatten(0, 1), chain_format, ranks=[len(weight) * r for r in ranks], groups=len(weight)
    )
    assert chain.lower_bound - 1e-12 <= chain.error <= chain.upper_bound + 1e-12
    assert chain.error == pytest.approx(relative_error(chain, kernel.weight.flatten(0, 1)), abs=1e-12)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("chain_format", "ranks"),
    [
        (formats.chain([2, 2], (3, 3)), (6, 4, 8)),
        (formats.depthwise((3, 3)), (6, 4, 4, 8)),
        (formats.block_term((3, 3), 2, 1), (6, 8, 4, 8)),
        (Format(((3, 3), (1, 1)), ((1, 2), None)), (6, 12, 8)),
    ],
)
def test_the_bounds_of_a_chain_need_no_fit(chain_format: Format, ranks: tuple[int, ...], transposed: bool) -> None:
    """Ranks are totals over the two groups; the bounds are those that a decomposition reports."""
    weight = oracles.floats(9, 8, 3, 3, 3) if transposed else oracles.floats(9, 6, 4, 3, 3)
    lower, upper = bounds(weight, chain_format, ranks, groups=2, transposed=transposed)
    chain = ConvTensorTrain.decompose(weight, chain_format, ranks=ranks[1:-1], groups=2, transposed=transposed)
    assert chain.ranks == ranks
    assert lower == chain.lower_bound
    assert lower < upper
    assert chain.upper_bound == pytest.approx(upper, abs=1e-12)


@pytest.mark.parametrize(
    ("ranks", "words"),
    [
        ((6, 8), ("3 are needed", "6 output", "8 input")),
        ((6, 4, 6), ("3 are needed", "6 output", "8 input")),
        ((6, 5, 8), (r"ranks\[1\] = 5", "groups = 2")),
    ],
)
def test_bounds_refuse_ranks_that_do_not_fit(ranks: tuple[int, ...], words: tuple[str, ...]) -> None:
    with pytest.raises(TensorTrainError, match=".*".join(words)):
        bounds(oracles.floats(9, 6, 4, 3, 3), formats.chain([2, 2], (3, 3)), ranks, groups=2)
    with pytest.raises(TensorTrainError, match="is a format for"):
        bounds(oracles.floats(9, 6, 4, 5, 5), formats.chain([2, 2], (3, 3)), (6, 4, 8), groups=2)
