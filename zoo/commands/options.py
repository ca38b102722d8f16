"""Arguments that several commands take."""

import re
from collections.abc import Container, Sequence
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader

from zoo.names import CONVENTIONS, check_name
from zoo.reading import check_yaml
from zoo.settings import Windows

_EXPONENT = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d*)?[eE]\+?\d{1,2}(?![\w.])")  # a number such as 1e3
PARSER_MODE = "bounded yaml"  # of all parsers: `load_argument` reads configurations and values

# options whose values are names, even those that look like numbers
_TEXTS = (
    "--output",
    "--config",
    "--checkpoint",
    "--data-root",
    "--root",
    "--source",
    "--mirror",
    "--video",
    "--curves",
)
ROOT_HELP = "Folder with data sets and LPIPS weights; default: $ZOO_DATA, else ~/.cache/zoo."
DEVICE_HELP = "Where to compute, such as cuda."
CHECKPOINT_HELP = "Of a run: best, last, step-N, or the path of a .ckpt file."
COUNT_HELP = "How many test clips, the first ones; default: all."
PICTURE_HELP = "PNG file; the numbers go to a CSV file beside it."


def add_models(parser: ArgumentParser) -> None:
    """One or more trained models."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs, .safetensors files, or MODEL:WEIGHTS.")


def add_horizon(parser: ArgumentParser) -> None:
    """How many steps to predict."""
    parser.add_argument("--horizon", type=int, default=10, help="Frames, or steps of a series, to predict.")


def add_sources(parser: ArgumentParser) -> None:
    """Which weights of a run, and where and which its test clips are."""
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)
    parser.add_argument("--windows", type=Windows | None, help="Which windows of KTH's clips; default: as trained.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def add_measuring(parser: ArgumentParser) -> None:
    """How to measure, and on how many clips."""
    parser.add_argument(
        "--convention",
        type=str | None,
        help="How to measure frames: standard, or as the code of a publication does; default: standard.",
    )
    parser.add_argument("--published", type=str | None, help="Measure on this mnist_test_seq.npy instead.")
    parser.add_argument("--count", type=int | None, help=COUNT_HELP)
    parser.add_argument("--batch", type=int, default=16, help="Clips at a time.")
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)
    parser.add_argument(
        "--curves", type=str | None, help="PNG file for the values at each step; the numbers go to a CSV beside it."
    )


def check_measuring(arguments: Namespace) -> None:
    """Raise a ZooError if there is no such convention."""
    if arguments.convention is not None:
        check_name("convention", arguments.convention, CONVENTIONS)


def load_argument(text: str) -> Any:
    """Read a configuration, or a value of the command line, as jsonargparse does, but within the bounds of settings.

    A number in the form 1e3 that is whole is an int, so that it is legal where a whole number is wanted.

    Raises:
        yaml.YAMLError: see `zoo.reading.load_yaml`.

    >>> load_argument("[1e3, 1e-3, 2.5e1, 1.0]")
    [1000, 0.001, 25, 1.0]
    """
    check_yaml(text)
    try:
        value = get_loader("yaml")(text)
    except ValueError as error:
        raise yaml.YAMLError(f"a value cannot be read: {error}") from None
    written = {float(number) for number in _EXPONENT.findall(text)}
    return _with_whole_numbers(value, written) if written else value


def _with_whole_numbers(value: Any, numbers: Container[float]) -> Any:
    """The same plain data, with those floats of `numbers` that are whole as ints."""
    if isinstance(value, dict):
        return {name: _with_whole_numbers(item, numbers) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(item, numbers) for item in value]
    whole = isinstance(value, float) and value in numbers and value.is_integer()
    return int(value) if whole else value


def write_out_numbers(words: Sequence[str]) -> list[str]:
    """The words of a command line with whole numbers such as 1e3 written out, where they are the values of options.

    jsonargparse reads such a word as 1000.0 before it asks `load_argument`. Files and folders keep their names.

    >>> write_out_numbers(["train", "1e3", "--training.steps", "1e3", "--count=2.5e1", "-o", "1e3"])
    ['train', '1e3', '--training.steps', '1000', '--count=25', '-o', '1e3']
    """
    written: list[str] = []
    for word in words:
        option, joined, value = word.partition("=") if word.startswith("--") else ("", "", word)
        before = written[-1] if written else ""
        valued = option if joined else before
        numeric = valued.startswith("--") or re.fullmatch(r"\d+", before)  # several numbers follow one option
        if _EXPONENT.fullmatch(value) and numeric and valued not in _TEXTS and float(value).is_integer():
            value = str(int(float(value)))
        written.append(option + joined + value)
    return written
