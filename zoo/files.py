"""Write files completely or not at all. This is `tensortrain.files` with the errors of this package."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tensortrain import files
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError
from zoo.schema import shortened


def destination(path: str | Path, inputs: Iterable[str | Path] = ()) -> Path:
    """The file that writing to `path` creates or replaces: `path` itself, or the target if `path` is a link.

    Args:
        path: where to write.
        inputs: files that are read; they may not be replaced, not even through a link.

    Raises:
        ZooError: if the folder does not exist or is not writable; if `path` is a folder, device, pipe or socket, one of
            the inputs, or not a legal file name.
    """
    try:
        return files.destination(path, inputs)
    except TensorTrainError as error:
        raise ZooError(str(error)) from None


def path_of(name: str, value: object) -> Path:
    """An argument that names a file or folder, as a path.

    Args:
        name: the name of the argument.
        value: its value.

    Raises:
        ZooError: if it is neither a text nor an object such as `pathlib.Path`.

    >>> path_of("folder", 5)
    Traceback (most recent call last):
    zoo.errors.ZooError: folder = 5 must be a path: a str or a pathlib.Path
    """
    if not isinstance(value, str | os.PathLike):
        raise ZooError(f"{name} = {shortened(value)} must be a path: a str or a pathlib.Path")
    return Path(value)


def folder_name(path: str | Path) -> Path:
    """The path, if it is a legal name of a folder. The folder need not exist.

    Raises:
        ZooError: if the name is empty or too long, holds a NUL, or cannot be looked up.
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
    """Context manager: yields a temporary file, which is renamed to `path` at the end or removed after an exception.

    Args:
        path: the file to create or replace. If it is a link, its target is replaced.

    Raises:
        ZooError: in the cases of `destination`, or if the disk is full.
    """
    try:
        with files.aside(path) as temporary:
            yield temporary
    except TensorTrainError as error:
        raise ZooError(str(error)) from None


def new_folder(path: str | Path) -> Path:
    """The path, if a folder can be created there.

    Raises:
        ZooError: if something exists there already, or in the cases of `destination`.
    """
    try:
        return files.new_folder(path)
    except TensorTrainError as error:
        raise ZooError(str(error)) from None


@contextmanager
def folder_aside(path: str | Path) -> Iterator[Path]:
    """Context manager: yields a temporary folder, which is renamed to `path` at the end or removed after an exception.

    Raises:
        ZooError: in the cases of `new_folder`, or if the disk is full.
    """
    try:
        with files.folder_aside(path) as temporary:
            yield temporary
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
