"""Checks of input files: a file is refused before it is opened if reading it could wait for ever."""

import os
import stat
from os import PathLike

from tensortrain.errors import TensorTrainError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def regular(path: str | PathLike[str]) -> int:
    """Return the size in bytes of a regular file, or of the regular file that a symbolic link points to.

    FIFOs and devices are never opened: opening a FIFO waits until another program writes to it, and reading a device
    may never end.

    Raises:
        TensorTrainError: the file does not exist or is not a regular file.

    >>> regular("/dev/null")
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: cannot read /dev/null: it is a device; a regular file is needed
    """
    if not isinstance(path, str | PathLike):
        raise TensorTrainError(f"path is a {type(path).__name__}; a str or a pathlib.Path is needed")
    try:
        status = os.stat(path)
    except OSError as error:
        raise TensorTrainError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:  # a zero byte in the name
        raise TensorTrainError(f"cannot read {str(path)!r}: {error}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "not a regular file")
        raise TensorTrainError(f"cannot read {path}: it is {kind}; a regular file is needed")
    return status.st_size
