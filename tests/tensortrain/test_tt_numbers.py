"""Numbers of any type as operands, indices of any type, and other arguments at the ends of what they can be."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from tensortrain.errors import TensorTrainError
from tensortrain.tt import tangent
from tensortrain.tt.eigen import lowest_eigenpair
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import F64

ONES = TensorTrain.ones((2, 3))


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (torch.tensor(3, dtype=torch.uint8), 3.0),
        (torch.tensor(3, dtype=torch.uint64), 3.0),
        (torch.tensor(-128, dtype=torch.int8), -128.0),
        (torch.tensor(True), 1.0),
        (np.uint8(3), 3.0),
        (np.int8(-128), -128.0),
        (np.uint64(2**63 + 1), 2.0**63),
        (np.longdouble(0.5), 0.5),
        (Fraction(1, 2), 0.5),
        (Fraction(10**400, 10**400 + 1), 1.0),
    ],
)
def test_numbers_of_every_type_are_operands(number: Any, value: float) -> None:
    expected = [1 + value, 1 + value, 1 - value, value - 1, value, value, 1 / value, value]
    trains = [ONES + number, number + ONES, ONES - number, number - ONES, ONES * number, number * ONES, ONES / number]
    for train, entry in zip([*trains, number / ONES], expected, strict=True):
        assert train.dtype == torch.float32
        assert float(train[1, 2]) == pytest.approx(entry, rel=1e-6)


def test_a_fraction_is_an_exponent() -> None:
    assert float(((ONES + 3) ** Fraction(1, 2))[0, 0]) == pytest.approx(2)


def test_the_length_is_that_of_the_first_axis() -> None:
    assert len(ONES) == 2
    assert bool(ONES)
    assert np.asarray(ONES).shape == (2, 3)
    for iterate in (list, reversed):
        with pytest.raises(TypeError):
            iterate(ONES)  # type: ignore[call-overload]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.uint64])
def test_unsigned_integers_are_indices(dtype: torch.dtype) -> None:
    grid = TensorTrain.linspace(0, 5, (2, 3))
    rows, columns = torch.tensor([1, 0], dtype=dtype), torch.tensor([2, 1], dtype=dtype)
    torch.testing.assert_close(grid[rows, columns], torch.tensor([5.0, 1.0]))
    torch.testing.assert_close(grid[rows.numpy(), columns.numpy()], torch.tensor([5.0, 1.0]))
    fitted = TensorTrain.fit(torch.stack([rows, columns], 1), torch.ones(2), 1)
    assert fitted.shape == (2, 3)


HUGE = np.array([2**63 + 1], dtype=np.uint64)
CHAIN = TensorTrain.ones((1,) * 70)


def in_vmap(function: Callable[[TensorTrain], Any]) -> None:
    torch.vmap(lambda core: function(TensorTrain([core])).cores[0])(torch.ones(2, 1, 3, 1))


def square(train: TensorTrain) -> torch.Tensor:
    return train.norm(squared=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ONES[HUGE, 0], "index"),
        (lambda: ONES[torch.from_numpy(HUGE), 0], "index"),
        (lambda: TensorTrain.fit(torch.from_numpy(HUGE)[:, None], torch.ones(1), 1), "indices"),
        (lambda: TensorTrain.from_tensorly([[[1.0], [2.0, 3.0]]]), "arrays of numbers"),
        (lambda: TensorTrain.from_foreign([[[1, 2], [3]]]), "arrays of numbers"),
        (lambda: ONES.sample(2**62), "memory"),
        (lambda: ONES.sample(2**62, density="value"), "memory"),
        (lambda: in_vmap(lambda train: tangent.gradient(square, train).train), "torch.vmap"),
        (lambda: in_vmap(lambda train: tangent.project(train, train)), "torch.vmap"),
        (lambda: in_vmap(lambda train: tangent.step(square, train).train), "torch.vmap"),
        (lambda: in_vmap(lambda train: tangent.project(TensorTrain.ones((3,)), train)), "torch.vmap"),
    ],
)
def test_impossible_arguments_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TensorTrainError, match=message):
        call()


def test_more_axes_than_letters_and_than_torch_has() -> None:
    for order in (60, 70):
        chain = TensorTrain.ones((1,) * order)
        assert float(chain.evaluate_dense([torch.ones(1)] * order)) == 1
        assert chain.evaluate_dense([torch.ones(4, 1), *[torch.ones(1)] * (order - 1)]).shape == (4,)
    wide = TensorTrain([torch.ones(2, 1, 1), *[torch.ones(1, 1, 1)] * 62, torch.ones(1, 1, 3)])
    assert wide.evaluate_dense([torch.ones(1)] * 64).shape == (2, 3)


@pytest.mark.parametrize("factor", [1.0, 1j])
def test_inner_products_in_half_precision_overflow_only_with_their_result(factor: complex) -> None:
    large, small = (
        TensorTrain([torch.full((1, 4, 1), 300.0), torch.full((1, 4, 1), value)]).to(torch.float16)
        for value in (1.0, 2.0**-10)
    )
    assert float(large.inner(small)) == pytest.approx(1440 * 1000 / 1024, rel=1e-2)
    assert float(large.inner(small * 0)) == 0
    assert math.isinf(float(large.inner(large)))


def sum_of(site: torch.Tensor, sites: int) -> TensorTrainMatrix:
    """The sum over all sites of the same 2×2 matrix."""
    core = torch.zeros(2, 2, 2, 2)
    core[0, :, :, 0] = core[1, :, :, 1] = torch.eye(2)
    core[0, :, :, 1] = site
    return TensorTrainMatrix([core[:1], *[core] * (sites - 2), core[..., 1:]])


@pytest.mark.parametrize("sites", [20, 260])
def test_a_matrix_whose_norm_overflows_must_be_hermitian_too(sites: int) -> None:
    """The norm of 260 sites is about `2**130`."""
    with pytest.raises(TensorTrainError, match="not Hermitian"):
        lowest_eigenpair(sum_of(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), sites), 1e-5, max_sweeps=1)
    value = lowest_eigenpair(sum_of(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), sites), 1e-5, max_sweeps=1).value
    assert float(value) == pytest.approx(-sites, rel=1e-4)


def test_the_error_of_a_fit_is_measured_after_rounding() -> None:
    truth = TensorTrain.random((6, 6, 6), 2)
    indices = torch.cartesian_prod(*[torch.arange(6)] * 3)[:180]
    for scale in (1.0, 1e-30):
        values = truth[indices.unbind(1)] * scale
        train = TensorTrain.fit(indices, values, 2)
        rest = train.to(F64)[indices.unbind(1)] - values.to(F64)
        assert train.error == pytest.approx(float(rest.norm() / values.to(F64).norm()), rel=1e-3)
        assert train.error > 1e-9


def test_a_fit_to_zeros_keeps_its_ranks() -> None:
    train = TensorTrain.fit(torch.tensor([[0, 1, 2], [1, 1, 0]]), torch.zeros(2), 2, shape=(2, 3, 4))
    assert train.ranks == (1, 2, 2, 1)
    assert train.error == 0
    assert not train.reconstruct().any()
