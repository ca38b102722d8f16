"""Print the tables and write the pictures of commands."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tensortrain.tables import ENDINGS, show
from zoo.files import aside, destination
from zoo.names import check_picture, check_suffix

if TYPE_CHECKING:
    from tensortrain.tables import Table
    from zoo.evaluation import Scores, Series


def show_table(table: "Table", output: str | None) -> None:
    """Print a table, and write it to a file if one is named.

    Raises:
        ZooError: if the file cannot be written.
    """
    show(table)
    if output is not None:
        with aside(output) as temporary:
            temporary.write_text(table.as_text(output), encoding="utf-8")
        print(output)


def check_table(path: str | None, inputs: Iterable[str | Path] = ()) -> None:
    """Check, before anything is computed, that a table can be written to a path.

    Raises:
        ZooError: if the suffix is not one of a table, or in the cases of `zoo.files.destination`.
    """
    if path is not None:
        check_suffix(path, ENDINGS)
        destination(path, inputs)


def check_png(path: str | None, inputs: Iterable[str | Path] = ()) -> None:
    """Check, before anything is computed, that a picture and the CSV file beside it can be written.

    Args:
        path: the path of the picture; None if there is none.
        inputs: files that the command reads.

    Raises:
        ZooError: if the suffix is not `.png`, the folder does not exist, or `zoo.files.destination` refuses the picture
            or the CSV file.
    """
    if path is not None:
        check_picture(path)
        for file in (path, _table(path)):
            destination(file, inputs)


def write_series(series: "Series", output: str) -> None:
    """Write the picture of a series, and its numbers to a CSV file beside it.

    Raises:
        ZooError: if a file cannot be written.
    """
    from zoo.evaluation import save_figure

    save_figure(series.figure(), output)
    table = _table(output)
    series.to_csv(table)
    print(f"{output}, {table}")


def write_curves(scores: "Sequence[Scores]", path: str | None) -> None:
    """Write the curves of the values at each frame if a path is given, and the numbers to a CSV file beside it.

    Raises:
        ZooError: if a file cannot be written.
    """
    from zoo import evaluation

    if path is not None:
        evaluation.save_figure(evaluation.curves(scores), path)
        evaluation.save_values(scores, _table(path))


def _table(picture: str) -> Path:
    return Path(picture).with_suffix(".csv")
