"""Linear layers of low rank; `weight` of all factorised layers; the stride of 1×1 chains."""

import copy

import pytest
import torch
from torch import nn

import tensortrain as tt
from tensortrain import ConvTensorTrain, TensorTrainError
from tests.support.layers import hooked, normal, parametrized, small_layer, tt_linear


def low_rank(**settings):
    return tt.nn.LowRankLinear(normal(0, 5, 2), normal(1, 2, 4), normal(2, 5), **settings)


def test_it_is_the_linear_layer_of_its_weight():
    layer = low_rank(error=0.5)
    x = normal(3, 2, 3, 4)
    torch.testing.assert_close(layer(x), nn.functional.linear(x, layer.weight, layer.bias))
    merged = layer.merge()
    assert type(merged) is nn.Linear
    torch.testing.assert_close(merged(x), layer(x))
    assert list(layer.state_dict()) == ["cores.0.weight", "cores.0.bias", "cores.1.weight"]
    assert "rank=2" in repr(layer)
    assert layer.error == 0.5


def test_like_takes_everything_else_from_the_linear_layer():
    linear = nn.Linear(4, 5, dtype=torch.float64).eval()
    linear.bias.requires_grad_(False)
    layer = tt.nn.LowRankLinear.like(linear, normal(0, 5, 2), normal(1, 2, 4))
    assert layer.weight.dtype == torch.float64
    assert not layer.training
    assert torch.equal(layer.bias, linear.bias)
    assert [p.requires_grad for p in layer.parameters()] == [True, False, True]


class OwnForward(nn.Linear):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tt.nn.LowRankLinear(normal(0, 5, 2), normal(1, 3, 4)), "as many columns as inner"),
        (lambda: tt.nn.LowRankLinear(normal(0, 5), normal(1, 3, 4)), "floating matrix"),
        (lambda: tt.nn.LowRankLinear(normal(0, 5, 2), normal(1, 2, 4), normal(2, 4)), "bias has shape"),
        (lambda: tt.nn.LowRankLinear(normal(0, 5, 2), normal(1, 2, 4).double()), "inner is torch.float64"),
        (lambda: tt.nn.LowRankLinear.like(nn.Linear(4, 4), normal(0, 5, 2), normal(1, 2, 4)), "is not a .4, 4. weight"),
        (lambda: tt.nn.LowRankLinear.check(OwnForward(2, 2)), "a plain nn.Linear is needed"),
        (lambda: tt.nn.LowRankLinear.check(nn.LazyLinear(2)), "without a weight"),
        (lambda: tt.nn.LowRankLinear.check(parametrized(nn.Linear(2, 2))), "parametrized"),
        (lambda: tt.nn.LowRankLinear.check(hooked(nn.Linear(2, 2))), "has hooks"),
        (lambda: tt.nn.LowRankLinear.check(nn.Linear(2, 2, dtype=torch.complex64)), "a real floating dtype"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(TensorTrainError, match=message):
        make()


@pytest.mark.parametrize("make", [small_layer, low_rank, lambda: tt_linear()[1]])
def test_weight_is_the_one_of_the_plain_layer_and_read_only(make):
    layer = make()
    torch.testing.assert_close(layer.weight, layer.merge().weight)
    layer.weight.sum().backward()
    assert all(p.grad is not None for name, p in layer.named_parameters() if name.endswith("weight"))
    with pytest.raises(TensorTrainError, match="cannot be set"):
        layer.weight = nn.Parameter(torch.zeros(1))
    assert torch.equal(copy.deepcopy(layer).weight, layer.weight)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_stride_of_a_1x1_chain_is_taken_where_the_least_pixels_are_computed(transposed):
    shapes = [(3, 2, 1, 1), (2, 4, 1, 1)] if transposed else [(4, 3, 1, 1), (3, 2, 1, 1)]
    cores = [torch.randn(*shape) for shape in (reversed(shapes) if transposed else shapes)]
    chain = ConvTensorTrain(cores, transposed=transposed)
    layer_type = tt.nn.ConvTransposeTT2d if transposed else tt.nn.ConvTT2d
    layer = layer_type(chain, torch.randn(chain.out_channels), stride=(2, 3), padding=(0 if transposed else 1))
    assert [core.stride for core in layer.cores] == ([(2, 3), (1, 1)] if transposed else [(1, 1), (2, 3)])
    x = torch.randn(1, chain.in_channels, 6, 7)
    torch.testing.assert_close(layer(x), layer.merge()(x))
