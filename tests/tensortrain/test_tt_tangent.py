"""Riemannian gradients against the definition, by dense projections; steps that never rise; quantised trains; vmap."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils import _pytree as pytree

import tensortrain as tt
from tensortrain import TensorTrain
from tests.support.bad_input import check, table
from tests.support.trains import DTYPES, F64, distance, full, integers

SHAPE = (3, 4, 3)
TRAIN = TensorTrain.random(SHAPE, (2, 2), seed=1, dtype=F64)


def dense_projection(train: TensorTrain, dense: Tensor) -> Tensor:
    """By the definition: least squares over the derivatives of the dense tensor by all numbers of the cores."""
    columns = []
    for l, core in enumerate(train.cores):
        for unit in torch.eye(core.numel(), dtype=core.dtype):
            moved = [*train.cores[:l], unit.reshape(core.shape), *train.cores[l + 1 :]]
            columns.append(TensorTrain(moved).reconstruct().flatten())
    left, values, _ = torch.linalg.svd(torch.stack(columns, 1), full_matrices=False)
    basis = left[:, values > 1e-6 * values[0]]
    return (basis @ (basis.mH @ dense.flatten())).reshape(dense.shape)


CASES = [((3, 4, 3), (2, 2)), ((4, 5), (2,)), ((2, 3, 3, 2), (2, 3, 2)), ((4,), ())]


@pytest.mark.parametrize("dtype", [F64, torch.complex128])
@pytest.mark.parametrize(
    ("shape", "ranks"), [((3, 4, 3), (2, 2)), ((4, 5), (2,)), ((2, 3, 3, 2), (2, 3, 2)), ((4,), ())]
)
def test_projections_are_those_on_the_tangent_space(shape: Any, ranks: Any, dtype: torch.dtype) -> None:
    train = TensorTrain.random(shape, ranks, seed=1, dtype=dtype)
    other = TensorTrain.random(shape, 3, seed=2, dtype=dtype)
    projected = tt.tangent.project(train, other)
    torch.testing.assert_close(projected.reconstruct(), dense_projection(train, other.reconstruct()))
    assert all(rank <= 2 * r for rank, r in zip(projected.ranks[1:-1], train.ranks[1:-1], strict=True))
    torch.testing.assert_close(tt.tangent.project(train, train).reconstruct(), train.reconstruct())


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [(F64, (1e-170, 1e-170)), (F64, (1e170, 1e-300)), (torch.float32, (1e20, 1e20)), (torch.float32, (1e-36, 1e36))],
)
def test_projections_of_very_small_and_large_trains(dtype: torch.dtype, scales: tuple[float, float]) -> None:
    train, other = (TensorTrain.random(SHAPE, 2, seed=seed, dtype=dtype) for seed in (1, 2))
    projected = tt.tangent.project(train * scales[0], other * scales[1]) / scales[1]
    assert distance(full(projected), full(tt.tangent.project(train, other))) < 1e2 * torch.finfo(dtype).eps


def test_projections_where_no_core_could_hold_the_norm() -> None:
    train = TensorTrain.random((2,) * 60, 2)
    large = TensorTrain([core * 1e3 for core in train.cores])
    projected, wide = tt.tangent.project(large, large).double(), large.double()
    assert float((projected - wide).norm() / wide.norm()) < 1e-4


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 3), st.integers(0, 99))
def test_projections_are_orthogonal(shape: list[int], rank: int, seed: int) -> None:
    train, a, b = (TensorTrain.random(shape, rank, seed=seed + n, dtype=F64) for n in range(3))
    pa, pb = tt.tangent.project(train, a), tt.tangent.project(train, b)
    scale = float(a.norm() * b.norm())
    assert abs(float(pa.inner(b) - a.inner(pb))) < 1e-10 * scale  # self-adjoint
    assert distance(full(tt.tangent.project(train, pa)), full(pa)) < 1e-9
    assert float(pa.norm()) <= float(a.norm()) * (1 + 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_projections_of_dense_ones(dtype: torch.dtype) -> None:
    train = TRAIN.to(dtype) if not dtype.is_complex else TensorTrain.random(SHAPE, (2, 2), seed=1, dtype=dtype)
    index = tuple(integers(20, seed=n).abs().long() % size for n, size in enumerate(SHAPE))
    values = integers(20, seed=9, dtype=dtype)

    def function(t: Any) -> Tensor:
        return (t[index] - values).abs().square().sum()

    value, slope = tt.tangent.gradient(function, train)
    dense = train.reconstruct().requires_grad_()
    loss = function(dense)
    assert value == pytest.approx(float(loss.detach()), rel=1e-4)
    expected = dense_projection(train.to(torch.complex128), torch.autograd.grad(loss, dense)[0].to(torch.complex128))
    assert distance(slope.reconstruct(), expected) < 1e3 * torch.finfo(dtype).eps


def test_ranks_above_the_useful_ones_and_any_gauge() -> None:
    larger = TensorTrain.random((2, 3, 2), (5, 5), dtype=F64)
    other = TensorTrain.random((2, 3, 2), 2, seed=3, dtype=F64)
    torch.testing.assert_close(tt.tangent.project(larger, other).reconstruct(), other.reconstruct())
    moved = TRAIN.orthogonalize(1)
    other = TensorTrain.random(SHAPE, 3, seed=3, dtype=F64)
    torch.testing.assert_close(
        tt.tangent.project(moved, other).reconstruct(), tt.tangent.project(TRAIN, other).reconstruct()
    )


def test_steps_never_rise_and_complete_a_train() -> None:
    truth = TensorTrain.random((6, 7, 6), 2, dtype=F64)
    generator = torch.Generator().manual_seed(0)
    index = tuple(torch.randint(0, size, (220,), generator=generator) for size in truth.shape)
    values = truth[index]

    def loss(t: TensorTrain) -> Tensor:
        return (t[index] - values).square().sum() / 2

    train, rate, previous = TensorTrain.random((6, 7, 6), 2, seed=1, dtype=F64), 1.0, math.inf
    for _ in range(200):
        train, value, rate = tt.tangent.step(loss, train, 2 * rate)
        assert value <= previous
        assert train.ranks == truth.ranks
        previous = value
        if rate == 0:
            break
    assert float((train - truth).norm() / truth.norm()) < 1e-3
    still = tt.tangent.step(lambda t: (t - TRAIN).norm(squared=True), TRAIN)
    assert still.value < 1e-20


def test_inference_mode_is_named() -> None:
    with torch.inference_mode():
        check(lambda: tt.tangent.gradient(lambda t: t.sum(), TRAIN), "torch.inference_mode()", "torch.no_grad()")
    with torch.no_grad():
        assert tt.tangent.gradient(lambda t: t.sum(), TRAIN).train.order == 3


@table(
    (lambda: tt.tangent.gradient(lambda t: 1.0, TRAIN), ("the value of the function is float",)),
    (lambda: tt.tangent.gradient(lambda t: t.cores[0], TRAIN), ("of shape (1, 3, 4)",)),
    (lambda: tt.tangent.gradient(lambda t: t.sum() * 1j, TRAIN), ("torch.complex128", "a real 0-d tensor")),
    (lambda: tt.tangent.gradient(lambda t: t.sum() * math.nan, TRAIN), ("the value of the function is nan",)),
    (lambda: tt.tangent.gradient(lambda t: torch.tensor(1.0), TRAIN), ("does not depend differentiably on the train",)),
    (lambda: tt.tangent.gradient(lambda t: t.sum(), None), ("train is a NoneType",)),
    (lambda: tt.tangent.project(TRAIN, TRAIN[0]), ("differ in shape",)),
    (lambda: tt.tangent.project(TRAIN, 3), ("other is a int",)),
    (lambda: tt.tangent.step(lambda t: t.sum(), TRAIN, 0), ("rate = 0 is not a positive number",)),
    (lambda: tt.tangent.step(lambda t: t.sum(), TRAIN, "1"), ("rate = '1'",)),
    (lambda: tt.tangent.step(lambda t: t.sum(), TRAIN.to(torch.float16)), ("float16",)),
    (lambda: TensorTrain.quantize(torch.ones(6)), ("x has an axis of length 6", "not a power of base = 2")),
    (lambda: TensorTrain.quantize(torch.ones(8), 1), ("base = 1",)),
    (lambda: TensorTrain.quantize(torch.ones(1, 1)), ("one entry",)),
    (lambda: TensorTrain.quantize(3), ("x is a int",)),
    (lambda: TensorTrain.quantize(torch.ones(8) * math.nan), ("NaN",)),
    (lambda: TensorTrain.quantize(torch.ones(8), rtol=2), ("rtol = 2",)),
)
def test_refused(call: Any, fragments: Any) -> None:
    check(call, *fragments)


# ---- quantised trains


@given(st.lists(st.integers(0, 3), min_size=1, max_size=3), st.sampled_from([2, 3]), st.integers(0, 99))
def test_there_and_back(powers: list[int], base: int, seed: int) -> None:
    if sum(powers) == 0:
        return
    shape = [base**k for k in powers]
    dense = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=F64)
    train = TensorTrain.quantize(dense, base)
    assert train.shape == (base,) * sum(powers)
    torch.testing.assert_close(train.reshape(shape).reconstruct(), dense)
    again = TensorTrain.quantize(TensorTrain.decompose(dense, rtol=0.0), base)
    torch.testing.assert_close(again.reconstruct(), train.reconstruct())


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_on_grids_have_small_ranks(dtype: torch.dtype) -> None:
    x = torch.linspace(0, 1, 1024, dtype=torch.float64)
    for function, rank in ((torch.exp(x), 1), (torch.sin(9 * x), 2), (x**3 - x, 4), ((x > 0.3).double(), 2)):
        train = TensorTrain.quantize(function.to(dtype), rtol=1e-5)
        assert max(train.ranks) <= rank
        assert distance(train.reshape(1024).reconstruct(), function) < 2e-5
    grid = TensorTrain.linspace(0, 1, (2,) * 10, F64)
    torch.testing.assert_close((grid**3 - grid).reshape(1024).reconstruct(), x**3 - x)


# ---- batches of trains


OPERATIONS: dict[str, Any] = {
    "entry": lambda t: t[0, 1, 2],
    "lookup": lambda t: t[torch.tensor([0, 2]), torch.tensor([1, 1]), torch.tensor([2, 0])],
    "slice": lambda t: t[1, ..., ::2].reconstruct(),
    "new axis": lambda t: t[None, :, 0].reconstruct(),
    "sum": lambda t: t.sum(),
    "mean": lambda t: t.mean(1).reconstruct(),
    "numbers": lambda t: ((2 * t + 1) / 3 - 0.5).reconstruct(),
    "power": lambda t: (t**2).sum(),
    "norm": lambda t: t.norm(),
    "inner": lambda t: t.inner(t + t),
    "permute": lambda t: t.permute(2, 0, 1).reconstruct(),
    "reshape": lambda t: t.reshape(3, 2, 6).reconstruct(),
    "kron": lambda t: t.kron(t).sum(),
    "cat": lambda t: TensorTrain.cat([t, t], 1).reconstruct(),
    "tensordot": lambda t: t.tensordot(t.permute(2, 1, 0), 1).reconstruct(),
    "contract": lambda t: t.contract({1: torch.ones(4, dtype=F64)}).reconstruct(),
    "evaluate": lambda t: t.evaluate([torch.ones(n, dtype=F64) for n in SHAPE]),
    "round": lambda t: t.round(ranks=1).reconstruct(),
    "conj": lambda t: t.conj().clone().detach().reconstruct(),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_batches_of_trains_through_vmap(name: str) -> None:
    """A batch is a train whose cores have one more axis in front."""
    trains = [TensorTrain.random(SHAPE, 2, seed, dtype=F64) for seed in range(3)]
    batch = pytree.tree_map(lambda *cores: torch.stack(cores), *trains)
    operation = OPERATIONS[name]
    torch.testing.assert_close(torch.vmap(operation)(batch), torch.stack([operation(t) for t in trains]))


def test_batches_of_trains_come_back_as_trains() -> None:
    trains = [TensorTrain.random(SHAPE, 2, seed, dtype=F64) for seed in range(3)]
    batch = pytree.tree_map(lambda *cores: torch.stack(cores), *trains)
    doubled = torch.vmap(lambda t: 2 * t)(batch)
    for n, train in enumerate(trains):
        one = pytree.tree_map(lambda core, n=n: core[n], doubled)
        torch.testing.assert_close(one.reconstruct(), 2 * train.reconstruct())
    slopes = torch.vmap(torch.func.grad(lambda t: (t * t).sum()))(batch)
    one = torch.func.grad(lambda t: (t * t).sum())(trains[1])
    for batched, alone in zip(slopes.cores, one.cores, strict=True):
        torch.testing.assert_close(batched[1], alone)
