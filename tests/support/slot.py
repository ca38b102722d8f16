"""The archives of the program for a quarter of an hour at a GPU."""

import zipfile
from pathlib import Path


def read(archive: Path, name: str) -> bytes | None:
    with zipfile.ZipFile(archive) as file:
        return file.read(name) if name in file.namelist() else None
