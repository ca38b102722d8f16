"""One rollout for every model of the zoo: observed frames in, all predictions out."""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from zoo.errors import ZooError

State = Any  # a NamedTuple, or a tuple, of tensors and such tuples
TOGETHER = 2**13  # positions (B · T · H · W, patched) of known frames read at once: more leave a CPU's caches


def patchify(frames: Tensor, patch: int) -> Tensor:
    """`(…, C, H, W)` to `(…, C · patch², H / patch, W / patch)`: blocks of pixels become channels."""
    return F.pixel_unshuffle(frames, patch)


def unpatchify(frames: Tensor, patch: int) -> Tensor:
    """Undo `patchify`."""
    return F.pixel_shuffle(frames, patch)


class VideoModel(nn.Module, ABC):
    """Predicts the next frames of a video.

    A model says how its state begins (`initial_state`) and how it reads frames (`read`); the rollout is here.

    Args:
        channels: C of the frames.
        patch: side of the pixel blocks that the frames are folded into before the first layer.
        sigmoid: squash the predictions into (0, 1).

    Attributes:
        recompute: keep only the state between frames for the backward pass, which reads each frame again: much less
            memory, about a third more time.
    """

    def __init__(self, channels: int, patch: int, sigmoid: bool) -> None:
        super().__init__()
        for name, value in (("channels", channels), ("patch", patch)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        self.channels, self.patch, self.sigmoid = channels, patch, sigmoid
        self.recompute = False

    @abstractmethod
    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        """The state before the first frame; `size` is (H, W) of the patched frames."""

    @abstractmethod
    def read(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """Read patched frames `(T, B, c, h, w)` in order; a prediction of what follows each, of the same shape."""

    def forward(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> Tensor:
        """Predict every frame after the first observed one.

        Args:
            x: observed frames `(B, T_in, C, H, W)`.
            horizon: frames to predict beyond them, at least 1.
            truth: the true frames beyond x, `(B, ≥ horizon - 1, C, H, W)`; needed with `use_truth`.
            use_truth: whether a step reads the true frame or the model's own prediction (scheduled sampling), bool.
                `(B, horizon - 1)` decides for the frames beyond x; `(B, T_in + horizon - 2)` for all but the first
                one (reverse scheduled sampling). Keep it on the CPU: leading frames that all clips know are read
                together in training if they are small, and finding them there waits for no device.

        Returns:
            `(B, T_in - 1 + horizon, C, H, W)`: the first T_in - 1 predict observed frames.

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
            together = sampled + int(use_truth.all(0).long().cumprod(0).sum())
            use_truth = use_truth.t()[..., None, None, None].to(x.device, non_blocking=True)

        state = self.initial_state(batch, (frames.shape[-2], frames.shape[-1]), x.device, x.dtype)
        predictions = []
        for known in frames[:together].split(self.at_once(frames[0])):
            made, state = self.predict(known, state)
            predictions.append(made)
        for t in range(together, steps):
            frame = predictions[-1][-1]
            if use_truth is not None:
                frame = torch.where(use_truth[t - sampled], frames[t], frame)
            made, state = self.predict(frame[None], state)
            predictions.append(made)
        return unpatchify(torch.cat(predictions), self.patch).transpose(0, 1)

    def predict(self, frames: Tensor, state: State) -> tuple[Tensor, State]:
        """`read`, with the predictions squashed if the model does so: what a rollout feeds back."""
        if self.recompute and torch.is_grad_enabled():
            made, state = checkpoint(self.read, frames, state, use_reentrant=False, preserve_rng_state=False)
        else:
            made, state = self.read(frames, state)
        return (torch.sigmoid(made) if self.sigmoid else made), state

    def at_once(self, frame: Tensor) -> int:
        """How many known frames like `(B, c, h, w)` are read together."""
        if self.recompute or not torch.is_grad_enabled():
            return 1  # together takes memory, which only a backward pass takes anyway
        return max(1, TOGETHER // (frame.shape[0] * frame.shape[2] * frame.shape[3]))

    def check(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> None:
        """Raise a ZooError unless `forward` can take these."""
        if x.dim() != 5 or x.shape[1] < 1 or x.shape[2] != self.channels:
            raise ZooError(f"x has shape {tuple(x.shape)}; (B, T_in ≥ 1, {self.channels}, H, W) is needed")
        if x.shape[3] % self.patch or x.shape[4] % self.patch:
            raise ZooError(
                f"frames of {x.shape[3]}×{x.shape[4]} pixels do not divide into patches of {self.patch}×{self.patch}; "
                "resize them or choose another patch"
            )
        if horizon < 1:
            raise ZooError(f"horizon = {horizon} must be at least 1")
        if truth is not None:
            frame = (x.shape[0], *x.shape[2:])
            if truth.dim() != 5 or (truth.shape[0], *truth.shape[2:]) != frame or truth.shape[1] < horizon - 1:
                raise ZooError(
                    f"truth has shape {tuple(truth.shape)}; ({x.shape[0]}, ≥ {horizon - 1}, "
                    f"{', '.join(map(str, x.shape[2:]))}) is needed beside x {tuple(x.shape)}"
                )
        if use_truth is not None:
            if truth is None:
                raise ZooError("use_truth is given without truth; give the true frames too")
            legal = [(x.shape[0], horizon - 1), (x.shape[0], x.shape[1] + horizon - 2)]
            if tuple(use_truth.shape) not in legal or use_truth.dtype != torch.bool:
                raise ZooError(
                    f"use_truth has shape {tuple(use_truth.shape)} and {use_truth.dtype}; bool of shape "
                    f"{legal[0]} (plain) or {legal[1]} (reverse scheduled sampling) is needed"
                )
