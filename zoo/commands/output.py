"""How commands print tables and write pictures."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zoo.evaluation import Series


def show(table: Any) -> None:
    """Print a table of `rich`. In a pipe or a file its lines are not wrapped to the width of a terminal."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 320).print(table)


def check_png(path: str | None) -> None:
    """Refuse, before anything is computed, a path that no figure can be written to.

    Raises:
        ZooError: the suffix is not `.png`, or the folder does not exist.
    """
    from zoo.evaluation.comparison import check_figure

    if path is not None:
        check_figure(path)


def write_series(series: "Series", output: str) -> None:
    """Write the picture of a series, and its numbers to a CSV file beside it.

    Raises:
        ZooError: a file cannot be written.
    """
    from zoo.evaluation import save_figure

    save_figure(series.figure(), output)
    table = Path(output).with_suffix(".csv")
    series.to_csv(table)
    print(f"{output}, {table}")
