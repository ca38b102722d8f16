"""The JSON files of a store of frames. They are sealed with a checksum, which is compared when they are read."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from zoo.data.decode import METHOD
from zoo.data.regular import open_regular
from zoo.errors import ZooError
from zoo.files import aside

if TYPE_CHECKING:
    from pydantic import TypeAdapter

VERSION = 2
Kind = Literal["manifest", "record", "checked"]


def read_json(path: Path, kind: Kind) -> dict[str, Any]:
    """Read what `write_json` wrote; empty if there is no such file, or if another version wrote it.

    Args:
        path: the file.
        kind: the format that it must have, one of those in `zoo.data.store_schema`.

    Raises:
        ZooError: if it cannot be read, or has changed since it was written.
    """
    try:
        with open_regular(path) as file:
            content = json.loads(file.read())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise ZooError(f"{path} cannot be read ({error}); remove it and prepare the store again") from None
    if not isinstance(content, dict) or [content.pop(key, None) for key in ("version", "method")] != [VERSION, METHOD]:
        return {}
    from pydantic import ValidationError

    whole = content.pop("seal", None) == _seal(content)
    try:
        _schema(kind).validate_python(content)
    except (ValidationError, RecursionError):
        whole = False
    if not whole:
        raise ZooError(f"{path} is damaged; remove it and prepare the store again")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file completely or not at all.

    Raises:
        ZooError: if it cannot be written.
    """
    sealed = {"version": VERSION, "method": METHOD, "seal": _seal(content), **content}
    with aside(path) as temporary:
        temporary.write_text(json.dumps(sealed, indent=1), "utf-8")


def _seal(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@cache
def _schema(kind: Kind) -> "TypeAdapter[Any]":
    from pydantic import TypeAdapter

    from zoo.data.store_schema import Checked, Clip, Manifest, Skipped

    kinds: dict[str, Any] = {"manifest": Manifest, "record": Clip | Skipped, "checked": Checked}
    return TypeAdapter(kinds[kind])
