"""Allow only one training at a time in the folder of a run."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from zoo.errors import ZooError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Context manager: create the folder and lock it. The lock of a process that was killed blocks nobody.

    Raises:
        ZooError: if another process trains there, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
        since = f"since {datetime.now():%Y-%m-%d %H:%M:%S}\n"
        path.write_text(f"process {os.getpid()} on {socket.gethostname()}, {since}", "utf-8")
    except Timeout:
        raise ZooError(
            f"{folder} is in use: {_holder(path)} is training in it; wait for it, stop it, or choose another folder"
        ) from None
    except OSError as error:
        lock.release()
        raise ZooError(f"{folder} cannot be created ({error.strerror}); choose another folder") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # before the release, so that a process that waits for this file tries again
        lock.release()


def _holder(path: Path) -> str:
    """Who holds a lock, as far as its file can be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(200).strip() or "another process"
    except OSError:
        return "another process"
