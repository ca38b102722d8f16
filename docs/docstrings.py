"""A Sphinx extension that turns the Markdown tables of docstrings into those of reStructuredText."""

import re
from typing import Any


def list_table(rows: list[str]) -> list[str]:
    """The lines of a Markdown table as a list table.

    >>> list_table(["| a | b |", "|---|---|", "| 1 | 2 |"])
    ['.. list-table::', '   :header-rows: 1', '', '   * - a', '     - b', '   * - 1', '     - 2', '']
    """
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (rows[0], *rows[2:]):
        cells = [cell.strip() for cell in row.strip().strip("|").split(" | ")]
        lines.append(f"   * - {cells[0]}")
        lines.extend(f"     - {cell}" for cell in cells[1:])
    return [*lines, ""]


def convert(app: Any, what: str, name: str, subject: object, options: object, lines: list[str]) -> None:
    """Convert every table of a docstring in place."""
    converted: list[str] = []
    table: list[str] = []
    for line in [*lines, ""]:
        if line.startswith("|"):
            table.append(line)
            continue
        if table:
            rule = len(table) > 1 and re.fullmatch(r"\|[-| :]+\|", table[1])
            converted.extend(list_table(table) if rule else table)
            table = []
        converted.append(line)
    lines[:] = converted


def setup(app: Any) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", convert)
    return {"parallel_read_safe": True}
