"""The CSV files of measured tables in the folder `results`, as Markdown.

Such a file begins with lines `# command: …`, `# machine: …` and, if the columns need it, `# values: …`. All of them are
shown below the table, so that no number stands on the site without the command that measured it.
"""

import csv
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"
NEEDED = ("command", "machine")


class ResultTable(NamedTuple):
    """What a CSV file of results holds: its comments by name, and its rows, the header first."""

    about: dict[str, str]
    rows: list[list[str]]


def read_table(path: Path) -> ResultTable:
    """Read a CSV file of results.

    Raises:
        ValueError: it does not say by which command or on which machine it was measured, or its rows differ in length.
    """
    lines = path.read_text().splitlines()
    comments = [line for line in lines if line.startswith("# ")]
    about = dict(line.removeprefix("# ").split(": ", 1) for line in comments)
    rows = list(csv.reader(lines[len(comments) :]))
    missing = [name for name in NEEDED if not about.get(name)]
    if missing:
        raise ValueError(f"{path} begins without a line '# {missing[0]}: …'")
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"{path}: its rows differ in length")
    return ResultTable(about, rows)


def markdown(table: ResultTable, name: str) -> list[str]:
    """The lines of Markdown that show a table, and where its numbers come from."""
    header, *rows = ([cell.replace("|", "\\|") for cell in row] for row in table.rows)
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    commands = ", ".join(f"`{command}`" for command in table.about["command"].split("; "))
    values = f"{table.about['values'][0].upper()}{table.about['values'][1:]}. " if "values" in table.about else ""
    source = f"{{download}}`{name}.csv <{Path('/') / 'results' / name}.csv>`"
    return [*lines, "", f"{values}Measured by {commands} ({table.about['machine']}). All values: {source}.", ""]
