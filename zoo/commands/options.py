"""Options that several commands share."""

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

# options whose values are names, even if they look like numbers
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
DEVICE_HELP = "Device to compute on, such as cpu or cuda; default: cpu."
CHECKPOINT_HELP = "Checkpoint of a run: best, last, step-N, or the path of a .ckpt file."
COUNT_HELP = "Number of test clips to use, from the first one on; default: all."
PICTURE_HELP = "PNG file to write; the numbers are written to a CSV file beside it."


def add_models(parser: ArgumentParser) -> None:
    """Add the argument for one or more trained models."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs, .safetensors files, or MODEL:WEIGHTS.")


def add_horizon(parser: ArgumentParser) -> None:
    """Add the option for the number of steps to predict."""
    parser.add_argument(
        "--horizon",
        type=int | None,
        help="Number of frames (or values of a series) to predict; default: as in training.",
    )


def add_sources(parser: ArgumentParser) -> None:
    """Add the options for the weights of a run and its test clips."""
    parser.add_argument("--checkpoint", default="best", help=CHECKPOINT_HELP)
    parser.add_argument(
        "--windows", type=Windows | None, help="Rule by which KTH's test clips are cut; default: as in training."
    )
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def add_measuring(parser: ArgumentParser, count_help: str = COUNT_HELP) -> None:
    """Add the options for how to measure, and on how many clips."""
    parser.add_argument(
        "--convention",
        type=str | None,
        help="How to measure frames: standard, or by the code of a publication: conv-tt-lstm, predrnn-pp, openstl. "
        "Default: standard.",
    )
    parser.add_argument(
        "--published",
        type=str | None,
        help="Path of the file mnist_test_seq.npy, to evaluate on its clips instead of the test split.",
    )
    parser.add_argument("--count", type=int | None, help=count_help)
    parser.add_argument("--batch", type=int, default=16, help="Number of clips to process at a time.")
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)
    parser.add_argument(
        "--curves",
        type=str | None,
        help="PNG file to draw the values at each step to; the numbers are written to a CSV file beside it.",
    )


def check_measuring(arguments: Namespace) -> None:
    """Raise a ZooError if there is no such convention."""
    if arguments.convention is not None:
        check_name("convention", arguments.convention, CONVENTIONS)


def load_argument(text: str) -> Any:
    """Read a configuration or a value of the command line as jsonargparse does, but with the limits of `load_yaml`.

    A whole number in the form 1e3 becomes an int, so that it is legal where a whole number is required.

    Raises:
        yaml.YAMLError: in the cases of `zoo.reading.load_yaml`.

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
    """The same plain data, in which those floats of `numbers` that are whole have become ints."""
    if isinstance(value, dict):
        return {name: _with_whole_numbers(item, numbers) for name, item in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(item, numbers) for item in value]
    whole = isinstance(value, float) and value in numbers and value.is_integer()
    return int(value) if whole else value


def write_out_numbers(words: Sequence[str]) -> list[str]:
    """Replace whole numbers such as 1e3 in a command line by plain digits, where they are values of options.

    jsonargparse would read such a word as 1000.0 before it calls `load_argument`. Names of files and folders are kept.

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
