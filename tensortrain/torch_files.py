"""Read files of `torch.save` without running code in them, within limits on memory, and with checksums compared."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from typing import IO
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import torch

from tensortrain import foreign_files, inputs
from tensortrain.errors import TensorTrainError
from tensortrain.pickle_bounds import Scan

CHUNK = 2**20
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first number in files of the format that torch used before zip archives


@dataclass(frozen=True)
class TorchFile:
    """The content of a file of `torch.save`.

    Attributes:
        content: the object that was saved; its tensors are on the CPU.
        checksummed: whether checksums cover everything in the file. All checksums that the file has were compared.
    """

    content: object
    checksummed: bool


def read_torch(path: str | PathLike[str]) -> TorchFile:
    """Read a file that `torch.save` wrote.

    No code in the file is run: it is loaded with `weights_only=True`, and `argparse.Namespace` is the only further
    class that is accepted. Before torch reads the file, the checksums of its zip archive are compared. The memory that
    its content would need is compared with its size, so that a small file cannot demand much memory or time.

    Args:
        path: a regular file, in the zip format or in the older format, which has no checksums.

    Raises:
        TensorTrainError: the file is missing, truncated, damaged or of another format, it holds more than tensors and
            plain values, or it would need far more memory than its size justifies.

    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/net.pt"
    >>> torch.save({"weight": torch.ones(2)}, path)
    >>> read_torch(path)
    TorchFile(content={'weight': tensor([1., 1.])}, checksummed=True)
    """
    size = inputs.regular(path)
    try:
        with open(path, "rb") as file:
            start = file.read(foreign_files.LENGTH)
            file.seek(0)
            if start.startswith(b"PK\x03\x04"):
                checksummed = _check_archive(file, size)
            elif start.startswith(b"\x80"):
                checksummed = False
                _check_pickles(file, size)
            elif description := foreign_files.describe(start):
                raise TensorTrainError(f"it is {description}")
            else:
                raise TensorTrainError("truncated, or neither a safetensors nor a torch file")
            file.seek(0)
            return TorchFile(_load(file), checksummed)
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror or error}") from None
    except TensorTrainError as error:
        raise TensorTrainError(f"cannot read {path}: {error}") from None


def _load(file: IO[bytes]) -> object:
    """Load the file with `torch.load`, without running code in it."""
    from argparse import Namespace

    try:
        with torch.serialization.safe_globals([Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # torch raises many types for damaged files: EOFError, RuntimeError, struct.error, …
        reason = str(error).partition(". ")[0].partition("\n")[0]
        raise TensorTrainError(f"truncated or damaged ({reason})") from None


def _check_pickles(file: IO[bytes], size: int) -> None:
    """Refuse a file of the old format (four pickles, then the storages) that torch should not load."""
    scan = Scan(file, size, None)
    if scan.read() != MAGIC_NUMBER:
        raise TensorTrainError("it is a pickle that torch.save did not write; use torch.save(model.state_dict(), …)")
    for _ in range(4):  # version, machine, content, keys of the storages
        scan.read()


def _check_archive(file: IO[bytes], size: int) -> bool:
    """Refuse a zip archive that torch should not load, and return whether checksums cover all of it."""
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
    except Exception as error:  # zipfile raises many types as well: BadZipFile, RuntimeError, OverflowError, …
        raise TensorTrainError(f"truncated or damaged ({error})") from None


def _check_program(names: Container[str]) -> None:
    """Refuse an archive that `torch.save` did not write, recognised by the names in it."""
    if "constants.pkl" in names:
        raise TensorTrainError(
            "it is a TorchScript program; save its tensors alone: torch.save(torch.jit.load(path).state_dict(), …)"
        )
    if "archive_format" in names or "serialized_exported_program.json" in names:
        raise TensorTrainError(
            "it is a program that torch.export wrote; save its tensors alone:"
            " torch.save(torch.export.load(path).state_dict, …)"
        )
    if "data.pkl" not in names:
        raise TensorTrainError("it is a zip archive that torch.save did not write: it has no data.pkl")


def _check_entries(entries: Sequence[ZipInfo], size: int) -> None:
    """Refuse an archive whose entries are compressed, overlap, or have the same name."""
    compressed = [entry.filename for entry in entries if entry.compress_type != ZIP_STORED]
    if compressed:
        raise TensorTrainError(f"its entry {compressed[0]!r} is compressed, which torch.save never does: save it again")
    if sum(entry.file_size for entry in entries) > size:
        raise TensorTrainError("truncated or damaged: its entries are larger than the file")
    names = {entry.filename.lower() for entry in entries}  # torch ignores upper and lower case
    if len(names) < len(entries):
        raise TensorTrainError("damaged: two of its entries have the same name")


def _check_entry(archive: ZipFile, entry: ZipInfo) -> bool:
    """Compare an entry with its checksum, and return whether it has one; 0 means that none was computed."""
    if entry.CRC == 0:
        entry.CRC = None  # type: ignore[assignment]  # zipfile compares no checksum then
        return entry.file_size == 0
    try:
        with archive.open(entry) as content:
            while content.read(CHUNK):
                pass
    except BadZipFile:
        raise TensorTrainError(f"damaged: its entry {entry.filename!r} does not match its checksum") from None
    return True
