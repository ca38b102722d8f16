"""Arguments that several commands take."""

from typing import Any

import yaml
from jsonargparse import ArgumentParser, get_loader

from zoo.reading import check_yaml
from zoo.settings import Windows

PARSER_MODE = "bounded yaml"  # of all parsers: `load_argument` reads configurations and values

ROOT_HELP = "Folder with data sets and LPIPS weights; default: $ZOO_DATA, else ~/.cache/zoo."
DEVICE_HELP = "Where to compute, such as cuda."
CHECKPOINT_HELP = "Of a run: best, last, step-N, or the path of a .ckpt file."
COUNT_HELP = "How many test clips, the first ones; default: all."
PICTURE_HELP = "PNG file; the numbers go to a CSV file beside it."


def add_models(parser: ArgumentParser) -> None:
    """One or more trained models."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs, .safetensors files, or MODEL:WEIGHTS.")


def add_horizon(parser: ArgumentParser) -> None:
    """How many frames to predict."""
    parser.add_argument("--horizon", type=int, default=10, help="Frames to predict.")


def add_sources(parser: ArgumentParser) -> None:
    """Which weights of a run, and where and which its test clips are."""
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)
    parser.add_argument("--windows", type=Windows | None, help="Which windows of KTH's clips; default: as trained.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def add_measuring(parser: ArgumentParser) -> None:
    """How to measure, and on how many clips."""
    parser.add_argument(
        "--convention", default="correct", help="How to measure: correct, or by a publication's code; see the README."
    )
    parser.add_argument("--published", type=str | None, help="Measure on this mnist_test_seq.npy instead.")
    parser.add_argument("--count", type=int | None, help=COUNT_HELP)
    parser.add_argument("--batch", type=int, default=16, help="Clips at a time.")
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)
    parser.add_argument(
        "--curves", type=str | None, help="PNG file for the values at each frame; the numbers go to a CSV beside it."
    )


def load_argument(text: str) -> Any:
    """Read a configuration, or a value of the command line, as jsonargparse does, but within the bounds of settings.

    Raises:
        yaml.YAMLError: see `zoo.reading.load_yaml`.
    """
    check_yaml(text)
    try:
        return get_loader("yaml")(text)
    except ValueError as error:
        raise yaml.YAMLError(f"a value cannot be read: {error}") from None
