"""Write files so that no half-written file is ever left behind and no file is overwritten by mistake."""

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
"""Pattern of the temporary folders in which files are written before they are renamed."""

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
    """Return the file that writing `path` creates or replaces: `path` itself or, for a link, the file it points to.

    Programs that compute for a long time call this function first, so that they refuse an unusable path at once.

    Args:
        path: the file to write.
        inputs: files that the program reads, or will read once they exist. They must not be replaced, under whatever
            name.

    Raises:
        TensorTrainError: the folder of `path` does not exist or is not writable; `path` is a folder, device, pipe or
            socket; `path` is one of the inputs or a link to one; or no file can have this name.

    >>> destination("/dev/null")
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: cannot write /dev/null: it is a device; name a regular file
    """
    try:
        path = Path(path)
        target = Path(os.path.realpath(path))
        status = _status(path)
        if status is None and not stat.S_ISDIR(os.stat(target.parent).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, f"{target.parent} is not a folder")
    except OSError as error:
        raise _refusal(path, error) from None
    except (TypeError, ValueError) as error:  # not a path at all, or a name with a NUL character
        raise TensorTrainError(f"cannot write {str(path)!r}: {error}; name a file in a writable folder") from None
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = _NO_FILES.get(stat.S_IFMT(status.st_mode), "it is not a regular file")
        raise TensorTrainError(f"cannot write {path}: {kind}; name a regular file")
    effective = os.access in os.supports_effective_ids
    if not os.access(target.parent, os.W_OK | os.X_OK, effective_ids=effective):
        raise _refusal(path, PermissionError(errno.EACCES, f"no permission to write in {target.parent}"))
    for name in inputs:
        if _leads_to(name, target, status):
            raise TensorTrainError(f"cannot write {path}: it is {name}, which is an input; name another file")
    return target


def destinations(paths: Iterable[Name], inputs: Iterable[Name] = ()) -> None:
    """Check all files that a program writes before it starts; see `destination`.

    Raises:
        TensorTrainError: `destination` refuses one of the paths, or two of them are the same file, so that the one
            would replace the other.

    >>> destinations(["small.html", "./small.html"])
    Traceback (most recent call last):
    tensortrain.errors.TensorTrainError: cannot write ./small.html: small.html is the same file; name two files
    """
    inputs = list(inputs)
    written: dict[Path, Name] = {}
    for path in paths:
        target = destination(path, inputs)
        if target in written:
            raise TensorTrainError(f"cannot write {path}: {written[target]} is the same file; name two files")
        written[target] = path


@contextmanager
def aside(path: Name) -> Iterator[Path]:
    """Provide a temporary file that replaces `path` when the body of the `with` ends without an error.

    The temporary file lies in a private folder beside `path`. When the body ends, it is renamed to `path`, or to the
    target of `path` if that is a link. It gets the permissions of the file that it replaces, or those of a new file.
    If the body raises or is interrupted, the temporary file is removed and an old `path` stays unchanged. Temporary
    files of a process that was killed are removed by the next call for the same folder.

    Raises:
        TensorTrainError: `destination` refuses `path` (raised before the body runs), or the disk is full or another
            error of the operating system occurs while the body writes.

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
            # a writer such as safetensors may replace the file by a new one that only its owner can read
            mode = stat.S_IMODE((_status(target) or temporary.stat()).st_mode)
            yield temporary
            temporary.chmod(mode)
            os.replace(temporary, target)
    except OSError as error:
        raise _refusal(path, error) from None


def new_folder(path: Name) -> Path:
    """Return `path` if a folder can be created there.

    Raises:
        TensorTrainError: `path` exists already, its parent folder does not exist or is not writable, or no folder can
            have this name.

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
    """Provide a temporary folder that becomes `path` when the body ends without an error; see `aside`.

    All of its files appear at once, or none of them.

    Raises:
        TensorTrainError: `new_folder` refuses `path` (raised before the body runs), or the disk is full or another
            error of the operating system occurs while the body writes.
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
    """Provide a locked folder with an unguessable name that only this user can enter, and remove it at the end.

    It is a folder and not a file for two reasons. A killed writer may leave files of its own, which then lie in this
    folder. And files that are created in it get the permissions that the user's umask gives to new files.
    """
    while True:
        folder = Path(tempfile.mkdtemp(_SUFFIX, _PREFIX, parent))
        lock = _lock(folder, wait=True)
        if folder.exists():
            break
        if lock is not None:  # another process removed it as a left-over before it was locked
            os.close(lock)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def remove_leftovers(parent: Path) -> None:
    """Remove the private folders of killed processes: those of this user on which nobody holds a lock."""
    for folder in parent.glob(TEMPORARY):
        lock = _lock(folder, wait=False)
        if lock is not None:
            if os.fstat(lock).st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path, *, wait: bool) -> int | None:
    """Lock a folder and return its file descriptor; closing it, or the end of the process, unlocks the folder.

    Return None if it is not a folder, if another process has locked it, or if it cannot be locked, as on some network
    file systems. In the last case nobody can tell whether the process that uses the folder still runs, so
    `remove_leftovers` does not remove it.
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
    """Return the status of a file from `os.stat`, or None if the file does not exist."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _leads_to(path: Name, target: Path, status: os.stat_result | None) -> bool:
    """Return whether a path leads to the file `target` with this status, or to its place if there is no file yet."""
    try:
        if status is not None:
            return os.path.samestat(os.stat(path), status)
        return os.path.realpath(path) == str(target)
    except (OSError, ValueError):  # the code that reads the file reports the error
        return False


def _refusal(path: Name, error: OSError) -> TensorTrainError:
    """Return the error that says why `path` cannot be written and what to do."""
    remedy = _REMEDIES.get(error.errno or 0, "name a file in a writable folder")
    return TensorTrainError(f"cannot write {path}: {error.strerror or error}; {remedy}")
