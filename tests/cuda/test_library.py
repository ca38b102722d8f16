"""The library's trains, layers and decompositions give on a GPU what they give on a CPU."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import tensortrain as tt
from tests.support.operators import kronecker_sum, second_difference
from tests.support.trains import DTYPES, check_decomposed_train, check_used_train

CUDA = torch.device("cuda")


def kernel(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_trains_in_every_dtype(dtype: torch.dtype) -> None:
    check_decomposed_train(CUDA, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_trains_are_used_like_tensors(dtype: torch.dtype) -> None:
    check_used_train(CUDA, dtype)


def test_embeddings_and_their_gradients() -> None:
    here = tt.nn.TTEmbedding(tt.TensorTrainMatrix.random((5, 6), (3, 4), 4), padding_idx=2)
    there = copy.deepcopy(here).to(CUDA)
    ids = torch.tensor([[0, 2, 29], [7, 7, 1]])
    outcomes = []
    for layer, device in ((here, "cpu"), (there, "cuda")):
        rows = layer(ids.to(device))
        gradients = torch.autograd.grad(rows.square().sum(), list(layer.parameters()))
        outcomes.append([t.detach().cpu() for t in (rows, *gradients)])
    for a, b in zip(*outcomes, strict=True):
        torch.testing.assert_close(a, b)


# those whose solvers run without TensorLy
@pytest.mark.parametrize(
    ("form", "limit"), [("cttd", {"ranks": 3}), ("separable", {"ranks": 3}), ("depthwise", {"budget": 0.5})]
)
def test_decompositions_of_kernels(form: str, limit: dict) -> None:
    weight = kernel(6, 5, 3, 3)
    here, there = (tt.ConvTensorTrain.decompose(x, form, **limit) for x in (weight, weight.to(CUDA)))
    assert there.device.type == "cuda"
    assert there.error == pytest.approx(here.error, abs=1e-3)  # a search may end elsewhere
    assert float((there.reconstruct().cpu() - weight).norm() / weight.norm()) == pytest.approx(there.error, abs=1e-9)


@pytest.mark.parametrize("padding", ["same", "same_per_step", "valid", "full", "circular"])
def test_chains_are_evaluated(padding: str) -> None:
    chain = tt.ConvTensorTrain.decompose(kernel(6, 5, 5, 5), (3, 3), ranks=4)
    x = kernel(2, 5, 9, 9)
    torch.testing.assert_close(
        chain.to(CUDA).evaluate(x.to(CUDA), padding=padding).cpu(), chain.evaluate(x, padding=padding)
    )


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layers_and_their_gradients(layout: torch.memory_format) -> None:
    conv = nn.Conv2d(5, 6, 5, padding="same", dtype=torch.float64)
    here = tt.nn.ConvTT2d.like(conv, tt.ConvTensorTrain.decompose(kernel(6, 5, 5, 5), (3, 3), ranks=4))
    there = copy.deepcopy(here).to(CUDA)
    outcomes = []
    for layer, device in ((here, "cpu"), (there, "cuda")):
        x = kernel(2, 5, 9, 9).to(device).to(memory_format=layout).requires_grad_()
        y = layer(x)
        outcomes.append(
            [t.detach().cpu() for t in (y, *torch.autograd.grad(y.square().sum(), [x, *layer.parameters()]))]
        )
    for a, b in zip(*outcomes, strict=True):
        torch.testing.assert_close(a, b)


def test_a_layer_in_bf16() -> None:
    layer = tt.nn.ConvTT2d.like(
        nn.Conv2d(16, 16, 5, padding="same"),
        tt.ConvTensorTrain.decompose(kernel(16, 16, 5, 5).float(), (3, 3), ranks=8),
    )
    x = kernel(2, 16, 9, 9).float()
    expected = layer(x).detach()
    with torch.autocast("cuda", torch.bfloat16):
        y = layer.to(CUDA)(x.to(CUDA))
    assert y.dtype == torch.bfloat16
    assert float((y.detach().float().cpu() - expected).norm() / expected.norm()) < 0.02


def test_trains_of_functions_equations_and_sums() -> None:
    train = tt.TensorTrain.from_function(
        lambda i: (0.1 * i.sum(1).double()).sin(), (8,) * 10, rtol=1e-10, device="cuda"
    )
    assert train.device.type == "cuda"
    assert float(train.map(torch.cos)[(0,) * 10]) == pytest.approx(1, rel=1e-5)
    total = tt.round_sum([train] * 5, rtol=1e-6)
    assert (total.device.type, max(total.ranks)) == ("cuda", 2)
    matrix = kronecker_sum(second_difference(8), 6).to(CUDA)
    load = tt.TensorTrain([torch.ones(1, 8, 1, dtype=torch.float64, device=CUDA)] * 6)
    assert tt.solve(matrix, load, 1e-8).residual <= 1e-8
    assert float((matrix.matmul(load, rtol=1e-8) - matrix @ load).norm()) < 1e-6
    pair = tt.lowest_eigenpair(matrix, 1e-8)
    assert pair.train.device.type == "cuda"
    assert float(pair.value) == pytest.approx(6 * (2 - 2 * math.cos(math.pi / 9)))
