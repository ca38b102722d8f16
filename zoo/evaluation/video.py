"""Read a video file as a tensor."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.data.arrays import BadArray, open_array
from zoo.data.clips import whole
from zoo.data.decode import BadVideo, decode
from zoo.data.resizing import resized
from zoo.data.stored_clips import span
from zoo.errors import ZooError
from zoo.settings import Resize


def read_video(
    path: str | Path,
    size: int | tuple[int, int] | None = None,
    grey: bool = True,
    count: int | None = None,
    resize: Resize = "stretch",
    stride: int = 1,
) -> Tensor:
    """Read a video, a GIF, or a `.npy` array of frames.

    An array has the shape `(T, H, W)`, `(T, H, W, C)` or `(T, C, H, W)` with 1 or 3 channels, and holds bytes or floats
    in [0, 1].

    Args:
        path: the file.
        size: height and width to resize to in pixels, as one number or (height, width), by bilinear interpolation with
            antialiasing; None keeps the size.
        grey: True for one channel (luma by Rec. 601), False for three.
        count: return only the first `count` frames; all by default.
        resize: how frames of another shape are brought to this size: "stretch" scales height and width independently,
            "crop" cuts out the centre.
        stride: return only every stride-th frame, from the first one on.

    Returns:
        The frames `(T, C, H, W)`, float32 in [0, 1].

    Raises:
        ZooError: if the file does not exist, is not a video, or has no frames, or if an argument is below 1.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/clip.npy", np.zeros((5, 16, 16), np.uint8))
    ...     read_video(f"{folder}/clip.npy", count=3).shape
    torch.Size([3, 1, 16, 16])
    """
    stride, count = whole("stride", stride), None if count is None else whole("count", count)
    sides = (size, size) if isinstance(size, int) else size
    if sides is not None and min(sides) < 1:
        raise ZooError(f"size = {size} must be at least 1")
    path = Path(path)
    if not path.is_file():
        raise ZooError(f"{path} is not a file; name a video, a GIF or a .npy array of frames")
    read = _array_frames if path.suffix.lower() == ".npy" else _video_frames
    stop = None if count is None else span(count, stride)
    frames = list(islice(read(path, sides, grey, resize), None, stop, stride))
    if not frames:
        raise ZooError(f"{path} has no frames; choose another video")
    return torch.stack(frames)


def _video_frames(path: Path, size: tuple[int, int] | None, grey: bool, resize: Resize) -> Iterator[Tensor]:
    """Read frames `(C, H, W)` one by one, decoded as the data sets decode them."""
    try:
        with path.open("rb") as file:
            for part in decode(file, size, grey, resize):
                yield from torch.from_numpy(part) / 255
    except BadVideo as error:
        raise ZooError(f"{path} {error}; choose another file") from None


def _array_frames(path: Path, size: tuple[int, int] | None, grey: bool, resize: Resize) -> Iterator[Tensor]:
    """Read frames `(C, H, W)` one by one. Each is resized before the next is read."""
    for image in _images(path):
        frame = torch.from_numpy(image).permute(2, 0, 1).float() / (255 if image.dtype == np.uint8 else 1)
        frame = _to_grey(frame) if grey else frame.expand(3, -1, -1)
        yield frame if size is None else resized(frame[None], size, resize)[0]


def _to_grey(frame: Tensor) -> Tensor:
    if len(frame) == 1:
        return frame
    return (frame * frame.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)


def _images(path: Path) -> Iterator[NDArray[np.uint8] | NDArray[np.float32]]:
    """Read frames `(H, W, C)` one by one. The file is memory-mapped."""
    try:
        array = open_array(path)
    except BadArray as error:
        raise ZooError(f"{path} {error}; choose another file") from None
    shape = array.shape
    if array.ndim == 3:
        array = array[..., None]
    elif array.ndim == 4 and array.shape[-1] not in (1, 3):
        array = np.moveaxis(array, 1, -1)
    whole = array.dtype == np.uint8
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or not (whole or array.dtype.kind == "f"):
        raise ZooError(
            f"{path} holds {array.dtype} of shape {shape}; it must hold uint8 or float frames (T, H, W), (T, H, W, C) "
            "or (T, C, H, W) with 1 or 3 channels"
        )
    for image in array:
        if not whole and not (image.min() >= 0 and image.max() <= 1):
            raise ZooError(f"{path} holds floats outside [0, 1]; scale them to this range first")
        yield np.array(image if whole else image.astype(np.float32))
