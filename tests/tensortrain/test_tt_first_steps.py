"""What newcomers type first: numbers beside trains, powers, builders, copies, arrays."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tensortrain import TensorTrain, TensorTrainMatrix, interpolate, lowest_eigenpair, round_sum, solve
from tests.support.bad_input import check, table
from tests.support.trains import DTYPES, F64, full, integer_train, integer_trains, integers

TRAIN = integer_train((3, 4, 2), (1, 2, 3, 1))
DENSE = TRAIN.reconstruct()


@given(integer_trains(), st.integers(-5, 5), st.integers(0, 3))
def test_numbers_beside_trains(train: TensorTrain, number: int, exponent: int) -> None:
    dense = full(train)
    for value in (number, float(number), np.float64(number), np.int32(number), torch.tensor(number, dtype=F64)):
        assert torch.equal(full(train + value), dense + number)
        assert torch.equal(full(value + train), dense + number)
        assert torch.equal(full(train - value), dense - number)
        assert torch.equal(full(value - train), number - dense)
        assert torch.equal(full(value * train), number * dense)
    assert torch.equal(full(train / 2), dense / 2)
    assert torch.equal(full(train**exponent), dense**exponent)
    assert (train + number).ranks[1:-1] == tuple(rank + 1 for rank in train.ranks[1:-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_numbers_keep_or_widen_the_dtype_as_in_torch(dtype: torch.dtype) -> None:
    train = TRAIN.to(dtype)
    for number in (2, 0.5, 1j, torch.tensor(2.0, dtype=F64), torch.tensor(1j)):
        for result, expected in (
            (train + number, train.reconstruct() + number),
            (train / number, train.reconstruct() / number),
            (train * number, train.reconstruct() * number),
        ):
            assert result.dtype == expected.dtype
            assert len({core.dtype for core in result.cores}) == 1
            torch.testing.assert_close(result.reconstruct(), expected)


def test_gradients_flow_to_numbers_too() -> None:
    number = torch.tensor(1.5, dtype=F64, requires_grad=True)
    cores = tuple(core.clone().requires_grad_() for core in TRAIN.cores)

    def outputs(number: torch.Tensor, *cores: torch.Tensor) -> Any:
        t = TensorTrain(cores)
        return (t + number).reconstruct(), (number - t / number).reconstruct(), (t**3).sum(), t.norm(squared=True)

    assert torch.autograd.gradcheck(outputs, (number, *cores))
    each = torch.vmap(lambda x: (TRAIN + x).sum() + (TRAIN / x).sum())(torch.tensor([1.0, 2.0], dtype=F64))
    torch.testing.assert_close(each, torch.stack([(DENSE + x).sum() + DENSE.sum() / x for x in (1, 2)]))


def test_norms() -> None:
    assert float(TRAIN.norm(squared=True)) == pytest.approx(float((DENSE**2).sum()))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple), st.integers(-3, 3), st.data())
def test_builders(shape: tuple[int, ...], value: int, data: Any) -> None:
    assert torch.equal(TensorTrain.ones(shape).reconstruct(), torch.ones(shape))
    assert torch.equal(TensorTrain.full(shape, value, F64).reconstruct(), torch.full(shape, value, dtype=F64))
    assert TensorTrain.full(shape, value * 1j).dtype == torch.complex64
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    values = integers(shape[axis])
    view = [1] * len(shape)
    view[axis] = -1
    assert torch.equal(TensorTrain.along(values, shape, axis).reconstruct(), values.reshape(view).expand(shape))
    points = math.prod(shape)
    if points > 1:
        grid = TensorTrain.linspace(value, value + 2, shape, F64)
        torch.testing.assert_close(grid.reconstruct().flatten(), torch.linspace(value, value + 2, points, dtype=F64))
        assert max(grid.ranks) <= 2


def test_a_grid_of_more_points_than_a_float_can_count() -> None:
    grid = TensorTrain.linspace(-1, 1, (2,) * 2000, F64)
    assert float(grid[(0,) * 2000]) == -1
    assert float(grid[(1,) * 2000]) == 1
    assert float(grid[(1,) + (0,) * 1999]) == 0


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple).filter(lambda shape: math.prod(shape) > 1),
    st.sampled_from([torch.float16, torch.float32, F64, torch.complex128]),
    st.floats(-1, 1),
    st.floats(-1, 1),
)
def test_grids_reach_the_largest_numbers(shape: tuple[int, ...], dtype: torch.dtype, start: float, end: float) -> None:
    most = torch.finfo(dtype).max
    grid = TensorTrain.linspace(start * most, end * most, shape, dtype).reconstruct().flatten()
    points = torch.linspace(start, end, math.prod(shape), dtype=F64)
    assert float((grid.to(torch.complex128) / most - points).abs().max()) < 100 * torch.finfo(dtype).eps


BUILDERS: list[Any] = [
    lambda **options: TensorTrain.random((2, 3), 2, **options),
    lambda **options: TensorTrain.zeros((2, 3), **options),
    lambda **options: TensorTrain.ones((2, 3), **options),
    lambda **options: TensorTrain.full((2, 3), 0.5, **options),
    lambda **options: TensorTrain.linspace(0, 1, (2, 3), **options),
    lambda **options: TensorTrainMatrix.eye((2, 3), **options),
    lambda **options: TensorTrainMatrix.random((2, 3), (3, 2), 2, **options),
]


@pytest.mark.parametrize("build", BUILDERS)
def test_builders_use_the_default_device_and_refuse_other_dtypes(build: Any) -> None:
    assert build().device == torch.device("cpu")
    with torch.device("meta"):
        assert build().device == torch.device("meta")
        there = build(device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(there.cores, build().cores, strict=True))
    for dtype, fragment in (
        (float, "dtype = <class 'float'> is a type; use torch.float64"),
        ("float64", "dtype = 'float64' is a str"),
        (torch.int32, "dtype = torch.int32 is neither"),
        (torch.float8_e4m3fn, "torch.float8_e4m3fn is one with which torch does not calculate; use torch.float16"),
        (torch.complex32, "torch.complex32 is one with which torch does not calculate; use torch.complex64"),
    ):
        check(lambda dtype=dtype: build(dtype=dtype), fragment)


PLACES = torch.tensor([[0, 1, 0], [2, 3, 1], [1, 1, 1]])


@pytest.mark.filterwarnings("ignore:the function is zero")
@pytest.mark.parametrize(
    "call",
    [
        lambda train: train.sample(2).indices,
        lambda train: torch.tensor(train.largest().position, device="cpu"),
        lambda train: train.map(torch.exp).reconstruct(),
        lambda train: interpolate(lambda i: 0.0 * i.sum(1), (3, 4), rtol=1e-6).train.reconstruct(),
        lambda train: interpolate(lambda i: i.sum(1).double(), (3, 4, 2), rtol=1e-6, pivots=PLACES).train.reconstruct(),
        lambda train: round_sum([train, train], rtol=0.1).reconstruct(),
        lambda train: solve(TensorTrainMatrix.eye((3, 4, 2), F64, "cpu"), train, 1e-8).train.reconstruct(),
        lambda train: lowest_eigenpair(TensorTrainMatrix.eye((2, 3), F64, "cpu"), 1e-8).train.reconstruct(),
        lambda train: TensorTrain.fit(PLACES, DENSE[PLACES.unbind(1)], 1).reconstruct(),
    ],
)
def test_another_default_device_changes_nothing(call: Any) -> None:
    expected = call(TRAIN)
    with torch.device("meta"):
        result = call(TRAIN)
    assert torch.equal(result, expected)


def test_a_result_shares_no_memory_with_its_input() -> None:
    dense = torch.ones(3, 1)
    trains = [TensorTrain.decompose(dense[:, 0], ranks=1), TensorTrain.quantize(dense[:, 0], 3)]
    results: list[Any] = [train.reconstruct() for train in trains]
    matrix = TensorTrainMatrix.decompose(dense, (3,), (1,), ranks=1)
    results += [matrix.reconstruct(), trains[0].numpy()]
    for changed in (dense, *results):
        changed[:] = 0
    for whole in (*trains, matrix):
        assert bool((whole.reconstruct() == 1).all())


@pytest.mark.parametrize("kind", [TRAIN, TensorTrainMatrix([core[..., None, :] for core in TRAIN.cores])], ids=type)
def test_copies_and_moves(kind: Any) -> None:
    copy = kind.clone()
    assert all(a.data_ptr() != b.data_ptr() and torch.equal(a, b) for a, b in zip(copy.cores, kind.cores, strict=True))
    assert not copy.requires_grad
    assert copy.requires_grad_() is copy
    assert copy.requires_grad
    assert not copy.detach().requires_grad
    assert copy.detach().cores[0].data_ptr() == copy.cores[0].data_ptr()
    assert copy.clone().requires_grad
    assert not copy.requires_grad_(False).requires_grad
    assert kind.to(torch.float32).double().dtype == F64
    assert kind.to(torch.complex64).double().dtype == torch.complex128
    assert kind.cpu().device.type == "cpu"
    turned = type(kind)([core * 1j for core in kind.cores])
    assert torch.equal(turned.conj().reconstruct(), turned.reconstruct().conj())
    assert torch.equal(turned.conj().clone().conj().reconstruct(), turned.reconstruct())


def test_arrays_of_numpy() -> None:
    dense = DENSE.numpy()
    for array in (np.asarray(TRAIN), np.array(TRAIN), TRAIN.numpy(), np.asarray(TRAIN, dtype=np.float64)):
        assert array.dtype == np.float64
        assert np.array_equal(array, dense)
    assert np.asarray(TRAIN, dtype=np.float32).dtype == np.float32
    turned = TRAIN * 1j
    assert np.array_equal(turned.conj().numpy(), -1j * dense)
    assert isinstance(np.float64(2) * TRAIN, TensorTrain)
    assert isinstance(torch.tensor(2.0) * TRAIN, TensorTrain)
    assert isinstance(torch.tensor(2.0) + TRAIN, TensorTrain)
    with pytest.raises(TypeError):
        np.ones(3) * TRAIN
    with pytest.raises(TypeError):
        np.add(TRAIN, 1)


LARGE = TensorTrain.ones((2,) * 100)


@table(
    (lambda: TRAIN + math.inf, ("the summand inf is not finite",)),
    (lambda: TRAIN - torch.tensor(math.nan), ("not finite",)),
    (lambda: TRAIN / 0, ("the divisor 0 is zero",)),
    (lambda: TRAIN / math.inf, ("the divisor inf is not finite",)),
    (lambda: TRAIN / torch.tensor(0.0), ("is zero",)),
    (lambda: np.asarray(LARGE), ("entries, more than 4 GiB",)),
    (LARGE.numpy, ("read only the entries that you need",)),
    (lambda: np.asarray(TRAIN.clone().requires_grad_()), ("call train.detach() first",)),
    (lambda: np.asarray(TRAIN.to(torch.bfloat16)), ("bfloat16",)),
    (lambda: np.array(TRAIN, copy=False), ("copy=False",)),
    (lambda: TRAIN.clone().requires_grad_().clone().requires_grad_(False), ("call detach() first",)),
    (lambda: TensorTrain.full((2, 2), math.nan), ("value = nan",)),
    (lambda: TensorTrain.full((2, 2), "1"), ("value = '1'",)),
    (lambda: TensorTrain.full((2, 2), 1e200), ("value = 1e+200 does not fit torch.float32",)),
    (lambda: TensorTrain.full((2, 2), 1j, F64), ("value = 1j does not fit torch.float64",)),
    (lambda: TensorTrain.ones((2, 0)), ("shape[1] = 0",)),
    (lambda: TensorTrain.ones(2), ("shape = 2",)),
    (lambda: TensorTrain.along(torch.ones(3), (2, 3), 0), ("values has shape (3,); (2,) is needed",)),
    (lambda: TensorTrain.along(torch.ones(3), (2, 3), 2), ("dim = 2",)),
    (lambda: TensorTrain.along([1.0], (1,), 0), ("values is a list",)),
    (lambda: TensorTrain.linspace(0, math.inf, (2, 2)), ("end = inf",)),
    (lambda: TensorTrain.linspace(0, 1, (1, 1)), ("one point",)),
    (lambda: TensorTrain.linspace(0, 1e39, (2, 2)), ("end = 1e+39 does not fit torch.float32",)),
    (lambda: TensorTrain.linspace(1e6, 0, (2, 2), torch.float16), ("start = 1000000.0 does not fit torch.float16",)),
    (lambda: TensorTrain.linspace(0, 10**400, (2, 2)), ("end = ≈1e+400 is not a finite floating-point number",)),
    (lambda: TensorTrain.full((2, 2), 10**400), ("value = ≈1e+400 is not a finite",)),
    (lambda: TensorTrain.full((2, 2), complex(1e39, 1)), ("does not fit torch.complex64",)),
    (lambda: TensorTrain.linspace("0", 1, (2, 2)), ("start = '0'",)),
)
def test_refused(call: Any, fragments: Any) -> None:
    check(call, *fragments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_no_gpu_is_a_named_refusal() -> None:
    check(lambda: TRAIN.cuda(), "cannot move to the GPU")
