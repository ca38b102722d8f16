"""Every encoder–forecaster of video: observed frames in, the frames of the horizon out, and nothing else."""

from abc import ABC, abstractmethod

from torch import Tensor

from zoo.recurrent import patchify, unpatchify
from zoo.rollout import State, roll_out
from zoo.video_model import VideoModel


class Forecaster(VideoModel, ABC):
    """A model that first reads all observed frames and then predicts, with other weights, those of the horizon.

    A subclass says how it reads (`encode`) and how it predicts the next frame (`forecast`). Unlike
    a `zoo.RecurrentPredictor` it predicts no observed frame, so loss and metrics cover the horizon alone.

    Args:
        channels: C of the frames.
        patch: side of the pixel blocks that become channels before the first layer.
        multiple: see `VideoModel`.
        feeds_back: each predicted frame, or the true one under scheduled sampling, is read before the next is
            predicted. A model that reads no frame while it predicts has nothing to sample.

    Attributes:
        recompute: keep only the state between predictions for the backward pass, and where its maps are large, as in
            TrajGRU, that between observed frames; see `zoo.RecurrentPredictor`.

    A model that predicts the mean of what it has read:

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
        """Read the observed, patched frames `(T_in, B, c, h, w)`: the state from which the prediction begins."""

    @abstractmethod
    def forecast(self, state: State, frame: Tensor | None) -> tuple[Tensor, State]:
        """Predict the next frame.

        Args:
            state: of the rollout so far.
            frame: the frame before the predicted one, patched, `(B, c, h, w)`. None for the first prediction, and
                always None for a model that does not feed frames back.

        Returns:
            The predicted patched frame, `(B, c, h, w)`, and the new state.
        """

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict the `horizon` frames that follow x.

        Args:
            x: observed frames `(B, T_in, C, H, W)`.
            horizon: frames to predict, at least 1.
            truth: the true frames beyond x, `(B, ≥ horizon - 1, C, H, W)`; needed with `use_truth`.
            use_truth: as of `VideoModel.forward`; ignored by a model that feeds no frames back. The observed frames
                are always true: of a mask for reverse scheduled sampling only the part beyond them counts.

        Returns:
            `(B, horizon, C, H, W)`.

        Raises:
            ZooError: shapes that do not fit, a horizon below 1.
        """
        self.check(x, horizon, truth, use_truth)
        state = self.encode(patchify(x.transpose(0, 1), self.patch))
        return self.roll_out(state, horizon, truth, use_truth)

    def roll_out(self, state: State, horizon: int, truth: Tensor | None, use_truth: Tensor | None) -> Tensor:
        """Predict `horizon` frames from a state, `(B, horizon, C, H, W)`."""
        known = None
        if self.feeds_back and truth is not None and use_truth is not None:
            known = patchify(truth.transpose(0, 1), self.patch), use_truth
        steps = roll_out(
            self.forecast, state, horizon, feeds_back=self.feeds_back, known=known, recompute=bool(self.recompute)
        )
        return unpatchify(steps, self.patch).transpose(0, 1)
