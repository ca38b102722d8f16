"""Run a Python file of the user's as a module. Only a command line may name one; no file of weights or settings can."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

PREFIX = "user_file_"  # of the names of such modules


def import_file(path: Path) -> ModuleType:
    """Run a Python file as a module, at most once in a process, and return the module.

    As when Python runs a script, the folder of the file is searched first for the modules that it imports.

    Args:
        path: an existing file.

    Raises:
        Exception: whatever the file raises.
    """
    place = path.expanduser().resolve()
    name = f"{PREFIX}{re.sub('[^A-Za-z0-9_]', '_', str(place.with_suffix('')))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look a module up there
    search_first(place.parent)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def imported_files() -> list[Path]:
    """Return the files that were imported in this process, in their order."""
    modules = [module for name, module in sys.modules.items() if name.startswith(PREFIX)]
    return [Path(module.__file__) for module in modules if module.__file__]


def search_first(folder: Path) -> None:
    """Let Python search a folder for modules before all others."""
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
