"""One archive for each part. It is small, and complete at whatever moment the program is killed."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import ZooError
from zoo.files import aside

MOST_BYTES = 15 * 2**20  # largest content of an archive, which leaves room for its directory below 16 MiB


def contents(folder: Path) -> list[Path]:
    """The files to keep, the smallest first.

    These files of a run are not kept: what a kill leaves half-written, TensorBoard's events (`metrics.csv` has the same
    numbers), and every checkpoint except the last.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted((path for path in files if _kept(path.relative_to(folder))), key=lambda path: path.stat().st_size)


def _kept(path: Path) -> bool:
    if path.suffix == ".tmp" or "tensorboard" in path.parts:
        return False
    return path.suffix != ".ckpt" or path.name == "last.ckpt"


def pack_folder(folder: Path, archive: Path) -> list[str]:
    """Write the contents of a folder to an archive below `MOST_BYTES`. Returns the names that did not fit.

    Raises:
        ZooError: if the archive cannot be written.
    """
    left, size = [], 0
    with aside(archive) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as file:
            for path in contents(folder):
                name = str(path.relative_to(folder))
                size += path.stat().st_size
                if size > MOST_BYTES:
                    left.append(name)
                else:
                    file.write(path, name)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
    return left


def check_archive(archive: Path, needed: Sequence[str]) -> None:
    """Raise a ZooError unless an archive is complete and holds these names."""
    try:
        with zipfile.ZipFile(archive) as file:
            missing, damaged = set(needed) - set(file.namelist()), file.testzip()
    except (OSError, zipfile.BadZipFile, zlib.error) as error:
        raise ZooError(f"{archive} cannot be read ({error}); name the train.zip of an earlier call") from error
    if missing or damaged:
        fault = f"lacks {min(missing)}" if missing else f"is damaged in {damaged}"
        raise ZooError(f"{archive} {fault}; name the train.zip of an earlier call")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack an archive that `check_archive` has accepted."""
    with zipfile.ZipFile(archive) as file:
        file.extractall(folder)
