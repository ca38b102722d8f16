"""The tensor train by its definition, exactly on integers: entries, evaluation, counts, arithmetic, indexing."""

import itertools
import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import F64, entries, full, integer_train, integer_trains, integers, structured


@given(integer_trains())
def test_reconstruct_is_eq_1(train: TensorTrain) -> None:
    assert torch.equal(full(train), entries(train))
    dropped = train.ranks[0] == train.ranks[-1] == 1
    assert train.reconstruct().shape == (train.shape if dropped else (train.ranks[0], *train.shape, train.ranks[-1]))


@given(integer_trains(), st.none() | st.integers(1, 3), st.integers(0, 31))
def test_evaluate_is_eq_2(train: TensorTrain, batch: int | None, shared: int) -> None:
    inputs = [
        integers(*(() if batch is None or shared >> l & 1 else (batch,)), size, seed=50 + l)
        for l, size in enumerate(train.shape)
    ]
    batched = any(u.dim() == 2 for u in inputs)
    expected = torch.zeros((batch or 1) if batched else 1, train.ranks[0], train.ranks[-1], dtype=F64)
    dense = entries(train)
    for b, index in itertools.product(range(len(expected)), itertools.product(*map(range, train.shape))):
        weight = math.prod(float((u[b] if u.dim() == 2 else u)[i]) for u, i in zip(inputs, index, strict=True))
        expected[b] += weight * dense[(slice(None), *index)]
    expected = expected if batched else expected[0]
    if train.ranks[0] == train.ranks[-1] == 1:
        expected = expected[..., 0, 0]
    assert torch.equal(train.evaluate(inputs), expected)
    assert torch.equal(train.evaluate_dense(inputs), expected)


@given(integer_trains())
def test_parameters_are_the_entries_of_the_cores(train: TensorTrain) -> None:
    assert train.n_parameters == sum(len(core.flatten()) for core in train.cores)
    assert train.dense_parameters == entries(train).numel()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("ranks", [(1, 2, 3, 1), (2, 3, 2, 4), (1, 5, 2, 1)])
def test_macs_are_the_multiplications_that_run(ranks: tuple[int, ...], batch: int) -> None:
    train = integer_train((2, 4, 3), ranks)
    inputs = [integers(batch, size) for size in train.shape]

    def flops(run: Any) -> int:
        with FlopCounterMode(display=False) as counter:
            run()
        return counter.get_total_flops()

    assert flops(lambda: train.evaluate(inputs)) == 2 * batch * train.macs()
    dense = flops(lambda: train.evaluate_dense(inputs)) - flops(train.reconstruct)
    assert dense == 2 * batch * train.dense_macs()


@given(integer_trains())
def test_macs_are_those_counted_index_by_index(train: TensorTrain) -> None:
    ranks, shape = train.ranks, train.shape
    sequential = sum(
        1 for l in range(train.order) for _ in itertools.product(*map(range, (ranks[l], shape[l], ranks[l + 1])))
    )
    sequential += sum(
        1 for l in range(1, train.order) for _ in itertools.product(*map(range, (ranks[0], ranks[l], ranks[l + 1])))
    )
    dense = sum(
        1 for l in range(train.order) for _ in itertools.product(*map(range, (ranks[0], *shape[: l + 1], ranks[-1])))
    )
    assert (train.macs(), train.dense_macs()) == (sequential, dense)


@given(integer_trains(), st.integers(0, 99), st.data())
def test_arithmetic_is_that_of_the_dense_tensors(train: TensorTrain, seed: int, data: Any) -> None:
    interior = [data.draw(st.integers(1, 3)) for _ in train.ranks[1:-1]]
    other = integer_train(train.shape, (train.ranks[0], *interior, train.ranks[-1]), seed)
    a, b = full(train), full(other)
    assert torch.equal(full(train + other), a + b)
    assert torch.equal(full(train - other), a - b)
    assert torch.equal(full(-train), -a)
    assert torch.equal(full(train * other), a * b)
    assert torch.equal(full(3 * train), 3 * a)
    assert torch.equal(full(train * 2.0), 2 * a)
    assert torch.equal(train.inner(other), (a * b).sum())
    assert (train + other).ranks[1:-1] == tuple(x + y for x, y in zip(train.ranks[1:-1], interior, strict=True))
    assert (train * other).ranks[1:-1] == tuple(x * y for x, y in zip(train.ranks[1:-1], interior, strict=True))
    assert float(train.norm()) == pytest.approx(float(a.norm()))


def test_complex_arithmetic_conjugates_the_left_side() -> None:
    i = TensorTrain([torch.tensor([[[1j], [2.0]]], dtype=torch.complex128)])
    one = TensorTrain([torch.tensor([[[1.0], [1j]]], dtype=torch.complex128)])
    assert complex(i.inner(one)) == 1j  # conj(i) · 1 + 2 · i
    assert complex(i.inner(i)) == 5
    assert float(i.norm()) == pytest.approx(math.sqrt(5))
    turned = integer_train((2, 3), (1, 2, 1)) * 1j
    assert turned.dtype == torch.complex128
    assert torch.equal(turned.reconstruct(), integer_train((2, 3), (1, 2, 1)).reconstruct() * 1j)


def test_what_was_not_decomposed_has_no_error() -> None:
    train = TensorTrain.decompose(structured((3, 4), 0.5, F64, 0), ranks=2)
    assert train.error is not None
    assert all(t.error is None for t in (train + train, train * train, 2 * train, -train, train[1:]))
    assert train.orthogonalize(0).error == train.to(torch.float32).error == train.error


@given(integer_trains(), st.data())
def test_indexing_is_that_of_the_dense_tensor(train: TensorTrain, data: Any) -> None:
    index: list[Any] = []
    for size in train.shape:
        start = data.draw(st.integers(0, size - 1))
        stop = data.draw(st.integers(start + 1, size))
        whole = [slice(None), slice(start, stop), slice(-1, None), slice(None, None, 2)]
        index.append(data.draw(st.sampled_from([start, start - size, *whole])))
    expected = full(train)[(slice(None), *index)]
    selected = train[tuple(index)]
    if isinstance(selected, TensorTrain):
        assert torch.equal(full(selected), expected)
        assert selected.ranks[0] == train.ranks[0]
        assert selected.ranks[-1] == train.ranks[-1]
    else:
        assert torch.equal(selected, expected.reshape(()) if expected.numel() == 1 else expected)


def test_indexing_takes_ellipses_and_negative_steps() -> None:
    train = integer_train((3, 4, 5), (1, 2, 3, 1))
    dense = train.reconstruct()
    assert torch.equal(train[...].reconstruct(), dense)
    assert torch.equal(train[1].reconstruct(), dense[1])
    assert torch.equal(train[..., 2].reconstruct(), dense[..., 2])
    assert torch.equal(train[0, ..., 2].reconstruct(), dense[0, ..., 2])
    assert torch.equal(train[:, ::-2].reconstruct(), dense[:, [3, 1]])
    assert torch.equal(train[2, -1, 4], dense[2, -1, 4])
    with pytest.raises(TypeError, match="not iterable"):
        iter(train)


TRAIN = TensorTrain.random((3, 4), 2)


def test_autocast_takes_inputs_of_its_dtype() -> None:
    u, v = torch.ones(2, 3), torch.ones(2, 4)
    for evaluate in (TRAIN.evaluate, TRAIN.evaluate_dense):
        with torch.autocast("cpu", torch.bfloat16):
            low = evaluate([u.bfloat16(), v])
        torch.testing.assert_close(low.float(), evaluate([u, v]), rtol=0.05, atol=0.05)
