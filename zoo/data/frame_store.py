"""A store of decoded videos: each video is decoded once, and its frames are memory-mapped from then on.

A store is a folder. For each video it has a `.npy` array of bytes, `(T, C, H, W)`, and beside it a `.json` record of
the source, both named after the clip by `place_in`. A manifest lists all of them. It is written last, so a store
without a manifest is unfinished and cannot be opened. A change of the conversion changes `zoo.data.decode.METHOD`, so
that older stores are decoded again.
"""

import hashlib
import io
import json
import lzma
import os
import sys
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import IO, Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from zoo.data.arrays import BadArray, open_array
from zoo.data.clips import counted
from zoo.data.decode import METHOD, BadVideo, decode
from zoo.data.regular import open_regular
from zoo.data.store_files import read_json, write_json
from zoo.errors import ZooError
from zoo.files import aside
from zoo.settings import Resize

MANIFEST, CHECKED, _LOCK = "manifest.json", ".checked.json", ".lock"
Count = Callable[[int], None]
Result = TypeVar("Result")
_SETTLED = 10**9  # nanoseconds after which a further change of a file must change its time stamp


@dataclass(frozen=True)
class VideoFile:
    """A video to decode.

    Args:
        name: the name of the clip, unique in the store. The store names its files after it.
        path: the video, or a zip archive that contains it.
        member: the name of the video in the archive; empty if it is not in an archive.
        needed: the smallest number of frames that the video must have.
        notes: plain data to keep in the clip's record, such as its ranges.
        resize: how frames of another shape are brought to the store's size; see `zoo.data.resizing.resized`.
    """

    name: str
    path: Path
    member: str = ""
    needed: int = 1
    notes: dict[str, Any] = field(default_factory=dict)
    resize: Resize = "stretch"

    def open(self) -> IO[bytes]:
        """Open the bytes of the video. Those in an archive are compared with the archive's checksum."""
        if not self.member:
            return open_regular(self.path)
        with zipfile.ZipFile(self.path) as archive:
            return io.BytesIO(archive.read(self.member))

    def frames(self, size: tuple[int, int] | None, grey: bool) -> Iterator[NDArray[np.uint8]]:
        """Decode the frames, as arrays `(T, C, H, W)`; see `zoo.data.decode.decode`.

        Raises:
            BadVideo: if the video cannot be used.
        """
        try:
            file = self.open()
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            EOFError,
            RuntimeError,
        ) as error:  # RuntimeError: encrypted
            raise BadVideo(f"is damaged in its archive ({str(error)[:100]})") from None
        except (OSError, KeyError) as error:  # KeyError: no longer in the archive
            raise BadVideo(f"cannot be read ({getattr(error, 'strerror', error)})") from None
        with file:
            yield from decode(file, size, grey, self.resize)

    def digest(self) -> str:
        """SHA-256 of the content, as hexadecimal digits."""
        with self.open() as file:
            return hashlib.file_digest(cast(Any, file), "sha256").hexdigest()

    def stamp(self) -> str:
        """A text that changes if the content of the file changes."""
        stat = self._stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}" if stat else ""

    def state(self) -> int:
        """A number that changes if anything about the file changes, such as its access rights."""
        stat = self._stat()
        return stat.st_ctime_ns if stat else 0

    def _stat(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except OSError:  # a broken link
            return None


class VideoSummary(NamedTuple):
    """The number of frames of a decoded video, and the SHA-256 of its file."""

    frames: int
    source_sha256: str


class Store:
    """A finished store, opened for reading.

    Attributes:
        shape: (C, H, W) of its frames.
        clips: the record of each clip, by name.
        skipped: the reason why a video could not be used, by name.

    Args:
        folder: the folder of the store.

    Raises:
        ZooError: if the store is unfinished or damaged, or a file is missing or has another size than in the manifest.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = read_json(self.folder / MANIFEST, "manifest")
        if not manifest:
            raise ZooError(f"{self.folder} does not hold a finished store of frames; prepare it")
        self.shape: tuple[int, int, int] = tuple(manifest["shape"])
        self.clips: dict[str, dict[str, Any]] = manifest["clips"]
        self.skipped: dict[str, str] = manifest["skipped"]
        for name, clip in self.clips.items():
            path = self._path(name)
            if not path.is_file() or path.stat().st_size != clip["bytes"]:
                raise ZooError(f"{path} is missing or cut short; prepare the store again")

    def read(self, name: str, start: int, length: int) -> NDArray[np.uint8]:
        """Read frames of a clip, as a copy.

        The file is mapped only during the copy, so that its pages do not count as memory of this process afterwards.

        Args:
            name: the name of the clip.
            start: the first frame, counted from 0.
            length: the number of frames.

        Returns:
            Frames `(length, C, H, W)`, or fewer if the clip ends before.

        Raises:
            ZooError: if the file has changed since the store was opened.
        """
        path, frames = self._path(name), self.clips[name]["frames"]
        try:
            mapped = open_array(path)
        except BadArray as error:
            raise ZooError(f"{path} {error}; remove it and prepare the store again") from None
        if mapped.shape != (frames, *self.shape) or mapped.dtype != np.uint8:
            raise ZooError(f"{path} has changed since the store was opened; open it again")
        return np.array(mapped[start : start + length])

    def digest(self) -> str:
        """SHA-256, as hexadecimal digits, of the videos' content and of how they were decoded, wherever they are.

        Raises:
            ZooError: if stored frames have changed since they were written.
        """
        self.check(list(self.clips))
        local = ("source", "stamp", "bytes", "sha256")
        clips = {name: {k: v for k, v in clip.items() if k not in local} for name, clip in self.clips.items()}
        return hashlib.sha256(json.dumps([METHOD, self.shape, clips], sort_keys=True).encode()).hexdigest()

    def check(self, names: Sequence[str]) -> None:
        """Compare stored frames with their checksums. Files that were compared before and not changed are skipped.

        Raises:
            ZooError: if some have changed since they were written.
        """
        path, now = self.folder / CHECKED, time.time_ns()
        try:
            before = read_json(path, "checked").get("stamps", {})
        except ZooError:  # the file only saves time, so do without it
            before = {}
        stats = {name: self._path(name).stat() for name in names}
        stamps = {
            name: f"{self.clips[name]['sha256']} {at.st_size} {at.st_mtime_ns} {at.st_ctime_ns} {at.st_ino}"
            for name, at in stats.items()
        }
        if changed := self.verify([name for name, stamp in stamps.items() if before.get(name) != stamp]):
            paths = ", ".join(str(self._path(name)) for name in changed[:3])
            raise ZooError(
                f"{counted(len(changed), 'clip')} of the store changed after being written ({paths}); remove the files "
                "and prepare the store again"
            )
        settled = {name: stamp for name, stamp in stamps.items() if stats[name].st_ctime_ns < now - _SETTLED}
        if not settled.items() <= before.items():
            with suppress(ZooError):  # this user may not write in the store
                write_json(path, {"stamps": before | settled})

    def verify(self, names: Sequence[str] | None = None) -> list[str]:
        """The names of clips (by default among all) whose stored bytes have changed since they were written."""
        names = list(self.clips) if names is None else names
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            digests = pool.map(_digest_file, map(self._path, names))
            return [name for name, digest in zip(names, digests, strict=True) if digest != self.clips[name]["sha256"]]

    def _path(self, name: str) -> Path:
        return place_in(self.folder, name, ".npy")


def place_in(folder: Path, name: str, suffix: str) -> Path:
    """The file of a clip in a store. It is named after the clip, but kept apart from the store's own and other files.

    Without this, the record of a clip "manifest" would be the store's manifest, and the frames of a clip "a" would be
    a file where the clips of a folder "a.npy" are. So "%" is added to such a part of a name. To keep names
    different, it is also added to a part that has this form already.

    Args:
        folder: the folder of the store.
        name: the name of the clip, a relative path.
        suffix: ".npy" for the frames, ".json" for the record.

    >>> names = ["walk/fast", "manifest", "manifest%", "a.npy/b"]
    >>> [place_in(Path("store"), name, ".json").as_posix() for name in names]
    ['store/walk/fast.json', 'store/manifest%.json', 'store/manifest%%.json', 'store/a.npy%/b.json']
    """
    *above, last = name.split("/")
    folders = [_apart(part, part.rstrip("%").lower().endswith((".npy", ".json", _LOCK))) for part in above]
    return folder.joinpath(*folders, _apart(last, f"{last.rstrip('%')}.json".lower() in (MANIFEST, CHECKED)) + suffix)


def _apart(part: str, taken: bool) -> str:
    return f"{part}%" if taken else part


def build(
    folder: Path, videos: Sequence[VideoFile], *, size: tuple[int, int], grey: bool = True, progress: bool = True
) -> Store:
    """Decode the videos that are not in the store yet, several at a time, and finish the store.

    Videos that cannot be used are listed in `Store.skipped`. After an interruption, the next call resumes.

    Args:
        folder: the folder of the store.
        videos: all videos that the store is to hold. Other videos are removed from its manifest.
        size: height and width of the frames in pixels.
        grey: True for one channel, False for three.
        progress: whether to show a progress bar.

    Raises:
        ZooError: if two videos have one name, the folder cannot be written, the disk is full, or no video can be used.
    """
    for name, times in Counter(video.name for video in videos).items():
        if times > 1:
            raise ZooError(f"{times} clips for {folder} are named {name!r}; rename all but one of them")
    shape = (1 if grey else 3, *size)
    if not _finished(folder, videos, shape):
        with _locked(folder, progress):
            _finish(folder, videos, shape, progress)
    return Store(folder)


def _finished(folder: Path, videos: Sequence[VideoFile], shape: tuple[int, int, int]) -> bool:
    """Whether the store holds exactly these videos, unchanged, so that nothing has to be written."""
    records = {video.name: _stored_record(folder, video, shape) for video in videos}
    return all(records.values()) and read_json(folder / MANIFEST, "manifest") == _manifest(records, shape)


def _finish(folder: Path, videos: Sequence[VideoFile], shape: tuple[int, int, int], progress: bool) -> None:
    records = {video.name: _stored_record(folder, video, shape) for video in videos}
    if missing := [video for video in videos if not records[video.name]]:
        (folder / MANIFEST).unlink(missing_ok=True)

        def store(video: VideoFile, count: Count) -> dict[str, Any]:
            return _store(folder, video, shape, count)

        for video, clip in in_parallel(missing, store, "decoding", progress):
            records[video.name] = clip
    manifest = _manifest(records, shape)
    if not manifest["clips"]:
        reasons = "; ".join(f"{name} {reason}" for name, reason in manifest["skipped"].items())
        raise ZooError(f"no video can be used for {folder} ({reasons}); name a folder with videos")
    write_json(folder / CHECKED, {"stamps": {}})  # created here, so that reading the store adds no file
    write_json(folder / MANIFEST, manifest)


def _manifest(records: dict[str, dict[str, Any]], shape: tuple[int, int, int]) -> dict[str, Any]:
    clips = {name: clip for name, clip in records.items() if "skipped" not in clip}
    skipped = {name: clip["skipped"] for name, clip in records.items() if "skipped" in clip}
    return {"shape": list(shape), "clips": clips, "skipped": skipped}


@contextmanager
def _locked(folder: Path, progress: bool) -> Iterator[None]:
    """Create and lock the folder, so that only one process writes in it. Waits while another process does."""
    from filelock import FileLock, Timeout

    _make_folder(folder)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            print(f"waiting for another process that is writing in {folder}", file=sys.stderr)
        lock.acquire()
    except OSError as error:
        raise ZooError(f"cannot write in {folder} ({error.strerror}); name another folder") from None
    try:
        yield
    finally:
        lock.release()


def in_parallel(
    items: Sequence[VideoFile], work: Callable[[VideoFile, Count], Result], title: str, progress: bool
) -> Iterator[tuple[VideoFile, Result]]:
    """Call `work(item, count)` for each item in several threads, and yield (item, result) as they finish.

    Threads are enough, because decoding releases Python's global interpreter lock. The first exception ends the loop.

    Args:
        items: the items.
        work: the function; it calls `count` with numbers of decoded frames, whose sum is shown beside the progress bar.
        title: the title of the progress bar.
        progress: whether to show the progress bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    frames = TextColumn("{task.fields[frames]:,} frames")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), frames, TimeRemainingColumn())
    with (
        Progress(*columns, console=Console(stderr=True), disable=not progress) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        task, lock = bar.add_task(title, total=len(items), frames=0), Lock()

        def count(more: int) -> None:
            with lock:
                bar.update(task, frames=bar.tasks[task].fields["frames"] + more)

        running = {pool.submit(work, item, count): item for item in items}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
                bar.advance(task)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def inspect(video: VideoFile, count: Count) -> VideoSummary:
    """Decode a video without storing it. `count` is called with the number of frames of each part.

    Raises:
        BadVideo: if it cannot be used.
    """
    frames = 0
    for part in video.frames(None, grey=True):
        frames += len(part)
        count(len(part))
    return _summary(video, frames)


def _store(folder: Path, video: VideoFile, shape: tuple[int, int, int], count: Count) -> dict[str, Any]:
    """Decode a video into a temporary file, rename it, and write its record. `count` is called as by `inspect`."""
    target, digest = place_in(folder, video.name, ".npy"), hashlib.sha256()
    _make_folder(target.parent)
    clip: dict[str, Any]
    try:
        with aside(target) as temporary, temporary.open("r+b") as file:
            _write_header(file, (0, *shape))
            frames = 0
            for part in video.frames(shape[1:], grey=shape[0] == 1):
                file.write(part.tobytes())
                frames += len(part)
                count(len(part))
            summary = _summary(video, frames)
            size = file.tell()
            _write_header(file, (frames, *shape))
            file.seek(0)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        clip = {"frames": frames, "source_sha256": summary.source_sha256, "sha256": digest.hexdigest(), "bytes": size}
    except BadVideo as error:
        target.unlink(missing_ok=True)
        clip = {"skipped": str(error), "state": video.state()}
    record = {**_provenance(video, shape), **clip}
    write_json(place_in(folder, video.name, ".json"), record)
    return record


def _stored_record(folder: Path, video: VideoFile, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The record of this video from an earlier call; empty if there is none, or if the video has changed since."""
    record, path = read_json(place_in(folder, video.name, ".json"), "record"), place_in(folder, video.name, ".npy")
    if any(record.get(key) != value for key, value in _provenance(video, shape).items()):
        return {}
    if "skipped" in record:
        return record if record.get("state") == video.state() else {}
    return record if path.is_file() and path.stat().st_size == record.get("bytes") else {}


def _provenance(video: VideoFile, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The source of a clip and the shape it is decoded to."""
    where = f"{video.path.name}/{video.member}" if video.member else video.path.name
    # stores that were written before there was a choice used "stretch"
    resize = {} if video.resize == "stretch" else {"resize": video.resize}
    return {"source": where, "stamp": video.stamp(), "shape": list(shape), **resize, **video.notes}


def _summary(video: VideoFile, count: int) -> VideoSummary:
    if count < video.needed:
        raise BadVideo(f"has {counted(count, 'frame')}, but at least {video.needed} are needed")
    return VideoSummary(count, video.digest())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"cannot create {folder} ({error.strerror}); name another folder") from None


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Write the header of a `.npy` file. Its size is the same for any number of frames, because NumPy leaves room for
    the first axis to grow."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
