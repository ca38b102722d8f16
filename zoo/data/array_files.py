"""Arrays in `.npy`, `.npz`, HDF5 and zarr files, of which only the parts that are needed are read."""

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zoo.data.arrays import BadArray, open_array
from zoo.data.regular import open_regular
from zoo.data.root import data_root
from zoo.errors import ZooError
from zoo.files import aside, path_of

_CHUNK = 1 << 20
Index = tuple[int | slice, ...]


@dataclass(frozen=True)
class ArrayFile:
    """An array in a file.

    Args:
        path: the file, or the folder of a zarr array.
        key: the name of the array in the file; empty for a `.npy` file.
        shape: the shape of the array.
        dtype: the dtype of its values: bool, integer or floating-point.
        read: a function that reads the part at an index into memory.
    """

    path: Path
    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Index], NDArray[Any]]

    def digest(self) -> str:
        """SHA-256 of the file's content and the key, as hexadecimal digits."""
        total = hashlib.sha256(f"{self.key}\n".encode())
        files = [self.path]
        if self.path.is_dir():
            files = sorted(file for file in self.path.rglob("*") if file.is_file())
        for file in files:
            name = file.relative_to(self.path).as_posix() if file != self.path else ""
            with _reported(file), open_regular(file) as opened:
                total.update(name.encode(errors="surrogateescape") + hashlib.file_digest(opened, "sha256").digest())
        return total.hexdigest()


def open_array_file(path: str | Path, key: str = "", root: str | Path | None = None) -> ArrayFile:
    """Open an array without reading its values.

    An array of a `.npz` file is unpacked once into `<data root>/arrays`, and then memory-mapped like a `.npy` file.

    Args:
        path: a `.npy`, `.npz`, `.h5`, `.hdf5` or `.zarr` file.
        key: the name of the array, if the file holds several.
        root: the data root; see `zoo.data.data_root`.

    Raises:
        ZooError: if the suffix is unknown, the file or array does not exist, is damaged or not numeric, or a package is
            not installed.
    """
    path = path_of("path", path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in _OPEN:
        raise ZooError(f"{path} does not have the suffix of an array file; legal are {', '.join(_OPEN)}")
    if not path.exists():
        raise ZooError(f"{path} does not exist; name an array file, as in arrays:FILE")
    with _reported(path):
        opened = _OPEN[suffix](path, key, root)
    if opened.dtype.kind not in "buif":
        raise ZooError(f"{path} holds values of type {opened.dtype}, but must hold integers or floating-point numbers")
    return opened


def _open_npy(path: Path, key: str, root: str | Path | None) -> ArrayFile:
    if key:
        raise ZooError(f"{path} holds one array without a name; leave out data.key = {key!r}")
    array = open_array(path)

    def read(index: Index) -> NDArray[Any]:
        return np.array(open_array(path)[index])  # the file is mapped only during this copy

    return ArrayFile(path, "", array.shape, array.dtype, read)


def _open_npz(path: Path, key: str, root: str | Path | None) -> ArrayFile:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        key = _chosen(path, key, names)
        stat = path.stat()
        identity = f"{path.resolve()} {key} {stat.st_size} {stat.st_mtime_ns}"
        unpacked = data_root(root) / "arrays" / f"{hashlib.sha256(os.fsencode(identity)).hexdigest()[:24]}.npy"
        if not unpacked.exists():
            try:
                unpacked.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ZooError(f"cannot create {unpacked.parent} ({error.strerror}); name another data root") from None
            with archive.open(f"{key}.npy") as member, aside(unpacked) as temporary, temporary.open("wb") as file:
                while chunk := member.read(_CHUNK):
                    file.write(chunk)
    opened = _open_npy(unpacked, "", root)
    return ArrayFile(path, key, opened.shape, opened.dtype, opened.read)


def _open_hdf5(path: Path, key: str, root: str | Path | None) -> ArrayFile:
    try:
        import h5py
    except ImportError:
        raise ZooError(
            f"{path} needs h5py, which is not installed; install it with: pip install 'tensortrain[arrays]'"
        ) from None
    with h5py.File(path, "r") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        key = _chosen(path, key, names)
        shape, dtype = tuple(file[key].shape), file[key].dtype

    def read(index: Index) -> NDArray[Any]:
        with _reported(path), h5py.File(path, "r") as file:  # opened each time: processes cannot share an open file
            return np.asarray(file[key][index])

    return ArrayFile(path, key, shape, dtype, read)


def _open_zarr(path: Path, key: str, root: str | Path | None) -> ArrayFile:
    try:
        import zarr
    except ImportError:
        raise ZooError(
            f"{path} needs zarr, which is not installed; install it with: pip install 'tensortrain[arrays]'"
        ) from None
    opened: Any = zarr.open(str(path), mode="r")
    if isinstance(opened, zarr.Group):
        key = _chosen(path, key, [name for name, _ in opened.arrays()])
        opened = opened[key]
    elif key:
        raise ZooError(f"{path} holds one array without a name; leave out data.key = {key!r}")

    def read(index: Index) -> NDArray[Any]:
        with _reported(path):
            return np.asarray(opened[index])

    return ArrayFile(path, key, tuple(opened.shape), np.dtype(opened.dtype), read)


def _chosen(path: Path, key: str, names: list[str]) -> str:
    """The key, or the name of the only array if there is no key."""
    if key in names:
        return key
    if not key and len(names) == 1:
        return names[0]
    listed = ", ".join(names[:20]) or "none"
    asked = f"has no array {key!r}" if key else f"holds {len(names)} arrays"
    raise ZooError(f"{path} {asked}; set data.key to one of: {listed}")


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn any exception that a library raises about a file into a ZooError."""
    try:
        yield
    except ZooError:
        raise
    except BadArray as error:
        raise ZooError(f"{path} {error}; name another file") from None
    except Exception as error:  # the three libraries raise many types
        reason = str(error).partition("\n")[0][:150]
        raise ZooError(f"{path} cannot be read ({type(error).__name__}: {reason}); name another file") from None


_OPEN: dict[str, Callable[[Path, str, str | Path | None], ArrayFile]] = {
    ".npy": _open_npy,
    ".npz": _open_npz,
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".zarr": _open_zarr,
}
