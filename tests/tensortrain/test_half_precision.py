"""Layers that replace half-precision layers: their cores share the size of the weight, so that none overflows."""

import pytest
import torch
from torch import nn

import tensortrain as tt


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [60_000.0, 1.0, 2.0**-24])
@pytest.mark.parametrize("axes", [((12,), (8,)), ((3, 4), (2, 4)), ((2, 2, 3), (2, 2, 2))])
def test_every_finite_weight_is_decomposed(
    axes: tuple[tuple[int, ...], tuple[int, ...]], value: float, dtype: torch.dtype
) -> None:
    linear, embedding = nn.Linear(8, 12, dtype=dtype), nn.Embedding(12, 8, dtype=dtype)
    signs = torch.sign(torch.randn(12, 8, generator=torch.Generator().manual_seed(0)))
    for plain in (linear, embedding):
        plain.weight.data = (value * signs).to(dtype)
    layers = (
        tt.nn.TTLinear.from_linear(linear, *axes, rtol=0.0),
        tt.nn.TTEmbedding.from_embedding(embedding, *axes, rtol=0.0),
    )
    for layer in layers:
        cores = [core.weight.double() for core in layer.cores]
        dense = (layer.matrix if isinstance(layer, tt.nn.TTLinear) else layer.table).to(torch.float64).reconstruct()
        assert float((dense / value - signs).abs().max().detach()) < 32 * torch.finfo(dtype).eps
        sizes = [float(core.abs().max().detach()) for core in cores]
        assert max(sizes) < 4 * min(sizes)
        assert layer.error < 1e-5


def test_a_weight_of_zeros_stays_zero() -> None:
    linear = nn.Linear(8, 12).half()
    nn.init.zeros_(linear.weight)
    assert not tt.nn.TTLinear.from_linear(linear, ranks=2).weight.any()
