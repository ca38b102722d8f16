"""The public interface as text: `python -m tests.support.public_api` writes it to docs/reference/api.json.

Public is what the pages `docs/reference/tensortrain.rst` and `zoo.rst` list. griffe reads the sources, so
that nothing is imported, and each name is followed to the place where it is defined.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import griffe

from tests.support.documents import ROOT

PAGES = ("docs/reference/tensortrain.rst", "docs/reference/zoo.rst")
ORDINARY = griffe.ParameterKind.positional_or_keyword
LISTING = ROOT / "docs" / "reference" / "api.json"


def public_names(page: str) -> Iterator[str]:
    """The full names in the `autosummary` lists of a reference page."""
    module, listing = "", False
    for line in page.splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = match.group(1)
        elif line.startswith(".. autosummary::"):
            listing = True
        elif line and not line.startswith(" "):
            listing = False
        elif listing and line.strip() and not line.strip().startswith(":"):
            yield f"{module}.{line.strip()}"


def describe(item: griffe.Object | griffe.Alias, name: str) -> dict[str, str]:
    """The signature of a function, of all public methods of a class, of all public functions of a module."""
    item = item.final_target if isinstance(item, griffe.Alias) else item
    if item.is_function:
        return {name: signature(item)}
    if item.is_attribute:
        return {name: f": {item.annotation}"}
    lines = {name: f"({', '.join(map(str, item.bases))})" if item.is_class else "module"}
    members = item.all_members if item.is_class else item.members
    for member in members.values():
        if member.is_alias and not item.is_class:
            continue  # imported there, and described where it comes from
        if member.is_public or member.name == "__init__":
            lines |= describe(member, f"{name}.{member.name}")
    return lines


def signature(function: griffe.Function) -> str:
    """Parameters with their kinds, types and defaults, and what is returned."""
    parameters = [
        f"{'' if p.kind is ORDINARY else f'[{p.kind.value}] '}{p.name}: {p.annotation}"
        + (f" = {p.default}" if p.default is not None else "")
        for p in function.parameters
        if p.name not in ("self", "cls")
    ]
    return f"({', '.join(parameters)}) -> {function.returns}"


def public_api() -> dict[str, str]:
    """Each public name with its signature."""
    loader = griffe.GriffeLoader(search_paths=[str(ROOT)])
    packages = {name: loader.load(name) for name in ("tensortrain", "zoo")}
    loader.resolve_aliases(implicit=True)
    lines: dict[str, str] = {}
    for page in PAGES:
        for name in public_names((ROOT / page).read_text()):
            package, _, rest = name.partition(".")
            lines |= describe(packages[package][rest], name)
    return lines


def write(path: Path) -> None:
    """Write the listing, a line for each name."""
    path.write_text(json.dumps(public_api(), indent=0, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    write(LISTING)
