"""Which tensors are conv kernels, and which of them patterns select."""

import pytest
import torch

from tensortrain import TensorTrainError
from tensortrain.compression.kernels import find_kernels, select
from tests.support.command import normal


def test_what_counts_as_a_conv_kernel():
    tensors = {
        "conv.weight": normal(0, 2, 2, 3), "conv.bias": normal(1, 2), "linear.weight": normal(2, 4, 4),
        "norm.weight": normal(3, 2, 4, 4), "norm.bias": normal(4, 2, 4, 4), "position": normal(5, 1, 9, 4),
        "counts.weight": torch.ones(2, 2, 3, dtype=torch.int64), "deep.weight": normal(6, 2, 2, 1, 1, 1, 1),
    }  # fmt: skip
    assert [kernel.name for kernel in find_kernels(tensors)] == ["conv.weight"]
    del tensors["conv.weight"]
    assert [kernel.name for kernel in find_kernels({"position": tensors["position"]})] == ["position"]
    with pytest.raises(TensorTrainError, match="no conv kernel"):
        find_kernels({"linear.weight": tensors["linear.weight"]})


def test_patterns_select_layers():
    kernels = find_kernels({f"layer{i}.conv.weight": normal(i, 2, 2, 3) for i in range(3)})
    for include, exclude, expected in [
        (["layer1*"], [], ["layer1.conv"]),
        ([], ["layer1.conv.weight"], ["layer0.conv", "layer2.conv"]),
        (["*"], ["layer[12]*"], ["layer0.conv"]),
    ]:
        assert [kernel.layer for kernel in select(kernels, include, exclude)] == expected
