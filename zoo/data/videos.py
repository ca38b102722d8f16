"""A folder of videos as a data set."""

import hashlib
import os
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from zoo.data.digits import Split, check_split
from zoo.data.frame_store import Store, VideoFile, build
from zoo.data.root import data_root
from zoo.data.stored_clips import StoredClips, Window
from zoo.errors import ZooError

SUFFIXES = frozenset([".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".webm", ".wmv"])
SIZE = 64  # pixels on a side
HELD_OUT = 0.1  # of the videos for "val", and as many for "test"
_STREAM = 0x56490001


class Videos(StoredClips):
    """Clips of the videos in a folder and its subfolders. Videos may have any size and frame rate; no frame is skipped.

    The first use decodes them into `<data root>/videos`; later ones decode what is new or has changed. Videos that
    cannot be used, or are shorter than a clip, are left out, see `left_out`. No file is in two splits, see
    `split_files`.

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
        size: int | tuple[int, int] = SIZE,
        grey: bool = True,
        length: int = 20,
        count: int = 10_000,
        endless: bool = False,
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        check_split(split)
        if length < 1:
            raise ZooError(f"length = {length!r} must be at least 1")
        store = prepare_videos(folder, root, size=size, grey=grey, progress=progress)
        try:
            self.names = names_of(store)[split]
        except ZooError as error:
            reasons = "; ".join(f"{name} {reason}" for name, reason in store.skipped.items())
            raise ZooError(f"{folder}: {error}" + (f" (left out: {reasons})" if reasons else "")) from None
        train, (_, height, width) = split == "train", store.shape
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

    def left_out(self) -> list[str]:
        """See `ClipDataset`: videos that cannot be used, and those of this split that are shorter than a clip."""
        frames = {name: self.store.clips[name]["frames"] for name in self.short}
        short = [f"{name} has {count} frames, fewer than the {self.length} of a clip" for name, count in frames.items()]
        return super().left_out() + short


def prepare_videos(
    folder: str | Path,
    root: str | Path | None = None,
    *,
    size: int | tuple[int, int] = SIZE,
    grey: bool = True,
    progress: bool = True,
) -> Store:
    """Decode the videos in a folder and its subfolders that are new or have changed, into `<data root>/videos`.

    Args:
        folder, root, size, grey, progress: see `Videos`.

    Raises:
        ZooError: no such folder, no usable video in it, a size below 1, a full disk.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if min(height, width) < 1:
        raise ZooError(f"size = {size!r} must be at least 1")
    videos = find_videos(folder)
    # other folders of the same name have stores of their own
    key = hashlib.sha256(os.fsencode(Path(folder).expanduser().resolve())).hexdigest()[:12]
    place = data_root(root) / "videos" / f"{Path(folder).name}-{key}-{height}x{width}-{'grey' if grey else 'rgb'}"
    return build(place, videos, size=(height, width), grey=grey, progress=progress)


def names_of(store: Store) -> dict[str, list[str]]:
    """The videos of each split, see `split_files`."""
    return split_files({name: clip["source_sha256"] for name, clip in store.clips.items()})


def report(store: Store, folder: str | Path, length: int = 20) -> Iterator[str]:
    """What a store of the videos in a folder holds, what was left out and why, and how many clips of `length` frames
    the splits have, a line each.

    Raises:
        ZooError: there are too few videos for three splits.
    """
    frames = {name: clip["frames"] for name, clip in store.clips.items()}
    yield f"{store.folder}: {len(frames)} videos, {sum(frames.values()):,} frames, {store.digest()}"
    yield from (f"left out: {name} {reason}" for name, reason in store.skipped.items())
    for name, count in frames.items():
        if count < length:
            yield f"too short: {name} has {count} frames, fewer than the {length} of a clip"
    if others := Counter(other_files(folder)):
        kinds = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in others.items())
        yield f"no videos by their names: {kinds}"
    for split, names in names_of(store).items():
        positions = sum(max(0, frames[name] - length + 1) for name in names)
        yield f"{split}: {len(names)} videos, {positions:,} positions of {length} frames"


def find_videos(folder: str | Path) -> list[VideoFile]:
    """The videos in a folder and its subfolders, recognised by the suffixes of their names.

    Whatever has such a name is one, so that a pipe or a broken link is reported, not overlooked.

    Raises:
        ZooError: no such folder, one that may not be read, or none in it.
    """
    path = Path(folder).expanduser()
    files = sorted(file for file in _files(path) if file.suffix.lower() in SUFFIXES)
    if not files:
        raise ZooError(f"{folder} holds no videos ({', '.join(sorted(SUFFIXES))}); name another folder")
    return [VideoFile(file.relative_to(path).as_posix(), file) for file in files]


def other_files(folder: str | Path) -> list[str]:
    """The suffixes of the files in a folder and its subfolders that `find_videos` takes for something else.

    Raises:
        ZooError: no such folder, or one that may not be read.
    """
    return sorted(
        suffix for file in _files(Path(folder).expanduser()) if (suffix := file.suffix.lower()) not in SUFFIXES
    )


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise ZooError(f"{folder} is not a folder; name one with videos, as in videos:DIR")

    def refuse(error: OSError) -> None:
        raise ZooError(f"{error.filename} cannot be read ({error.strerror}); change its rights, or move it away")

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(place, name) for name in names)


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
