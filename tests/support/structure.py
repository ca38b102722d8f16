"""What the structure of the packages can be read from: imports in the source, modules, and the lengths of files."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

Edge = tuple[str, str]  # importer, imported


def modules(root: Path, packages: Iterable[str]) -> dict[str, Path]:
    """All modules of the packages under `root`, by dotted name; a package is named without `__init__`."""
    files = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return files


def imported_names(path: Path, module: str) -> Iterator[tuple[str, str | None]]:
    """Every import of a file, wherever it stands: in a function, under `TYPE_CHECKING`, by `import_module("…")`.

    Yields:
        A module and None for `import module`, a module and a name for each name of `from module import name`.
    """
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module) if part)
            yield from ((source, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value, None


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def imports(files: Mapping[str, Path]) -> set[Edge]:
    """Which of our modules imports which.

    To import `a.b.c` is to run `a` and `a.b` too, so both count, unless they are packages of the importer, which are
    running already.
    """
    edges = set()
    for module, path in files.items():
        for source, name in imported_names(path, module):
            target = f"{source}.{name}" if f"{source}.{name}" in files else source
            parts = target.split(".")
            for depth in range(1, len(parts) + 1):
                ancestor = ".".join(parts[:depth])
                is_running = f"{module}.".startswith(f"{ancestor}.") and ancestor != target
                if ancestor in files and ancestor != module and not is_running:
                    edges.add((module, ancestor))
    return edges


def circles(edges: Iterable[Edge]) -> list[list[str]]:
    """Shortest circles of imports, as lists of modules; every module that is on a circle is on one of these."""
    following: dict[str, set[str]] = {}
    for importer, imported in edges:
        following.setdefault(importer, set()).add(imported)
    shortest: list[list[str]] = []
    for start in sorted(following):
        if not any(start in circle for circle in shortest) and (circle := _circle_through(start, following)):
            shortest.append(circle)
    return shortest


def _circle_through(start: str, following: Mapping[str, set[str]]) -> list[str] | None:
    """A shortest way from a module back to itself, breadth first."""
    ways = [[start]]
    seen = set()
    for way in ways:
        for module in sorted(following.get(way[-1], ())):
            if module == start:
                return [*way, start]
            if module not in seen:
                seen.add(module)
                ways.append([*way, module])
    return None


def hidden(modules: Mapping[str, object]) -> list[str]:
    """Modules that an attribute of their package hides: `import a.b as x` does not give what `sys.modules` holds."""
    return [
        name
        for name, module in modules.items()
        if "." in name and getattr(modules[name.rpartition(".")[0]], name.rpartition(".")[2], None) is not module
    ]


def python_files(root: Path) -> list[Path]:
    """All Python files of a repository, without what tools and builds leave in it."""
    left_out = {"build", "dist", "out", "shared"}
    return [
        path
        for path in sorted(root.rglob("*.py"))
        if not any(part.startswith(".") or part in left_out for part in path.relative_to(root).parts)
    ]


def too_long(paths: Iterable[Path], most: int) -> list[tuple[Path, int]]:
    """Files with more than `most` lines, with their numbers of lines."""
    lengths = [(path, len(path.read_text(encoding="utf-8").splitlines())) for path in paths]
    return [(path, length) for path, length in lengths if length > most]
