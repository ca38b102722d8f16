"""Decode videos into frames with PyAV."""

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
LARGEST = 1 << 25  # largest number of pixels in a frame; 8K has 33,177,600
_FRAMES, _PIXELS = 32, 1 << 21  # largest numbers to decode and resize at a time
_STRAIGHT = 0.02  # a display matrix with relative entries below this neither turns nor shears; about one degree


class BadVideo(Exception):
    """A video that cannot be used. The message continues a sentence that starts with the name of the video."""


def decode(
    file: IO[bytes], size: tuple[int, int] | None, grey: bool, resize: Resize = "stretch"
) -> Iterator[NDArray[np.uint8]]:
    """Decode the frames that a player shows, a few at a time, as arrays `(T, C, H, W)`. `METHOD` names the conversion.

    Edit lists are obeyed, and frames are turned and mirrored as the display matrix says. A frame that is shown for
    longer still counts once.

    Args:
        file: a seekable file in any format that FFmpeg reads.
        size: height and width of the result in pixels; None keeps the size of the frames.
        grey: True for one channel, False for three.
        resize: how frames of another shape are brought to this size; see `zoo.data.resizing.resized`.

    Raises:
        BadVideo: if it is not a video; is damaged or truncated (see `zoo.data.containers.fault`); has no frames, or
            frames of more than 2²⁵ pixels; or is to be shown at an angle.
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
    except av.ArgumentError as error:  # FFmpeg reports too many pixels in this way, among other faults
        limit = f"frames may have at most {LARGEST:,} pixels"
        raise BadVideo(f"cannot be read as a video ({error.strerror}; {limit})") from None
    except (av.FFmpegError, OSError) as error:
        raise BadVideo(f"cannot be read as a video ({error.strerror})") from None


class _Quiet:
    """A file for FFmpeg. Damaged files make FFmpeg seek to impossible places; this class then returns -1.

    Without it, PyAV would print an exception and continue.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.tell, self._file = file.read, file.tell, file

    def seek(self, offset: int, whence: int = 0) -> int:
        """Set the position and return it, or -1 if it is impossible."""
        try:
            return self._file.seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return -1


def _pictures(container: "InputContainer") -> "VideoStream":
    """The stream of moving pictures. The cover image of an audio file does not count."""
    from av.stream import Disposition

    streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not streams:
        raise BadVideo("has no video stream, so no frames")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    if stream.codec_context is None:
        raise BadVideo("has a codec that FFmpeg does not know")
    stream.codec_context.options = {"max_pixels": str(LARGEST)}  # some frames are larger than the header says
    return stream


def _images(container: "InputContainer", stream: "VideoStream", form: str) -> Iterator[NDArray[np.uint8]]:
    """The frames `(H, W)` or `(H, W, 3)` as a player shows them."""
    count = 0
    for packet in container.demux(stream):
        decoded = packet.decode()
        if packet.is_corrupt or any(frame.is_corrupt for frame in decoded):
            raise BadVideo(f"is damaged in frame {count + 1}")
        for frame in decoded:
            count += 1
            yield _shown(np.asarray(frame.to_ndarray(format=form), np.uint8), _display_matrix(frame))


def _display_matrix(frame: "VideoFrame") -> NDArray[np.float64]:
    """The matrix `(2, 2)` that maps the row vector (column, row) of a pixel to its place in a player."""
    side_data: Any = frame.side_data
    if (stated := side_data.get("DISPLAYMATRIX")) is None:
        return np.eye(2)
    matrix: NDArray[np.float64] = np.frombuffer(bytes(stated), np.int32).reshape(3, 3)[:2, :2] / 65536
    return matrix if np.linalg.det(matrix) else np.eye(2)  # players ignore a singular matrix


def _shown(image: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Turn and mirror an image `(H, W, …)`. The scale of the matrix is ignored."""
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
    """Stack images `(H, W)` or `(H, W, 3)` of one size, and resize them to `(T, C, *size)`."""
    images = torch.from_numpy(np.stack(frames) if len(frames) > 1 else frames[0][None])
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    if size is not None and images.shape[2:] != size:
        # large images are resized one channel at a time, because floats take four times the memory
        parts = images.split(1, 1) if images.numel() > _PIXELS else [images]
        floats = [resized(part.float(), size, resize) for part in parts]
        images = torch.cat(floats, 1).round().clamp(0, 255).byte()
    array: NDArray[np.uint8] = images.contiguous().numpy()
    return array
