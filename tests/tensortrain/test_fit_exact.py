"""Exact chains: cores that only hold shifted identities reproduce every kernel at sufficient rank."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tensortrain import ConvTensorTrain
from tensortrain.conv import formats
from tensortrain.conv.fit import exact
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.ranks import largest_useful
from tests.support import oracles
from tests.support.decompositions import (
    SEEDS,
    Axes,
    composed,
    kernel_sizes,
)


@settings(max_examples=30)
@given(sizes=kernel_sizes(1, 5), shape=st.tuples(*[st.integers(1, 3)] * 3), seed=SEEDS)
def test_selectors_are_exact_for_every_kernel(sizes: list[Axes], shape: tuple[int, int, int], seed: int) -> None:
    whole = [sum(k - 1 for k in axis) + 1 for axis in zip(*sizes, strict=True)]
    weight = oracles.floats(seed, *shape, *whole)
    chains = exact.exact_chains(sizes, *shape[1:])
    assert chains
    for exact_chain in chains[:4]:
        wider = [r + seed % 2 for r in exact_chain.ranks]
        for ranks in (exact_chain.ranks, wider):
            cores = exact.build(weight, sizes, exact_chain, ranks)
            assert [core.shape[2] for core in cores[:-1]] == list(ranks)
            assert torch.equal(composed(cores), weight)


GUARANTEED = [  # core sizes, interior ranks per channel of the output (o) or input (i) side
    ((3, 3), ("4o",)),
    ((3, 3), ("4i",)),
    ((2, 2), ("4o",)),
    ((2, 2), ("4i",)),
    ((3, 3, 3), ("4o", "4i")),
    ((3, 3, 3), ("4o", "9o")),
    ((3, 3, 3), ("9i", "4i")),
    ((3, 3, 3, 3), ("4o", "4o", "4i")),
    ((3, 3, 3, 3), ("4o", "4i", "4i")),
    ((4, 2, 2), ("4i", "4i")),
    ((4, 2, 2), ("4o", "4i")),
    (((5, 1), (1, 5)), ("5o",)),
    (((5, 1), (1, 5)), ("5i",)),
    (((1, 1), (3, 4), (1, 1)), ("1o", "1i")),
    (((3, 1), (2, 5)), ("2o",)),
]


@pytest.mark.parametrize(("sizes", "ranks"), GUARANTEED)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_guaranteed_ranks_reproduce_the_kernel_to_the_bit(
    sizes: tuple[int | Axes, ...], ranks: tuple[str, ...], dtype: torch.dtype
) -> None:
    p, q = 3, 2
    chain_format = formats.Format(tuple((k, k) if isinstance(k, int) else k for k in sizes), (None,) * len(sizes))
    weight = oracles.floats(7, p, q, *chain_format.kernel_size).to(dtype)
    useful = largest_useful(chain_format, NormalizedKernel.of(weight, 1, False))  # more than that is not accepted
    interior = [min(int(r[:-1]) * (p if r[-1] == "o" else q), most) for r, most in zip(ranks, useful, strict=True)]
    chain = ConvTensorTrain.decompose(weight, sizes, ranks=interior)
    assert chain.ranks == (p, *interior, q)
    assert chain.error == 0.0
    assert torch.equal(chain.reconstruct(), weight)
    assert (chain.lower_bound, chain.upper_bound) == (0.0, 0.0)


@pytest.mark.parametrize("sizes", [(3, 3), (2, 2), (3, 3, 3), (5, 3), (2, 3, 4)])
def test_output_side_selectors_need_the_ranks_of_the_formula(sizes: tuple[int, ...]) -> None:
    """`n_l = ceil(K / (K - D_l))` shifts at bond l, D_l the degree of the cores before it."""
    whole = sum(k - 1 for k in sizes) + 1
    degrees = list(itertools.accumulate(k - 1 for k in sizes))[:-1]
    formula = tuple(math.ceil(whole / (whole - d)) for d in degrees)
    assert formula in {plan.sizes for plan in exact.axis_plans(sizes, len(sizes) - 1)}


@pytest.mark.parametrize("sizes", [(3, 3, 3, 3), (4, 2, 2)])
def test_where_pure_output_side_shifts_fail_another_placement_stands_in(sizes: tuple[int, ...]) -> None:
    whole = sum(k - 1 for k in sizes) + 1
    degrees = list(itertools.accumulate(k - 1 for k in sizes))[:-1]
    formula = tuple(math.ceil(whole / (whole - d)) for d in degrees)
    plans = [[plan.sizes for plan in exact.axis_plans(sizes, data)] for data in range(len(sizes))]
    assert formula not in plans[-1]
    assert any((2,) * (len(sizes) - 1) in some for some in plans[:-1])


def test_two_shifts_fewer_than_the_guaranteed_rank_are_not_enough_for_every_kernel() -> None:
    """The guarantee is not loose for 1-D pairs: at rank 1 a generic kernel of two taps a core is not a product."""
    assert exact.exact_cores(oracles.floats(0, 1, 1, 1, 3), [(2,), (2,)], [1]) is None
    assert exact.exact_cores(oracles.floats(0, 1, 1, 1, 3), [(2,), (2,)], [2]) is not None
