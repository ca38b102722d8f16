"""Read small text files of unknown origin: their size is checked before any work is done on them."""

import re
from pathlib import Path
from typing import Any

import yaml

from tensortrain import inputs
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError

MOST_BYTES = 1 << 16  # the largest configuration; a complete recipe has about 1,500 bytes
MOST_LEVELS = 32
_NUMBER = re.compile(r"[-+]?(0x[\da-fA-F_]{65,}|[\d_:]{65,})")  # in YAML, 1:30 is a number too


def read_text(path: Path, most: int) -> str:
    """The text of a file.

    Raises:
        ZooError: if the file does not exist, is not a regular file, has more than `most` bytes, is not UTF-8 text, or
            cannot be read.
    """
    try:
        size = inputs.regular(path)
        content = path.read_bytes() if size <= most else b""
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
    except OSError as error:
        raise ZooError(f"cannot read {path}: {error.strerror}; change its rights, or name another file") from None
    if size > most:
        raise ZooError(f"{path} has {size:,} bytes; a file of this kind may have at most {most:,}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ZooError(f"{path} is not UTF-8 text (byte {error.start}); name another file") from None


def load_yaml(text: str) -> Any:
    """Parse YAML of unknown origin into plain data.

    Raises:
        yaml.YAMLError: if it is not YAML, is longer or deeper than settings ever are, or has tags, anchors or aliases.
            With aliases, a few hundred bytes can stand for terabytes.

    >>> load_yaml("training: {steps: 5}")
    {'training': {'steps': 5}}
    """
    check_yaml(text)
    try:
        return yaml.safe_load(text)
    except ValueError as error:  # for example a date with a thirteenth month
        raise yaml.YAMLError(f"a value cannot be read: {error}") from None


def check_yaml(text: str) -> None:
    """Raise a `yaml.YAMLError` if `load_yaml` would. The data are not built."""
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"it has {len(text):,} characters; settings may have at most {MOST_BYTES:,}")
    level = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = f"line {event.start_mark.line + 1}" if event.start_mark else "it"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.YAMLError(f"{place}: anchors and aliases (& and *) are not allowed; write the value out")
        if tag := getattr(event, "tag", None):
            raise yaml.YAMLError(f"{place}: the tag {tag} is not allowed; write a plain value")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _NUMBER.fullmatch(event.value):
            raise yaml.YAMLError(f"{place}: a number has {len(event.value):,} digits, more than any setting needs")
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > MOST_LEVELS:
            raise yaml.YAMLError(f"{place}: it has more than {MOST_LEVELS} levels; settings have four")
