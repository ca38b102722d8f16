"""Find and read the image files of MNIST, under the names and in the folders in which they are usually kept."""

import gzip
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zoo.data.arrays import BadArray, read_header
from zoo.data.regular import open_regular
from zoo.errors import ZooError

# the first is used by `download_mnist`, the second and third by torchvision; upper and lower case do not matter
FOLDERS = ("mnist", "mnist/raw", "mnist/mnist/raw", "raw", "mnist_data", ".")
KERAS = "mnist.npz"
_MEMBERS = {"train": "x_train.npy", "t10k": "x_test.npy"}


def find_images(root: Path, part: str) -> Path | None:
    """The first file that may hold the images of a part of MNIST; None if there is none.

    The folders are searched in the order of `FOLDERS`. In each, the names are tried in this order:
    `train-images-idx3-ubyte`, the same with `.gz`, both with a dot instead of a dash before `idx3`, and Keras's
    `mnist.npz`. Each file but the last may also be in a folder that has its name.

    Args:
        root: the data root.
        part: "train" or "t10k".

    Raises:
        ZooError: if a folder may not be read.
    """
    names = [f"{part}-images{dot}idx3-ubyte{end}" for dot in "-." for end in ("", ".gz")]
    for folder in _folders(root):
        for name in names:
            for path in _entries(folder, name):
                inner = [each for same in names for each in _entries(path, same)] if path.is_dir() else [path]
                for file in filter(Path.is_file, inner):
                    return file
        for file in filter(Path.is_file, _entries(folder, KERAS)):
            return file
    return None


def read_images(path: Path, part: str, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Read the images `(N, H, W)` in a file that `find_images` returned.

    Raises:
        ZooError: if the file is not readable, truncated, too long, or of another format or shape.
    """
    if path.suffix.lower() == ".npz":
        return _read_member(path, _MEMBERS[part], shape)
    return read_idx(path, shape)


def read_idx(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read an IDX file of bytes, gzipped or not, whatever its suffix is.

    Args:
        path: the file.
        shape: the shape that the array must have. Data beyond it are never unpacked.

    Raises:
        ZooError: if the file is not readable, not IDX, truncated, too long, or of another shape.
    """
    header = bytes((0, 0, 8, len(shape))) + np.array(shape, ">u4").tobytes()
    try:
        with open_regular(path) as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = gzip.GzipFile(fileobj=raw) if packed else raw
            _check_idx_header(path, file.read(len(header)), header, shape)
            data = file.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ZooError(f"{path} cannot be read ({error}); fetch it again or change its rights") from error
    return _array(path, data, shape)


def _check_idx_header(path: Path, start: bytes, header: bytes, shape: tuple[int, ...]) -> None:
    if start[:4] != header[:4]:
        raise ZooError(
            f"{path} is not an IDX file of bytes with {len(shape)} axes; replace it by the original of MNIST"
        )
    if len(start) == len(header) and start != header:
        stated = "×".join(map(str, np.frombuffer(start[4:], ">u4")))
        raise ZooError(
            f"{path} holds {stated} bytes, not {'×'.join(map(str, shape))}; replace it by the original of MNIST"
        )


def _read_member(path: Path, member: str, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Read one array of a `.npz` archive."""
    try:
        with open_regular(path) as raw, zipfile.ZipFile(raw) as archive, archive.open(member) as file:
            header = read_header(file)
            if header.shape != shape or header.dtype != np.uint8 or header.fortran_order:
                raise BadArray(
                    f"holds {header.dtype} of shape {header.shape} as {member}, not the bytes of "
                    f"{'×'.join(map(str, shape))} images"
                )
            data = file.read(header.bytes + 1)
    except BadArray as error:
        raise ZooError(f"{path} {error}; replace it by the original of Keras") from None
    except Exception as error:  # zipfile fails in many ways
        raise ZooError(f"{path} cannot be read ({str(error)[:100]}); fetch it again or change its rights") from error
    return _array(path, data, shape)


def _array(path: Path, data: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    if len(data) != math.prod(shape):
        extent = "is cut short" if len(data) < math.prod(shape) else "continues after its last image"
        raise ZooError(f"{path} {extent}; fetch it again")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _folders(root: Path) -> Iterator[Path]:
    for layout in FOLDERS:
        places = [root]
        for name in Path(layout).parts:
            places = [entry for place in places for entry in _entries(place, name)]
        yield from places


def _entries(folder: Path, name: str) -> list[Path]:
    """The entries of a folder with this name in any case; an entry with the exact name comes first."""
    try:
        names = [each for each in os.listdir(folder) if each.lower() == name.lower()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ZooError(f"{folder} cannot be reached ({error.strerror}); change the folder's rights") from error
    return [folder / each for each in sorted(names, key=lambda each: (each != name, each))]
