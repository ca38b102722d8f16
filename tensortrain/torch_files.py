"""Files of `torch.save`, read without running anything in them, within bounds, and with their checksums compared."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch

from tensortrain import inputs
from tensortrain.errors import TensorTrainError
from tensortrain.pickle_bounds import Scan

CHUNK = 2**20
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # with which files begin that torch wrote before it wrote zip archives


@dataclass(frozen=True)
class TorchFile:
    """What a file of `torch.save` holds.

    Attributes:
        content: the object that was saved, its tensors on the CPU.
        checksummed: whether the file has a checksum of everything in it. Each one that it has agreed with the content.
    """

    content: object
    checksummed: bool


def read_torch(path: str | PathLike[str]) -> TorchFile:
    """Read a file that `torch.save` wrote.

    Nothing in the file is run (`weights_only=True`; of other classes `argparse.Namespace` alone is read, a bag of
    options). Before torch sees the file, its zip archive is compared with the checksums in it, and what it describes is
    held against its size, so that a small file cannot ask for much memory or time.

    Args:
        path: a regular file, in the zip format or in the older one, which has no checksums.

    Raises:
        TensorTrainError: a file that is missing, truncated, damaged or of another format, that holds more than
            tensors and plain values, or that would take far more memory than its size explains.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/net.pt"
    >>> torch.save({"weight": torch.ones(2)}, path)
    >>> read_torch(path)
    TorchFile(content={'weight': tensor([1., 1.])}, checksummed=True)
    """
    size = inputs.regular(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            file.seek(0)
            if start == b"PK\x03\x04":
                checksummed = _check_archive(file, size)
            elif start[:1] == b"\x80":
                checksummed = False
                _check_pickles(file, size)
            else:
                raise TensorTrainError("truncated, or neither a safetensors nor a torch file")
            file.seek(0)
            return TorchFile(_load(file), checksummed)
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror or error}") from None
    except TensorTrainError as error:
        raise TensorTrainError(f"cannot read {path}: {error}") from None


def _load(file: IO[bytes]) -> object:
    from argparse import Namespace

    try:
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # torch names no type for damaged files: EOFError, RuntimeError, struct.error, …
        reason = str(error).partition(". ")[0].partition("\n")[0]
        raise TensorTrainError(f"truncated or damaged ({reason})") from None


def _check_pickles(file: IO[bytes], size: int) -> None:
    """Refuse a file of the old format, four pickles and then the storages, that torch should not load."""
    scan = Scan(file, size, None)
    if scan.read() != MAGIC_NUMBER:
        raise TensorTrainError("it is a pickle that torch.save did not write; use torch.save(model.state_dict(), …)")
    for _ in range(4):  # version, machine, content, keys of the storages
        scan.read()


def _check_archive(file: IO[bytes], size: int) -> bool:
    """Compare all checksums of a zip archive, refuse one that torch should not load, and say whether all have one."""
    try:
        with ZipFile(file) as archive:
            entries = archive.infolist()
            folder = entries[0].filename.partition("/")[0] if entries else ""
            names = {entry.filename.removeprefix(f"{folder}/"): entry for entry in entries}
            _check_program(names)
            _check_entries(entries, size)
            unchecked = [entry.filename for entry in entries if not _check_entry(archive, entry)]
            records = {n.removeprefix("data/"): entry.file_size for n, entry in names.items() if n.startswith("data/")}
            Scan(BytesIO(archive.read(names["data.pkl"])), size, records).read()
            return not unchecked
    except (TensorTrainError, OSError):
        raise
    except Exception as error:  # zipfile names no type either: BadZipFile, RuntimeError, OverflowError, …
        raise TensorTrainError(f"truncated or damaged ({error})") from None


def _check_program(names: Container[str]) -> None:
    """Refuse an archive that something else than `torch.save` wrote, by the names in it."""
    if "constants.pkl" in names:
        raise TensorTrainError(
            "it is a TorchScript program; save its tensors alone: torch.save(torch.jit.load(path).state_dict(), …)"
        )
    if "data.pkl" not in names:
        raise TensorTrainError("it is a zip archive, but none that torch.save wrote: it has no data.pkl")


def _check_entries(entries: Sequence[ZipInfo], size: int) -> None:
    """Refuse an archive whose entries are compressed, overlap, or cannot be told apart."""
    compressed = [entry.filename for entry in entries if entry.compress_type != ZIP_STORED]
    if compressed:
        raise TensorTrainError(f"its entry {compressed[0]!r} is compressed, which torch.save never does: save it again")
    if sum(entry.file_size for entry in entries) > size:
        raise TensorTrainError("truncated or damaged: its entries are larger than the file")
    names = {entry.filename.lower() for entry in entries}  # torch takes no account of the case
    if len(names) < len(entries):
        raise TensorTrainError("damaged: two of its entries have one name")


def _check_entry(archive: ZipFile, entry: ZipInfo) -> bool:
    """Compare the checksum of an entry with its content; whether it has one, which is 0 if it was never computed."""
    if entry.CRC == 0:
        entry.CRC = None  # type: ignore[assignment]  # zipfile compares no checksum then
        return entry.file_size == 0
    try:
        with archive.open(entry) as content:
            while content.read(CHUNK):
                pass
    except BadZipFile:
        raise TensorTrainError(f"damaged: its entry {entry.filename!r} does not agree with its checksum") from None
    return True
