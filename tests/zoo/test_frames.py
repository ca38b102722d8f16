"""Frames that cannot be measured are refused: other ranges, types and shapes, by every metric and by the evaluator."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.zoo.test_evaluate import Clips
from zoo.errors import ZooError
from zoo.evaluation import evaluate
from zoo.evaluation.baselines import CopyLast
from zoo.evaluation.conventions import CONVENTIONS
from zoo.evaluation.metrics import Mae, Mse, Psnr, Ssim

MEASURES = [Mse(), Mae(per="frame"), Psnr(), Ssim(), Mse(pixels="raw"), Psnr(pixels="uint8"), Ssim(window="uniform-7")]
GENERATOR = torch.Generator().manual_seed(0)


def rand(*shape, dtype=torch.float32):
    return torch.rand(shape, generator=GENERATOR).to(dtype)


GOOD = rand(1, 2, 1, 16, 16)
RANGES = {
    "bytes as floats": 255 * GOOD,
    "dark bytes as floats": 12 * GOOD,
    "sixteen bits": 65535 * GOOD,
    "bytes around zero": 265 * GOOD - 10,
    "nan": torch.where(GOOD > 0.9, torch.nan, GOOD),
    "inf": torch.where(GOOD > 0.9, torch.inf, GOOD),
    "-inf": torch.where(GOOD > 0.9, -torch.inf, GOOD),
}
TYPES = {
    "uint8": (255 * GOOD).byte(),
    "int64": (255 * GOOD).long(),
    "bool": GOOD > 0.5,
    "complex": GOOD + 0j,
    "float8": GOOD.to(torch.float8_e4m3fn),
    "sparse": GOOD.to_sparse(),
    "array": GOOD.numpy(),
    "list": [[1.0]],
    "none": None,
}
SHAPES = {
    "one image": rand(16, 16),
    "no batch axis": rand(2, 1, 16, 16),
    "no channel axis": rand(1, 2, 16, 16),
    "six axes": rand(1, 1, 2, 1, 16, 16),
    "no clip": rand(0, 2, 1, 16, 16),
    "no row": rand(1, 2, 1, 0, 16),
}
OTHERS = {
    "channels": rand(1, 2, 3, 16, 16),
    "height": rand(1, 2, 1, 1, 16),
    "width": rand(1, 2, 1, 16, 17),
    "clips": rand(2, 2, 1, 16, 16),
    "steps": rand(1, 3, 1, 16, 16),
    "one step": rand(1, 1, 1, 16, 16),
    "channels last": rand(1, 2, 16, 16, 1),
}


def both_ways(measure, frames):
    """Measure as a function and as a stream, the frames once predicted and once true."""
    yield lambda: measure.between(frames, GOOD)
    yield lambda: measure.between(GOOD, frames)
    features, value = measure.comparison(None, torch.device("cpu"))
    yield lambda: value(features(frames), features(GOOD))
    yield lambda: value(features(GOOD), features(frames))


@pytest.mark.parametrize("measure", MEASURES, ids=str)
@pytest.mark.parametrize("kind", [*RANGES, *TYPES, *SHAPES])
def test_what_no_frames_are_is_refused(measure, kind):
    frames = (RANGES | TYPES | SHAPES)[kind]
    words = "have pixels from" if kind in RANGES else "cannot be measured; give"
    for call in both_ways(measure, frames):
        with pytest.raises(ZooError, match=words) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("measure", MEASURES, ids=str)
@pytest.mark.parametrize("kind", OTHERS)
def test_frames_of_different_shapes_are_refused(measure, kind):
    small = isinstance(measure, Ssim) and kind in ("height", "channels last")
    words = "differ in shape|smaller than SSIM's window" if small else "differ in shape"
    for number, call in enumerate(both_ways(measure, OTHERS[kind])):
        if kind == "one step" and number == 2:  # one predicted frame stands for all
            assert torch.equal(call(), measure.between(OTHERS[kind].expand_as(GOOD), GOOD))
            continue
        with pytest.raises(ZooError, match=words):
            call()


@pytest.mark.parametrize("true", [GOOD - 0.1, GOOD + 0.1, 2 * GOOD - 1, 12 * GOOD], ids=["below", "above", "±1", "12"])
def test_true_frames_never_leave_their_range(true):
    for measure in MEASURES:
        with pytest.raises(ZooError, match=r"true frames have pixels from .*, but must be in \[0, 1\]"):
            measure.between(GOOD, true)


@pytest.mark.parametrize("predicted", [1.5 * GOOD - 0.2, 3 * GOOD, -5 * GOOD, 300 * GOOD - 150, -1000 * GOOD, 0 * GOOD])
def test_predictions_may_leave_it_as_networks_do(predicted):
    expected = (predicted.clamp(0, 1).double() - GOOD.double()).square().mean((-3, -2, -1))
    torch.testing.assert_close(Mse().between(predicted, GOOD), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_floating_type_is_measured(dtype):
    value = Mse().between(GOOD.to(dtype), GOOD)
    assert value.max() < 1e-5


# The evaluator


class Scaled(Clips):
    """Clips after a change."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def render(self, batch):
        return self.change(super().render(batch))


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda clips: 255 * clips, "true frames have pixels from"),
        (lambda clips: (255 * clips).byte(), "cannot be measured; give dense floating-point"),
        (lambda clips: 2 * clips - 1, "true frames have pixels from"),
        (lambda clips: clips * torch.nan, "true frames have pixels from nan"),
        (lambda clips: clips[:, :, 0], "cannot be measured; give a tensor"),
        (lambda clips: clips.numpy(), "cannot be measured; give a tensor"),
    ],
    ids=["0…255", "bytes", "±1", "nan", "no channels", "array"],
)
def test_data_sets_of_other_frames_are_refused(change, words, convention):
    with pytest.raises(ZooError, match=words):
        evaluate(CopyLast(), Scaled(change), 3, observed=4, metrics=["mse", "psnr"], convention=convention)


def test_later_clips_are_looked_at_too():
    with pytest.raises(ZooError, match="true frames have pixels from"):
        evaluate(CopyLast(), Scaled(lambda clips: clips * (1 + (len(clips) > 1))), 3, observed=4, metrics=["mse"])


class Predicts(nn.Module):
    """A model that returns what it is told to."""

    def __init__(self, frames):
        super().__init__()
        self.frames = frames

    def forward(self, x, horizon):
        return self.frames(x, horizon)


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        (lambda x, horizon: 255 * x[:, -1:].repeat(1, horizon, 1, 1, 1), "predicted frames have pixels from"),
        (lambda x, horizon: x[:, -1:].repeat(1, horizon, 1, 1, 1) / 0, "predicted frames have pixels from"),
        (lambda x, horizon: x[:, -1:].repeat(1, horizon, 3, 1, 1), "predicts frames of shape"),
        (lambda x, horizon: x[:, -1:, :, :1].repeat(1, horizon, 1, 1, 1), "predicts frames of shape"),
        (lambda x, horizon: x[:1, -1:].repeat(1, horizon, 1, 1, 1), "predicts frames of shape"),
        (lambda x, horizon: x[:, -1:], "predicts frames of shape"),
        (lambda x, horizon: (255 * x[:, -1:]).byte().repeat(1, horizon, 1, 1, 1), "cannot be measured"),
    ],
    ids=["0…255", "inf", "channels", "height", "clips", "steps", "bytes"],
)
def test_models_that_predict_other_frames_are_refused(frames, words):
    with pytest.raises(ZooError, match=words):
        evaluate(Predicts(frames), Clips(), 3, observed=4, metrics=["mse", "mae", "psnr"])


def test_right_values_did_not_change():
    """MSE of bytes, once divided by 255, as an independent program computes it."""
    a, b = (np.random.default_rng(k).integers(0, 256, (1, 1, 1, 16, 16)) for k in (1, 2))
    value = Mse().between(torch.from_numpy(a) / 255, torch.from_numpy(b) / 255)
    assert float(value) == pytest.approx(np.mean(((a - b) / 255) ** 2), rel=1e-6)
