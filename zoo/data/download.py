"""Download data sets. An interrupted download is resumed by the next call."""

import hashlib
import http.client
import os
import zipfile
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from zoo.data.kth import ARCHIVES, SEQUENCES
from zoo.data.kth_annotations import read_sequences
from zoo.data.root import data_root
from zoo.errors import ZooError
from zoo.files import destination

if TYPE_CHECKING:
    from rich.progress import Progress

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {  # size in bytes, and MD5
    "train-images-idx3-ubyte.gz": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte.gz": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte.gz": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte.gz": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
}
KTH_MIRROR = "https://www.csc.kth.se/cvap/actions/"
_CHUNK = 1 << 16
_TIMEOUT = 30.0  # seconds to wait for the next byte


def download_mnist(root: str | Path | None = None, mirror: str | None = None, progress: bool = True) -> Path:
    """Download the four files of MNIST (11 MB) into `<data root>/mnist`. Files with the right MD5 are kept.

    An interrupted download is resumed by the next call.

    Args:
        root: the data root; see `zoo.data.data_root`.
        mirror: web address of the folder with the files; by default `$ZOO_MNIST_MIRROR`, or a public mirror.
        progress: whether to show a progress bar.

    Returns:
        The folder with the files.

    Raises:
        ZooError: if the folder cannot be written, `mirror` is not a web address, the mirror does not answer or breaks
            off, or a checksum is wrong.
    """
    mirror = _mirror(mirror, "ZOO_MNIST_MIRROR", MIRROR)
    folder = data_root(root) / "mnist"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = {name: entry for name, entry in FILES.items() if not _right(folder / name, entry[1])}
    except OSError as error:
        raise _forbidden(folder, error) from error
    with _bar(progress) as bar:
        task = bar.add_task("MNIST", total=sum(size for size, _ in missing.values()))
        for name, (size, md5) in missing.items():
            right = partial(_right, md5=md5)
            _download(f"{mirror}/{name}", folder / name, size, right, partial(bar.advance, task), "ZOO_MNIST_MIRROR")
    return folder


def download_kth(root: str | Path | None = None, mirror: str | None = None, progress: bool = True) -> Path:
    """Download KTH's six archives and its annotation file (1.1 GB) into `<data root>/kth`. Existing files are kept.

    The authors publish no checksums. An archive is accepted if its table of contents is complete; the checksum of each
    clip is compared when the clip is decoded. An interrupted download is resumed by the next call.

    Args:
        root: the data root; see `zoo.data.data_root`.
        mirror: web address of the folder with the files; by default `$ZOO_KTH_MIRROR`, or the authors' server.
        progress: whether to show a progress bar.

    Returns:
        The folder with the files.

    Raises:
        ZooError: if the folder cannot be written, `mirror` is not a web address, the mirror does not answer or breaks
            off, or a file is not of the expected kind.
    """
    mirror = _mirror(mirror, "ZOO_KTH_MIRROR", KTH_MIRROR)
    folder = data_root(root) / "kth"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _forbidden(folder, error) from error
    with _bar(progress) as bar:
        for name in (SEQUENCES, *ARCHIVES):
            right = zipfile.is_zipfile if name in ARCHIVES else _has_ranges
            if not ((folder / name).is_file() and right(folder / name)):
                report = partial(bar.advance, bar.add_task(name, total=None))
                _download(f"{mirror}/{name}", folder / name, None, right, report, "ZOO_KTH_MIRROR")
    return folder


def _mirror(argument: str | None, variable: str, default: str) -> str:
    mirror = argument or os.environ.get(variable) or default
    if not mirror.startswith(("http://", "https://")):
        raise ZooError(f"mirror = {mirror!r} must start with http:// or https://")
    return mirror.rstrip("/")


def _bar(progress: bool) -> "Progress":
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    return Progress(*columns, disable=not progress)


def _download(
    url: str,
    target: Path,
    size: int | None,
    right: Callable[[Path], bool],
    report: Callable[[int], None],
    variable: str,
) -> None:
    """Download the missing part into a file beside `target`, check it, and rename it to `target`."""
    if os.path.lexists(target):
        target = destination(target)
    part = target.with_name(target.name + ".part")
    if os.path.lexists(part) and destination(part) != part:
        raise ZooError(f"{part} is a link, and the download would overwrite its target; remove the link")
    try:
        _receive(url, part, size, report)
    except PermissionError as error:
        raise _forbidden(part.parent, error) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ZooError(
            f"{url} cannot be downloaded ({error}); run the command again to resume, "
            f"or set {variable} to another mirror"
        ) from error
    if not right(part):
        part.unlink()
        raise ZooError(f"{url} has a wrong checksum or content and was deleted; set {variable} to another mirror")
    os.replace(part, target)


def _receive(url: str, part: Path, size: int | None, report: Callable[[int], None]) -> None:
    """Append what is missing to the file `part`. A server without support for ranges sends the whole file again.

    `size` is None if it is not known in advance."""
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have >= size:
        return
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urlopen(request, timeout=_TIMEOUT)
    except HTTPError as error:
        if size is None and have and error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing
        raise
    with answer as response, part.open("ab" if response.status == 206 else "wb") as file:
        report(file.tell())
        while (size is None or file.tell() <= size) and (chunk := response.read(_CHUNK)):
            file.write(chunk)
            report(len(chunk))
        if response.length and (size is None or file.tell() < size):
            raise ConnectionError(f"broke off at {file.tell():,} of {file.tell() + response.length:,} bytes")


def _forbidden(folder: Path, error: OSError) -> ZooError:
    return ZooError(f"cannot write in {folder} ({error.strerror}); name another data root with --data-root or ZOO_DATA")


def _right(path: Path, md5: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def _has_ranges(path: Path) -> bool:
    try:
        return bool(read_sequences(path))
    except ZooError:
        return False
