"""Small videos, made for tests."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

KTH_LINES = {
    "person01_boxing_d1": (40, "1-25, 26-40"),
    "person02_running_d1": (40, "3-40"),
    "person15_walking_d2": (45, "1-45"),
    "person17_boxing_d3": (70, "1-30, 31-70"),
    "person20_jogging_d4": (44, "5-44"),
}


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


def make_kth(folder: Path, lines: Mapping[str, tuple[int, str]] = KTH_LINES, skip: Collection[str] = ()) -> Path:
    """A folder with clips named as KTH's, of so many frames and with these ranges, but for those to skip."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "Some prose about frames\r\n\r\n" + "".join(
        f"{name}\t\tframes\t{ranges}\r\n" for name, (_, ranges) in lines.items()
    )
    (folder / "00sequences.txt").write_text(text + "person13_handclapping_d3\t*missing*\r\n", "ascii")
    for name, (frames, _) in lines.items():
        if name not in skip:
            write_video(folder / f"{name}_uncomp.avi", frames)
    return folder
