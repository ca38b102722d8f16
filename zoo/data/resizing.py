"""Give frames another size: cut out of the middle, or squashed if that is asked for."""

import math

import torch.nn.functional as F
from torch import Tensor

from zoo.settings import Resize


def resized(frames: Tensor, size: tuple[int, int], how: Resize) -> Tensor:
    """Frames `(T, C, h, w)` in the size (H, W), bilinear with antialiasing.

    Args:
        frames: floating-point.
        size: H and W.
        how: "stretch" squashes frames of another shape; "crop" scales them until they cover the size, and cuts out
            the centre.

    >>> import torch
    >>> wide = torch.arange(8.0).expand(1, 1, 4, 8)
    >>> resized(wide, (4, 4), "crop")[0, 0, 0].tolist()
    [2.0, 3.0, 4.0, 5.0]
    >>> resized(wide, (4, 4), "stretch").shape
    torch.Size([1, 1, 4, 4])
    """
    if how == "crop":
        frames = _cropped(frames, size)
    if tuple(frames.shape[2:]) == size:
        return frames
    return F.interpolate(frames, size, mode="bilinear", antialias=True)


def _cropped(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest centred part of the frames that has the shape of the size, as nearly as whole pixels allow."""
    height, width = frames.shape[2:]
    scale = min(height / size[0], width / size[1])
    cut = [max(1, math.floor(side * scale + 0.5)) for side in size]
    top, left = ((whole - part) // 2 for whole, part in zip((height, width), cut, strict=True))
    return frames[:, :, top : top + cut[0], left : left + cut[1]]
