"""Folders of images as a data set: each folder is a clip, and each image is a frame."""

import hashlib
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.decode import LARGEST, BadVideo, to_bytes
from zoo.data.frame_store import VideoFile
from zoo.data.names import natural
from zoo.data.regular import open_regular
from zoo.data.videos import IMAGES, Videos, files_below
from zoo.errors import ZooError

_AT_ONCE = 32  # frames to read at a time


@dataclass(frozen=True)
class FrameFolder(VideoFile):
    """A folder whose images are the frames of a clip.

    Args:
        images: the image files, in the order of time.
    """

    images: Sequence[Path] = field(default=())

    def frames(self, size: tuple[int, int] | None, grey: bool) -> Iterator[NDArray[np.uint8]]:
        """Read the frames; see `VideoFile.frames`. They are 8-bit images, turned as their EXIF data say.

        Transparency is ignored.

        Raises:
            BadVideo: if an image cannot be read, has more than 8 bits, or another size than the first.
        """
        part: list[NDArray[np.uint8]] = []
        first: tuple[int, ...] = ()
        for path in self.images:
            image = _read(path, grey)
            first = first or image.shape
            if image.shape != first:
                raise BadVideo(
                    f"has frames of different sizes: {self.images[0].name} has {first[0]}×{first[1]} pixels and "
                    f"{path.name} {image.shape[0]}×{image.shape[1]}"
                )
            part.append(image)
            if len(part) == _AT_ONCE:
                yield to_bytes(part, size, self.resize)
                part = []
        if part:
            yield to_bytes(part, size, self.resize)

    def digest(self) -> str:
        """SHA-256 of the content of the images, in the order of time."""
        total = hashlib.sha256()
        for path in self.images:
            with open_regular(path) as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def stamp(self) -> str:
        """A text that changes if an image changes, or if one is added or removed."""
        stats = [(path.name, stat.st_size, stat.st_mtime_ns) for path in self.images if (stat := _stat(path))]
        return hashlib.sha256(repr(stats).encode(errors="surrogateescape")).hexdigest()

    def state(self) -> int:
        """A number that changes if anything about the images changes."""
        return max((stat.st_ctime_ns for path in self.images if (stat := _stat(path))), default=0)


class Images(Videos):
    """Clips from folders of PNG or JPEG images: the folder and each folder below it that holds images is a clip.

    For the rest see `Videos`.

    The frames of a clip are in the natural order of their names (frame9 before frame10), and have one size.
    """

    kind = "images"
    noun = "folder of images"
    stream = 0x494D0001

    @classmethod
    def find(cls, folder: Path) -> list[VideoFile]:
        """Find the folders of images in a folder, the folder itself included.

        Raises:
            ZooError: if the folder does not exist, may not be read, or has no images.
        """
        clips: dict[Path, list[Path]] = {}
        for file in files_below(folder, cls.kind):
            if file.suffix.lower() in IMAGES:
                clips.setdefault(file.parent, []).append(file)
        if not clips:
            legal = ", ".join(sorted(IMAGES))
            raise ZooError(f"{folder} has no folders of images ({legal}); name another folder, or use videos:DIR")
        names = {each: each.relative_to(folder).as_posix() for each in clips}
        if folder in names:
            names[folder] = _own_name(folder, set(names.values()))
        return [
            FrameFolder(names[each], each, images=sorted(clips[each], key=lambda image: natural(image.name)))
            for each in sorted(clips, key=lambda each: natural(names[each]))
        ]


def _own_name(folder: Path, others: Set[str]) -> str:
    """The name of the clip whose images are in the data set's folder itself: the name of this folder.

    If a folder below has this name, it is followed by "/.", with which no relative path ends.
    """
    name = folder.resolve().name
    if not name:  # the root of the file system
        return "."
    return name if name not in others else f"{name}/."


def _read(path: Path, grey: bool) -> NDArray[np.uint8]:
    """Read an image `(H, W)` or `(H, W, 3)`.

    Raises:
        BadVideo: if it cannot be read, or has more than 8 bits.
    """
    from PIL import Image, ImageOps

    try:
        with open_regular(path) as file:
            bits = _bits(file)
            with Image.open(file, formats=["PNG", "JPEG"]) as opened:
                if opened.width * opened.height > LARGEST:
                    raise BadVideo(f"cannot be read: {path.name} has more than {LARGEST:,} pixels")
                if bits > 8 or opened.mode.startswith(("I", "F")):
                    raise BadVideo(
                        f"cannot be read: {path.name} has more than 8 bits per value; use arrays:FILE for such data"
                    )
                image: Any = ImageOps.exif_transpose(opened).convert("L" if grey else "RGB")
                return np.array(image, np.uint8)  # a copy, because the bytes of Pillow cannot be written to
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # all of these come from Pillow
        reason = str(getattr(error, "strerror", None) or error).partition("\n")[0][:100]
        raise BadVideo(f"cannot be read: its frame {path.name} is not a complete PNG or JPEG file ({reason})") from None


def _bits(file: IO[bytes]) -> int:
    """The bits of a PNG file's samples; 8 for another file. Pillow opens colours of 16 bits as 8 bits, in silence."""
    head = file.read(25)  # signature (8 bytes), length and name of the first chunk (8), width, height, bits
    file.seek(0)
    return head[24] if head.startswith(b"\x89PNG\r\n") and len(head) == 25 else 8


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:  # a broken link
        return None
