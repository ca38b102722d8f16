"""Random changes of training clips that a network should not mind: mirrored, enlarged, and faster clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from zoo.counter_rng import uniforms
from zoo.errors import ZooError
from zoo.settings import LARGEST_AUGMENTATION

_STREAM = 0x41470001


class Crops(NamedTuple):
    """How clips are mirrored and enlarged.

    Attributes:
        flipped: whether a clip is mirrored left to right, `(B,)`, bool.
        share: height and width of the part that becomes the frame, as a share of the frame, `(B,)`.
        centre: the middle of that part `(x, y)`, from -1 to 1 over the frame, `(B, 2)`.
    """

    flipped: Tensor
    share: Tensor
    centre: Tensor


@dataclass(frozen=True)
class Augmentation:
    """How training clips are changed at random. The change is a function of the data's seed and the clip's index.

    All frames of a clip are changed in the same way. Without arguments, nothing is changed.

    Args:
        flip: whether each clip is mirrored left to right with probability 1/2.
        max_zoom: each clip is enlarged by a factor from 1 to this number, and a random part of it becomes the frame.
        max_speed: each clip is played at a whole speed from 1 to this number; at speed s it has every s-th frame.
            Where a clip would reach beyond its video, it is played at the highest speed that fits.

    Raises:
        ZooError: if an argument has a wrong type, or `max_zoom` or `max_speed` is not from 1 to 16.

    >>> Augmentation(flip=True, max_zoom=1.25)
    Augmentation(flip=True, max_zoom=1.25, max_speed=1)
    """

    flip: bool = False
    max_zoom: float = 1.0
    max_speed: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.flip, bool):
            raise ZooError(f"flip = {self.flip!r} must be True or False")
        for name, types, kind in (("max_zoom", (int, float), "a number"), ("max_speed", (int,), "a whole number")):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, types) or not 1 <= value <= LARGEST_AUGMENTATION:
                raise ZooError(f"{name} = {value!r} must be {kind} from 1 to {LARGEST_AUGMENTATION}; 1 changes nothing")

    def speeds(self, seed: int, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The speed of each clip, `(B,)`."""
        return 1 + (self.max_speed * uniforms(seed, _STREAM, indices, 1)[:, 0]).astype(np.int64)

    def crops(self, seed: int, indices: Sequence[int] | NDArray[np.int64]) -> Crops:
        """How each clip is mirrored and enlarged."""
        drawn = torch.from_numpy(uniforms(seed, _STREAM, indices, 5)).float()
        share = 1 / (1 + (self.max_zoom - 1) * drawn[:, 2])
        return Crops((drawn[:, 1] < 0.5) & self.flip, share, (1 - share)[:, None] * (2 * drawn[:, 3:] - 1))

    def apply(self, frames: Tensor, crops: Crops) -> Tensor:
        """Return the frames `(B, T, C, H, W)`, float32 in [0, 1], mirrored, and enlarged by bilinear interpolation."""
        if self.flip:
            frames = torch.where(crops.flipped[:, None, None, None, None], frames.flip(-1), frames)
        if self.max_zoom == 1:
            return frames
        x, y = (  # where each new pixel lies in the old frame; without a matrix product, which autocast would round
            crops.share[:, None] * ((2 * torch.arange(side, device=frames.device) + 1) / side - 1) + middle[:, None]
            for side, middle in zip(reversed(frames.shape[-2:]), crops.centre.unbind(1), strict=True)
        )
        grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)  # (B, H, W, 2)
        enlarged = F.grid_sample(frames.flatten(1, 2), grid, padding_mode="border", align_corners=False)
        return enlarged.reshape(frames.shape).clamp_(0, 1)  # rounding may lead just above 1

    def describe(self) -> str:
        """The changes in words; empty if there are none."""
        changes = [
            *["mirrored"] * self.flip,
            *[f"enlarged up to {self.max_zoom:g}×"] * (self.max_zoom > 1),
            *[f"played up to {self.max_speed}× as fast"] * (self.max_speed > 1),
        ]
        return f", randomly {', '.join(changes)}" if changes else ""
