"""`zoo entanglement`: how often the digits of Moving-MNIST overlap."""

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.options import COUNT_HELP, PICTURE_HELP, ROOT_HELP
from zoo.commands.output import check_png, write_series


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The clips, and the picture to write."""
    parser.add_argument("--output", "-o", type=str, required=True, help=PICTURE_HELP)
    parser.add_argument("--digits", type=int, default=2, help="Number of moving digits in a clip.")
    parser.add_argument("--length", type=int, default=20, help="Number of frames in a clip.")
    parser.add_argument("--count", type=int | None, help=COUNT_HELP)
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def run(arguments: Namespace) -> None:
    """Draw the fraction of Moving-MNIST clips in which digits overlap, for each frame."""
    check_png(arguments.output)
    from zoo.data import MovingMNIST
    from zoo.evaluation import entanglement

    dataset = MovingMNIST("test", root=arguments.data_root, digits=arguments.digits, length=arguments.length)
    write_series(entanglement(dataset, count=arguments.count, progress=sys.stderr.isatty()), arguments.output)
