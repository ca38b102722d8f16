"""Under autocast, what is calculated from stored numbers alone is the same as without; products with inputs are not."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

import tensortrain as tt
from tensortrain import ConvTensorTrain, TensorTrain, TensorTrainMatrix
from tensortrain import functional as F
from tests.support.bad_input import check

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(6, 5, 6, generator=GENERATOR)
SQUARE = torch.randn(6, 6, generator=GENERATOR)
A, B = (TensorTrain.random((6, 5, 6), 4, seed) for seed in (0, 1))
MATRIX = TensorTrainMatrix.random((2, 3), (3, 3), 4)
VECTOR = TensorTrain.random((3, 3), 3)
WEIGHT = torch.randn(4, 4, 3, 3, generator=GENERATOR)
CHAIN = ConvTensorTrain([torch.randn(4, 3, 2, 2, generator=GENERATOR), torch.randn(3, 4, 2, 2, generator=GENERATOR)])

EXACT: dict[str, Callable[[], Any]] = {
    "decompose": lambda: TensorTrain.decompose(X, rtol=1e-3),
    "round": lambda: (A + B).round(rtol=1e-3),
    "ranks within a budget": lambda: TensorTrain.decompose(X, budget=0.6),
    "orthogonalize": lambda: A.orthogonalize(1),
    "inner": lambda: A.inner(B),
    "norm": lambda: A.norm(),
    "squared norm": lambda: A.norm(squared=True),
    "round_sum": lambda: tt.round_sum([A, B], rtol=1e-3),
    "map": lambda: A.map(torch.exp),
    "quantize": lambda: TensorTrain.quantize(torch.arange(64.0).cos(), rtol=1e-3),
    "reconstruct": lambda: A.reconstruct(),
    "an entry": lambda: A[1, 2, 3],
    "entries": lambda: A[torch.tensor([1, 2]), :, 3],
    "slices": lambda: A[1, :, 2:],
    "sum": lambda: A.sum(1),
    "mean": lambda: A.mean(),
    "contract": lambda: A.contract({1: torch.ones(5)}),
    "mode_product": lambda: A.mode_product(torch.ones(2, 5), 1),
    "permute": lambda: A.permute(2, 0, 1),
    "reshape": lambda: A.reshape(2, 3, 5, 6),
    "tensordot": lambda: A.tensordot(B, 1),
    "matrix decompose": lambda: TensorTrainMatrix.decompose(SQUARE, (2, 3), (3, 2), rtol=1e-3),
    "product of trains": lambda: MATRIX @ VECTOR,
    "rounded product": lambda: MATRIX.matmul(VECTOR, rtol=1e-3),
    "trace": lambda: TensorTrainMatrix.random((2, 3), (2, 3), 2).trace(),
    "project": lambda: tt.tangent.project(A, B),
    "gradient": lambda: tt.tangent.gradient(lambda t: t.norm(), A).train,
    "step": lambda: tt.tangent.step(lambda t: (t - B).norm(squared=True), A).train,
    "conv decompose": lambda: ConvTensorTrain.decompose(WEIGHT, (2, 2), ranks=2, effort=0.1),
    "conv kernels": lambda: CHAIN.kernels(),
    "conv reconstruct": lambda: CHAIN.reconstruct(),
    "compose": lambda: F.compose(*CHAIN.cores),
    "randomized_svd": lambda: tt.linalg.randomized_svd(torch.outer(torch.arange(90.0), torch.ones(80)), 1),
}


def tensors(value: Any) -> Sequence[Tensor]:
    """The tensors of a result."""
    return [value] if isinstance(value, Tensor) else getattr(value, "cores", value)


@pytest.mark.parametrize("name", EXACT)
def test_autocast_changes_nothing(name: str) -> None:
    expected = EXACT[name]()
    with torch.autocast("cpu", torch.bfloat16):
        actual = EXACT[name]()
        assert torch.is_autocast_enabled("cpu")
    assert getattr(actual, "error", None) == getattr(expected, "error", None)
    for a, b in zip(tensors(actual), tensors(expected), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


def test_the_tolerance_holds_under_autocast() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        train = TensorTrain.decompose(X, rtol=1e-3)
    assert (train.reconstruct() - X).norm() <= 1e-3 * X.norm()


def test_gradients_under_autocast() -> None:
    def gradients() -> list[Tensor]:
        x = X.clone().requires_grad_()
        train = TensorTrain.decompose(x, ranks=2)
        return [torch.autograd.grad(f, x, retain_graph=True)[0] for f in (train.norm(), train[1, 2, 3])]

    expected = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        actual = gradients()
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05 * float(b.abs().max()))


def test_products_with_inputs_are_cast() -> None:
    x = torch.ones(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        for product in (CHAIN.evaluate(x), MATRIX @ torch.ones(9, 2), A.evaluate([torch.ones(n) for n in A.shape])):
            assert product.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_numbers_that_autocast_does_not_cast_are_refused(dtype: torch.dtype) -> None:
    core, x = torch.ones(1, 1, 3), torch.ones(1, 1, 4)
    with torch.autocast("cpu", torch.bfloat16):
        for evaluate in (F.conv_tt, F.conv_sum):
            check(lambda: evaluate([core], [x.to(dtype)]), f"inputs[0] is {dtype}", "torch.float32", ".to()")  # noqa: B023
            check(lambda: evaluate([core.to(dtype)], [x]), "inputs[0] is torch.float32", str(dtype))  # noqa: B023
        check(lambda: F.conv_tt([core], [x], [torch.ones(1, dtype=dtype)]), f"biases[0] is {dtype}")
        check(lambda: F.tt_evaluate([torch.ones(1, 2, 1)], [torch.ones(2, dtype=dtype)]), f"inputs[0] is {dtype}")
        check(lambda: F.tt_matvec([torch.ones(1, 2, 2, 1)], torch.ones(2, 1, dtype=dtype)), f"columns is {dtype}")
        check(lambda: ConvTensorTrain([core, core.bfloat16()]), "cores[1] is torch.bfloat16", "torch.float32")
        assert F.conv_tt([core], [x.bfloat16()]).dtype == torch.bfloat16
