"""Writing so that nothing half-written is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensortrain import files
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path`, renamed to it at the end and removed if anything goes wrong.

    Raises:
        ZooError: a folder that does not exist or cannot be written, a full disk.
    """
    try:
        with files.aside(path) as temporary:
            yield temporary
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
    except OSError as error:
        raise ZooError(f"cannot write {path}: {error.strerror or error}; name a file in a writable folder") from None
