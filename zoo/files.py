"""Write files whole or not at all; `tensortrain.files` with the errors of this package."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tensortrain import files
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError


def destination(path: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """The file that is made or replaced if `path` is written: `path` itself or, if it is a link, what it leads to.

    Args:
        path: where to write.
        inputs: files that are read, and so must not be replaced under whatever name.

    Raises:
        ZooError: a folder that does not exist or cannot be written; a folder, device, pipe or socket; one of the
            inputs, itself or by a link; a name that no file can have.
    """
    try:
        return files.destination(path, inputs)
    except TensorTrainError as error:
        raise ZooError(str(error)) from None


def folder_name(path: str | Path) -> Path:
    """The path, if there can be a folder of that name.

    Raises:
        ZooError: a name that is too long, holds a NUL, or cannot be looked up; or no name at all.
    """
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(path)
    except OSError as error:
        raise ZooError(f"{path} cannot be a folder ({error.strerror}); choose another name") from None
    except (TypeError, ValueError) as error:
        raise ZooError(f"{str(path)!r} cannot be a folder ({error}); choose another name") from None
    return Path(path)


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Context manager: a temporary file beside `path`, renamed to `path` at the end, removed after an exception.

    Args:
        path: the file to write or to replace; if it is a link, what it leads to is replaced.

    Raises:
        ZooError: what `destination` refuses, or the disk is full.
    """
    try:
        with files.aside(path) as temporary:
            yield temporary
    except TensorTrainError as error:
        raise ZooError(str(error)) from None


def new_folder(path: str | Path) -> Path:
    """`path`, if a folder can be made there.

    Raises:
        ZooError: there is something already, or what `destination` refuses.
    """
    try:
        return files.new_folder(path)
    except TensorTrainError as error:
        raise ZooError(str(error)) from None


@contextmanager
def folder_aside(path: str | Path) -> Iterator[Path]:
    """Context manager: a temporary folder beside `path`, renamed to `path` at the end, removed after an exception.

    Raises:
        ZooError: what `new_folder` refuses, or the disk is full.
    """
    try:
        with files.folder_aside(path) as temporary:
            yield temporary
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
