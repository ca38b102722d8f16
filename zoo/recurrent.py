"""One rollout for every recurrent model: observed frames in, all predictions out."""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.rollout import recomputed
from zoo.video_model import VideoModel

State = Any  # a NamedTuple, or a tuple, of tensors and such tuples
TOGETHER = 2**13  # positions (B · T · H · W, patched) of known frames read at once: more leave a CPU's caches


def patchify(frames: Tensor, patch: int) -> Tensor:
    """`(…, C, H, W)` to `(…, C · patch², H / patch, W / patch)`: blocks of pixels become channels."""
    return F.pixel_unshuffle(frames, patch)


def unpatchify(frames: Tensor, patch: int) -> Tensor:
    """Undo `patchify`."""
    return F.pixel_shuffle(frames, patch)


class RecurrentPredictor(VideoModel, ABC):
    """A model that reads frame after frame, and beyond the observed ones its own predictions.

    A subclass says how its state begins (`initial_state`) and how it reads frames (`read`); the rollout is here. It
    predicts what follows each frame it reads, so it also predicts every observed frame but the first.

    Args:
        channels: C of the frames.
        patch: side of the pixel blocks that become channels before the first layer.
        sigmoid: apply a sigmoid to the predictions, so that they lie in (0, 1).
        multiple: see `VideoModel`.

    Attributes:
        recompute: keep only the state between frames for the backward pass, which reads each frame again: much less
            memory, about a third more time.
        look_ahead: let the rollout look at a sampling mask that is on the CPU, for further frames that the whole batch
            reads true, and read these together with the first ones. Training switches it off on a GPU, where a step
            must consist of the same operators whatever the mask is.

    A model without state, which predicts that a frame stays as it is:

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
        """The state before the first frame; `size` is (H, W) of the patched frames."""

    @abstractmethod
    def read(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Read patched frames `(T, B, c, h, w)` in order.

        Returns:
            A prediction of what follows each frame, of the same shape, and the state after the last.
        """

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict every frame after the first observed one.

        Args:
            x: observed frames `(B, T_in, C, H, W)`.
            horizon: frames to predict beyond them, at least 1.
            truth: the true frames beyond x, `(B, ≥ horizon - 1, C, H, W)`; needed with `use_truth`.
            use_truth: whether a step reads the true frame or the model's own prediction (scheduled sampling), bool.
                `(B, horizon - 1)` decides for the frames beyond x; `(B, T_in + horizon - 2)` for all but the first
                one (reverse scheduled sampling). It may be on the CPU or where x is; see `look_ahead`.

        Returns:
            `(B, T_in - 1 + horizon, C, H, W)`. The first T_in - 1 predict observed frames, each from the frames before
            it; the last `horizon` follow x.

        Raises:
            ZooError: shapes that do not fit, a horizon below 1.
        """
        self.check(x, horizon, truth, use_truth)
        batch, observed = x.shape[:2]
        steps = observed + horizon - 1  # frames read
        frames = x if truth is None else torch.cat([x, truth[:, : horizon - 1]], 1)
        frames = patchify(frames.transpose(0, 1), self.patch)
        together, sampled = observed, 0
        if use_truth is not None:
            sampled = steps - use_truth.shape[1]  # frames before this one are always true
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
        """`read`, with the sigmoid if the model has one: what a rollout feeds back."""
        if self.recompute and torch.is_grad_enabled():
            following, state = recomputed(self.read, frames, state)
        else:
            following, state = self.read(frames, state)
        return (torch.sigmoid(following) if self.sigmoid else following), state

    def at_once(self, frame: Tensor) -> int:
        """How many known frames like `(B, c, h, w)` are read in one call."""
        if self.recompute or not torch.is_grad_enabled():
            return 1  # several at once take memory, which only a backward pass takes anyway
        return max(1, TOGETHER // (frame.shape[0] * frame.shape[2] * frame.shape[3]))
