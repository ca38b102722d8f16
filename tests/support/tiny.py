"""Every model of video at a size at which it is quick: at most 20,000 parameters, on frames of 16×16 pixels."""

from typing import Any

import torch
from torch import Tensor

import zoo
from tests.support.deep import leave_to_deep_tests
from zoo.predictors.video_model import VideoModel

OPTIONS: dict[str, dict[str, Any]] = {
    "cdna": {"widths": [2, 3, 4], "kernels": 2, "canvas": [16, 16]},
    "conv-gru": {"kernel": 3, "first": 2, "hidden": [3, 4]},
    "conv-lstm-2015": {"hidden": [3, 2], "kernel": 3, "patch": 2},
    "dfn": {"widths": [3, 4, 5], "filter_size": 3},
    "e3d-lstm": {"hidden": 2, "layers": 2, "patch": 4},
    "fc-lstm": {"units": [4, 3], "canvas": [16, 16], "conditioned": True, "composite": True},
    "mcnet": {"base": 2},
    "traj-gru": {"links": 1, "first": 2, "hidden": [2, 2], "patch": 2},
    "vpn-baseline": {"width": 3, "dilations": [1, 2], "decoder_blocks": 2, "patch": 2},
    "causal-lstm": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "causal-lstm-s2t": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "conv-lstm": {"hidden": [2, 3, 2], "layers": [1, 1, 1], "kernel": 3},
    "conv-tt-lstm-fw": {"hidden": [2, 3, 2], "layers": [1, 1, 1], "kernel": 3, "order": 2, "steps": 2, "rank": 2},
    "conv-tt-lstm-sw": {"hidden": [2, 3, 2], "layers": [1, 1, 1], "kernel": 3, "order": 2, "steps": 3, "rank": 2},
    "predrnn": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "predrnn-ghu": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
    "predrnn-pp": {"hidden": [2, 4, 3], "kernel": 3, "patch": 1},
}

FAMILIES = {"causal-lstm", "conv-lstm", "conv-lstm-2015", "conv-tt-lstm-sw", "e3d-lstm", "predrnn-ghu", "traj-gru"}
"""One model of each family of cells."""


def leave_others_to_deep_tests(name: str) -> None:
    """Skip a test that compiles, unless it is of one model of each family, or `make test-deep` runs."""
    if name not in FAMILIES:
        leave_to_deep_tests("one model of each family of cells is compiled; all of them")


def build(name: str, **options: Any) -> VideoModel:
    """A model at tiny size."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = zoo.create_model(name, **OPTIONS[name] | options)
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases begin at zero, which would hide them
                torch.nn.init.normal_(parameter)
            elif not parameter.any():  # so do flows, whose unit is a pixel
                torch.nn.init.normal_(parameter, std=0.1)
    return model


def clips(frames: int, batch: int = 2, channels: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, frames, channels, 16, 16, generator=generator, dtype=dtype)
