"""A folder of videos as a data set."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from zoo.data.augmentation import Augmentation
from zoo.data.clips import counted, whole
from zoo.data.digits import Split, check_split
from zoo.data.frame_store import Store, VideoFile, build
from zoo.data.names import natural
from zoo.data.root import data_root
from zoo.data.splits import Splits, split_clips
from zoo.data.stored_clips import StoredClips, span, too_short, windows_of
from zoo.errors import ZooError
from zoo.files import path_of
from zoo.settings import Resize

_ENDINGS = "3gp asf avi flv gif m2ts m4v mkv mov mp4 mpeg mpg mts mxf ogv ts vob webm wmv y4m"
SUFFIXES = frozenset(f".{ending}" for ending in _ENDINGS.split())  # suffixes of containers that PyAV reads
IMAGES = frozenset([".jpeg", ".jpg", ".png"])
SIZE = 64  # default height and width in pixels


class Videos(StoredClips):
    """Clips of the videos in a folder and its subfolders. Videos may have any size and frame rate.

    The first use decodes the videos into `<data root>/videos`. Later uses decode only new or changed videos. Videos
    that cannot be used, or are shorter than a clip, are omitted; see `left_out`. No file is in two splits; see
    `zoo.data.splits`.

    The split "train" has `count` clips at random positions, all positions of all videos equally likely. The splits
    "val" and "test" have consecutive windows of `length` frames from the first frame on.

    Args:
        folder: the folder with the videos.
        split: "train", "val" or "test".
        root: the data root; see `zoo.data.data_root`.
        size: height and width of a frame in pixels, as one number or (height, width).
        grey: True for one channel, False for three.
        length: T, the number of frames in a clip.
        count: number of training clips in an epoch.
        endless: whether to draw new training clips in each epoch.
        seed: random seed of the training clips.
        progress: whether to show a progress bar while videos are decoded.
        resize: how frames of another shape are brought to this size: "crop" cuts out the centre, "stretch" scales
            height and width independently.
        stride: a clip consists of every stride-th frame.
        splits: the clips that are held out; by default a tenth for "val" and a tenth for "test", chosen by the content
            of the files.
        augmentation: how training clips are changed at random; see `zoo.data.Augmentation`.

    Raises:
        ZooError: if there are fewer than three usable videos, none is long enough, or an argument is out of range.

    >>> train = Videos("my-films", "train", size=64, length=20)  # doctest: +SKIP
    >>> train.clips([0, 1]).shape  # doctest: +SKIP
    torch.Size([2, 20, 1, 64, 64])
    """

    kind: ClassVar[str] = "videos"
    stream: ClassVar[int] = 0x56490001

    def __init__(
        self,
        folder: str | Path,
        split: Split = "train",
        *,
        root: str | Path | None = None,
        size: int | tuple[int, int] = SIZE,
        grey: bool = True,
        length: int = 20,
        count: int = 10_000,
        endless: bool = False,
        seed: int = 0,
        progress: bool = True,
        resize: Resize = "crop",
        stride: int = 1,
        splits: Splits = Splits(),  # noqa: B008 - immutable
        augmentation: Augmentation = Augmentation(),  # noqa: B008 - immutable
    ) -> None:
        check_split(split)
        length, stride = whole("length", length), whole("stride", stride)
        store = self.prepare(folder, root, size=size, grey=grey, progress=progress, resize=resize)
        try:
            self.names = names_of(store, splits)[split]
        except ZooError as error:
            reasons = "; ".join(f"{name} {reason}" for name, reason in store.skipped.items())
            raise ZooError(f"{folder}: {error}" + (f" (left out: {reasons})" if reasons else "")) from None
        train, (_, height, width) = split == "train", store.shape
        self.short, windows = [], []
        for name in self.names:
            fitting = windows_of(name, range(store.clips[name]["frames"]), length, stride, every=train)
            windows += fitting
            self.short += [] if fitting else [name]
        super().__init__(
            store,
            windows,
            length=length,
            comparable_with=f"{self.kind} {Path(folder).name}, {height}×{width}"
            + (f", every {stride} frames" if stride > 1 else ""),
            title=f"{self.kind} of {folder}, {split}",
            parts=self.names,
            count=count if train else None,
            endless=endless and train,
            seed=seed,
            stream=self.stream,
            stride=stride,
            augmentation=augmentation,
        )
        self.split, self._needed, self._frames = split, span(length, stride), store.clips

    @classmethod
    def find(cls, folder: Path) -> list[VideoFile]:
        """Find the clips in a folder and its subfolders, here the videos, which are recognised by their suffixes.

        Anything with such a suffix is listed, so that a pipe or a broken link is reported and not overlooked.

        Raises:
            ZooError: if the folder does not exist, may not be read, or has no videos.
        """
        files = sorted(file for file in files_below(folder, cls.kind) if file.suffix.lower() in SUFFIXES)
        if not files:
            raise ZooError(f"{folder} holds no videos ({', '.join(sorted(SUFFIXES))}); name another folder")
        return [VideoFile(file.relative_to(folder).as_posix(), file) for file in files]

    @classmethod
    def prepare(
        cls,
        folder: str | Path,
        root: str | Path | None = None,
        *,
        size: int | tuple[int, int] = SIZE,
        grey: bool = True,
        progress: bool = True,
        resize: Resize = "crop",
    ) -> Store:
        """Decode the new or changed clips of a folder into `<data root>/<kind>`. The arguments are those of the class.

        Raises:
            ZooError: if the folder does not exist or has no usable clip, the size is below 1, or the disk is full.
        """
        folder = path_of("folder", folder).expanduser()
        clips = [replace(clip, resize=resize) for clip in cls.find(folder)]
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width) < 1:
            raise ZooError(f"size = {size!r} must be at least 1")
        # the key gives folders of the same name different stores
        key = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:12]
        name = f"{folder.name}-{key}-{height}x{width}-{'grey' if grey else 'rgb'}"
        place = data_root(root) / cls.kind / (name if resize == "crop" else f"{name}-{resize}")
        return build(place, clips, size=(height, width), grey=grey, progress=progress)

    def describe(self) -> str:
        """Describe the data in one line: split, counts, sizes, and the number of videos that are too short."""
        return super().describe() + (f"; {len(self.short)} shorter than a clip" if self.short else "")

    def left_out(self) -> list[str]:
        """Videos that cannot be used, and videos of this split shorter than a clip; see `ClipDataset.left_out`."""
        return super().left_out() + [too_short(name, self._frames[name]["frames"], self._needed) for name in self.short]


def names_of(store: Store, splits: Splits = Splits()) -> dict[str, list[str]]:  # noqa: B008 - immutable
    """The names of the clips in each split; see `zoo.data.splits`. Ranges count them in their natural order."""
    names = sorted(store.clips, key=natural)
    return split_clips({name: store.clips[name]["source_sha256"] for name in names}, splits)


def report(
    store: Store,
    folder: str | Path,
    noun: str = "video",
    length: int = 20,
    stride: int = 1,
    splits: Splits = Splits(),  # noqa: B008 - immutable
) -> Iterator[str]:
    """Describe a store of videos in lines of text: its content, omitted videos with reasons, and the splits.

    Raises:
        ZooError: if there are too few videos for three splits.
    """
    frames = {name: clip["frames"] for name, clip in store.clips.items()}
    needed = span(length, stride)
    total = counted(sum(frames.values()), "frame")
    yield f"{store.folder}: {counted(len(frames), noun)}, {total}, digest {store.digest()}"
    yield from (f"left out: {name} {reason}" for name, reason in store.skipped.items())
    for name, count in frames.items():
        if count < needed:
            yield f"too short: {too_short(name, count, needed)}"
    if others := Counter(otherfiles_below(folder)):
        kinds = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.items())
        yield f"neither videos nor images by their names: {kinds}"
    for split, names in names_of(store, splits).items():
        positions = sum(max(0, frames[name] - needed + 1) for name in names)
        yield f"{split}: {counted(len(names), noun)}, {counted(positions, 'position')} of {counted(length, 'frame')}"


def otherfiles_below(folder: str | Path) -> list[str]:
    """The suffixes of the files in a folder and its subfolders that are neither videos nor images.

    Raises:
        ZooError: if the folder does not exist or may not be read.
    """
    return sorted(
        suffix
        for file in files_below(Path(folder).expanduser(), "videos")
        if (suffix := file.suffix.lower()) not in SUFFIXES | IMAGES
    )


def files_below(folder: Path, kind: str) -> Iterator[Path]:
    """The files in a folder and its subfolders. `kind` is the kind of the data set, such as "videos".

    Raises:
        ZooError: if the folder does not exist or may not be read.
    """
    if not folder.is_dir():
        raise ZooError(f"{folder} is not a folder; name one with {kind}, as in {kind}:DIR")

    def refuse(error: OSError) -> None:
        raise ZooError(f"{error.filename} cannot be read ({error.strerror}); change its rights, or move it away")

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(place, name) for name in names)
