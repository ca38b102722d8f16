"""The `weight` of a layer is a copy, also if the layer has one core, and gradients still flow through it."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import tensortrain as tt

Layer = Callable[[], nn.Module]


def table(order: int) -> tt.TensorTrainMatrix:
    return tt.TensorTrainMatrix.random((3,) * order, (2,) * order, 2)


def chain(axes: int, transposed: bool, order: int) -> tt.ConvTensorTrain:
    return tt.ConvTensorTrain([torch.randn(2, 2, *(2,) * axes) for _ in range(order)], transposed=transposed)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "build",
    [
        lambda order: tt.nn.ConvTT1d(chain(1, False, order)),
        lambda order: tt.nn.ConvTT2d(chain(2, False, order)),
        lambda order: tt.nn.ConvTT3d(chain(3, False, order)),
        lambda order: tt.nn.ConvTransposeTT2d(chain(2, True, order)),
        lambda order: tt.nn.TTLinear(table(order)),
        lambda order: tt.nn.TTEmbedding(table(order)),
        lambda order: tt.nn.TTEmbedding(table(order), padding_idx=1),
        lambda order: tt.nn.TTEmbeddingBag(table(order)),
        lambda order: tt.nn.LowRankLinear(torch.randn(3, order), torch.randn(order, 2)),
    ],
)
def test_changing_the_weight_does_not_change_the_layer(build: Callable[[int], nn.Module], order: int) -> None:
    layer = build(order)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.merge().weight.mul_(2)
    layer.weight.data.zero_()
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    layer.weight.sum().backward()
    assert all(core.weight.grad is not None for core in layer.cores)
