"""The base class of encoder–forecasters: they read the observed frames and return the frames of the horizon only."""

from abc import ABC, abstractmethod

from torch import Tensor

from zoo.predictors.recurrent import patchify, unpatchify
from zoo.predictors.rollout import State, roll_out
from zoo.predictors.video_model import VideoModel


class Forecaster(VideoModel, ABC):
    """A model that first reads all observed frames, and then predicts the frames of the horizon with other weights.

    A subclass says how it reads (`encode`) and how it predicts the next frame (`forecast`). Unlike a
    `zoo.RecurrentPredictor` it does not predict observed frames, so its loss and metrics cover the horizon only.

    Args:
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels before the first layer.
        multiple: height and width must be multiples of this number; see `VideoModel`.
        feeds_back: whether the model reads each predicted frame (or the true frame under scheduled sampling) before it
            predicts the next. If it reads no frame while it predicts, scheduled sampling does not apply.

    Attributes:
        recompute: save memory in training: keep only the state between predictions, and compute the rest again in the
            backward pass. A model with large maps, such as TrajGRU, does so between observed frames too. See
            `zoo.RecurrentPredictor`.

    A model that predicts the mean of the frames it has read:

    >>> import torch
    >>> class Mean(Forecaster):
    ...     def encode(self, frames):
    ...         return frames.mean(0)
    ...     def forecast(self, state, frame):
    ...         return state, state
    >>> Mean()(torch.rand(2, 3, 1, 8, 8), horizon=4).shape
    torch.Size([2, 4, 1, 8, 8])
    """

    def __init__(
        self, channels: int = 1, patch: int = 1, multiple: int | None = None, feeds_back: bool = False
    ) -> None:
        super().__init__(channels, patch, multiple)
        self.feeds_back = feeds_back
        self.recompute = False

    @abstractmethod
    def encode(self, frames: Tensor) -> State:
        """Read the observed, patched frames `(T_in, B, c, h, w)`; return the state that the prediction starts from."""

    @abstractmethod
    def forecast(self, state: State, frame: Tensor | None) -> tuple[Tensor, State]:
        """Predict the next frame.

        Args:
            state: the state that `encode` or the previous call returned.
            frame: the patched frame before the predicted one, `(B, c, h, w)`. It is None for the first prediction, and
                always None if the model does not feed frames back.

        Returns:
            The predicted patched frame `(B, c, h, w)`, and the new state.
        """

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the `horizon` frames that follow x.

        Args:
            x: observed frames `(B, T_in, C, H, W)`.
            horizon: the number of frames to predict, at least 1.
            truth: the true frames after x, `(B, ≥ horizon - 1, C, H, W)`; required with `use_truth`.
            use_truth: the mask of scheduled sampling, as in `VideoModel.forward`. A model that feeds no frames back
                ignores it. Of a mask for reverse scheduled sampling, only the last horizon - 1 columns have an effect:
                all observed frames are read as they are.

        Returns:
            The predicted frames `(B, horizon, C, H, W)`.

        Raises:
            ZooError: if shapes do not fit, or the horizon is below 1.
        """
        self.check(x, horizon, truth, use_truth)
        state = self.encode(patchify(x.transpose(0, 1), self.patch))
        return self.roll_out(state, horizon, truth, use_truth)

    def roll_out(self, state: State, horizon: int, truth: Tensor | None, use_truth: Tensor | None) -> Tensor:
        """Predict `horizon` frames from a state. The result is `(B, horizon, C, H, W)`."""
        known = None
        if self.feeds_back and truth is not None and use_truth is not None:
            known = patchify(truth.transpose(0, 1), self.patch), use_truth
        steps = roll_out(
            self.forecast, state, horizon, feeds_back=self.feeds_back, known=known, recompute=bool(self.recompute)
        )
        return unpatchify(steps, self.patch).transpose(0, 1)
