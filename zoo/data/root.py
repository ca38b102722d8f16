"""The folder that holds the data sets."""

import os
from pathlib import Path

from zoo.errors import ZooError
from zoo.files import path_of


def data_root(root: str | Path | None = None) -> Path:
    """The data root: the folder with the subfolders `mnist`, `kth` and `lpips`.

    It is `root` if given, or else `$ZOO_DATA`, or else `~/.cache/zoo`. It need not exist; a download creates it.

    Raises:
        ZooError: if it is a file, or may not be read.

    >>> str(data_root("some/where"))
    'some/where'
    """
    path = path_of("root", root or os.environ.get("ZOO_DATA") or "~/.cache/zoo").expanduser()
    try:
        os.scandir(path).close()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ZooError(
            f"data root {path} cannot be read ({error.strerror}); change its rights, or name another folder "
            "with --data-root or ZOO_DATA"
        ) from error
    return path
