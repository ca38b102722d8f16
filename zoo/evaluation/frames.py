"""Check that tensors are frames that can be measured: their shape, their dtype, and the range of their pixels.

Without these checks, frames in 0…255 would be clamped to white and frames of other sizes would be broadcast, without
an error.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from zoo.errors import ZooError

_DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_ROUNDING = 1e-2  # tolerance for true pixels outside [0, 1]; bfloat16 has a precision of eight bits
_FAR = 10.0  # predicted pixels above this are taken to be in 0…255, if none is clearly negative
_HARDLY = 0.1  # a pixel is clearly negative if it is below minus this fraction of the brightest one


class Features(NamedTuple):
    """What a measure computes of frames, and what is needed to check whether two of these can be compared.

    Args:
        shape: the shape (B, T, C, H, W) of the frames.
        low: the darkest pixel.
        high: the brightest pixel.
        content: the measure's own tensors, which broadcast over T.
    """

    shape: tuple[int, ...]
    low: Tensor
    high: Tensor
    content: Any


def extremes(frames: Tensor) -> tuple[Tensor, Tensor]:
    """The darkest and the brightest pixel; both are NaN if any pixel is.

    Raises:
        ZooError: if these are not frames `(B, T, C, H, W)` of floating-point pixels.
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


def check_clip(clip: Tensor) -> None:
    """Raise a ZooError unless a clip `(T, C, H, W)` holds floating-point pixels in [0, 1].

    A model would read frames in 0…255 as very bright ones, without an error.
    """
    if clip.dtype not in _DTYPES or clip.layout != torch.strided or not clip.numel():
        kind = clip.dtype if clip.layout == torch.strided else clip.layout
        raise ZooError(
            f"a clip of {kind} and shape {tuple(clip.shape)} cannot be continued; give dense floating-point pixels in "
            "[0, 1], such as bytes / 255"
        )
    low, high = (float(each) for each in torch.aminmax(clip.detach()))
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # this form also refuses NaN
        raise _out_of_range("the clip's", low, high)


def check_pair(predicted: Features, true: Features) -> None:
    """Raise a ZooError unless predicted frames can be compared with true ones. One predicted frame may be broadcast.

    True frames must be in [0, 1]. Predictions need not be: a diverging network exceeds this range on both sides. But
    predictions that go far above 1 and hardly below 0 are taken for pixels in 0…255, and refused.
    """
    (clips, steps, *frame), (true_clips, true_steps, *true_frame) = predicted.shape, true.shape
    if (clips, frame) != (true_clips, true_frame) or steps not in (1, true_steps):
        raise ZooError(
            f"predicted frames {predicted.shape} and true frames {true.shape} differ in shape; pass both as (batch, "
            "time, channels, height, width), of equal size"
        )
    if predicted.low.device != true.low.device:
        raise ZooError(
            f"predicted frames are on {predicted.low.device}, true frames on {true.low.device}; move one of them"
        )
    low, high, true_low, true_high = torch.stack(
        [each.double() for each in (predicted.low, predicted.high, true.low, true.high)]
    ).tolist()
    if not (true_low >= -_ROUNDING and true_high <= 1 + _ROUNDING):  # this form also refuses NaN
        raise _out_of_range("true", true_low, true_high)
    if not (math.isfinite(low) and math.isfinite(high)) or (high > _FAR and low > -_HARDLY * high):
        raise _out_of_range("predicted", low, high)


def _out_of_range(which: str, low: float, high: float) -> ZooError:
    return ZooError(
        f"{which} frames have pixels from {low:.4g} to {high:.4g}, but must be in [0, 1]; divide bytes by 255, map "
        "[-1, 1] to [0, 1], and look for the cause of NaN or inf"
    )
