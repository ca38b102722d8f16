"""Decode videos into frames, with PyAV."""

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

METHOD = "8-bit, Rec. 601 luma if grey; bilinear with antialiasing (torch.nn.functional.interpolate), rounded"
_FRAMES, _PIXELS = 32, 1 << 21  # at most, decoded and resized at a time
_SOUND_AFTER = 0.5  # seconds for which sound may last longer than the pictures


class BadVideo(Exception):
    """A video that cannot be used. The message is the rest of a sentence that begins with the video's name."""


def decode(file: IO[bytes], size: tuple[int, int] | None, grey: bool) -> Iterator[NDArray[np.uint8]]:
    """All frames of a video, in parts `(T, C, H, W)` of a few at a time; how they are converted, `METHOD` says.

    Args:
        file: in any format that FFmpeg reads.
        size: height and width to resize to; None for frames as they are.
        grey: one channel if True, else three.

    Raises:
        BadVideo: not a video, damaged, without frames, or shorter than its header says. MPEG streams say no length,
            so that one that was cut short is not noticed.
    """
    import av

    try:
        with av.open(file, "r") as container:
            if not container.streams.video:
                raise BadVideo("has no video stream, so no frames")
            stream = container.streams.video[0]
            frames: list[NDArray[np.uint8]] = []
            count, end = 0, 0.0
            for frame in container.decode(stream):
                if frame.is_corrupt:
                    raise BadVideo(f"is damaged in frame {count + 1}")
                image = np.asarray(frame.to_ndarray(format="gray" if grey else "rgb24"), np.uint8)
                full = len(frames) == _FRAMES or sum(each.size for each in frames) >= _PIXELS
                if frames and (full or image.shape != frames[0].shape):
                    yield _resized(np.stack(frames), size)
                    frames = []
                frames.append(image)
                count, end = count + 1, max(end, frame.time or 0.0)
            if frames:
                yield _resized(np.stack(frames), size)
            if not count:
                raise BadVideo("has no frames")
            if count < stream.frames:
                raise BadVideo(f"is cut short: {count} of {stream.frames} frames")
            whole = _declared_length(container, stream)
            if not stream.frames and end < whole - 1.5 / float(stream.average_rate or 1):
                raise BadVideo(f"is cut short: it ends at {end:.1f} of {whole:.1f} seconds")
    except (av.FFmpegError, OSError) as error:  # the second: an empty file
        raise BadVideo(f"cannot be read as a video ({error.strerror})") from None


def _declared_length(container: Any, stream: Any) -> float:
    """Seconds that the pictures last, according to the file's header."""
    import av

    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska's, such as 00:00:02.400000000
        hours, minutes, seconds = tag.split(":")
        return 3600 * float(hours) + 60 * float(minutes) + float(seconds)
    return (container.duration or 0) / av.time_base - _SOUND_AFTER


def _resized(frames: NDArray[np.uint8], size: tuple[int, int] | None) -> NDArray[np.uint8]:
    """Images `(T, H, W)` or `(T, H, W, 3)`, resized to `(T, C, *size)`."""
    images = torch.from_numpy(frames)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    if size is not None and images.shape[2:] != size:
        images = F.interpolate(images.float(), size, mode="bilinear", antialias=True).round().clamp(0, 255).byte()
    resized: NDArray[np.uint8] = images.contiguous().numpy()
    return resized
