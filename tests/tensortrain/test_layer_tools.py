"""Conv layers are plain convs to torch's tools: compile, export, ONNX, autocast, quantisation, tracing."""

import io

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import tensortrain as tt
from tensortrain import ConvTensorTrain
from tests.support.layers import normal, small_layer


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(str(operation))
        return operation(*args, **(kwargs or {}))


def test_forward_runs_nothing_but_its_convs():
    layer = small_layer(padding=(2, 1))
    by_hand = nn.Sequential(*reversed(list(layer.cores)))
    x = normal(0, 2, 3, 9, 9)
    with torch.no_grad(), Operations() as ours:
        layer(x)
    with torch.no_grad(), Operations() as theirs:
        by_hand(x)
    assert ours.names == theirs.names
    assert len(ours.names) == 2


SETTINGS = [
    {"padding": 2},
    {"padding": "same"},
    {"padding": (2, 1), "stride": (2, 1)},
    {"padding": 1, "padding_mode": "circular"},
    {"padding": 1, "padding_mode": "reflect"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_torch_compile_makes_one_graph_with_the_same_gradients(settings):
    layer, x = small_layer(**settings), normal(0, 2, 3, 9, 9)
    torch._dynamo.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer(x))
    grads = torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters()))
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for grad, other in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, other)


def dynamic_shapes():
    dim = torch.export.Dim
    return ({0: dim("batch"), 2: dim("height", min=6, max=64), 3: dim("width", min=6, max=64)},)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_torch_export_with_dynamic_batch_and_size(settings):
    layer = small_layer(**settings).eval()
    program = torch.export.export(layer, (normal(0, 2, 3, 9, 9),), dynamic_shapes=dynamic_shapes())
    x = normal(1, 5, 3, 16, 20)
    torch.testing.assert_close(program.module()(x), layer(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("transposed", [False, True])
def test_onnx_export_runs_elsewhere(transposed):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    layer = small_layer(padding=(2, 1), stride=2)
    if transposed:
        chain = ConvTensorTrain([normal(0, 6, 4, 3, 2), normal(1, 3, 6, 3, 3)], transposed=True)
        layer = tt.nn.ConvTransposeTT2d(chain, normal(2, 4), stride=2, padding=1, output_padding=1)
    layer.eval()
    program = torch.onnx.export(
        layer, (normal(0, 2, 3, 9, 9),), dynamo=True, dynamic_shapes=dynamic_shapes(), verbose=False
    )
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    x = normal(1, 5, 3, 16, 20)
    (y,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), layer(x).detach(), rtol=1e-4, atol=1e-4)


def test_autocast_computes_in_bfloat16_and_keeps_gradients_in_float32():
    layer, x = small_layer(padding="same"), normal(0, 2, 3, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert layer.cores[1].weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x), rtol=0.1, atol=0.1)


@pytest.mark.filterwarnings("ignore")
def test_a_quantisation_tool_swaps_the_convs():
    quantization = pytest.importorskip("torch.ao.quantization")
    net = nn.Sequential(quantization.QuantStub(), small_layer(padding=2), nn.ReLU(), quantization.DeQuantStub()).eval()
    net.qconfig = quantization.default_qconfig
    prepared = quantization.prepare(net)
    x = normal(0, 4, 3, 16, 16)
    prepared(x)
    quantized = quantization.convert(prepared)
    assert all("quantized" in type(core).__module__ for core in quantized[1].cores)
    assert (quantized(x) - net(x)).norm() < 0.1 * net(x).norm()
    assert "QuantizedConv2d" in repr(quantized)


def test_fx_traces_a_layer():
    layer, x = small_layer(padding="same"), normal(0, 2, 3, 9, 9)
    assert torch.equal(torch.fx.symbolic_trace(layer)(x), layer(x))
