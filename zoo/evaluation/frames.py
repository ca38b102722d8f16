"""Whether tensors are frames that can be measured: their shape, their type, and the range of their pixels.

Without these checks frames in 0…255 would be clamped to white, and frames of other sizes would broadcast, in silence.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.errors import ZooError

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_ROUNDING = 1e-2  # by which true pixels may leave [0, 1]; bfloat16 keeps eight bits
_FAR = 10.0  # beyond which predicted pixels that are hardly ever negative must be in 0…255
_HARDLY = 0.1  # of the brightest pixel


class Features(NamedTuple):
    """What a measure computes of frames, and what it must know of them to compare.

    Args:
        shape: (B, T, C, H, W) of the frames.
        low: their darkest pixel.
        high: their brightest pixel.
        content: tensors that broadcast over T.
    """

    shape: tuple[int, ...]
    low: Tensor
    high: Tensor
    content: Any


def extremes(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The darkest and the brightest pixel; NaN if any pixel is.

    Raises:
        ZooError: not frames `(B, T, C, H, W)` of floating-point pixels.
    """
    if not isinstance(frames, Tensor) or frames.ndim != 5 or not frames.numel():
        what = f"shape {tuple(frames.shape)}" if isinstance(frames, Tensor) else f"type {type(frames).__name__}"
        raise ZooError(f"frames of {what} cannot be measured; give a tensor (batch, time, channels, height, width)")
    if frames.dtype not in _DTYPES or frames.layout != torch.strided:
        kind = frames.dtype if frames.layout == torch.strided else frames.layout
        raise ZooError(
            f"frames of {kind} cannot be measured; give dense floating-point pixels in [0, 1], such as bytes / 255"
        )
    low, high = torch.aminmax(frames.detach())
    return low, high


def check_pair(predicted: Features, true: Features) -> None:
    """Raise a ZooError unless predicted frames can be compared with true ones; one predicted frame may stand for all.

    True frames are in [0, 1]. Nothing bounds what a network predicts, and one that diverges does so to both sides; but
    pixels that go far above 1 and hardly below 0 are in 0…255.
    """
    (clips, steps, *frame), (true_clips, true_steps, *true_frame) = predicted.shape, true.shape
    if (clips, frame) != (true_clips, true_frame) or steps not in (1, true_steps):
        raise ZooError(
            f"predicted frames {predicted.shape} and true frames {true.shape} differ in shape; give both as (batch, "
            "time, channels, height, width), of equal size"
        )
    if predicted.low.device != true.low.device:
        raise ZooError(
            f"predicted frames are on {predicted.low.device}, true ones on {true.low.device}; move one of them"
        )
    low, high, true_low, true_high = torch.stack(
        [each.double() for each in (predicted.low, predicted.high, true.low, true.high)]
    ).tolist()
    if not (true_low >= -_ROUNDING and true_high <= 1 + _ROUNDING):  # NaN too
        raise _out_of_range("true", true_low, true_high)
    if not (math.isfinite(low) and math.isfinite(high)) or (high > _FAR and low > -_HARDLY * high):
        raise _out_of_range("predicted", low, high)


def _out_of_range(which: str, low: float, high: float) -> ZooError:
    return ZooError(
        f"{which} frames have pixels from {low:.4g} to {high:.4g}, where [0, 1] is expected; divide bytes by 255, map "
        "[-1, 1] to [0, 1], and look for the cause of NaN or inf"
    )
