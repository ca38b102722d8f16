"""Decoded videos as bytes on disk: each decoded once, then mapped.

A store is a folder with one `.npy` array `(T, C, H, W)` of bytes for each video, a note beside each of what it was
made from, and a manifest. The manifest is written last: without it, nothing opens.
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
class Source:
    """A video to decode.

    Args:
        name: of the clip, unique in the store; also that of its file.
        path: the video, or a zip archive that holds it.
        member: its name in the archive.
        needed: frames it must have at least.
        notes: kept with the clip, such as its ranges.
    """

    name: str
    path: Path
    member: str = ""
    needed: int = 1
    notes: dict[str, Any] = field(default_factory=dict)

    def open(self) -> IO[bytes]:
        """The bytes of the video; those of an archive are checked against its checksum."""
        if not self.member:
            return self.path.open("rb")
        with zipfile.ZipFile(self.path) as archive:
            return io.BytesIO(archive.read(self.member))

    def stamp(self) -> str:
        """Changes when the content of the file does."""
        stat = self._stat()
        return f"{stat.st_size}-{stat.st_mtime_ns}" if stat else ""

    def state(self) -> int:
        """Changes when anything about the file does, such as who may read it."""
        stat = self._stat()
        return stat.st_ctime_ns if stat else 0

    def _stat(self) -> os.stat_result | None:
        try:
            return self.path.stat()
        except OSError:  # a link that leads nowhere
            return None


class Frames(NamedTuple):
    """What was found in a video."""

    frames: int
    source_sha256: str


class Store:
    """A finished store.

    Args:
        folder: where it lies.

    Raises:
        ZooError: it is not finished, or a file is missing or has another size than the manifest says.
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
        """Frames `(length, C, H, W)` from `start` on, copied. The file is mapped only for so long, so that pages of it
        never count as memory of this process for more than a moment.

        Raises:
            ZooError: the file is no longer what it was.
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
        """Tells stores apart that were made of other files or in another way, wherever they lie."""
        local = ("source", "stamp", "bytes", "sha256", "method")
        clips = {name: {k: v for k, v in clip.items() if k not in local} for name, clip in self.clips.items()}
        return hashlib.sha256(json.dumps([METHOD, self.shape, clips], sort_keys=True).encode()).hexdigest()[:16]

    def verify(self) -> list[str]:
        """Clips whose stored bytes are not those that were written."""
        return [name for name, clip in self.clips.items() if _digest_file(self._path(name)) != clip["sha256"]]

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"


def build(
    folder: Path, sources: Sequence[Source], *, size: tuple[int, int], grey: bool = True, progress: bool = True
) -> Store:
    """Decode what the store does not have yet, several videos at a time, and finish it.

    A video that cannot be used is listed in `Store.skipped`. An interrupted call is resumed by the next.

    Args:
        folder: of the store.
        sources: what it shall hold; what else it held is forgotten.
        size: height and width.
        grey: one channel, else three.
        progress: show a progress bar.

    Raises:
        ZooError: the folder cannot be written, the disk is full, or no video can be used.
    """
    shape = (1 if grey else 3, *size)
    if not _finished(folder, sources, shape):
        with _alone(folder, progress):
            _finish(folder, sources, shape, progress)
    return Store(folder)


def _finished(folder: Path, sources: Sequence[Source], shape: tuple[int, int, int]) -> bool:
    """Whether the store holds just these videos as they are, so that nothing need be written."""
    made = {source.name: _noted(folder, source, shape) for source in sources}
    return all(made.values()) and _read_json(folder / MANIFEST) == _manifest(made, shape)


def _finish(folder: Path, sources: Sequence[Source], shape: tuple[int, int, int], progress: bool) -> None:
    for left in folder.rglob(".*.tmp"):  # by a kill
        left.unlink()
    made = {source.name: _noted(folder, source, shape) for source in sources}
    if missing := [source for source in sources if not made[source.name]]:
        (folder / MANIFEST).unlink(missing_ok=True)
        for source, clip in in_parallel(missing, lambda source: _store(folder, source, shape), "decoding", progress):
            made[source.name] = clip
    manifest = _manifest(made, shape)
    if not manifest["clips"]:
        reasons = "; ".join(f"{name} {reason}" for name, reason in list(manifest["skipped"].items())[:3])
        raise ZooError(f"no video can be used for {folder} ({reasons}); name a folder with videos")
    _write_json(folder / MANIFEST, manifest)


def _manifest(made: dict[str, dict[str, Any]], shape: tuple[int, int, int]) -> dict[str, Any]:
    clips = {name: clip for name, clip in made.items() if "skipped" not in clip}
    skipped = {name: clip["skipped"] for name, clip in made.items() if "skipped" in clip}
    return {"version": _VERSION, "method": METHOD, "shape": list(shape), "clips": clips, "skipped": skipped}


@contextmanager
def _alone(folder: Path, progress: bool) -> Iterator[None]:
    """Make the folder, and be the only process that writes in it; waits for one that does."""
    from filelock import FileLock, Timeout

    _make(folder)
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
    items: Sequence[Source], work: Callable[[Source], Result], title: str, progress: bool
) -> Iterator[tuple[Source, Result]]:
    """`work` of each item, in threads (decoding frees the interpreter), with a bar; the first to fail ends it."""
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


def inspect(source: Source) -> Frames:
    """Decode a video and keep nothing.

    Raises:
        BadVideo: it cannot be used.
    """
    return _judged(source, sum(len(part) for part in _decode(source, None, grey=True)))


def _store(folder: Path, source: Source, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Decode into a file beside, rename it, then note what it is."""
    target, digest = folder / f"{source.name}.npy", hashlib.sha256()
    _make(target.parent)
    clip: dict[str, Any]
    try:
        with aside(target) as temporary, temporary.open("r+b") as file:
            _write_header(file, (0, *shape))
            count = 0
            for part in _decode(source, shape[1:], grey=shape[0] == 1):
                file.write(part.tobytes())
                count += len(part)
            found = _judged(source, count)
            size = file.tell()
            _write_header(file, (count, *shape))
            file.seek(0)
            while chunk := file.read(1 << 20):
                digest.update(chunk)
        clip = {"frames": count, "source_sha256": found.source_sha256, "sha256": digest.hexdigest(), "bytes": size}
    except BadVideo as error:
        target.unlink(missing_ok=True)
        clip = {"skipped": str(error), "state": source.state()}
    made = {**_origin(source, shape), **clip}
    _write_json(folder / f"{source.name}.json", made)
    return made


def _noted(folder: Path, source: Source, shape: tuple[int, int, int]) -> dict[str, Any]:
    """What an earlier call made of the same video; nothing if it did not, or the video has changed since."""
    made, path = _read_json(folder / f"{source.name}.json"), folder / f"{source.name}.npy"
    if any(made.get(key) != value for key, value in _origin(source, shape).items()):
        return {}
    if "skipped" in made:
        return made if made.get("state") == source.state() else {}
    return made if path.is_file() and path.stat().st_size == made.get("bytes") else {}


def _origin(source: Source, shape: tuple[int, int, int]) -> dict[str, Any]:
    """What a clip was made of, and how."""
    where = f"{source.path.name}/{source.member}" if source.member else source.path.name
    return {"source": where, "stamp": source.stamp(), "shape": list(shape), "method": METHOD, **source.notes}


def _decode(source: Source, size: tuple[int, int] | None, grey: bool) -> Iterator[NDArray[np.uint8]]:
    """`decode` of a source.

    Raises:
        BadVideo: it cannot be used.
    """
    try:
        file = source.open()
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError) as error:  # the last: encrypted
        raise BadVideo(f"is damaged in its archive ({error})") from None
    except OSError as error:
        raise BadVideo(f"cannot be read ({error.strerror})") from None
    with file:
        yield from decode(file, size, grey)


def _judged(source: Source, count: int) -> Frames:
    if count < source.needed:
        raise BadVideo(f"has {count} frames, fewer than the {source.needed} that are needed")
    with source.open() as file:
        return Frames(count, hashlib.file_digest(cast(Any, file), "sha256").hexdigest())


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ZooError(f"cannot make {folder} ({error.strerror}); name another folder") from None


def _write_header(file: IO[bytes], shape: tuple[int, ...]) -> None:
    """Of a `.npy` file; as long for any number of frames, because the format leaves room for the first axis to grow."""
    file.seek(0)
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ZooError(f"{path} cannot be read ({error}); remove it and prepare the store again") from None
    return found if isinstance(found, dict) else {}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with aside(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1), "utf-8")
