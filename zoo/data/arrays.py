"""NumPy's `.npy` files: the size in the header is compared with the file before anything is read or mapped."""

import math
import os
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zoo.data.regular import open_regular

_MOST_AXES = 32


class BadArray(Exception):
    """A file that cannot be used. The message continues a sentence that starts with the name of the file."""


class Header(NamedTuple):
    """The description of the array in the header of a `.npy` file."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """The number of bytes of the array."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> Header:
    """Read the header of a `.npy` file, up to the start of the array.

    Raises:
        BadArray: if there is no such header, or the array holds Python objects, which would have to be unpickled.
    """
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        header = Header(*readers[np.lib.format.read_magic(file)](file))
    except Exception as error:  # NumPy parses the header as Python, which fails in many ways
        reason = str(error).partition("\n")[0][:100]
        raise BadArray(f"cannot be read as an array ({reason or type(error).__name__})") from None
    shape, small = header.shape, all(type(side) is int and 0 <= side < 2**63 for side in header.shape)
    if header.dtype.hasobject or not header.dtype.itemsize or len(shape) > _MOST_AXES or not small:
        raise BadArray(f"cannot be read as an array ({header.dtype} of {len(shape)} axes)")
    return header


def open_array(path: Path) -> NDArray[Any]:
    """Memory-map the array of a `.npy` file.

    Raises:
        BadArray: if the file is not readable, not a `.npy` file, or has another size than its header says.
    """
    try:
        with open_regular(path) as file:
            header, begin, size = read_header(file), file.tell(), os.fstat(file.fileno()).st_size
            if size != begin + header.bytes:
                shape = "×".join(map(str, header.shape))
                raise BadArray(
                    f"cannot be read as an array (it has {size:,} bytes, but {header.dtype} of shape {shape} takes "
                    f"{begin + header.bytes:,})"
                )
            if not header.bytes:
                return np.empty(header.shape, header.dtype)
            order: Literal["C", "F"] = "F" if header.fortran_order else "C"
            array: NDArray[Any] = np.memmap(path, header.dtype, "r", begin, header.shape, order)
            return array
    except (OSError, OverflowError, ValueError) as error:  # the last two are raised for impossible shapes
        raise BadArray(f"cannot be read as an array ({getattr(error, 'strerror', error)})") from None
