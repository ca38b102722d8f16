"""The house in order: imports go one way, no module is hidden by an attribute of its name, no file is too long."""

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from tests.support.structure import circles, hidden, imports, modules, python_files, too_long

ROOT = Path(__file__).parents[1]
PACKAGES = ("tensortrain", "zoo")
MOST_LINES = 500
EXEMPT = {
    # tt.nn.decompose, save and load: the folder of the layers forwards to what is built of layers, on demand
    ("tensortrain.nn", "tensortrain.compression.model"),
    # model.save_pretrained and the like: the base class of models forwards to what writes and reads them, on demand
    ("zoo.predictors.predictor", "zoo.model_files.hub"),
}


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(root).parents[:-1]:
            (root / folder / "__init__.py").touch()
    return root


# ---- the two packages -------------------------------------------------------------------------------------


def test_imports_go_one_way() -> None:
    """Those in functions and for types count as well."""
    edges = imports(modules(ROOT, PACKAGES))
    assert [" → ".join(circle) for circle in circles(edges - EXEMPT)] == []


@pytest.mark.parametrize("exempt", sorted(EXEMPT))
def test_each_exemption_is_needed(exempt: tuple[str, str]) -> None:
    edges = imports(modules(ROOT, PACKAGES)) - (EXEMPT - {exempt})
    assert circles(edges) != []


def test_the_library_does_not_import_the_zoo() -> None:
    edges = imports(modules(ROOT, PACKAGES))
    assert [edge for edge in edges if edge[0].startswith("tensortrain") and edge[1].startswith("zoo")] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_is_hidden_by_an_attribute_of_its_name(package: str) -> None:
    parent = importlib.import_module(package)
    names = [info.name for info in pkgutil.walk_packages(parent.__path__, f"{package}.")]
    for name in names:
        importlib.import_module(name)
    assert set(names) | {package} == set(modules(ROOT, [package]))
    assert hidden({name: sys.modules[name] for name in [package, *names]}) == []


def test_no_file_is_too_long() -> None:
    long = too_long(python_files(ROOT), MOST_LINES)
    assert [f"{path.relative_to(ROOT)}: {length} lines" for path, length in long] == []


# ---- the checks themselves, on small trees ------------------------------------------------------------------


def test_modules_are_named_like_python_names_them(tmp_path: Path) -> None:
    root = write(tmp_path, {"a/b/c.py": "", "other/d.py": ""})
    assert modules(root, ["a"]).keys() == {"a", "a.b", "a.b.c"}


@pytest.mark.parametrize(
    "statement",
    [
        "import a.y",
        "import a.y as z",
        "from a import y",
        "from a.y import anything",
        "from . import y",
        "from .y import anything",
        "def f():\n    from a import y",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a.y import Type",
        "import importlib\nimportlib.import_module('a.y')",
        "class C:\n    def m(self):\n        import a.y",
    ],
)
def test_a_circle_is_noticed_wherever_the_import_stands(tmp_path: Path, statement: str) -> None:
    root = write(tmp_path, {"a/x.py": statement, "a/y.py": "from a import x"})
    assert circles(imports(modules(root, ["a"]))) == [["a.x", "a.y", "a.x"]]
    write(tmp_path, {"a/y.py": "import os"})
    assert circles(imports(modules(root, ["a"]))) == []


def test_a_long_circle_is_shown_from_module_to_module(tmp_path: Path) -> None:
    files = {"a/x.py": "from a import y", "a/y.py": "from b import z", "b/z.py": "import a.x", "a/w.py": "import a.x"}
    assert circles(imports(modules(write(tmp_path, files), ["a", "b"]))) == [["a.x", "a.y", "b.z", "a.x"]]


def test_importing_a_module_runs_its_packages(tmp_path: Path) -> None:
    """`b.c` → `a.leaf` runs `a`, which imports `b.c`; a module's own package is running already."""
    root = write(tmp_path, {"a/leaf.py": "", "b/c.py": "import a.leaf", "a/other.py": "from a import leaf"})
    (root / "a" / "__init__.py").write_text("from b.c import anything\nfrom a import leaf, other")
    assert circles(imports(modules(root, ["a", "b"]))) == [["a", "b.c", "a"]]


def test_a_name_of_a_package_is_its_attribute_if_it_is_no_module(tmp_path: Path) -> None:
    root = write(tmp_path, {"a/x.py": "from a import function", "b/y.py": "from a import function, x"})
    assert imports(modules(root, ["a", "b"])) == {("a.x", "a"), ("b.y", "a"), ("b.y", "a.x")}


def test_a_hidden_module_is_noticed() -> None:
    fit, other = ModuleType("a.fit"), ModuleType("a.other")
    package = SimpleNamespace(fit=lambda: None, other=other)
    assert hidden({"a": package, "a.fit": fit, "a.other": other}) == ["a.fit"]
    package.fit = fit
    assert hidden({"a": package, "a.fit": fit, "a.other": other}) == []


def test_a_long_file_is_noticed_but_not_in_what_builds_leave(tmp_path: Path) -> None:
    long = "x = 1\n" * 501
    files = {"tests/short.py": "x = 1\n" * 500, "tests/long.py": long, "build/lib/b.py": long, ".venv/lib/c.py": long}
    paths = python_files(write(tmp_path, files))
    assert too_long(paths, 500) == [(tmp_path / "tests" / "long.py", 501)]
