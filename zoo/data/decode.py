"""Frames of videos."""

from collections.abc import Iterator
from typing import IO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

METHOD = "8-bit, Rec. 601 luma if grey; bilinear with antialiasing (torch.nn.functional.interpolate), rounded"
_CHUNK = 32  # frames decoded and resized at a time


class BadVideo(Exception):
    """A video that cannot be used; the message says why, and goes on after its name."""


def decode(file: IO[bytes], size: tuple[int, int] | None, grey: bool) -> Iterator[NDArray[np.uint8]]:
    """Some frames `(T, C, H, W)` at a time, by `METHOD`.

    Args:
        file: any format that FFmpeg knows.
        size: height and width to resize to; None to leave frames as they are.
        grey: one channel, else three.

    Raises:
        BadVideo: not a video, damaged, without frames, or with fewer than its header tells.
    """
    import av

    try:
        with av.open(file, "r") as container:
            if not container.streams.video:
                raise BadVideo("has no video stream, so no frames")
            stream = container.streams.video[0]
            frames: list[NDArray[np.uint8]] = []
            count = 0
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise BadVideo(f"is damaged in frame {count + 1}")
                frames.append(np.asarray(frame.to_ndarray(format="gray" if grey else "rgb24"), np.uint8))
                count += 1
                if len(frames) == _CHUNK:
                    yield _resized(np.stack(frames), size)
                    frames = []
            if frames:
                yield _resized(np.stack(frames), size)
            if not count:
                raise BadVideo("has no frames")
            if count < stream.frames:
                raise BadVideo(f"is cut short: {count} of {stream.frames} frames")
    except (av.FFmpegError, OSError) as error:  # the second: an empty file
        raise BadVideo(f"cannot be read as a video ({error.strerror})") from None


def _resized(frames: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """`(T, H, W)` or `(T, H, W, 3)` as `(T, C, *size)`."""
    images = torch.from_numpy(frames)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    if size is not None and images.shape[2:] != size:
        images = F.interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    found: NDArray[np.uint8] = images.contiguous().numpy()
    return found
