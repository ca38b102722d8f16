"""Writing files: nothing half-written is ever left behind, and nothing is overwritten that should not be."""

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from tensortrain.errors import TensorTrainError

if sys.platform != "win32":
    import fcntl

_PREFIX, _SUFFIX = ".tensortrain-", ".tmp"
TEMPORARY = f"{_PREFIX}*{_SUFFIX}"
"""Names of the folders that files are written in before they are renamed."""

_NO_FILES = {
    stat.S_IFDIR: "it is a folder",
    stat.S_IFCHR: "it is a device",
    stat.S_IFBLK: "it is a device",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
}
_REMEDIES = {
    errno.ENOSPC: "free some space, or name a file on another disk",
    errno.EDQUOT: "free some space, or name a file on another disk",
    errno.EFBIG: "allow larger files, or name a file on another disk",
    errno.ENAMETOOLONG: "choose a shorter name",
}

Name = str | PathLike[str]


def destination(path: Name, inputs: Iterable[Name] = ()) -> Path:
    """The file that is made or replaced if `path` is written: `path` itself or, if it is a link, what it leads to.

    Programs that compute for long call it first, so that a path that cannot be written is refused at once.

    Args:
        path: where to write.
        inputs: files that are read, and so must not be replaced under whatever name.

    Raises:
        TensorTrainError: a folder that does not exist or cannot be written; a folder, device, pipe or socket; one of
            the inputs, itself or by a link; a name that no file can have.

    >>> destination("/dev/null")
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: cannot write /dev/null: it is a device; name a plain file
    """
    try:
        path = Path(path)
        target = Path(os.path.realpath(path))
        status = _status(path)
        if status is None and not stat.S_ISDIR(os.stat(target.parent).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{target.parent} is no folder")
    except OSError as error:
        raise _refusal(path, error) from None
    except (TypeError, ValueError) as error:  # no text at all, or one with a NUL in it
        raise TensorTrainError(f"cannot write {str(path)!r}: {error}; name a file in a writable folder") from None
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = _NO_FILES.get(stat.S_IFMT(status.st_mode), "it is no plain file")
        raise TensorTrainError(f"cannot write {path}: {kind}; name a plain file")
    effective = os.access in os.supports_effective_ids
    if not os.access(target.parent, os.W_OK | os.X_OK, effective_ids=effective):
        raise _refusal(path, PermissionError(errno.EACCES, f"{target.parent} may not be written in"))
    for name in inputs:
        if status is not None and _is_file(name, status):
            raise TensorTrainError(f"cannot write {path}: it is {name}, which is read; name another file")
    return target


@contextmanager
def aside(path: Name) -> Iterator[Path]:
    """Give the body of a `with` a temporary file, which lies beside `path` in a private folder, to write to.

    When the body ends the file is renamed to `path`, or to what `path` leads to if it is a link; it gets the rights of
    the file that it replaces, or of any new file. If the body raises or is interrupted the file is removed, and an old
    `path` stays as it was. What a process that was killed has left in the folder is removed by the next call.

    Raises:
        TensorTrainError: what `destination` refuses, before the body runs; a disk that is full, or another error of
            the operating system while the body writes.

    >>> path = Path(tempfile.mkdtemp()) / "numbers.txt"
    >>> with aside(path) as temporary:
    ...     _ = temporary.write_text("1 2 3")
    ...     print(path.exists())
    False
    >>> path.read_text()
    '1 2 3'
    """
    target = destination(path)
    try:
        remove_leftovers(target.parent)
        with _private_folder(target.parent) as folder:
            temporary = folder / target.name
            temporary.touch()
            # a writer may replace the file, as that of safetensors does, by one that only its owner can read
            mode = stat.S_IMODE((_status(target) or temporary.stat()).st_mode)
            yield temporary
            temporary.chmod(mode)
            os.replace(temporary, target)
    except OSError as error:
        raise _refusal(path, error) from None


def new_folder(path: Name) -> Path:
    """`path`, if a folder can be made there.

    Raises:
        TensorTrainError: there is something already; a folder that does not exist or cannot be written; a name that no
            folder can have.

    >>> new_folder(".")
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: cannot write the folder .: it exists already; name a new one
    """
    try:
        exists = os.path.lexists(path)
    except (TypeError, ValueError) as error:
        raise TensorTrainError(f"cannot write {str(path)!r}: {error}; name a new folder") from None
    if exists:
        raise TensorTrainError(f"cannot write the folder {path}: it exists already; name a new one")
    destination(path)
    return Path(path)


@contextmanager
def folder_aside(path: Name) -> Iterator[Path]:
    """As `aside`, for a folder with files: all of them appear at once when the body ends, or none.

    Raises:
        TensorTrainError: what `new_folder` refuses, before the body runs; a disk that is full, or another error of the
            operating system while the body writes.
    """
    target = new_folder(path)
    try:
        remove_leftovers(target.absolute().parent)
        with _private_folder(target.absolute().parent) as folder:
            temporary = folder / "folder"
            temporary.mkdir()
            yield temporary
            os.rename(temporary, target)
    except OSError as error:
        raise _refusal(path, error) from None


@contextmanager
def _private_folder(parent: Path) -> Iterator[Path]:
    """A folder of a name that nobody can guess, that only this user can enter, and that is locked and then removed.

    A folder, not a file, since writers leave files of their own in it if they are killed, and since what is created
    in it gets the rights that the user's umask gives new files.
    """
    while True:
        folder = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, parent))
        lock = _lock(folder, wait=True)
        if folder.exists():
            break
        if lock is not None:  # another process took it for a left-over before it was locked
            os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_leftovers(parent: Path) -> None:
    """Remove the private folders of processes that were killed: those of this user that nobody holds a lock on."""
    for folder in parent.glob(TEMPORARY):
        lock = _lock(folder, wait=False)
        if lock is not None:
            if os.fstat(lock).st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder until the descriptor that is returned is closed, which the end of the process does in any case.

    None if it is no folder, another process has locked it, or it cannot be locked, as on some network file systems:
    then nobody can tell whether its process lives, and it stays.
    """
    if sys.platform == "win32":
        return None
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _status(path: Name) -> os.stat_result | None:
    """What `os.stat` says of a file; None if there is none."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _is_file(path: Name, status: os.stat_result) -> bool:
    """Whether a path, if there is anything there, leads to the file of this status."""
    try:
        return os.path.samestat(os.stat(path), status)
    except (OSError, ValueError):  # whoever reads it says what is wrong with it
        return False


def _refusal(path: Name, error: OSError) -> TensorTrainError:
    remedy = _REMEDIES.get(error.errno or 0, "name a file in a writable folder")
    return TensorTrainError(f"cannot write {path}: {error.strerror or error}; {remedy}")
