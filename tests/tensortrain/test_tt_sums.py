"""Sums of many trains, rounded while they are formed: as good as rounded afterwards, and what they refuse."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.sums import round_sum
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import DTYPES, F64, distance, full, integer_train


def falling(shape: tuple[int, ...], rank: int, seed: int, dtype: torch.dtype = F64) -> TensorTrain:
    """A train with halving singular values."""
    train = TensorTrain.random(shape, rank, seed, F64).orthogonalize(0)
    return TensorTrain([core * 0.5 ** torch.arange(core.shape[2]) for core in train.cores]).to(dtype)


@settings(max_examples=15)
@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
    st.lists(st.integers(1, 3), min_size=1, max_size=6),
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
)
def test_sums_are_those_of_the_dense_tensors(
    shape: tuple[int, ...], ranks: list[int], ends: tuple[int, int], dtype: torch.dtype, seed: int
) -> None:
    eps = 1e3 * torch.finfo(dtype).eps
    trains = [
        integer_train(shape, [ends[0], *[rank] * (len(shape) - 1), ends[1]], seed + n).to(dtype)
        for n, rank in enumerate(ranks)
    ]
    dense = torch.stack([full(train) for train in trains]).sum(0)
    scale = max(float(full(train).norm()) for train in trains)
    exact = round_sum(trains, rtol=0.0, seed=seed)
    assert float((full(exact) - dense).norm()) <= eps * scale
    assert (exact.dtype, exact.shape, exact.ranks[0], exact.ranks[-1]) == (dtype, shape, *ends)
    rough = round_sum(trains, ranks=2, seed=seed)
    assert all(rank <= 2 for rank in rough.ranks[1:-1])
    best = sum(trains[1:], trains[0]).round(ranks=2)
    assert float((full(rough) - dense).norm()) <= 1.2 * float((full(best) - dense).norm()) + eps * scale


@pytest.mark.parametrize("dtype", DTYPES)
def test_fifty_summands_round_to_nearly_the_same_error(dtype: torch.dtype) -> None:
    trains = [falling((5,) * 6, 5, seed, dtype) for seed in range(50)]
    total = sum(trains[1:], trains[0])
    afterwards = total.round(ranks=12)
    for limits in ({"ranks": 12}, {"rtol": 0.3}):
        result = round_sum(trains, **limits)
        off = distance(result.reconstruct(), total.reconstruct())
        assert off == pytest.approx(result.error, rel=0.25)
        assert off <= limits.get("rtol", 1.05 * afterwards.error)
    again = round_sum(trains, ranks=12)
    assert all(torch.equal(a, b) for a, b in zip(again.cores, round_sum(trains, ranks=12).cores, strict=True))
    assert not torch.equal(again.cores[2], round_sum(trains, ranks=12, seed=1).cores[2])


def test_the_error_is_estimated_right_on_average() -> None:
    trains = [falling((5,) * 5, 4, seed) for seed in range(12)]
    total = sum(trains[1:], trains[0]).reconstruct()
    results = [round_sum(trains, ranks=2, seed=seed) for seed in range(20)]
    measured = [distance(result.reconstruct(), total) ** 2 for result in results]
    assert sum(result.error**2 for result in results) == pytest.approx(sum(measured), rel=0.1)


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_summands_of_any_scale(scale: float) -> None:
    trains = [TensorTrain.random((3, 4, 3, 2), 2, seed, F64) for seed in range(4)]
    expected = sum(train.reconstruct() for train in trains)
    turned = [TensorTrain([t.cores[0] * scale, *t.cores[1:-1], t.cores[-1] / scale]) for t in trains[:2]]
    torch.testing.assert_close(round_sum([*turned, *trains[2:]], rtol=1e-12).reconstruct(), expected)
    scaled = round_sum([train * scale for train in trains], rtol=1e-12)
    torch.testing.assert_close(scaled.reconstruct() / scale, expected)
    cancelled = round_sum([trains[0], -trains[0]], ranks=1)
    assert float(cancelled.norm()) < 1e-13
    assert float(round_sum([trains[0] * 0] * 3, rtol=0.1).norm()) == 0


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple),
    st.integers(1, 3),
    st.sampled_from(DTYPES),
    st.sampled_from([1e-6, 0.1, 0.0]),
    st.integers(0, 99),
)
def test_summands_that_cancel_give_zero(
    shape: tuple[int, ...], rank: int, dtype: torch.dtype, rtol: float, seed: int
) -> None:
    a, b = TensorTrain.random(shape, rank, seed, dtype), TensorTrain.random(shape, rank, seed + 1, dtype)
    scale = 1e3 * torch.finfo(dtype).eps * float(a.norm() + b.norm())
    for trains in ([a, -a], [a * 3.0, -a, a * -2.0], [a, b, -b, -a], [a - a]):
        for limits in ({"rtol": rtol}, {"ranks": 2}):
            zero = round_sum(trains, **limits, seed=seed)
            assert (zero.ranks, zero.error) == ((1,) * (len(shape) + 1), 0.0)
            assert float(zero.norm()) <= scale


@pytest.mark.parametrize(("dtype", "size"), [(F64, 1e-6), (F64, 1e-10), (torch.complex64, 1e-3)])
def test_what_cancellation_leaves_has_its_own_ranks(dtype: torch.dtype, size: float) -> None:
    a, b = TensorTrain.random((2,) * 20, 3, 0, dtype), TensorTrain.random((2,) * 20, 2, 1, dtype) * size
    total = round_sum([a * 3.0, -a, b, a * -2.0], rtol=1e-5)
    assert total.ranks == b.ranks
    noise = torch.finfo(dtype).eps * float(a.norm() / b.norm())
    off = float((total - b).norm() / b.norm())
    assert off <= 1e-5 + 30 * noise
    assert off / 20 <= total.error <= 1e-5 + 100 * noise


def test_products_that_cancel_give_zero() -> None:
    matrix, train = TensorTrainMatrix.random((2,) * 9, (2,) * 9, 2, 0, F64), TensorTrain.random((2,) * 9, 2, 1, F64)
    nothing = matrix * 3 - matrix - matrix * 2
    assert max(nothing.matmul(train, rtol=1e-6).ranks) == max(nothing.matmul(matrix, rtol=1e-6).ranks) == 1
    little = (nothing + matrix * 1e-6).matmul(train, rtol=1e-6)
    assert max(little.ranks) == 4
    assert float((little - (matrix @ train) * 1e-6).norm() / little.norm()) < 1e-6


def test_a_long_sum_reaches_rounding_error() -> None:
    train = TensorTrain.random((2,) * 100, 3, 0, F64)
    doubled = round_sum([train, train], rtol=0.0)
    assert max(doubled.ranks) == 3
    assert float((doubled - 2 * train).norm() / train.norm()) < 1e-13


def test_gradients_reach_every_summand() -> None:
    cores = [core.requires_grad_() for seed in range(3) for core in TensorTrain.random((3, 2, 3), 2, seed, F64).cores]

    def total(*cores: Tensor) -> Tensor:
        trains = [TensorTrain(cores[n : n + 3]) for n in range(0, 9, 3)]
        return round_sum(trains, ranks=2).reconstruct()

    assert torch.autograd.gradcheck(total, cores)


TRAIN = TensorTrain.random((3, 4), 2)


@pytest.mark.parametrize(
    ("trains", "limits", "named"),
    [
        ([], {"ranks": 2}, "trains is empty"),
        (torch.ones(3), {"ranks": 2}, "trains is a Tensor"),
        (TRAIN, {"ranks": 2}, "trains is a TensorTrain"),
        ([TRAIN, 1], {"ranks": 2}, r"trains\[1\] is a int"),
        ([TRAIN, TensorTrain.random((3, 5), 2)], {"ranks": 2}, "differ in shape"),
        ([TRAIN, TRAIN.to(F64)], {"ranks": 2}, "differ in dtype"),
        ([TRAIN.to(torch.float16)], {"ranks": 2}, "float16"),
        ([TRAIN], {}, "nothing limits the decomposition"),
        ([TRAIN], {"ranks": 0}, "ranks = 0"),
        ([TRAIN], {"ranks": (2, 2)}, "2 entries; one int or 1"),
        ([TRAIN], {"rtol": math.nan}, "rtol = nan"),
        ([TRAIN], {"ranks": 1, "rtol": 1e-6}, "rtol = .* is not reached"),
        ([TRAIN], {"ranks": 1, "seed": 0.5}, "seed = 0.5"),
    ],
)
def test_bad_input_is_refused(trains: Any, limits: dict[str, Any], named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        round_sum(trains, **limits)
