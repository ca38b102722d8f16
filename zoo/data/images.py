"""Folders of images as a data set: a folder is a clip, an image a frame."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.decode import LARGEST, BadVideo, to_bytes
from zoo.data.frame_store import VideoFile
from zoo.data.names import natural
from zoo.data.regular import open_regular
from zoo.data.videos import IMAGES, Videos, files_below
from zoo.errors import ZooError

_AT_ONCE = 32  # frames


@dataclass(frozen=True)
class FrameFolder(VideoFile):
    """A folder whose images are the frames of a clip.

    Args:
        images: the images, in their order in time.
    """

    images: Sequence[Path] = field(default=())

    def frames(self, size: tuple[int, int] | None, grey: bool) -> Iterator[NDArray[np.uint8]]:
        """See `VideoFile`: 8-bit images, turned as their camera says; what is transparent keeps its colour.

        Raises:
            BadVideo: an image that cannot be read, of more than 8 bits, or of another size than the first.
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
        """SHA-256 of the images' content, in their order."""
        total = hashlib.sha256()
        for path in self.images:
            with open_regular(path) as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def stamp(self) -> str:
        """A text that changes when an image does, or when one is added or removed."""
        stats = [(path.name, stat.st_size, stat.st_mtime_ns) for path in self.images if (stat := _stat(path))]
        return hashlib.sha256(repr(stats).encode(errors="surrogateescape")).hexdigest()

    def state(self) -> int:
        """A number that changes when anything about the images does."""
        return max((stat.st_ctime_ns for path in self.images if (stat := _stat(path))), default=0)


class Images(Videos):
    """Clips of the folders of PNG or JPEG images in a folder, each folder a clip; see `Videos`.

    The frames of a clip are in the natural order of their names, frame9 before frame10, and have one size.
    """

    kind = "images"
    noun = "folders of images"
    stream = 0x494D0001

    @classmethod
    def find(cls, folder: Path) -> list[VideoFile]:
        """The folders below a folder, itself included, that hold images.

        Raises:
            ZooError: no such folder, one that may not be read, or no image in it.
        """
        clips: dict[Path, list[Path]] = {}
        for file in files_below(folder, cls.kind):
            if file.suffix.lower() in IMAGES:
                clips.setdefault(file.parent, []).append(file)
        if not clips:
            legal = ", ".join(sorted(IMAGES))
            raise ZooError(f"{folder} holds no folders of images ({legal}); name another folder, or videos:DIR")
        names = {each: each.relative_to(folder).as_posix() if each != folder else each.resolve().name for each in clips}
        return [
            FrameFolder(names[each], each, images=sorted(clips[each], key=lambda image: natural(image.name)))
            for each in sorted(clips, key=lambda each: natural(names[each]))
        ]


def _read(path: Path, grey: bool) -> NDArray[np.uint8]:
    """An image `(H, W)` or `(H, W, 3)`.

    Raises:
        BadVideo: it cannot be read, or has more than 8 bits.
    """
    from PIL import Image, ImageOps

    try:
        with open_regular(path) as file, Image.open(file, formats=["PNG", "JPEG"]) as opened:
            if opened.width * opened.height > LARGEST:
                raise BadVideo(f"cannot be read: {path.name} has more than {LARGEST:,} pixels")
            if opened.mode.startswith(("I", "F")):
                raise BadVideo(
                    f"cannot be read: {path.name} has more than 8 bits a pixel; use arrays:FILE for such data"
                )
            image: Any = ImageOps.exif_transpose(opened).convert("L" if grey else "RGB")
            return np.asarray(image, np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # what Pillow may raise
        reason = str(getattr(error, "strerror", None) or error).partition("\n")[0][:100]
        raise BadVideo(f"cannot be read: its frame {path.name} is no whole PNG or JPEG ({reason})") from None


def _stat(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:  # a broken link
        return None
