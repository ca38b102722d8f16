"""A store of decoded videos: each video is decoded once, and its frames are memory-mapped from then on.

A store is a folder with a `.npy` array `(T, C, H, W)` of bytes for each video, a `.json` record beside it of what it
was decoded from, and a manifest. The manifest is written last: a store without it is unfinished and does not open.
"""

import hashlib
import io
import json
import lzma
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from zoo.data.decode import METHOD, BadVideo, decode
from zoo.errors import ZooError
from zoo.files import aside

MANIFEST = "manifest.json"
Result = TypeVar("Result")
_VERSION = 1


@dataclass(frozen=True)
class VideoFile:
    """A video to decode.

    Args:
        name: of the clip, unique in the store; its files are called so.
        path: the video, or a zip archive that contains it.
        member: its name in the archive; empty for a video that is a file of its own.
        needed: the least number of frames it must have.
        notes: plain data to keep in the clip's record, such as its ranges.
    """

    name: str
    path: Path
    member: str = ""
    needed: int = 1
    notes: dict[str, Any] = field(default_factory=dict)

    def open(self) -> IO[bytes]:
        """The bytes of the video. Those of an archive are compared with the archive's checksum."""
        if not self.member:
            return self.path.open("rb")
        with zipfile.ZipFile(self.path) as archive:
            return io.BytesIO(archive.read(self.member))

    def stamp(self) -> str:
        """A text that changes when the content of the file does."""
        stat = self._stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}" if stat else ""

    def state(self) -> int:
        """A number that changes when anything about the file does, such as who may read it."""
        stat = self._stat()
        return stat.st_ctime_ns if stat else 0

    def _stat(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except OSError:  # a broken link
            return None


class VideoSummary(NamedTuple):
    """A video that was decoded: its number of frames, and the SHA-256 of its file."""

    frames: int
    source_sha256: str


class Store:
    """A finished store, opened to read.

    Attributes:
        shape: (C, H, W) of its frames.
        clips: the record of each clip, by name.
        skipped: why a video could not be used, by name.

    Args:
        folder: of the store.

    Raises:
        ZooError: it is unfinished or damaged, or a file is missing or has another size than the manifest says.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        manifest = _read_json(self.folder / MANIFEST)
        if manifest.get("version") != _VERSION or manifest.get("method") != METHOD:
            raise ZooError(f"{self.folder} holds no finished store of frames; prepare it")
        try:
            self.shape: tuple[int, int, int] = tuple(manifest["shape"])
            self.clips: dict[str, dict[str, Any]] = manifest["clips"]
            self.skipped: dict[str, str] = manifest["skipped"]
            sizes = {name: clip["bytes"] for name, clip in self.clips.items()}
        except (KeyError, TypeError, AttributeError):
            raise ZooError(f"{self.folder / MANIFEST} is damaged; remove it and prepare the store again") from None
        for name, size in sizes.items():
            path = self._path(name)
            if not path.is_file() or path.stat().st_size != size:
                raise ZooError(f"{path} is missing or cut short; prepare the store again")

    def read(self, name: str, start: int, length: int) -> NDArray[np.uint8]:
        """Frames of a clip, copied. The file is mapped only while they are copied, so that its pages do not count as
        memory of this process for longer.

        Args:
            name: of the clip.
            start: the first frame, counted from 0.
            length: how many frames.

        Returns:
            `(length, C, H, W)`, or less where the clip ends before.

        Raises:
            ZooError: the file has changed since the store was opened.
        """
        path, frames = self._path(name), self.clips[name]["frames"]
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ZooError(f"{path} cannot be read ({error}); remove it and prepare the store again") from None
        if mapped.shape != (frames, *self.shape) or mapped.dtype != np.uint8:
            raise ZooError(f"{path} has changed since the store was opened; open it again")
        return np.array(mapped[start : start + length])

    def digest(self) -> str:
        """SHA-256, in hexadecimal, of the videos' content and of how they were decoded, not of where they are."""
        local = ("source", "stamp", "bytes", "sha256", "method")
        clips = {name: {k: v for k, v in clip.items() if k not in local} for name, clip in self.clips.items()}
        return hashlib.sha256(json.dumps([METHOD, self.shape, clips], sort_keys=True).encode()).hexdigest()

    def verify(self) -> list[str]:
        """Names of the clips whose stored bytes have changed since they were written."""
        return [name for name, clip in self.clips.items() if _digest_file(self._path(name)) != clip["sha256"]]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def build(
    folder: Path, videos: Sequence[VideoFile], *, size: tuple[int, int], grey: bool = True, progress: bool = True
) -> Store:
    """Decode the videos that the store does not have yet, several at a time, and finish the store.

    A video that cannot be used is listed in `Store.skipped`. After an interruption, the next call resumes.

    Args:
        folder: of the store.
        videos: all that the store is to hold; others that it held are dropped from its manifest.
        size: height and width to resize to.
        grey: one channel if True, else three.
        progress: show a progress bar.

    Raises:
        ZooError: the folder cannot be written, the disk is full, or no video can be used.
    """
    shape = (1 if grey else 3, *size)
    if not _finished(folder, videos, shape):
        with _locked(folder, progress):
            _finish(folder, videos, shape, progress)
    return Store(folder)


def _finished(folder: Path, videos: Sequence[VideoFile], shape: tuple[int, int, int]) -> bool:
    """Whether the store holds exactly these videos, unchanged, so that nothing need be written."""
    records = {video.name: _stored_record(folder, video, shape) for video in videos}
    return all(records.values()) and _read_json(folder / MANIFEST) == _manifest(records, shape)


def _finish(folder: Path, videos: Sequence[VideoFile], shape: tuple[int, int, int], progress: bool) -> None:
    for leftover in folder.rglob(".*.tmp"):  # of a process that was killed
        leftover.unlink()
    records = {video.name: _stored_record(folder, video, shape) for video in videos}
    if missing := [video for video in videos if not records[video.name]]:
        (folder / MANIFEST).unlink(missing_ok=True)
        for video, clip in in_parallel(missing, lambda video: _store(folder, video, shape), "decoding", progress):
            records[video.name] = clip
    manifest = _manifest(records, shape)
    if not manifest["clips"]:
        reasons = "; ".join(f"{name} {reason}" for name, reason in list(manifest["skipped"].items())[:3])
        raise ZooError(f"no video can be used for {folder} ({reasons}); name a folder with videos")
    _write_json(folder / MANIFEST, manifest)


def _manifest(records: dict[str, dict[str, Any]], shape: tuple[int, int, int]) -> dict[str, Any]:
    clips = {name: clip for name, clip in records.items() if "skipped" not in clip}
    skipped = {name: clip["skipped"] for name, clip in records.items() if "skipped" in clip}
    return {"version": _VERSION, "method": METHOD, "shape": list(shape), "clips": clips, "skipped": skipped}


@contextmanager
def _locked(folder: Path, progress: bool) -> Iterator[None]:
    """Create the folder and lock it, so that one process at a time writes in it; waits for another that does."""
    from filelock import FileLock, Timeout

    _make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if progress:
            print(f"waiting for another process that writes in {folder}", file=sys.stderr)
        lock.acquire()
    except OSError as error:
        raise ZooError(f"cannot write in {folder} ({error.strerror}); name another folder") from None
    try:
        yield
    finally:
        lock.release()


def in_parallel(
    items: Sequence[VideoFile], work: Callable[[VideoFile], Result], title: str, progress: bool
) -> Iterator[tuple[VideoFile, Result]]:
    """Each item with `work(item)`, as they finish, from several threads: decoding releases the interpreter's lock.

    The first exception ends it. `title` names the progress bar.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=Console(stderr=True), disable=not progress) as bar,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        task = bar.add_task(title, total=len(items))
        running = {pool.submit(work, item): item for item in items}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
                bar.advance(task)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def inspect(video: VideoFile) -> VideoSummary:
    """Decode a video without storing it.

    Raises:
        BadVideo: it cannot be used.
    """
    return _summary(video, sum(len(part) for part in _decode(video, None, grey=True)))


def _store(folder: Path, video: VideoFile, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Decode a video into a temporary file, rename it, then write its record."""
    target, digest = folder / f"{video.name}.npy", hashlib.sha256()
    _make_folder(target.parent)
    clip: dict[str, Any]
    try:
        with aside(target) as temporary, temporary.open("r+b") as file:
            _write_header(file, (0, *shape))
            count = 0
            for part in _decode(video, shape[1:], grey=shape[0] == 1):
                file.write(part.tobytes())
                count += len(part)
            summary = _summary(video, count)
            size = file.tell()
            _write_header(file, (count, *shape))
            file.seek(0)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        clip = {"frames": count, "source_sha256": summary.source_sha256, "sha256": digest.hexdigest(), "bytes": size}
    except BadVideo as error:
        target.unlink(missing_ok=True)
        clip = {"skipped": str(error), "state": video.state()}
    record = {**_provenance(video, shape), **clip}
    _write_json(folder / f"{video.name}.json", record)
    return record


def _stored_record(folder: Path, video: VideoFile, shape: tuple[int, int, int]) -> dict[str, Any]:
    """The record that an earlier call wrote of this video; empty if there is none, or the video has changed since."""
    record, path = _read_json(folder / f"{video.name}.json"), folder / f"{video.name}.npy"
    if any(record.get(key) != value for key, value in _provenance(video, shape).items()):
        return {}
    if "skipped" in record:
        return record if record.get("state") == video.state() else {}
    return record if path.is_file() and path.stat().st_size == record.get("bytes") else {}


def _provenance(video: VideoFile, shape: tuple[int, int, int]) -> dict[str, Any]:
    """What a clip is decoded from, and how."""
    where = f"{video.path.name}/{video.member}" if video.member else video.path.name
    return {"source": where, "stamp": video.stamp(), "shape": list(shape), "method": METHOD, **video.notes}


def _decode(video: VideoFile, size: tuple[int, int] | None, grey: bool) -> Iterator[NDArray[np.uint8]]:
    """`decode` of a video, wherever it lies.

    Raises:
        BadVideo: it cannot be used.
    """
    try:
        file = video.open()
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:  # the last: encrypted
        raise BadVideo(f"is damaged in its archive ({error})") from None
    except OSError as error:
        raise BadVideo(f"cannot be read ({error.strerror})") from None
    with file:
        yield from decode(file, size, grey)


def _summary(video: VideoFile, count: int) -> VideoSummary:
    if count < video.needed:
        raise BadVideo(f"has {count} frames, fewer than the {video.needed} that are needed")
    with video.open() as file:
        return VideoSummary(count, hashlib.file_digest(cast(Any, file), "sha256").hexdigest())


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"cannot create {folder} ({error.strerror}); name another folder") from None


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Write the header of a `.npy` file; of the same size for any number of frames, since NumPy leaves room for the
    first axis to grow."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ZooError(f"{path} cannot be read ({error}); remove it and prepare the store again") from None
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with aside(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1), "utf-8")
