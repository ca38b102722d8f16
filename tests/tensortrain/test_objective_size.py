"""The objectives "speed" and "both" time chains on images, which must be at least as large as the kernel."""

from typing import Any

import pytest
import torch

from tensortrain import ConvTensorTrain, TensorTrainError
from tensortrain.conv.fit import choose_format


@pytest.mark.parametrize("objective", ["speed", "both"])
@pytest.mark.parametrize("size", [2, (5, 4)])
@pytest.mark.parametrize("limit", [{"budget": 0.3}, {"rtol": 0.3}])
def test_smaller_images_are_refused_before_any_fit(
    monkeypatch: pytest.MonkeyPatch, objective: str, size: Any, limit: dict[str, float]
) -> None:
    monkeypatch.setattr(choose_format, "solve", None)
    with pytest.raises(TensorTrainError, match=r"size = \(.*\) is smaller than the kernel, \(5, 5\)"):
        ConvTensorTrain.decompose(torch.randn(4, 3, 5, 5), objective=objective, size=size, **limit)


def test_images_of_the_size_of_the_kernel_are_enough_and_the_error_ignores_them() -> None:
    weight = torch.randn(3, 2, 2, 2)
    for options in ({"objective": "speed", "size": 2}, {"objective": "error", "size": 1}):
        assert ConvTensorTrain.decompose(weight, budget=0.6, effort=0.05, **options).error < 1
