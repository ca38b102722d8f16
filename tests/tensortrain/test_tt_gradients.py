"""Gradients through decompositions and operations on trains, finite even at exactly low rank."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tensortrain.tt.tensor_train import TensorTrain
from tests.support.trains import DTYPES, F64, structured


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(
    ("shape", "limits"),
    [
        ((3, 4, 5), {"ranks": (2, 3)}),
        ((4, 3, 3, 2), {"ranks": (2, 3, 1)}),
        ((5, 6), {"ranks": 3}),
        ((3, 3, 3), {"rtol": 0.4}),
        ((3, 4, 4), {"budget": 0.5}),
        ((6,), {"ranks": 1}),
    ],
)
def test_the_gradient_is_exact_where_singular_values_have_gaps(
    shape: Any, limits: dict[str, Any], dtype: torch.dtype
) -> None:
    tensor = structured(shape, 0.6, dtype, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, **limits).reconstruct(), tensor)
    inputs = [structured((2, size), 1.0, dtype, 7 + size) for size in shape]
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, **limits).evaluate(inputs), tensor)


def test_the_gradient_is_exact_where_kept_singular_values_coincide() -> None:
    tensor = torch.zeros(4, 4, 4, dtype=F64)
    for i, value in enumerate([2.0, 2.0, 2.0, 0.5]):
        tensor[i, i, i] = value
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, ranks=3).reconstruct(), tensor.requires_grad_())


def test_the_gradient_is_exact_at_an_exactly_low_rank_tensor() -> None:
    tensor = TensorTrain.random((3, 4, 3), 2, dtype=F64).reconstruct().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: TensorTrain.decompose(t, ranks=2).reconstruct(), tensor)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limits", [{"ranks": 3}, {"rtol": 1e-3}, {"budget": 0.99}])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_gradient_is_finite_at_exactly_low_rank(rank: int, limits: dict[str, Any], dtype: torch.dtype) -> None:
    exact = TensorTrain.random((4, 3, 4), max(rank, 1), dtype=dtype) * (1 if rank else 0)
    tensor = exact.reconstruct().requires_grad_()
    train = TensorTrain.decompose(tensor, **limits)
    (train.reconstruct().abs().sum() + train.round(ranks=2).reconstruct().abs().sum()).backward()
    assert bool(torch.isfinite(tensor.grad).all())
    assert float(tensor.grad.abs().max()) < 1e3


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
def test_the_gradients_of_all_operations_on_trains_are_exact(dtype: torch.dtype) -> None:
    train = TensorTrain.random((3, 4, 2), (2, 2), 3, dtype=dtype)
    inputs = [structured((2, size), 1.0, dtype, size) for size in train.shape]

    def outputs(*cores: Tensor) -> tuple[Tensor, ...]:
        t = TensorTrain(cores)
        return (
            t.reconstruct(),
            t.evaluate(inputs),
            t.evaluate_dense(inputs),
            t.norm(),
            (t * t + 2 * t).inner(t),
            t[1, :, 0].reconstruct(),
            t.orthogonalize(1).reconstruct(),
            t.round(ranks=1).reconstruct(),
            t.round(rtol=0.0).reconstruct(),
        )

    assert torch.autograd.gradcheck(outputs, tuple(core.requires_grad_() for core in train.cores))


def test_error_costs_no_gradient_and_is_a_number() -> None:
    tensor = structured((3, 4, 5), 0.5, F64, 0).requires_grad_()
    train = TensorTrain.decompose(tensor, ranks=2)
    assert type(train.error) is float
    assert all(core.grad_fn is not None for core in train.cores if core.requires_grad)
    assert any(core.requires_grad for core in train.cores)
