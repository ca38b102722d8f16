"""MCnet: one encoder for motion, one for content, and a decoder that combines both."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.conv_lstm import ConvLSTMCell, ConvLSTMState
from zoo.errors import ZooError
from zoo.networks.adversary import Adversary
from zoo.predictors.forecaster import Forecaster

Maps = tuple[Tensor, ...]  # one map for each of the three scales, the finest first


class MotionState(NamedTuple):
    """The rollout's state.

    Attributes:
        memory: the state of the ConvLSTM over motion features.
        motion: features of the last frame difference at each scale.
        frame: the last frame `(B, C, H, W)`, in [0, 1].
    """

    memory: ConvLSTMState
    motion: Maps
    frame: Tensor


class MotionEncoder(nn.Module):
    """Features of frame differences at three scales, by 5×5, 5×5 and 7×7 kernels with ReLU and pooling."""

    def __init__(self, channels: int, base: int) -> None:
        super().__init__()
        widths = (base, 2 * base, 4 * base)
        self.convs = nn.ModuleList(
            SameConv2d(inputs, outputs, kernel)
            for inputs, outputs, kernel in zip((channels, *widths), widths, (5, 5, 7), strict=False)
        )

    def forward(self, differences: Tensor) -> tuple[Tensor, Maps]:
        """Map `(N, C, H, W)` to pooled features `(N, 4·base, H / 8, W / 8)` and the unpooled features of each scale."""
        scales = []
        x = differences
        for conv in self.convs:
            x = F.relu(conv(x))
            scales.append(x)
            x = F.max_pool2d(x, 2)
        return x, tuple(scales)


class ContentEncoder(nn.Module):
    """Features of one frame at three scales, by two, two and three 3×3 convolutions."""

    def __init__(self, channels: int, base: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            [
                _convs([channels, base, base]),
                _convs([base, 2 * base, 2 * base]),
                _convs([2 * base, 4 * base, 4 * base, 4 * base]),
            ]
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Maps]:
        """Map frames to pooled features and the unpooled features of each scale, as in `MotionEncoder`."""
        scales = []
        x = frames
        for stage in self.stages:
            x = stage(x)
            scales.append(x)
            x = F.max_pool2d(x, 2)
        return x, tuple(scales)


class MotionContentNetwork(Forecaster):
    """The generator of MCnet.

    Motion is read from the differences of all observed frames, and content from the last frame alone. After each
    prediction, the motion encoder reads the difference to the previous frame, and the content encoder reads the
    prediction itself.

        differences → motion convs → ConvLSTM ──→ combine → decoder ──→ frame
                           └─ skips ─────────────────↗   ↗ at each scale
        last frame → content convs ──────────────────────┘

    Villegas et al., "Decomposing motion and content for natural video sequence prediction", ICLR 2017, section 3.

    Args:
        base: channels of the first scale, 64 in the paper. The other scales have twice and four times as many.
        channels: C of the frames.
        adversarial: β, the weight of the loss of an `Adversary`; 0 for a network without one.
        clip: number of frames, height and width of the clips that the `Adversary` judges.

    Raises:
        ZooError: if `base` is below 1, `adversarial` is negative or not finite, or `clip` is illegal for an
            `Adversary`.
    """

    def __init__(
        self, base: int, channels: int, adversarial: float = 0.0, clip: Sequence[int] = (20, 128, 128)
    ) -> None:
        super().__init__(channels, multiple=8, feeds_back=True)
        if base < 1:
            raise ZooError(f"base = {base} must be at least 1")
        if not 0 <= adversarial < float("inf"):
            raise ZooError(f"adversarial = {adversarial} must be finite and at least 0")
        deep = 4 * base
        self.motion = MotionEncoder(channels, base)
        self.memory = ConvLSTMCell(deep, deep, 3, forget_bias=1.0)
        self.content = ContentEncoder(channels, base)
        self.combine = _convs([2 * deep, deep, 2 * base, deep])
        widths = (base, 2 * base, deep)
        self.skips = nn.ModuleList(
            nn.Sequential(SameConv2d(2 * width, width, 3), nn.ReLU(), SameConv2d(width, width, 3)) for width in widths
        )
        # the last convolution of a stage has the channels of the next finer scale; in the finest stage, of a frame
        ends = (channels, base, 2 * base)
        depths = (1, 1, 2)
        self.decoder = nn.ModuleList(
            nn.ModuleList(
                nn.ConvTranspose2d(width, end if last else width, 3, padding=1) for last in [False] * depth + [True]
            )
            for width, end, depth in zip(widths, ends, depths, strict=True)
        )
        self.adversarial = adversarial
        self.adversary = Adversary(clip, base, channels) if adversarial else None

    def loss(self, predictions: Tensor, clips: Tensor, *weights: float, **named: float) -> Tensor:
        """The loss as in `VideoModel.loss`. In training, the adversarial loss is added if the model has one."""
        error = super().loss(predictions, clips, *weights, **named)
        if self.adversary is None or not self.training:
            return error
        predicted = torch.cat([clips[:, : -predictions.shape[1]], predictions.to(clips.dtype)], 1)
        return error + self.adversary.loss(predicted, clips, self.adversarial)

    def check(self, x: Tensor, horizon: int, truth: Tensor | None = None, use_truth: Tensor | None = None) -> None:
        """Raise a ZooError unless `forward` can take these arguments; at least two frames must be observed."""
        super().check(x, horizon, truth, use_truth)
        if x.shape[1] < 2:
            raise ZooError("x has one frame, but this model reads differences of frames; pass at least 2 frames")

    def encode(self, frames: Tensor) -> MotionState:
        """Read the differences of all frames `(T, B, C, H, W)`. Only the ConvLSTM runs step by step."""
        differences = frames[1:] - frames[:-1]
        pooled, scales = self.motion(differences.flatten(0, 1))
        pooled = pooled.unflatten(0, differences.shape[:2])
        size = (pooled.shape[-2], pooled.shape[-1])
        memory = self.memory.initial_state(frames.shape[1], size, pooled.device, frames.dtype)
        _, memory = self.memory.run(pooled, memory)
        last = tuple(scale.unflatten(0, differences.shape[:2])[-1] for scale in scales)
        return MotionState(memory, last, frames[-1])

    def forecast(self, state: MotionState, frame: Tensor | None) -> tuple[Tensor, MotionState]:
        """Predict the next frame `(B, C, H, W)` from the motion so far and the content of the last frame."""
        if frame is not None:
            pooled, scales = self.motion(frame - state.frame)
            _, memory = self.memory(pooled, state.memory)
            state = MotionState(memory, scales, frame)
        seen, content = self.content(2 * state.frame - 1)
        x = self.combine(torch.cat([state.memory.h, seen], 1))
        stages = list(zip(self.decoder, self.skips, state.motion, content, strict=True))
        for convs, skip, motion, kept in reversed(stages):
            x = F.relu(unpool(x) + skip(torch.cat([motion, kept], 1)))
            for conv in convs[:-1]:
                x = F.relu(conv(x))
            x = convs[-1](x)
            if convs is not self.decoder[0]:
                x = F.relu(x)
        # equal to (tanh(x) + 1) / 2, but in 16 bits tanh is exactly -1 from x = -3 on, and black pixels lose gradients
        return self.normalized(torch.sigmoid(2 * x)), state


def unpool(maps: Tensor) -> Tensor:
    """Double height and width: each value becomes the upper left of four pixels, and the other three are zero.

    >>> unpool(torch.tensor([[[[1.0], [2.0]]]]))
    tensor([[[[1., 0.],
              [0., 0.],
              [2., 0.],
              [0., 0.]]]])
    """
    count, channels, height, width = maps.shape
    spread = F.pad(maps[..., None, :, None], (0, 1, 0, 0, 0, 1))
    return spread.reshape(count, channels, 2 * height, 2 * width)


def _convs(widths: list[int]) -> nn.Sequential:
    """3×3 convolutions with these numbers of channels, each followed by a ReLU."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [SameConv2d(inputs, outputs, 3), nn.ReLU()]
    return nn.Sequential(*layers)
