"""Modules that compute or hold more than their class does are not replaced: the result would lose it."""

import copy
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import tensortrain as tt
from tensortrain.compression.layers.exchange import exchange, exchangeable, unexchangeable
from tensortrain.nn.attention import WindowAttention


def scaled(self: Any, x: Tensor, *others: Any) -> Tensor:
    return 10 * type(self).forward(self, x, *others) + 3


def scaled_conv(self: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return 10 * F.conv2d(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


def with_method(module: Any, name: str = "forward", method: Any = scaled) -> Any:
    """Set a method on the module itself, as some libraries do."""
    setattr(module, name, types.MethodType(method, module))
    return module


def with_parameter(module: Any) -> Any:
    module.scale = nn.Parameter(torch.full((16,), 2.0))
    return module


def with_buffer(module: Any) -> Any:
    module.register_buffer("mask", torch.ones(16))
    return module


def with_module(module: Any) -> Any:
    module.adapter = nn.Identity()
    return module


def with_tensor(module: Any) -> Any:
    module.shift = torch.ones(16)
    return module


class ScaledCall(nn.Linear):
    def __call__(self, x: Tensor) -> Tensor:
        return 2 * super().__call__(x)


ALTERED = [
    with_method(nn.Linear(16, 16)),
    with_method(nn.Conv2d(16, 16, 3)),
    with_method(nn.Conv2d(16, 16, 3), "_conv_forward", scaled_conv),
    with_method(nn.ConvTranspose2d(16, 16, 3)),
    ScaledCall(16, 16),
    *(change(nn.Linear(16, 16)) for change in (with_parameter, with_buffer, with_module, with_tensor)),
    *(change(nn.Conv2d(16, 16, 3)) for change in (with_parameter, with_buffer, with_module, with_tensor)),
    with_parameter(nn.ConvTranspose2d(16, 16, 3)),
    with_method(tt.nn.LowRankLinear(torch.ones(16, 12), torch.ones(12, 16))),
    with_parameter(tt.nn.LowRankLinear(torch.ones(16, 12), torch.ones(12, 16))),
]


class Two(nn.Module):
    """An altered layer, and a linear layer after it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.out = layer, nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        is_conv = isinstance(self.layer, nn.Conv2d | nn.ConvTranspose2d)
        x = self.layer(x[:, :, None, None].expand(-1, -1, 3, 3)).mean((2, 3)) if is_conv else self.layer(x)
        result: Tensor = self.out(x)
        return result


@pytest.mark.parametrize("layer", ALTERED, ids=lambda layer: type(layer).__name__)
def test_a_layer_that_computes_or_holds_more_stays(layer: nn.Module) -> None:
    torch.manual_seed(0)
    net, x = Two(copy.deepcopy(layer)).eval(), torch.randn(64, 16)
    result = tt.compress(net, x, parameters=0.97)
    small: Any = result.model
    assert type(small.layer) is type(layer)
    assert small.layer.state_dict().keys() == layer.state_dict().keys()
    with torch.no_grad():
        torch.testing.assert_close(small.layer(_input(layer, x)), net.layer(_input(layer, x)))
    note = {row.name: row.note for row in result.report.layers}["layer"]
    assert "own forward" in note or "also holds" in note
    with pytest.warns(UserWarning, match="1 of 2 layers stay as they are"):
        assert type(tt.nn.decompose(net, ranks=4).layer) is type(layer)


def _input(layer: nn.Module, x: Tensor) -> Tensor:
    return x[:, :, None, None].expand(-1, -1, 3, 3) if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else x


@pytest.mark.parametrize("change", [with_method, with_parameter, with_buffer, with_module, with_tensor])
def test_other_plain_layers_are_refused_too(change: Any) -> None:
    with pytest.raises(tt.TensorTrainError, match=r"own forward|also holds"):
        tt.nn.TTLinear.from_linear(change(nn.Linear(16, 16)), ranks=2)
    with pytest.raises(tt.TensorTrainError, match=r"own forward|also holds"):
        tt.nn.TTEmbedding.from_embedding(change(nn.Embedding(16, 16)), ranks=2)


@pytest.mark.parametrize("part", ["layer", "core"])
@pytest.mark.parametrize("change", [with_method, with_parameter])
def test_layers_of_this_library_are_not_merged(change: Any, part: str) -> None:
    net = tt.nn.LowRankLinear(torch.ones(16, 2), torch.ones(2, 16))
    change(net if part == "layer" else net.cores[1])
    with pytest.raises(tt.TensorTrainError, match=r"own forward|also holds"):
        tt.nn.merge(nn.Sequential(net))
    embedding = tt.nn.TTEmbedding.from_embedding(nn.Embedding(16, 16, padding_idx=0), ranks=2)
    assert isinstance(tt.nn.merge(nn.Sequential(embedding))[0], nn.Embedding)  # type: ignore[index]


class MoreAttention(nn.MultiheadAttention):
    def __init__(self) -> None:
        super().__init__(16, 2, batch_first=True)
        self.scale = nn.Parameter(torch.ones(1))


def attention_with_a_larger_projection() -> Any:
    module = nn.MultiheadAttention(16, 2, batch_first=True)
    with_parameter(module.out_proj)
    return module


@pytest.mark.parametrize(
    "module",
    [
        with_method(nn.MultiheadAttention(16, 2, batch_first=True)),
        MoreAttention(),
        attention_with_a_larger_projection(),
    ],
)
def test_attention_that_computes_or_holds_more_is_not_exchanged(module: Any) -> None:
    assert exchangeable(nn.ModuleList([module])) == {}
    assert unexchangeable(nn.ModuleList([module])) == {"0": "it has its own forward or further tensors"}
    with pytest.raises(tt.TensorTrainError, match=r"a plain nn\.MultiheadAttention is needed"):
        tt.nn.MultiheadAttention.like(module)


class ShiftedWindowAttention(nn.Module):
    """The attributes by which torchvision's module is recognised."""

    def __init__(self) -> None:
        super().__init__()
        self.window_size, self.shift_size, self.num_heads = [2, 2], [0, 0], 2
        self.attention_dropout = self.dropout = 0.0
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def get_relative_position_bias(self) -> Tensor:
        return torch.zeros(1, 2, 4, 4)


class Fused(nn.Module):
    """The attributes by which timm's modules are recognised."""

    qkv_bias_separate = False

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)


@pytest.mark.parametrize("build", [ShiftedWindowAttention, Fused])
def test_a_forward_on_the_module_itself_is_kept(build: Any) -> None:
    net = nn.Sequential(build(), with_method(build(), method=lambda self, x: x))
    assert list(exchangeable(net)) == ["0"]
    assert exchange(net, ["0", "1"])[1](5) == 5
    assert not WindowAttention.recognises(net[1])
