"""Read small files of text from anywhere: bounded before any work is done on them."""

import re
from pathlib import Path
from typing import Any

import yaml

from tensortrain import inputs
from tensortrain.errors import TensorTrainError
from zoo.errors import ZooError

MOST_BYTES = 1 << 16  # of a configuration; a whole recipe has about 1,500
MOST_LEVELS = 32
_NUMBER = re.compile(r"[-+]?(0x[\da-fA-F_]{65,}|[\d_:]{65,})")  # 1:30 is a number in YAML, too


def read_text(path: Path, most: int) -> str:
    """The text of a file.

    Raises:
        ZooError: there is none, it is no regular file, has more than `most` bytes, is no text, or cannot be read.
    """
    try:
        size = inputs.regular(path)
        content = path.read_bytes() if size <= most else b""
    except TensorTrainError as error:
        raise ZooError(str(error)) from None
    except OSError as error:
        raise ZooError(f"cannot read {path}: {error.strerror}; change its rights, or name another file") from None
    if size > most:
        raise ZooError(f"{path} has {size:,} bytes; such a file needs {most:,} at most")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ZooError(f"{path} is no text in UTF-8 (byte {error.start}); name another file") from None


def load_yaml(text: str) -> Any:
    """The plain data in a text of YAML that may come from anywhere.

    Raises:
        yaml.YAMLError: it is no YAML; or it is longer or deeper than settings ever are, names types, or refers to
            other places in the text, by which a few hundred bytes can stand for terabytes.

    >>> load_yaml("training: {steps: 5}")
    {'training': {'steps': 5}}
    """
    check_yaml(text)
    try:
        return yaml.safe_load(text)
    except ValueError as error:  # such as a date with a thirteenth month
        raise yaml.YAMLError(f"a value cannot be read: {error}") from None


def check_yaml(text: str) -> None:
    """Raise a `yaml.YAMLError` if `load_yaml` would; nothing is built of the text."""
    if len(text) > MOST_BYTES:
        raise yaml.YAMLError(f"{len(text):,} characters are more than the {MOST_BYTES:,} that settings can need")
    level = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        place = f"line {event.start_mark.line + 1}" if event.start_mark else "it"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.YAMLError(f"{place}: anchors and aliases (& and *) are not read; write the value out")
        if tag := getattr(event, "tag", None):
            raise yaml.YAMLError(f"{place}: the tag {tag} is not read; write a plain value")
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _NUMBER.fullmatch(event.value):
            raise yaml.YAMLError(f"{place}: a number of {len(event.value):,} digits is more than any setting needs")
        level += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if level > MOST_LEVELS:
            raise yaml.YAMLError(f"{place}: more than {MOST_LEVELS} levels; settings have four")
