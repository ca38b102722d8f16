"""Small videos, made for tests."""

from pathlib import Path

import numpy as np


def write_video(
    path: Path, frames: int, size: tuple[int, int] = (24, 32), codec: str = "mjpeg", rate: int = 25
) -> Path:
    """A video whose frame t is evenly 8·t grey, over 24."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for t in range(frames):
            image = np.full((*size, 3), 24 + 8 * (t % 24), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def number(frame: np.ndarray) -> int:
    """Which t (modulo 24) a frame with values in [0, 1] was."""
    return round((float(frame.mean()) * 255 - 24) / 8)


def truncate(path: Path, part: float) -> None:
    """Cut a file short."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
