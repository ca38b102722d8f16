"""Trains from some of their entries."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tensortrain import TensorTrain
from tests.support.bad_input import check, table
from tests.support.trains import DTYPES, F64

DENSE = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(1), dtype=F64)


def observed(shape: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(0, size, (count,), generator=generator) for size in shape], 1)


def everywhere(shape: tuple[int, ...]) -> Tensor:
    return torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape))


@pytest.mark.parametrize(("shape", "rank", "factor"), [((10, 10, 10), 2, 6), ((6, 7, 5, 6), 2, 6), ((30, 40), 2, 5)])
def test_a_random_train_is_recovered_from_few_entries(shape: tuple[int, ...], rank: int, factor: int) -> None:
    truth = TensorTrain.random(shape, rank, seed=3, dtype=F64)
    indices = observed(shape, factor * truth.n_parameters)
    train = TensorTrain.fit(indices, truth[indices.unbind(1)], rank)
    assert train.ranks == truth.ranks
    assert train.error <= 1e-10
    assert float((train - truth).norm() / truth.norm()) < 1e-8
    assert not train.requires_grad


@settings(max_examples=10)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), st.integers(0, 99))
def test_all_entries_at_full_rank_are_fitted(shape: tuple[int, ...], seed: int) -> None:
    dense = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    train = TensorTrain.fit(everywhere(shape), dense.flatten(), 99, rtol=1e-8, sweeps=400)
    assert float((train.reconstruct() - dense).norm()) <= 1e-6 * float(dense.norm())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_in_every_dtype_and_scale(dtype: torch.dtype, scale: float) -> None:
    truth = TensorTrain.random((6, 6, 6), 2, dtype=torch.complex128 if dtype.is_complex else F64)
    indices = observed((6, 6, 6), 200)
    train = TensorTrain.fit(indices, (truth[indices.unbind(1)] * scale).to(dtype), 2)
    assert train.dtype == dtype
    wide = train.to(truth.dtype) / scale
    assert float((wide - truth).norm() / truth.norm()) < 1e3 * torch.finfo(dtype).eps + 1e-8


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_at_the_ends_of_the_range(scale: float) -> None:
    truth = TensorTrain.random((6, 6, 6), 2, dtype=F64)
    indices = observed((6, 6, 6), 200)
    train = TensorTrain.fit(indices, truth[indices.unbind(1)] * scale, 2)
    torch.testing.assert_close(train.reconstruct() / scale, truth.reconstruct())


def test_noise_is_not_fitted_wildly() -> None:
    truth = TensorTrain.random((10, 10, 10), 2, seed=1, dtype=F64)
    indices = observed((10, 10, 10), 400)
    values = truth[indices.unbind(1)]
    noise = 0.05 * torch.randn(400, dtype=F64, generator=torch.Generator().manual_seed(2)) * values.std()
    train = TensorTrain.fit(indices, values + noise, 2)
    assert train.error < 0.06
    assert float((train - truth).norm() / truth.norm()) < 0.06


@settings(max_examples=10)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple),
    st.integers(1, 40),
    st.integers(1, 5),
    st.sampled_from(DTYPES),
    st.integers(0, 99),
)
def test_few_entries_are_fitted_and_unseen_slices_are_zero(
    shape: tuple[int, ...], count: int, rank: int, dtype: torch.dtype, seed: int
) -> None:
    indices = observed(shape, count, seed)
    values = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    train = TensorTrain.fit(indices, values, rank, shape=shape, sweeps=5)
    residual = float((train[indices.unbind(1)] - values).norm() / values.norm())
    assert residual == pytest.approx(train.error, abs=1e3 * torch.finfo(dtype).eps)
    for axis, size in enumerate(shape):
        unseen = sorted(set(range(size)) - set(indices[:, axis].tolist()))
        if unseen:
            slices = train[(*[slice(None)] * axis, torch.tensor(unseen))]
            assert float(slices.norm()) <= 1e3 * torch.finfo(dtype).eps * float(train.norm())


def test_fifty_entries_of_ten_thousand() -> None:
    generator = torch.Generator().manual_seed(8)
    indices = torch.randint(0, 100, (50, 2), generator=generator)
    values = torch.randn(50, generator=generator, dtype=F64)
    train = TensorTrain.fit(indices, values, 5, shape=(100, 100))
    assert train.error < 1e-10
    assert float(train.norm()) < 3 * float(values.norm())


def test_entries_of_a_long_train_are_damped_and_not_divided_by_zero() -> None:
    indices = observed((4,) * 600, 20)
    train = TensorTrain.fit(indices, torch.ones(20, dtype=F64), 2, shape=(4,) * 600, sweeps=1)
    assert 0 < train.error <= 1
    one = TensorTrain.fit(indices[:1, :300], torch.ones(1, dtype=F64), 1, shape=(4,) * 300, sweeps=1)
    assert float(one[tuple(indices[0, :300].tolist())]) == pytest.approx(1)


def test_the_error_is_the_residual_and_the_shape_may_be_larger() -> None:
    indices = everywhere((4, 3, 5))
    train = TensorTrain.fit(indices, DENSE.flatten(), 2, shape=(5, 3, 5))
    assert train.shape == (5, 3, 5)
    residual = train[indices.unbind(1)] - DENSE.flatten()
    assert train.error == pytest.approx(float(residual.norm() / DENSE.norm()))
    best = TensorTrain.decompose(DENSE, ranks=2).error
    assert train.error < 1.05 * best
    assert float(train[4].norm()) == 0
    assert float(TensorTrain.fit(indices, 0 * DENSE.flatten(), 2).norm()) == 0


def test_the_shape_may_be_read_only_once() -> None:
    assert TensorTrain.fit(IDS, VALUES, 1, shape=iter((4, 2))).shape == (4, 2)  # type: ignore[arg-type]


IDS, VALUES = torch.tensor([[0, 1], [2, 0]]), torch.tensor([1.0, 2.0])


@table(
    (lambda: TensorTrain.fit(IDS.float(), VALUES, 1), ("indices is a torch.float32",)),
    (lambda: TensorTrain.fit([[0, 1]], VALUES, 1), ("indices is a list",)),
    (lambda: TensorTrain.fit(IDS.to("meta"), VALUES, 1), ("indices is on the meta device",)),
    (lambda: TensorTrain.fit(IDS[0], VALUES, 1), ("indices has shape (2,)",)),
    (lambda: TensorTrain.fit(IDS, VALUES[:1], 1), ("values (1,)",)),
    (lambda: TensorTrain.fit(IDS - 1, VALUES, 1), ("indices holds -1",)),
    (lambda: TensorTrain.fit(IDS, VALUES * math.nan, 1), ("2 NaN",)),
    (lambda: TensorTrain.fit(IDS, VALUES.half(), 1), ("float16",)),
    (lambda: TensorTrain.fit(IDS, IDS[:, 0], 1), ("dtype torch.int64",)),
    (lambda: TensorTrain.fit(IDS, VALUES, 0), ("ranks = 0",)),
    (lambda: TensorTrain.fit(IDS, VALUES, (1, 1)), ("2 entries",)),
    (lambda: TensorTrain.fit(IDS, VALUES, 1, shape=(2, 2)), ("shape = (2, 2) does not hold", "(2, 1)")),
    (lambda: TensorTrain.fit(IDS, VALUES, 1, shape=(3, 2, 1)), ("does not hold",)),
    (lambda: TensorTrain.fit(IDS, VALUES, 1, sweeps=0), ("sweeps = 0",)),
    (lambda: TensorTrain.fit(IDS, VALUES, 1, rtol=-1.0), ("rtol = -1.0",)),
    (lambda: TensorTrain.fit(IDS, VALUES, 1, seed=-1), ("seed = -1",)),
)
def test_refused(call: Any, fragments: Any) -> None:
    check(call, *fragments)
