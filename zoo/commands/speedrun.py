"""`zoo speedrun`: how soon runs reach a validation error."""

import math
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from tensortrain.tables import show
from zoo.commands.output import check_table, show_table
from zoo.commands.trained import files_of
from zoo.errors import ZooError

ERRORS = [100.0, 75.0]  # squared errors of a predicted frame of Moving-MNIST


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The runs, and the errors to reach."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs.")
    parser.add_argument(
        "--below",
        type=float,
        nargs="+",
        default=ERRORS,
        help="Squared errors on the validation clips, summed over a predicted frame (or step of a series).",
    )
    parser.add_argument("--output", "-o", type=str | None, help="File to write the table to: .csv, .md, .tex or .html.")


def run(arguments: Namespace) -> None:
    """Show how many clips and how much processor time runs needed to reach a validation error."""
    for error in arguments.below:
        if not 0 < error < math.inf:
            raise ZooError(f"--below {error:g} must be above zero and finite")
    check_table(arguments.output, files_of(arguments.runs))
    from zoo.reporting.speedrun import read_speedrun, speedrun_tables

    table, *others = speedrun_tables([read_speedrun(folder) for folder in arguments.runs], arguments.below)
    show_table(table, arguments.output)
    for other in others:
        show(other)
