"""The losses where their formulas have no value of their own: at predictions of exactly 0 and 1."""

import pytest
import torch

import zoo
from zoo.errors import ZooError
from zoo.predictors.losses import grey_cross_entropy


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cross_entropy_is_that_of_torch(dtype: torch.dtype) -> None:
    """Which bounds the logarithms too, and has slopes of 10¹² where they are bounded."""
    generator = torch.Generator().manual_seed(0)
    predictions, frames = torch.rand(2, 40, dtype=dtype, generator=generator)
    predictions[:4], frames[:4] = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 0.5, 0.5, 1.0])
    expected = torch.nn.functional.binary_cross_entropy(predictions, frames)
    torch.testing.assert_close(grey_cross_entropy(predictions, frames), expected)


def test_cross_entropy_has_a_slope_everywhere() -> None:
    """A filtered frame is exactly black where nothing is near."""
    predictions = torch.tensor([-1.0, 0.0, 0.0, 0.25, 1.0, 1.0, 2.0], requires_grad=True)
    frames = torch.tensor([0.5, 0.0, 0.5, 0.5, 0.5, 1.0, 0.5])
    grey_cross_entropy(predictions, frames).backward()
    assert predictions.grad is not None
    # at 0 and at 1 that of the logarithm which has one, at a quarter that of both
    expected = torch.tensor([0.0, 1.0, 0.5, -0.5 / 0.25 + 0.5 / 0.75, -0.5, -1.0, 0.0]) / 7
    torch.testing.assert_close(predictions.grad, expected)


@pytest.mark.parametrize("shape", [(2, 1, 1, 4, 4), (2, 3, 1, 1, 4), (1, 3, 1, 4, 4), (2, 2, 1, 4, 4)])
def test_losses_of_other_shapes_are_refused_as_torch_would_repeat_frames(shape):
    model = zoo.create_model("conv-lstm", hidden=(2,), layers=(1,), kernel=3)
    with pytest.raises(ZooError, match="differ in shape; pass clips with all steps that are predicted"):
        model.loss(torch.rand(2, 3, 1, 4, 4), torch.rand(shape))


def test_losses_of_series_of_other_shapes_are_refused():
    with pytest.raises(ZooError, match="differ in shape"):
        zoo.create_model("lstm").loss(torch.rand(2, 3, 3), torch.rand(2, 1, 3))
