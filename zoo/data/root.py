"""The folder that data sets are kept in."""

import os
from pathlib import Path

from zoo.errors import ZooError


def data_root(root: str | Path | None = None) -> Path:
    """The folder with the subfolders `mnist`, `kth` and `lpips`: `root`, else `$ZOO_DATA`, else `~/.cache/zoo`.

    The folder need not exist: a download creates it.

    Raises:
        ZooError: it is a file, or this user may not read it.

    >>> str(data_root("some/where"))
    'some/where'
    """
    path = Path(root or os.environ.get("ZOO_DATA") or "~/.cache/zoo").expanduser()
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
