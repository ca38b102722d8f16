"""Open files for reading, but only regular ones."""

import errno
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file to read its bytes.

    Raises:
        OSError: if it cannot be opened, or is a pipe or a device, which might block or never end.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # opening a folder raises its own error
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    return path.open("rb")
