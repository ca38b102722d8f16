"""Clips that a program passes: what is refused, and how data sets print themselves."""

from typing import Any

import numpy as np
import pytest
import torch

import zoo
from zoo.data import Lorenz, MovingMNIST, adapted
from zoo.errors import ZooError
from zoo.evaluation import CopyLast, predict


class Source:
    """One clip that is whatever a test says."""

    length: Any = 4

    def __init__(self, clip: Any) -> None:
        self.clip = clip

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Any:
        return self.clip

    def digest(self) -> str:
        return ""


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (None, "Source, 1 clip of 4 frames: clip 0 is a NoneType, which is neither a tensor nor an array"),
        ("x", "clip 0 is a str, which is neither a tensor nor an array"),
        ([[1], [2, 3]], "clip 0 is a list, which is neither"),
        ([0], r"clip 0 is int64 of shape \(1,\), but must be floating-point of shape \(4, C, H, W\)"),
        (np.zeros((4, 1, 0, 8)), r"of shape \(4, 1, 0, 8\), but must be floating-point"),
        (np.full((4, 1, 8, 8), 255.0), "pixels from 255 to 255; map them to"),
        (np.full((4, 1, 8, 8), 255, np.uint8), "clip 0 is uint8"),
        (np.full((4, 1, 8, 8), -0.5), "pixels from -0.5 to -0.5"),
    ],
)
def test_clips_that_are_none_are_refused(clip: Any, words: str) -> None:
    with pytest.raises(ZooError, match=words):
        zoo.evaluate(CopyLast(), Source(clip), 2, observed=2, metrics="mse")


def test_errors_of_the_users_own_code_are_not_hidden() -> None:
    class Broken(Source):
        def __getitem__(self, index: int) -> Any:
            raise TypeError("mine")

    with pytest.raises(TypeError, match="mine"):
        adapted(Broken(None)).clips([0])


def test_a_length_that_is_no_number_of_frames_is_refused() -> None:
    source = Source(None)
    source.length = 2.5
    with pytest.raises(ZooError, match=r"Source.length = 2.5 must be a whole number"):
        adapted(source)


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (torch.full((4, 1, 8, 8), 255.0), "the clip's frames have pixels from 255 to 255, but must be in"),
        (torch.full((4, 1, 8, 8), -1.0), "pixels from -1 to -1"),
        (torch.full((4, 1, 8, 8), torch.nan), "pixels from nan to nan"),
        (torch.full((4, 1, 8, 8), 255, dtype=torch.uint8), "a clip of torch.uint8 .* such as bytes / 255"),
        (torch.zeros(4, 1, 0, 8), "cannot be continued"),
    ],
)
def test_frames_that_are_not_in_0_to_1_are_not_continued(clip: torch.Tensor, words: str) -> None:
    with pytest.raises(ZooError, match=words):
        predict({"copy": CopyLast()}, clip, 2, 2)


def test_numbers_that_are_not_whole_are_refused() -> None:
    clip = torch.rand(4, 1, 8, 8)
    for numbers in ({"horizon": 2.0}, {"observed": 2.0}):
        with pytest.raises(ZooError, match=r"= 2.0 must be a whole number, at least 1"):
            predict({"copy": CopyLast()}, clip, **{"horizon": 2, "observed": 2, **numbers})  # type: ignore[arg-type]


def test_data_sets_print_their_class_and_their_description() -> None:
    for dataset in (MovingMNIST("test", source="embedded", length=3), Lorenz("test", length=4), adapted(Source(None))):
        assert repr(dataset) == f"{type(dataset).__name__}({dataset.describe()})"


def test_one_is_a_singular() -> None:
    assert "1 clip of 1 frame 64×64" in MovingMNIST("test", source="embedded", length=1, count=1).describe()
    assert "1 clip of 1 step of" in Lorenz("test", length=1, count=1).describe()
