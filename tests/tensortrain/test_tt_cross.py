"""Trains of functions by cross interpolation: against dense tensors, in many dimensions, and what the report says."""

import math
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.tt import interpolation
from tensortrain.tt.cross import eliminate, gathered, interpolant, random_indices
from tensortrain.tt.functions import interpolate
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import DTYPES, F64, distance, integer_trains


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@settings(max_examples=25)
@given(integer_trains(ends=False), st.sampled_from(DTYPES), st.integers(0, 3))
def test_any_tensor_is_interpolated_exactly_in_its_ranks(train: TensorTrain, dtype: torch.dtype, seed: int) -> None:
    dense = train.reconstruct().to(dtype)
    if not float(dense.abs().max()):
        return
    eps = torch.finfo(dtype).eps
    result, report = interpolate(lambda i: dense[tuple(i.T)], train.shape, rtol=0.0, seed=seed)
    assert distance(result.reconstruct(), dense) < 1e3 * eps
    exact = TensorTrain.decompose(dense.to(torch.complex128), rtol=1e-6)
    assert all(a <= b for a, b in zip(result.ranks, exact.ranks, strict=True))
    assert report.converged
    assert report.epsilon <= 1e3 * eps * report.largest
    assert (result.dtype, result.error) == (dtype, None)


SIXTEENTHS = 1 / 16


@pytest.mark.parametrize(
    ("function", "shape", "rank"),
    [
        (lambda i: torch.sin(0.1 * i.sum(1).double()), (16,) * 100, 2),
        (lambda i: torch.exp(1j * 0.05 * i.sum(1).double()), (6,) * 60, 1),
        (lambda i: (SIXTEENTHS * i.double()).square().sum(1), (16, 3, 8) * 12, 2),
        (lambda i: (SIXTEENTHS * i.double()).sum(1) ** 3, (8,) * 30, 4),
        (lambda i: torch.cos(i[:, 0] * 0.3) * (1.0 + i[:, -1]).double() + i[:, 1], (9,) * 20, 2),
    ],
    ids=["sine of a sum", "complex wave", "sum of squares", "cube of a sum", "sum of products"],
)
def test_known_ranks_in_many_dimensions(function: Any, shape: tuple[int, ...], rank: int) -> None:
    train, report = interpolate(function, shape, rtol=1e-11)
    assert max(train.ranks) == rank
    points = torch.stack([torch.randint(n, (500,), generator=torch.Generator().manual_seed(9)) for n in shape], 1)
    values = function(points)
    assert float((gathered(train.cores, points) - values).abs().max()) <= 1e-10 * report.largest
    assert report.epsilon <= 1e-10 * report.largest


def test_ranks_that_only_decay_are_cut_at_the_tolerance() -> None:
    errors, ranks = [], []
    for rtol in (1e-3, 1e-6, 1e-9):
        train, report = interpolate(lambda i: 1 / (1.0 + i.sum(1).double()), (8,) * 8, rtol=rtol)
        errors.append(report.epsilon / report.largest <= rtol)
        ranks.append(max(train.ranks))
    assert errors == [True] * 3
    assert ranks == sorted(ranks)
    assert ranks[0] < ranks[2] < 16


def test_an_index_is_evaluated_once_and_a_seed_repeats_the_train() -> None:
    seen: list[tuple[int, ...]] = []

    def function(indices: Tensor) -> Tensor:
        assert indices.dtype == torch.int64
        seen.extend(map(tuple, indices.tolist()))
        indices.fill_(0)  # a function may do with them what it likes
        return torch.tensor([1 / (1 + sum(index)) for index in seen[-len(indices) :]], dtype=F64)

    train, report = interpolate(function, (300, 4, 5), rtol=1e-8)
    assert len(seen) == len(set(seen)) == report.evaluations
    again, _ = interpolate(function, (300, 4, 5), rtol=1e-8)
    assert all(torch.equal(a, b) for a, b in zip(train.cores, again.cores, strict=True))


def test_a_pivot_that_no_search_would_meet_can_be_named() -> None:
    spike = torch.tensor([[3] * 20])

    def function(indices: Tensor) -> Tensor:
        return torch.cos(0.2 * indices[:, 0].double()) + 5 * (indices == spike).all(1)

    plain, _ = interpolate(function, (10,) * 20, rtol=1e-10)
    assert float(gathered(plain.cores, spike)) == pytest.approx(math.cos(0.6))
    informed, _ = interpolate(function, (10,) * 20, rtol=1e-10, pivots=spike)
    assert float(gathered(informed.cores, spike)) == pytest.approx(5 + math.cos(0.6), rel=1e-9)
    assert max(informed.ranks) == 2


def test_the_report_is_true_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 functions with spikes at most a share δ makes the report false.

    An adversary hides the spikes on a little more than the share p, wherever nobody looked before the fresh points.
    """
    points, runs, false = 300, 1000, 0
    drawn: list[bool] = []  # for each function, whether the fresh points are

    def draw(*args: Any) -> Tensor:
        drawn[-1] = True
        return random_indices(*args)

    monkeypatch.setattr(interpolation, "random_indices", draw)
    smooth = torch.exp(-0.1 * torch.cartesian_prod(*[torch.arange(20.0, dtype=F64)] * 3).sum(1)).reshape(20, 20, 20)
    for seed in range(runs):
        generator = torch.Generator().manual_seed(seed)
        share = (1 - 0.01 ** (1 / points)) * float(1.2 + 0.5 * torch.rand((), generator=generator))
        hidden = torch.rand(smooth.shape, generator=generator) < share
        drawn.append(False)

        def function(indices: Tensor, hidden: Tensor = hidden) -> Tensor:
            at = indices.unbind(1)
            if not drawn[-1]:
                hidden[at] = False
            return smooth[at] + hidden[at]

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            train, report = interpolate(function, smooth.shape, rtol=1e-6, fresh_points=points, seed=seed)
        off = (train.reconstruct() - smooth - hidden.double()).abs() > report.epsilon
        false += float(off.double().mean()) > report.share
    assert report.share == pytest.approx(1 - 0.01 ** (1 / points))
    assert 0 < false <= 0.01 * runs  # some must be, or the functions would be no test


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda i: torch.zeros(len(i)), {}, "zero wherever it was evaluated"),
        (lambda i: torch.exp(-5 * (i.double() - 3).square().sum(1)), {}, "nearly zero at all fresh points"),
        (lambda i: 1 / (1.0 + i.sum(1).double()), {"max_evaluations": 4000}, "not converged within max_evaluations"),
        (lambda i: 1.0 + (len(i) > 900) * i[:, 3].double(), {}, "error of the train at fresh points is 7,"),
    ],
)
def test_what_a_train_alone_would_not_show_is_a_warning(function: Any, options: Any, message: str) -> None:
    with pytest.warns(UserWarning, match=message) as caught:
        interpolate(function, (8,) * 12, rtol=1e-10, **options)
    assert caught[0].filename == __file__


@given(integer_trains(ends=False), st.integers(0, 3))
@settings(max_examples=15)
def test_functions_of_trains_are_those_of_their_entries(train: TensorTrain, seed: int) -> None:
    dense = train.reconstruct()
    logistic = train.map(torch.sigmoid, seed=seed)
    torch.testing.assert_close(logistic.reconstruct(), torch.sigmoid(dense), rtol=1e-9, atol=1e-9)
    positive = train * train + TensorTrain([torch.ones(1, size, 1, dtype=F64) for size in train.shape])
    quotient = train.map(torch.div, positive, rtol=1e-12, seed=seed)
    torch.testing.assert_close(quotient.reconstruct(), dense / (dense.square() + 1), rtol=1e-8, atol=1e-8)


def test_quotients_and_powers_are_those_of_the_entries() -> None:
    train = TensorTrain([torch.rand(a, 5, b, dtype=F64) + 0.5 for a, b in ((1, 2), (2, 2), (2, 1))])
    dense = train.reconstruct()
    other = train + 1.0
    for result, expected in [
        (train / other, dense / (dense + 1)),
        (1 / train, 1 / dense),
        (torch.tensor(2.0, dtype=F64) / train, 2 / dense),
        (train**0.5, dense.sqrt()),
        (train**-2, dense**-2.0),
    ]:
        torch.testing.assert_close(result.reconstruct(), expected, rtol=1e-8, atol=1e-8)


def test_pivots_of_an_elimination_reveal_the_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    factors = [torch.randn(size, 5, dtype=F64, generator=generator) for size in (30, 20)]
    matrix = factors[0] @ factors[1].mT
    rows, columns = eliminate(matrix, 1e-12 * float(matrix.abs().max()))
    assert len(rows) == len(columns) == 5
    core = interpolant(matrix[:, columns], rows)
    torch.testing.assert_close(core @ matrix[rows], matrix)
    assert eliminate(torch.zeros(3, 2), 0.0) == ([0], [0])


@pytest.mark.parametrize(("dtype", "value"), [(torch.complex64, 3e38 + 3e38j), (torch.complex64, 1e-42j), (F64, 8e307)])
def test_values_near_the_ends_of_the_range(dtype: torch.dtype, value: complex) -> None:
    dense = torch.outer(torch.tensor([1.0, 0.3, -0.8]), torch.tensor([1.0, -0.7])).to(dtype)
    dense = (dense + torch.eye(3, 2) / 5).to(dtype) * torch.tensor(value / 1.2, dtype=dtype)
    train, report = interpolate(lambda i: dense[tuple(i.T)], (3, 2), rtol=0.0)
    assert report.largest == pytest.approx(abs(value), rel=1e-3)
    exact = torch.finfo(dtype).tiny * torch.finfo(dtype).eps
    assert float((train.reconstruct() / 4 - dense / 4).to(torch.complex128).abs().max()) < 1e-6 * abs(value) + exact
    assert report.epsilon < 1e-6 * abs(value) + exact


def test_values_that_overflow_within_the_train_are_not_returned_silently() -> None:
    signs = torch.randint(-3, 4, (3, 4, 5), generator=torch.Generator().manual_seed(0)).clamp(-1, 1).to(F64)
    with pytest.warns(UserWarning, match="the error of the train at fresh points is nan"):
        TensorTrain.from_function(lambda i: signs[tuple(i.T)] * 1.79e308, (3, 4, 5), rtol=0)


def one(indices: Tensor) -> Tensor:
    return torch.ones(len(indices), dtype=F64)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"function": 3}, "function is a int; a callable"),
        ({"shape": ()}, "shape is empty"),
        ({"shape": (3, 0)}, r"shape\[1\] = 0"),
        ({"shape": 4}, "shape = 4 is not a sequence"),
        ({"rtol": 1}, r"rtol = 1 is outside \[0, 1\)"),
        ({"rtol": math.nan}, "rtol = nan"),
        ({"confidence": 0}, r"confidence = 0 is outside \(0, 1\)"),
        ({"confidence": 1.0}, r"confidence = 1.0 is outside"),
        ({"fresh_points": 0}, "fresh_points = 0"),
        ({"max_evaluations": 1000}, "max_evaluations = 1000 leaves no evaluations besides the 1000 fresh points"),
        ({"max_evaluations": 1100}, "the first sweep needs more than 100 evaluations"),
        ({"seed": -1}, "seed = -1"),
        ({"pivots": torch.zeros(2)}, r"pivots is \(2,\); a tensor \(points, 3\)"),
        ({"pivots": [[0, 0]]}, "pivots is list"),
        ({"pivots": torch.zeros(1, 3)}, "pivots has dtype torch.float32"),
        ({"pivots": torch.zeros(1, 3, dtype=torch.int64, device="meta")}, "pivots is on the meta device"),
        ({"pivots": torch.zeros(1, 3, dtype=torch.int64).to_sparse()}, "pivots has the layout"),
        ({"pivots": torch.full((1, 3), 2**63, dtype=torch.uint64)}, r"pivots holds numbers of 2\*\*63 or more"),
        ({"pivots": torch.tensor([[0, 5, 0]])}, r"pivots\[0\] = \[0, 5, 0\] is outside"),
        ({"function": lambda i: 1.0}, "the function returns a float"),
        ({"function": lambda i: one(i)[:, None]}, r"the function returns shape \(\d+, 1\)"),
        ({"function": lambda i: i.sum(1)}, "returns torch.int64"),
        ({"function": lambda i: one(i).half()}, "returns torch.float16"),
        ({"function": lambda i: one(i).to("meta")}, "on meta"),
        ({"function": lambda i: one(i).to_sparse()}, "layout"),
        ({"function": lambda i: 1 / i.sum(1).double()}, r"the function is inf at index \(0, 0, 0\)"),
        ({"function": lambda i: one(i) * (1.5e308 + 1.5e308j)}, "every entry and its absolute value must be finite"),
        ({"function": lambda i: one(i).to(F64 if len(i) > 20 else torch.float32)}, "use one dtype"),
    ],
)
def test_bad_input_is_refused(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        interpolate(**{"function": one, "shape": (30, 5, 9), "rtol": 1e-6, **arguments})


def test_an_axis_that_is_too_long_is_refused_before_its_indices_are_listed() -> None:
    with pytest.raises(TensorTrainError, match="max_evaluations is too small: the first sweep needs more than 999000"):
        interpolate(one, (2**50, 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda train: train.map("exp"), "function is a str"),
        (lambda train: train.map(torch.div, TensorTrain.random((3, 5), 2, dtype=F64)), "differ in shape"),
        (lambda train: train.map(torch.div, 3), "other is a int"),
        (lambda train: train.to(torch.float16).map(torch.exp), "float16"),
        (lambda train: (train * 0).map(torch.reciprocal), "the function is inf at index"),
        (lambda train: TensorTrain([torch.ones(2, 3, 1)]).map(torch.exp), "boundary ranks of 1"),
        (lambda train: TensorTrain.from_function(one, (3, 4), rtol=2), "rtol = 2"),
        (lambda train: train / (train * 0), "the function is (nan|-?inf) at index"),
        (lambda train: 1 / (train * 0), "the function is inf at index"),
        (lambda train: math.nan / train, "the dividend nan is not finite"),
        (lambda train: train**math.inf, "the exponent inf is not finite"),
        (lambda train: (train * 0 - 1) ** 0.5, "the function is nan at index"),
    ],
)
def test_bad_input_to_functions_of_trains_is_refused(call: Any, named: str) -> None:
    with pytest.raises(TensorTrainError, match=named):
        call(TensorTrain.random((3, 4), 2, dtype=F64))


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_keep_dtype_and_device_and_take_no_gradients(dtype: torch.dtype) -> None:
    train = TensorTrain([core.requires_grad_() for core in TensorTrain.random((4, 5, 3), 2, dtype=dtype).cores])
    result = train.map(torch.exp)
    assert result.dtype == dtype
    assert not result.cores[0].requires_grad
    assert distance(result.reconstruct(), train.reconstruct().detach().exp()) < 1e4 * torch.finfo(dtype).eps ** 0.75
    direct = TensorTrain.from_function(lambda i: torch.ones(len(i), dtype=dtype), (4, 5), rtol=1e-6)
    assert (direct.dtype, direct.ranks, direct.error) == (dtype, (1, 1, 1), None)
