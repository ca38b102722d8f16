"""Writing files so that nothing half-written is ever left behind."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from tensortrain.errors import TensorTrainError


@contextmanager
def aside(path: str | PathLike[str]) -> Iterator[Path]:
    """Give the body of a `with` a temporary file beside `path` to write to.

    When the body ends the file is renamed to `path`; if it raises or is interrupted the file is removed, and an old
    `path` stays as it was.

    Raises:
        TensorTrainError: a folder that does not exist or cannot be written; raised before the body runs.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with aside(path) as temporary:
    ...     _ = temporary.write_text("1 2 3")
    ...     print(path.exists())
    False
    >>> path.read_text()
    '1 2 3'
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        if target.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        temporary.touch()
        mode = temporary.stat().st_mode  # safetensors would leave a file that only its owner can read
    except OSError as error:
        raise TensorTrainError(f"cannot write {target}: {error.strerror}; name a file in a writable folder") from None
    try:
        yield temporary
        temporary.chmod(mode)
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
