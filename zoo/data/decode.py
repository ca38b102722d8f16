"""Decode videos into frames, with PyAV."""

import math
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.data.containers import fault
from zoo.data.resizing import resized
from zoo.settings import Resize

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

METHOD = (
    "8-bit, Rec. 601 luma if grey; turned and mirrored as the video says; bilinear with antialiasing "
    "(torch.nn.functional.interpolate), rounded"
)
LARGEST = 1 << 25  # pixels of a frame; 8K has 33,177,600
_FRAMES, _PIXELS = 32, 1 << 21  # at most, decoded and resized at a time
_STRAIGHT = 0.02  # of a display matrix, below which it neither turns nor shears; about one degree


class BadVideo(Exception):
    """A video that cannot be used. The message is the rest of a sentence that begins with the video's name."""


def decode(
    file: IO[bytes], size: tuple[int, int] | None, grey: bool, resize: Resize = "stretch"
) -> Iterator[NDArray[np.uint8]]:
    """The frames that a player shows, in parts `(T, C, H, W)` of a few at a time; `METHOD` says how they are converted.

    Edit lists are obeyed, and frames are turned and mirrored as the display matrix says. A frame counts once, however
    long it is shown.

    Args:
        file: in any format that FFmpeg reads; it must be seekable.
        size: height and width to resize to; None for frames as they are.
        grey: one channel if True, else three.
        resize: how frames of another shape get this size, see `zoo.data.resizing.resized`.

    Raises:
        BadVideo: not a video, damaged or cut short (see `zoo.data.containers.fault`), without frames, with frames of
            more than 2²⁵ pixels, or with frames that are to be shown at an angle.
    """
    import av

    try:
        if wrong := fault(file):
            raise BadVideo(wrong)
        limits = {"max_pixels": str(LARGEST)}
        with av.open(_Quiet(file), "r", metadata_errors="replace", options=limits) as container:
            frames: list[NDArray[np.uint8]] = []
            for image in _images(container, _pictures(container), "gray" if grey else "rgb24"):
                full = len(frames) == _FRAMES or sum(each.size for each in frames) >= _PIXELS
                if frames and (full or image.shape != frames[0].shape):
                    yield to_bytes(frames, size, resize)
                    frames = []
                frames.append(image)
            if not frames:
                raise BadVideo("has no frames")
            yield to_bytes(frames, size, resize)
    except av.ArgumentError as error:  # among other things, FFmpeg's word for too many pixels
        limit = f"frames of more than {LARGEST:,} pixels are not read"
        raise BadVideo(f"cannot be read as a video ({error.strerror}; {limit})") from None
    except (av.FFmpegError, OSError) as error:
        raise BadVideo(f"cannot be read as a video ({error.strerror})") from None


class _Quiet:
    """A file for FFmpeg, which may seek to places that damaged files name: a refusal is a number to it, no exception.

    PyAV would print the exception and go on.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        """The new position, or -1 if there is none."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


def _pictures(container: "InputContainer") -> "VideoStream":
    """The stream with the moving pictures; the cover of a song is none."""
    from av.stream import Disposition

    streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not streams:
        raise BadVideo("has no video stream, so no frames")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise BadVideo("is packed in a way that FFmpeg does not know")
    stream.codec_context.options = {"max_pixels": str(LARGEST)}  # for frames larger than the header says
    return stream


def _images(container: "InputContainer", stream: "VideoStream", form: str) -> Iterator[NDArray[np.uint8]]:
    """Frames `(H, W)` or `(H, W, 3)`, as they are shown."""
    count = 0
    for packet in container.demux(stream):
        decoded = packet.decode()
        if packet.is_corrupt or any(frame.is_corrupt for frame in decoded):
            raise BadVideo(f"is damaged in frame {count + 1}")
        for frame in decoded:
            count += 1
            yield _shown(np.asarray(frame.to_ndarray(format=form), np.uint8), _display_matrix(frame))


def _display_matrix(frame: "VideoFrame") -> NDArray[np.float64]:
    """`(2, 2)`: the row vector of a pixel's column and row, times this, is where a player shows it."""
    side_data: Any = frame.side_data
    if (stated := side_data.get("DISPLAYMATRIX")) is None:
        return np.eye(2)
    matrix: NDArray[np.float64] = np.frombuffer(bytes(stated), np.int32).reshape(3, 3)[:2, :2] / 65536
    return matrix if np.linalg.det(matrix) else np.eye(2)  # players ignore one that leaves nothing of the image


def _shown(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Turn and mirror an image `(H, W, …)`; how large a player would show it does not matter here."""
    ((a, b), (c, d)), small = matrix, _STRAIGHT * np.abs(matrix).max()
    if max(abs(b), abs(c)) > small:
        if max(abs(a), abs(d)) > small:
            angle = math.degrees(math.atan2(b, a))
            raise BadVideo(f"is to be shown at an angle of {angle:.0f}°; only quarter turns and mirrors are read")
        image, a, d = image.swapaxes(0, 1), c, b
    return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def to_bytes(
    frames: list[NDArray[np.uint8]], size: tuple[int, int] | None, resize: Resize = "stretch"
) -> NDArray[np.uint8]:
    """Images `(H, W)` or `(H, W, 3)`, all of one size, as `(T, C, *size)`."""
    images = torch.from_numpy(np.stack(frames) if len(frames) > 1 else frames[0][None])
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    if size is not None and images.shape[2:] != size:
        # one channel at a time if they are large: floats take four times the memory
        parts = images.split(1, 1) if images.numel() > _PIXELS else [images]
        floats = [resized(part.float(), size, resize) for part in parts]
        images = torch.cat(floats, 1).round().clamp(0, 255).byte()
    array: NDArray[np.uint8] = images.contiguous().numpy()
    return array
