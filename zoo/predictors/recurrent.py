"""One rollout for all recurrent models: it takes observed frames and returns all predictions."""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.predictors.rollout import recomputed
from zoo.predictors.video_model import VideoModel

State = Any  # a NamedTuple or tuple of tensors, or of further such tuples
TOGETHER = 2**13  # patched pixels (B · T · H · W) of known frames to read in one call; more exceed a CPU's caches


def patchify(frames: Tensor, patch: int) -> Tensor:
    """Turn blocks of pixels into channels: `(…, C, H, W)` to `(…, C · patch², H / patch, W / patch)`.

    >>> patchify(torch.rand(2, 1, 8, 8), 4).shape
    torch.Size([2, 16, 2, 2])
    """
    return F.pixel_unshuffle(frames, patch)


def unpatchify(frames: Tensor, patch: int) -> Tensor:
    """Undo `patchify`: `(…, C · patch², H, W)` to `(…, C, H · patch, W · patch)`."""
    return F.pixel_shuffle(frames, patch)


class RecurrentPredictor(VideoModel, ABC):
    """A model that reads one frame after the other: first the observed frames, then its own predictions.

    A subclass defines its first state (`initial_state`) and how it reads frames (`read`); this class has the rollout.
    The model predicts the frame after each frame it reads. So it also predicts all observed frames but the first.

    Args:
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels before the first layer.
        sigmoid: apply a sigmoid to the predictions, so that they lie in (0, 1), also if frames are normalised.
        multiple: height and width must be multiples of this number; see `VideoModel`.

    Attributes:
        recompute: save memory in training: keep only the state between frames, and read each frame again in the
            backward pass. This takes about a third more time.
        look_ahead: if the sampling mask is on the CPU, let the rollout find the leading steps where all clips of the
            batch read the true frame. It then reads these frames together with the observed ones, which is faster.
            Training switches it off on a GPU, where each step must run the same operators for every mask.

    Raises:
        ZooError: if an argument is below 1.

    A model without state, which predicts that each frame is repeated:

    >>> class Still(RecurrentPredictor):
    ...     def initial_state(self, batch, size, device, dtype):
    ...         return ()
    ...     def read(self, frames, state):
    ...         return frames, state
    >>> Still()(torch.rand(2, 3, 1, 8, 8), horizon=4).shape
    torch.Size([2, 6, 1, 8, 8])
    """

    def __init__(self, channels: int = 1, patch: int = 1, sigmoid: bool = False, multiple: int | None = None) -> None:
        super().__init__(channels, patch, multiple)
        self.sigmoid = sigmoid
        self.recompute = False
        self.look_ahead = True

    @abstractmethod
    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        """The state before the first frame. `size` is the height and width of the patched frames."""

    @abstractmethod
    def read(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Read patched frames `(T, B, c, h, w)` in order.

        Returns:
            A prediction of the frame after each frame, of the same shape, and the state after the last frame.
        """

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict every frame after the first observed one.

        Args:
            x: observed frames `(B, T_in, C, H, W)`.
            horizon: the number of frames to predict after x, at least 1.
            truth: the true frames after x, `(B, ≥ horizon - 1, C, H, W)`; required with `use_truth`.
            use_truth: the mask of scheduled sampling, bool: True where the model reads the true frame, False where it
                reads its own prediction. Shape `(B, horizon - 1)` decides for the frames after x, and shape
                `(B, T_in + horizon - 2)` for all frames but the first (reverse scheduled sampling). It may be on the
                CPU or on the device of x; see `look_ahead`.

        Returns:
            Predictions `(B, T_in - 1 + horizon, C, H, W)`. The first T_in - 1 predict observed frames, each from the
            frames before it. The last `horizon` follow x.

        Raises:
            ZooError: if shapes or precisions do not fit, or the horizon is below 1.
        """
        self.check(x, horizon, truth, use_truth)
        batch, observed = x.shape[:2]
        steps = observed + horizon - 1  # frames read
        frames = x if truth is None else torch.cat([x, truth[:, : horizon - 1]], 1)
        frames = patchify(frames.transpose(0, 1), self.patch)
        together, sampled = observed, 0
        if use_truth is not None:
            sampled = steps - use_truth.shape[1]  # earlier frames are always true
            together = sampled
            if self.look_ahead and use_truth.device.type == "cpu":
                together += int(use_truth.all(0).long().cumprod(0).sum())
            use_truth = use_truth.t()[..., None, None, None].to(x.device, non_blocking=True)

        state = self.initial_state(batch, (frames.shape[-2], frames.shape[-1]), x.device, x.dtype)
        predictions = []
        for known in frames[:together].split(self.at_once(frames[0])):
            following, state = self.predict(known, state)
            predictions.append(following)
        for t in range(together, steps):
            frame = predictions[-1][-1]
            if use_truth is not None:
                frame = torch.where(use_truth[t - sampled], frames[t], frame)
            following, state = self.predict(frame[None], state)
            predictions.append(following)
        return unpatchify(torch.cat(predictions), self.patch).transpose(0, 1)

    def predict(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Call `read`, and apply the sigmoid if the model has one. The rollout reads the result as the next frame."""
        if self.recompute and torch.is_grad_enabled():
            following, state = recomputed(self.read, frames, state)
        else:
            following, state = self.read(frames, state)
        return (self.normalized(torch.sigmoid(following)) if self.sigmoid else following), state

    def at_once(self, frame: Tensor) -> int:
        """How many known frames of the size of `frame`, `(B, c, h, w)`, are read in one call."""
        if self.recompute or not torch.is_grad_enabled():
            return 1  # reading several at once takes memory that only a backward pass needs anyway
        return max(1, TOGETHER // (frame.shape[0] * frame.shape[2] * frame.shape[3]))
