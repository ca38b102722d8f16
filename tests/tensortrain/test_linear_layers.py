"""TTLinear: equal to the dense layer, understood by the same tools, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tensortrain as tt
from tensortrain import TensorTrainError
from tests.support.layers import hooked, integers, normal, tt_linear


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([(), (4,), (2, 3)]),
)
def test_a_linear_layer_equals_the_dense_one(shape, rank, has_bias, batch):
    ranks = [1, *[rank] * (len(shape) - 1), 1]
    cores = [integers(l, ranks[l], o, i, ranks[l + 1]) for l, (o, i) in enumerate(shape)]
    matrix = tt.TensorTrainMatrix(cores)
    bias = integers(9, matrix.shape[0]) if has_bias else None
    layer = tt.nn.TTLinear(matrix, bias)
    x = integers(8, *batch, matrix.shape[1])
    expected = F.linear(x, matrix.reconstruct(), bias)
    assert torch.equal(layer(x), expected)
    assert torch.equal(layer.merge()(x), expected)
    assert torch.equal(F.linear(x, layer.weight, layer.bias), expected)
    assert layer.weight.shape == (layer.out_features, layer.in_features)
    assert all(torch.equal(a, b) for a, b in zip(layer.matrix.cores, cores, strict=True))


@pytest.mark.parametrize("settings", [{}, {"bias": False}, {"dtype": torch.float64}], ids=str)
def test_from_linear_keeps_every_attribute(settings):
    linear, layer = tt_linear(**settings)
    x = normal(0, 5, 24, dtype=linear.weight.dtype)
    torch.testing.assert_close(layer(x), linear(x), rtol=1e-4, atol=1e-5)
    assert layer.error <= 1e-5
    assert not layer.training
    assert (layer.bias is None) == (linear.bias is None)
    names = ["cores.0.weight", "cores.1.weight"]
    assert list(layer.state_dict()) == (names if linear.bias is None else ["bias", *names])
    layer(x).square().sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


@pytest.mark.filterwarnings("ignore")
def test_tools_understand_the_linear_layer():
    linear, layer = tt_linear()
    x = normal(0, 5, 24)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), layer(x))
    shapes = ({0: torch.export.Dim("batch")},)
    torch.testing.assert_close(torch.export.export(layer, (x,), dynamic_shapes=shapes).module()(x[:3]), layer(x[:3]))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer.cores[0](torch.zeros(1, layer.cores[0].in_features)).dtype == torch.bfloat16
        torch.testing.assert_close(layer(x), linear(x), rtol=0.1, atol=0.1)
    quantized = torch.ao.quantization.quantize_dynamic(layer, {nn.Linear})
    assert all("quantized" in type(core).__module__ for core in quantized.cores)
    assert (quantized(x) - layer(x)).norm() < 0.05 * layer(x).norm()


def test_an_empty_batch_keeps_its_shape():
    linear, layer = tt_linear()
    for shape in ((0, 24), (2, 0, 24)):
        assert layer(torch.ones(shape)).shape == linear(torch.ones(shape)).shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half_precision(dtype):
    linear, layer = tt_linear(dtype=dtype)
    assert {p.dtype for p in layer.parameters()} == {dtype}
    x = normal(0, 5, 24).to(dtype)
    torch.testing.assert_close(layer(x), linear(x), rtol=0.05, atol=0.05)


MATRIX = tt.TensorTrainMatrix([torch.ones(1, 2, 2, 1)])
SQUARE = tt.TensorTrainMatrix.random((2, 2), (2, 2), 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.nn.TTLinear(torch.ones(2, 2)), "matrix is a Tensor"),
        (lambda: tt.nn.TTLinear(MATRIX, torch.ones(3)), r"bias has shape \(3,\)"),
        (lambda: tt.nn.TTLinear(MATRIX, False), r"bias is False; .* torch.zeros\(2\)"),
        (lambda: tt.nn.TTLinear(MATRIX, torch.ones(2).double()), "torch.float64 on cpu, the cores torch.float32"),
        (lambda: tt.nn.TTLinear.from_linear(nn.Conv1d(4, 4, 1), (2, 2), (2, 2), ranks=1), "plain nn.Linear"),
        (lambda: tt.nn.TTLinear.from_linear(hooked(nn.Linear(4, 4)), (2, 2), (2, 2), ranks=1), "hooks"),
        (lambda: tt.nn.TTLinear.from_linear(nn.Linear(4, 4), (2, 3), (2, 2), ranks=1), "out_shape"),
        (lambda: tt.nn.TTLinear.from_linear(nn.Linear(4, 4), (2, 2), (2, 2)), "nothing limits"),
        (lambda: tt.nn.TTLinear.like(nn.Linear(4, 6, bias=False), SQUARE), r"matrix is \(4, 4\); .* \(6, 4\)"),
        (lambda: tt.nn.TTLinear.like(hooked(nn.Linear(4, 4)), SQUARE), "hooks"),
        (lambda: tt.nn.TTLinear.like(nn.Linear(4, 4), torch.ones(4, 4)), "matrix is a Tensor"),
        (lambda: tt.nn.TTLinear.like(nn.Linear(4, 4), SQUARE.to(torch.complex64)), "drop the imaginary parts"),
        (lambda: tt.nn.TTLinear.like(nn.Linear(4, 4).half(), 1e12 * SQUARE), "does not fit torch.float16"),
    ],
)
def test_arguments_that_no_linear_layer_takes_are_refused(make, message):
    with pytest.raises(TensorTrainError, match=message):
        make()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.bfloat16, 0.05)])
def test_like_keeps_every_attribute_but_the_weight(dtype, tolerance):
    torch.manual_seed(0)
    linear = nn.Linear(4, 4).to(dtype).eval()
    linear.weight.requires_grad_(False)
    layer = tt.nn.TTLinear.like(linear, SQUARE)
    x = torch.ones(3, 4, dtype=dtype)
    expected = F.linear(x, SQUARE.to(dtype).reconstruct(), linear.bias)
    torch.testing.assert_close(layer(x), expected, rtol=tolerance, atol=tolerance)
    assert (layer.cores[0].weight.requires_grad, layer.bias.requires_grad, layer.training) == (False, True, False)


@pytest.mark.parametrize(
    ("arguments", "out_shape", "in_shape"),
    [
        ({}, (3, 4), (4, 6)),
        ({"out_shape": (2, 2, 3)}, (2, 2, 3), (2, 3, 4)),
        ({"in_shape": (2, 3, 4)}, (2, 2, 3), (2, 3, 4)),
        ({"in_shape": (24,)}, (12,), (24,)),
    ],
)
def test_shapes_that_are_not_given_are_as_equal_as_they_can_be(arguments, out_shape, in_shape):
    linear = torch.nn.Linear(24, 12)
    layer = tt.nn.TTLinear.from_linear(linear, **arguments, rtol=1e-6)
    assert (layer.out_shape, layer.in_shape) == (out_shape, in_shape)
    x = torch.ones(5, 24)
    torch.testing.assert_close(layer(x), linear(x), rtol=1e-4, atol=1e-5)


def test_a_budget_alone_is_enough():
    layer = tt.nn.TTLinear.from_linear(torch.nn.Linear(24, 12), budget=0.3)
    assert layer.matrix.n_parameters <= 0.3 * 24 * 12
    with pytest.raises(TensorTrainError, match=r"budget = 0\.01 allows 0 parameters"):
        tt.nn.TTLinear.from_linear(torch.nn.Linear(7, 13), budget=0.01)
    with pytest.raises(TensorTrainError, match="in_shape = 24 is not a sequence"):
        tt.nn.TTLinear.from_linear(torch.nn.Linear(24, 12), in_shape=24, budget=0.3)
