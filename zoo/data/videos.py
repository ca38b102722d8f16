"""A folder of videos as a data set."""

import hashlib
import os
from bisect import bisect
from collections.abc import Mapping
from pathlib import Path

from zoo.data.digits import Split, check_split
from zoo.data.frame_store import VideoFile, build
from zoo.data.root import data_root
from zoo.data.stored_clips import StoredClips, Window
from zoo.errors import ZooError

SUFFIXES = frozenset([".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"])
HELD_OUT = 0.1  # of the videos for "val", and as many for "test"
_STREAM = 0x56490001


class Videos(StoredClips):
    """Clips of the videos in a folder and its subfolders. Videos may have any size and frame rate; no frame is skipped.

    The first use decodes them into `<data root>/videos`; later ones decode what is new or has changed. Videos that
    cannot be used are left out, and listed in `store.skipped`. No file is in two splits, see `split_files`.

    "train": `count` clips at random positions, every position of every video equally likely. "val", "test": windows of
    `length` frames, one after the other from the first frame on.

    Args:
        folder: with the videos.
        split: "train", "val" or "test".
        root: the data root, see `zoo.data.data_root`.
        size: side of a frame in pixels, or (height, width), to resize to.
        grey: one channel if True, else three.
        length: T, frames of a clip.
        count: training clips in an epoch.
        endless: draw other training clips in each epoch.
        seed: of the training clips.
        progress: show a progress bar while decoding.

    Raises:
        ZooError: fewer than three usable videos, or none of them long enough; an argument outside its range.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split = "train",
        *,
        root: str | Path | None = None,
        size: int | tuple[int, int] = 64,
        grey: bool = True,
        length: int = 20,
        count: int = 10_000,
        endless: bool = False,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        check_split(split)
        height, width = (size, size) if isinstance(size, int) else size
        if min(height, width, length) < 1:
            raise ZooError(f"size = {size!r} and length = {length!r} must be at least 1")
        videos = find_videos(folder)
        # other folders of the same name have stores of their own
        key = hashlib.sha256(os.fsencode(Path(folder).expanduser().resolve())).hexdigest()[:12]
        place = data_root(root) / "videos" / f"{Path(folder).name}-{key}-{height}x{width}-{'grey' if grey else 'rgb'}"
        store = build(place, videos, size=(height, width), grey=grey, progress=progress)
        self.names = split_files({name: clip["source_sha256"] for name, clip in store.clips.items()})[split]
        train = split == "train"
        windows = []
        for name in self.names:
            starts = store.clips[name]["frames"] - length + 1
            if train and starts > 0:
                windows.append(Window(name, 0, starts))
            elif not train:
                windows += [Window(name, start) for start in range(0, starts, length)]
        self.short = [name for name in self.names if store.clips[name]["frames"] < length]
        super().__init__(
            store,
            windows,
            length=length,
            comparable_with=f"videos {Path(folder).name}, {height}×{width}",
            title=f"videos of {folder}, {split}",
            count=count if train else None,
            endless=endless and train,
            seed=seed,
            stream=_STREAM,
        )
        self.split = split

    def describe(self) -> str:
        """One line: split, counts, sizes, and how many videos are too short for a clip."""
        return super().describe() + (f"; {len(self.short)} shorter than a clip" if self.short else "")


def find_videos(folder: str | Path) -> list[VideoFile]:
    """The videos in a folder and its subfolders, recognised by the suffixes of their names.

    Raises:
        ZooError: no such folder, or none in it.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise ZooError(f"{folder} is not a folder; name one with videos, as in videos:DIR")
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if not files:
        raise ZooError(f"{folder} holds no videos ({', '.join(sorted(SUFFIXES))}); name another folder")
    return [VideoFile(file.relative_to(path).as_posix(), file) for file in files]


def split_files(digests: Mapping[str, str]) -> dict[str, list[str]]:
    """Assign each video to one split: about a tenth each to "val" and "test", at least one, and the rest to "train".

    The content of a file decides. So copies are in one split, whatever they are called, and a video stays in its split
    when others are added or removed, unless a split would be empty.

    Args:
        digests: SHA-256 of each file, in hexadecimal digits, by name.

    Raises:
        ZooError: fewer than three different videos.

    >>> files = {f"{i}.avi": hashlib.sha256(bytes([i])).hexdigest() for i in range(50)}
    >>> {split: len(names) for split, names in split_files(files).items()}
    {'val': 3, 'test': 5, 'train': 42}
    """
    contents = sorted(set(digests.values()))
    if len(contents) < 3:
        raise ZooError(f"{len(contents)} usable videos, without copies, are too few for three splits; add some")
    places = [int(content[:12], 16) / 16**12 for content in contents]
    val = min(max(1, bisect(places, HELD_OUT)), len(contents) - 2)
    test = min(max(val + 1, bisect(places, 2 * HELD_OUT)), len(contents) - 1)
    parts = {"val": contents[:val], "test": contents[val:test], "train": contents[test:]}
    return {split: sorted(name for name in digests if digests[name] in part) for split, part in parts.items()}
