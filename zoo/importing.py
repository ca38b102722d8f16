"""Run Python files that the user names on the command line; they register models and variants.

Such a file is executed. So only the command line may name one; configurations, runs and files of weights cannot.
"""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from tensortrain import importing
from zoo.errors import ZooError

OPTION = "--import"


def import_named(words: Sequence[str]) -> list[str]:
    """Import the files that `--import FILE` names anywhere in a command line, and return the other words.

    Raises:
        ZooError: if `--import` has no file, or the file cannot be imported.
    """
    others: list[str] = []
    remaining = iter(words)
    for word in remaining:
        option, joined, name = word.partition("=")
        if option != OPTION:
            others.append(word)
            continue
        name = name if joined else next(remaining, "")
        if not name:
            raise ZooError(f"{OPTION} needs the name of a Python file; write {OPTION} my_models.py")
        import_file(Path(name))
    return others


def imports_in_words() -> str:
    """The options ` --import FILE` that a later command needs for what this process has imported; often empty."""
    return "".join(f" {OPTION} {shlex.quote(os.path.relpath(file))}" for file in importing.imported_files())


def import_file(path: Path) -> None:
    """Run a Python file as a module, at most once in a process. Its folder is searched first for what it imports.

    Raises:
        ZooError: if the file does not exist, is not Python, or raises an exception.
    """
    place = path.expanduser().resolve()
    if place.suffix != ".py" or not place.is_file():
        raise ZooError(f"{path} is not a Python file; name one that registers models, such as my_models.py")
    import zoo.models  # noqa: F401 - registers the package's models first, so that their names cannot be reused

    try:
        importing.import_file(place)
    except Exception as error:  # a user's code may raise anything
        line = _line(error, place)
        raise ZooError(f"{path} cannot be imported ({type(error).__name__}: {error}{line}); repair it") from error


def _line(error: BaseException, place: Path) -> str:
    """The line of the file where an error arose, as text for a message; empty if it arose elsewhere."""
    trace, number = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(place):
            number = trace.tb_lineno
        trace = trace.tb_next
    return f", line {number}" if number else ""
