"""Every convolution of a model is a module that the model calls: what is put in its place is what runs."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.support.deep import leave_to_deep_tests
from tests.support.reference import layered_models
from zoo.predictors.video_model import VideoModel
from zoo.registry import find_model
from zoo.training.compiled import compiling


class Counting(nn.Module):
    """Stands for a convolution, counts its calls and has no weight of its own that could be read instead."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.replaced = [conv]  # in a list, so that the convolution is no submodule
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor) -> Tensor:
        self.calls.add_(1)
        y = self.replaced[0](x)
        assert isinstance(y, Tensor)
        return y


def exchanged(name: str, **options: Any) -> tuple[VideoModel, VideoModel, dict[str, Counting]]:
    """A model as it is, the same with every convolution exchanged, and what they were exchanged for."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden": [2, 3, 2], "kernel": 3, "patch": 1} | options
    model, other = (zoo.create_model(name, **sizes).double() for _ in range(2))
    other.load_state_dict(model.state_dict())
    counting = {}
    for path, module in list(other.named_modules()):
        if isinstance(module, nn.Conv2d):
            counting[path] = Counting(module)
            other.set_submodule(path, counting[path])
    return model, other, counting


def options_of(name: str) -> list[dict[str, Any]]:
    if "form" in find_model(name).options:
        return [{}, {"form": "released"}]
    return [{"layers": [1, 1, 1]} | ({"order": 3} if "tt" in name else {})]


CASES = [(name, options) for name in layered_models() for options in options_of(name)]


@pytest.mark.parametrize("mode", ["training", "rollout", "compiled"])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_every_convolution_is_called(name: str, options: dict[str, Any], mode: str) -> None:
    if mode == "compiled" and name != "conv-tt-lstm-sw":
        leave_to_deep_tests("one model is compiled; all of them")
    model, other, counting = exchanged(name, **options)
    assert len(counting) >= 2 * 3 + 1
    parameters = [path for path, value in model.named_parameters() if value.dim() > 2]
    assert sorted(parameters) == sorted(f"{path}.weight" for path in counting)  # no kernel outside a convolution
    x = torch.rand(2, 3, 1, 6, 6, dtype=torch.float64)
    if mode == "compiled":
        torch.compiler.reset()
        for module in other.modules():
            if callable(step := getattr(module, "step", None)):
                module.step = torch.compile(step, dynamic=False, backend="aot_eager")
    with compiling(), torch.set_grad_enabled(mode != "rollout"):
        predictions = other(x, 3)
        if mode != "rollout":
            predictions.square().sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(predictions, model(x, 3), rtol=0, atol=1e-10)
    assert [path for path, conv in counting.items() if conv.calls == 0] == []
