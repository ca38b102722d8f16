"""What `VideoModel` promises is enough: a model that only predicts the horizon, by a loss of its own, is trained,
validated and measured."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import zoo
from tests.support.runs import Tiny, read_metrics, with_training
from zoo.errors import ZooError
from zoo.evaluation import gradient_norms
from zoo.predictors.losses import frame_loss
from zoo.predictors.video_model import VideoModel, check_predicted_shape
from zoo.registry import register
from zoo.training import fit


@register("test-levels", paper="none")
class Levels(VideoModel):
    """Of each pixel the probabilities of black and white, the same for all frames beyond x: logits in training."""

    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        self.check(x, horizon, truth, use_truth)
        logits = self.map(x[:, -1])[:, None].expand(-1, horizon, -1, -1, -1)
        return logits if self.training else logits.softmax(2)[:, :, 1:]

    def loss(self, predictions: Tensor, clips: Tensor, *weights: float, **named: float) -> Tensor:
        if not self.training:
            return super().loss(predictions, clips, *weights, **named)
        white = clips[:, -predictions.shape[1] :, 0] > 0.5
        return nn.functional.cross_entropy(predictions.transpose(1, 2), white.long())


def test_a_model_with_a_loss_and_outputs_of_its_own(tmp_path: Path) -> None:
    recipe = replace(with_training(steps=4, validate_every=4, log_every=1), model="test-levels")
    run = fit(recipe, tmp_path / "run", progress=False)
    losses = [float(row["loss"]) for row in read_metrics(tmp_path / "run" / "metrics.csv") if row.get("loss")]
    assert 0.1 < losses[0] < 2  # nats for each pixel
    clips = zoo.MovingMNIST("test", source="embedded", size=28, length=5, root=tmp_path)
    scores = zoo.evaluate(run.model, clips, 3, observed=2, metrics=("mse",), count=2)
    x = clips.clips(range(2))
    expected = (run.model(x[:, :2], 3) - x[:, 2:]).square().mean()
    assert scores.average["mse"] == pytest.approx(expected.item(), rel=1e-5)
    with pytest.raises(ZooError, match="m has no state that passes from frame to frame"):
        gradient_norms({"m": run.model}, clips, 3, observed=2, count=1)


def test_recompute_is_for_recurrent_models(tmp_path: Path) -> None:
    recipe = replace(with_training(recompute=True), model="test-levels")
    with pytest.raises(ZooError, match=r"test-levels is not recurrent.*leave training\.recompute off"):
        fit(recipe, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("predicted", [3, 4])
def test_the_default_loss_is_the_error_of_the_frames_that_were_predicted(predicted: int) -> None:
    """Of the horizon alone, or with predictions of observed frames before it."""
    clips, predictions = torch.rand(2, 5, 1, 4, 4), torch.rand(2, predicted, 1, 4, 4)
    loss = VideoModel.loss(Levels().eval(), predictions, clips, 0.5, 2.0)
    assert torch.equal(loss, frame_loss(predictions, clips[:, 5 - predicted :], 0.5, 2.0))


@register("test-misshapen", paper="none")
class Misshapen(Tiny):
    """Returns another shape than it should."""

    def __init__(self, kept: str = "") -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor, horizon: int, *more: Any) -> Any:
        predictions = super().forward(x, horizon, *more)
        parts = {
            "one clip": predictions[:1],
            "one frame": predictions[:, -1:],
            "too few": predictions[:, 1 - horizon :],
            "too many": torch.cat([predictions, predictions], 1),
            "one row": predictions[..., :1, :],
            "no channel": predictions[:, :, 0],
            "a tuple": (predictions,),
            "validation": predictions if self.training else predictions[:, -1:],
        }
        return parts[self.kept]


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ("one clip", r"predicts frames of shape \(1, 4, 1, 28, 28\)"),
        ("one frame", r"predicts frames of shape \(4, 1, 1, 28, 28\)"),
        ("too few", r"predicts frames of shape \(4, 2, 1, 28, 28\)"),
        ("too many", r"predicts frames of shape \(4, 8, 1, 28, 28\)"),
        ("one row", r"predicts frames of shape \(4, 4, 1, 1, 28\)"),
        ("no channel", r"predicts frames of shape \(4, 4, 28, 28\)"),
        ("a tuple", "returns a tuple"),
        ("validation", r"predicts frames of shape \(4, 1, 1, 28, 28\)"),
    ],
)
def test_predictions_of_a_wrong_shape_are_not_trained(kept: str, words: str, tmp_path: Path) -> None:
    """The errors of a single frame, row or clip would be computed all the same, as torch would repeat it."""
    recipe = replace(with_training(steps=1), model="test-misshapen", options={"kept": kept})
    expected = words + r", but horizon 3 needs \(4, T from 3 to 4, 1, 28, 28\); correct its forward"
    with pytest.raises(ZooError, match=expected):
        fit(recipe, tmp_path / "run", progress=False)


@pytest.mark.parametrize(("steps", "fits"), [(3, False), (4, True), (6, True), (7, False)])
def test_predictions_of_series_have_the_shape_of_the_steps(steps: int, fits: bool) -> None:
    with (
        nullcontext() if fits else pytest.raises(ZooError, match=r"predicts steps of shape .* \(2, T from 4 to 6, 5\)")
    ):
        check_predicted_shape(torch.zeros(2, steps, 5), torch.zeros(2, 3, 5), horizon=4)
