"""Rounding, orthogonalisation and the norm of trains."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tensortrain.errors import TensorTrainError
from tensortrain.tt import svd as tt_svd
from tensortrain.tt.interfaces import right_interfaces
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import DTYPES, F64, LIMITS, distance, full, integer_trains, structured, within


@given(integer_trains(), LIMITS, st.sampled_from(DTYPES))
def test_rounding_is_within_its_limits(train: TensorTrain, limits: dict[str, Any], dtype: torch.dtype) -> None:
    train = train.to(dtype)
    shape, ranks = train.shape, train.ranks
    smallest = tt_svd.count(shape, (ranks[0], *[1] * (len(shape) - 1), ranks[-1]))
    limits = {**limits, "max_parameters": max(limits.get("max_parameters", 10**6), smallest)}
    limits = {**limits, "budget": max(limits.get("budget", 1e6), (smallest + 0.5) / train.dense_parameters)}
    limits.pop("ranks", None)
    c_eps = 100 * torch.finfo(dtype).eps
    reference = full(train)
    try:
        rounded = train.round(**limits)
    except TensorTrainError:
        caps = {name: value for name, value in limits.items() if name != "rtol"}
        assert train.round(**caps).error > limits["rtol"]
        return
    within(rounded, limits)
    assert all(a <= b for a, b in zip(rounded.ranks, train.ranks, strict=True))
    assert (rounded.ranks[0], rounded.ranks[-1]) == (ranks[0], ranks[-1])
    if float(reference.abs().max()) > 0:
        actual = distance(full(rounded), reference)
        assert actual == pytest.approx(rounded.error, abs=c_eps)
        assert actual <= limits.get("rtol", 1.0) + c_eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_rounding_a_sum_finds_its_ranks(dtype: torch.dtype) -> None:
    train = TensorTrain.random((4, 5, 6, 3), (3, 4, 2), dtype=dtype)
    factors = right_interfaces((train + train).cores).factors[1:]
    assert all(f.shape[1] <= rank for f, rank in zip(factors, train.ranks[1:-1], strict=True))
    doubled = (train + train).round(rtol=1e-5)
    assert doubled.ranks == train.ranks
    assert distance(doubled.reconstruct(), 2 * train.reconstruct()) < 1e-5
    assert (train - train * 1).round(rtol=0.5).error is not None


def test_rounding_is_as_good_as_decomposing() -> None:
    tensor = structured((4, 5, 6, 3), 0.5, F64, 0)
    exact = TensorTrain.decompose(tensor, rtol=0.0)
    for limits in ({"ranks": (2, 4, 2)}, {"rtol": 0.05}, {"max_parameters": 80}):
        rounded, direct = exact.round(**limits), TensorTrain.decompose(tensor, **limits)
        assert distance(rounded.reconstruct(), tensor) == pytest.approx(rounded.error, rel=1e-6)
        assert rounded.error <= 1.2 * direct.error
        assert rounded.n_parameters <= 1.2 * direct.n_parameters


@given(integer_trains(), st.data())
def test_orthogonalize_keeps_the_tensor_and_makes_its_cores_orthogonal(train: TensorTrain, data: Any) -> None:
    center = data.draw(st.integers(0, train.order - 1))
    moved = train.orthogonalize(center)
    torch.testing.assert_close(full(moved), full(train))
    for core in moved.cores[:center]:
        flat = core.flatten(0, 1)
        torch.testing.assert_close(flat.mT @ flat, torch.eye(flat.shape[1], dtype=F64))
    for core in moved.cores[center + 1 :]:
        flat = core.flatten(1)
        torch.testing.assert_close(flat @ flat.mT, torch.eye(len(flat), dtype=F64))
    assert float(moved.cores[center].norm()) == pytest.approx(float(full(train).norm()))


@pytest.mark.parametrize("small", [1e-4, 1e-10])
def test_norm_sees_a_small_summand_whatever_cores_the_norms_stand_in(small: float) -> None:
    """One train has its norm in the first core, the other's interfaces grow by a factor in each of 63 bonds."""
    shape = (4,) * 64
    first, other = (TensorTrain.random(shape, 2, seed, dtype=torch.float64) for seed in (0, 1))
    first, other = first / first.norm(), other / other.norm()
    gathered = first.orthogonalize(0)
    for large in (first, gathered):
        total = large + small * other
        assert float((total - large).norm()) == pytest.approx(small, rel=1e-4)
        assert float((large - total).norm()) == pytest.approx(small, rel=1e-4)


def test_norm_is_accurate_after_cancellation() -> None:
    train = TensorTrain.random((5, 6, 7), 3, dtype=F64)
    change = TensorTrain.random((5, 6, 7), 1, seed=1, dtype=F64) * 1e-11
    assert float((train + change - train).norm()) == pytest.approx(float(change.norm()), rel=1e-3)
