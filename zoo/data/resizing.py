"""Resize frames, either by cutting out their centre or by stretching them."""

import math

import torch.nn.functional as F
from torch import Tensor

from zoo.settings import Resize


def resized(frames: Tensor, size: tuple[int, int], how: Resize) -> Tensor:
    """Resize frames `(T, C, h, w)` to `(T, C, H, W)`, by bilinear interpolation with antialiasing.

    Args:
        frames: floating-point frames.
        size: H and W.
        how: "crop" scales frames until they cover the size and cuts out the centre; "stretch" scales height and width
            independently.

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
    """The largest centred part of the frames with the aspect ratio of the size, as closely as whole pixels allow."""
    height, width = frames.shape[2:]
    scale = min(height / size[0], width / size[1])
    cut = [max(1, math.floor(side * scale + 0.5)) for side in size]
    top, left = ((whole - part) // 2 for whole, part in zip((height, width), cut, strict=True))
    return frames[:, :, top : top + cut[0], left : left + cut[1]]
