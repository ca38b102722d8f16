"""Python files that the user names on the command line, with models and variants of their own.

Such a file is run, so only the command line may name one: no configuration, run or file of weights can.
"""

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from zoo.errors import ZooError

OPTION = "--import"


def import_named(words: Sequence[str]) -> list[str]:
    """Import the files that `--import FILE` names anywhere in a command line; returns the other words.

    Raises:
        ZooError: `--import` without a file, or a file that cannot be imported.
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
            raise ZooError(f"{OPTION} needs a Python file; write {OPTION} my_models.py")
        import_file(Path(name))
    return others


def import_file(path: Path) -> None:
    """Run a Python file as a module, once in a process; the folder that it is in is searched for what it imports.

    Raises:
        ZooError: no such file, no Python, or whatever it raises.
    """
    place = path.expanduser().resolve()
    if place.suffix != ".py" or not place.is_file():
        raise ZooError(f"{path} is no Python file; name one that registers models, such as my_models.py")
    name = f"zoo_user_{re.sub('[^A-Za-z0-9_]', '_', str(place.with_suffix('')))}"
    if name in sys.modules:
        return
    import zoo.models  # noqa: F401 - so that names of the package are taken

    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(place.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # whatever a user's code may raise
        del sys.modules[name]
        line = _line(error, place)
        raise ZooError(f"{path} cannot be imported ({type(error).__name__}: {error}{line}); repair it") from error
    finally:
        sys.path.remove(str(place.parent))


def _line(error: BaseException, place: Path) -> str:
    """Where in the file an error arose; empty if it does not say."""
    trace, number = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(place):
            number = trace.tb_lineno
        trace = trace.tb_next
    return f", line {number}" if number else ""
