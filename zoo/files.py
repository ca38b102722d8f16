"""Write files whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensortrain import files
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Context manager: a temporary file beside `path`, renamed to `path` at the end, removed after an exception.

    Args:
        path: the file to write or to replace.

    Raises:
        ZooError: the folder does not exist or cannot be written, or the disk is full.
    """
    try:
        with files.aside(path) as temporary:
            yield temporary
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
    except OSError as error:
        raise ZooError(f"cannot write {path}: {error.strerror or error}; name a file in a writable folder") from None
