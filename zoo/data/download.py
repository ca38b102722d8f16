"""MNIST, fetched on request."""

import hashlib
import http.client
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

from zoo.data.root import data_root
from zoo.errors import ZooError

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = {  # size in bytes, MD5
    "train-images-idx3-ubyte.gz": (9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    "train-labels-idx1-ubyte.gz": (28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
    "t10k-images-idx3-ubyte.gz": (1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
    "t10k-labels-idx1-ubyte.gz": (4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
}
_CHUNK = 1 << 16
_TIMEOUT = 30.0  # seconds without a byte


def download_mnist(root: str | Path | None = None, mirror: str | None = None, progress: bool = True) -> Path:
    """Fetch MNIST's four files (11 MB) into `<data root>/mnist`, leaving alone those that are right already.

    An interrupted download is resumed by the next call.

    Args:
        root: the data root, see `zoo.data.data_root`.
        mirror: address of the folder with the files; else `$ZOO_MNIST_MIRROR`, else a public one.
        progress: show a progress bar.

    Returns:
        The folder.

    Raises:
        ZooError: the folder cannot be written, the mirror does not answer or breaks off, a checksum is wrong.
    """
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    mirror = mirror or os.environ.get("ZOO_MNIST_MIRROR") or MIRROR
    if not mirror.startswith(("http://", "https://")):
        raise ZooError(f"mirror = {mirror!r} must begin with http:// or https://")
    folder = data_root(root) / "mnist"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        missing = {name: entry for name, entry in FILES.items() if not _right(folder / name, entry[1])}
    except OSError as error:
        raise _forbidden(folder, error) from error
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, disable=not progress) as bar:
        task = bar.add_task("MNIST", total=sum(size for size, _ in missing.values()))
        for name, (size, md5) in missing.items():
            _download(f"{mirror.rstrip('/')}/{name}", folder / name, size, md5, partial(bar.advance, task))
    return folder


def _download(url: str, target: Path, size: int, md5: str, report: Callable[[int], None]) -> None:
    """Fetch what is missing of the file into one beside it, check that, then rename it."""
    part = target.with_name(target.name + ".part")
    try:
        _receive(url, part, size, report)
    except PermissionError as error:
        raise _forbidden(part.parent, error) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise ZooError(
            f"{url} cannot be fetched ({error}); run it again, which goes on where it stopped, "
            "or set ZOO_MNIST_MIRROR to another mirror"
        ) from error
    if not _right(part, md5):
        part.unlink()
        raise ZooError(f"{url} has a wrong checksum and was dropped; set ZOO_MNIST_MIRROR to another mirror")
    os.replace(part, target)


def _receive(url: str, part: Path, size: int, report: Callable[[int], None]) -> None:
    """Append what `part` lacks; a server that knows no ranges sends all of it again."""
    have = part.stat().st_size if part.exists() else 0
    if have >= size:
        return
    request = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(request, timeout=_TIMEOUT) as response, part.open("ab" if response.status == 206 else "wb") as file:
        report(file.tell())
        while file.tell() <= size and (chunk := response.read(_CHUNK)):
            file.write(chunk)
            report(len(chunk))
        if response.length and file.tell() < size:
            raise ConnectionError(f"broke off at {file.tell():,} of {size:,} bytes")


def _forbidden(folder: Path, error: OSError) -> ZooError:
    return ZooError(f"cannot write in {folder} ({error.strerror}); name another data root with --data-root or ZOO_DATA")


def _right(path: Path, md5: str) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5
