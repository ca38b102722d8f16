"""Conversions of trains to a dtype of a smaller range, and to real numbers."""

import numpy as np
import pytest
import torch

from tensortrain.errors import TensorTrainError
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import F64, distance, gauged, integer_train


def constant(values: list[float], dtype: torch.dtype = F64) -> TensorTrain:
    return TensorTrain([torch.full((1, 2, 1), value, dtype=dtype) for value in values])


@pytest.mark.parametrize("values", [[1e-50, 1e30, 1e30], [1e50, 1e-30, 1e-30], [1e-200, 1e200]])
def test_cores_beyond_the_range_share_their_sizes(values: list[float]) -> None:
    train = constant(values)
    torch.testing.assert_close(train.to(torch.float32).reconstruct(), train.reconstruct().to(torch.float32))
    half = constant([1e-10, 1e10], torch.float32).to(torch.float16)
    assert float(half[0, 0]) == pytest.approx(1, rel=1e-2)
    matrix = TensorTrainMatrix([part[:, None] for part in train.cores])
    torch.testing.assert_close(matrix.to(torch.float32).reconstruct(), matrix.reconstruct().to(torch.float32))


def test_channels_beyond_the_range_share_their_sizes() -> None:
    first = torch.tensor([[[1, 1e-50], [2, 1e-50]]], dtype=F64)
    last = torch.tensor([[[1], [2]], [[1e50], [3e50]]], dtype=F64)
    for train in (TensorTrain([first, last]), TensorTrain([last.transpose(0, 2), first.transpose(0, 2)])):
        torch.testing.assert_close(train.to(torch.float32).reconstruct(), train.reconstruct().to(torch.float32))


@pytest.mark.parametrize("reach", [100, 200, 250])
def test_no_entry_of_a_core_that_counts_is_lost(reach: int) -> None:
    for seed in range(30):
        train = integer_train((2, 3, 2, 2), (1, 2, 3, 2, 1), seed)
        converted = gauged(train, reach, seed).to(torch.float32).to(F64)
        assert distance(converted.reconstruct(), train.reconstruct()) < 1e-6


def test_numbers_that_do_not_count_may_become_subnormal() -> None:
    train = TensorTrain.random((40, 50, 40), 20)
    half = train.to(torch.float16)
    assert all(torch.equal(a.half(), b) for a, b in zip(train.cores, half.cores, strict=True))


def test_gradients_pass_through_the_exchange_of_sizes() -> None:
    train = constant([1e-50, 1e30, 1e30]).requires_grad_()
    (grad,) = torch.autograd.grad(train.to(torch.float32)[0, 0, 0], train.cores[1])
    assert float(grad[0, 0, 0]) == pytest.approx(1e-20)


def test_ordinary_trains_are_converted_number_by_number() -> None:
    train = TensorTrain.random((4, 5, 6), 3, dtype=F64)
    converted = train.to(torch.float32)
    assert all(torch.equal(a.float(), b) for a, b in zip(train.cores, converted.cores, strict=True))
    assert float((TensorTrain.ones((2, 2), dtype=F64) + 1e-60).to(torch.float32)[0, 0]) == 1  # a negligible summand


@pytest.mark.parametrize("values", [[1e50, 1e50], [1e-50, 1e-50], [1e-50]])
def test_trains_beyond_the_range_are_refused(values: list[float]) -> None:
    with pytest.raises(TensorTrainError, match=r"does not fit torch\.float32"):
        constant(values).to(torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, F64])
@pytest.mark.filterwarnings("error")
def test_complex_trains_do_not_lose_their_imaginary_parts(dtype: torch.dtype) -> None:
    train = TensorTrain.full((2, 2), 1j)
    with pytest.raises(TensorTrainError, match="imaginary parts"):
        train.to(dtype)
    with pytest.raises(TensorTrainError, match="imaginary parts"):
        np.asarray(train, dtype=str(dtype).removeprefix("torch."))
    assert train.to("cpu").dtype == torch.complex64
    assert train.to(torch.complex128).dtype == torch.complex128
