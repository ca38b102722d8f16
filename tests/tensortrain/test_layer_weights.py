"""Layers have the `weight` and `bias` that code around a plain layer reads: rebuilt from the cores, never stored."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tensortrain as tt
from tensortrain import ConvTensorTrain, TensorTrainError
from tests.support.layers import PLAIN, normal, small_layer, tt_linear


def conv_layer(axes=2, transposed=False):
    """8 channels, ranks 6 and 4, two groups, kernel 3."""
    cores = []
    for l, (out, into, size) in enumerate(((8, 6, 1), (6, 4, 3), (4, 8, 1))):
        channels = (into, out // 2) if transposed else (out, into // 2)
        cores.append(normal(l, *channels, *(size,) * axes) / 4)
    return PLAIN[axes, transposed][1](ConvTensorTrain(cores, groups=[2, 2, 2], transposed=transposed), normal(9, 8))


MAKERS = {
    **{f"conv {axes}": lambda axes=axes: conv_layer(axes) for axes in (1, 2, 3)},
    **{f"transposed conv {axes}": lambda axes=axes: conv_layer(axes, True) for axes in (1, 2, 3)},
    "linear": lambda: tt_linear()[1],
}
every_layer = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


class Reader(nn.Module):
    """A module that reads the weight of its layer as those of diffusers and timm do."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        y = self.layer(x.to(self.layer.weight.dtype, copy=False).to(self.layer.weight.device))
        return y * self.layer.weight.square().sum() + (0 if self.layer.bias is None else self.layer.bias.sum())


def an_input(layer):
    shape = (layer.in_features,) if isinstance(layer, tt.nn.TTLinear) else (8, *(5,) * len(layer.kernel_size))
    return normal(0, 2, *shape)


@every_layer
def test_the_weight_is_that_of_the_merged_layer_and_is_not_stored(make):
    layer = make()
    names = [name for name, _ in (*layer.named_parameters(), *layer.named_buffers())]
    assert torch.equal(layer.weight, layer.merge().weight)
    assert layer.weight is not layer.weight
    assert torch.equal(layer.bias, layer.merge().bias)
    assert list(layer.state_dict()) == names
    assert "weight" not in names
    assert layer.weight.requires_grad
    with torch.no_grad():
        assert not layer.weight.requires_grad
    assert not layer.requires_grad_(False).weight.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@every_layer
def test_the_weight_has_dtype_device_and_shape_of_the_plain_one(make, dtype):
    layer = make()
    shape = layer.merge().weight.shape
    assert layer.to(dtype).weight.dtype == dtype
    assert layer.weight.shape == shape
    assert layer.to("meta").weight.device.type == "meta"
    assert layer.weight.shape == shape
    assert layer.bias.device.type == "meta"


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_with_the_weight_has_the_gradients_of_the_layer(transposed):
    layer = conv_layer(transposed=transposed).double()
    x = normal(0, 2, 8, 6, 6, dtype=torch.float64)
    convolve = F.conv_transpose2d if transposed else F.conv2d
    ours, theirs = layer(x), convolve(x, layer.weight, layer.bias, groups=layer.groups)
    torch.testing.assert_close(theirs, ours)
    parameters = list(layer.parameters())
    for grad, other in zip(
        torch.autograd.grad(theirs.square().sum(), parameters),
        torch.autograd.grad(ours.square().sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(grad, other)
    linear = tt_linear(dtype=torch.float64)[1]
    assert torch.autograd.gradcheck(lambda *_: linear.weight, [core.weight for core in linear.cores])


@pytest.mark.parametrize(
    "value", [nn.Parameter(torch.ones(1)), torch.ones(1), None], ids=["parameter", "tensor", "None"]
)
@every_layer
def test_the_weight_cannot_be_set(make, value):
    layer = make()
    names = ["weight"] if isinstance(layer, tt.nn.TTLinear) else ["weight", "bias"]
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    for name in names:
        for change in (
            lambda name=name: setattr(layer, name, value),
            lambda name=name: layer.register_parameter(name, None),
        ):
            with pytest.raises(
                TensorTrainError, match=rf"{name} of a {type(layer).__name__} cannot be set.*`merge\(\)`"
            ):
                change()
    assert all(torch.equal(tensor, before[name]) for name, tensor in layer.state_dict().items())
    assert layer.weight.dim() >= 2


def test_the_bias_of_a_linear_layer_is_its_own_and_can_be_set():
    layer = tt_linear()[1]
    layer.bias = nn.Parameter(torch.zeros(12))
    assert torch.equal(layer.merge().bias, torch.zeros(12))
    layer.bias = None
    assert layer.merge().bias is None


@every_layer
def test_copies_keep_the_weight(make):
    layer = make()
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    copies = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), torch.load(saved, weights_only=False)]
    assert all(torch.equal(other.weight, layer.weight) for other in copies)
    with torch.no_grad():
        layer.cores[0].weight.zero_()
    assert layer.weight.count_nonzero() == 0
    assert all(other.weight.count_nonzero() > 0 for other in copies)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [small_layer, MAKERS["linear"]], ids=["conv", "linear"])
def test_modules_that_read_the_weight_compile_and_export(make):
    layer = make()
    reader, x = Reader(layer), normal(0, 2, 3, 9, 9) if layer.weight.shape[1] == 3 else an_input(layer)
    expected = reader(x)
    torch._dynamo.reset()
    compiled = torch.compile(reader, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(compiled, expected)
    grads = torch.autograd.grad(compiled.sum(), list(layer.parameters()))
    for grad, other in zip(grads, torch.autograd.grad(expected.sum(), list(layer.parameters())), strict=True):
        torch.testing.assert_close(grad, other)
    torch.testing.assert_close(torch.export.export(reader, (x,)).module()(x), expected)


@pytest.mark.filterwarnings("ignore")
def test_traced_and_called_with_other_parameters():
    """A traced layer must not store the dense weight as a constant of its own."""
    layer, x = small_layer(), normal(0, 2, 3, 9, 9)
    traced = torch.jit.trace(layer, x)
    assert list(traced.state_dict()) == list(layer.state_dict())
    assert not hasattr(traced, "weight")
    zeros = {name: torch.zeros_like(tensor) for name, tensor in layer.state_dict().items()}
    assert (
        torch.func.functional_call(Reader(layer), {f"layer.{n}": t for n, t in zeros.items()}, x).count_nonzero() == 0
    )


@every_layer
def test_autocast_does_not_touch_the_weight(make):
    """What is read is what is stored; its products with inputs are rounded."""
    layer = make()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, layer.merge().weight)
        assert layer.weight.dtype == torch.float32
    assert torch.equal(layer.weight, layer.merge().weight)


@every_layer
def test_a_layer_that_has_diverged_can_be_read(make):
    layer = make()
    with torch.no_grad():
        layer.cores[0].weight.fill_(torch.nan)
    assert layer.weight.dtype == torch.float32
    assert layer.weight.isnan().all()


@pytest.mark.filterwarnings("ignore")
def test_quantised_cores_have_no_plain_weight():
    quantised = torch.ao.quantization.quantize_dynamic(tt_linear()[1], {nn.Linear})
    assert not hasattr(quantised, "weight")
