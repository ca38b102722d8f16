"""The command `zoo`: train, evaluate and compare models that predict video and series.

Exit status: 0 for success; 2 for bad input or output that cannot be written; 130 if the command was interrupted (the
same command then resumes a training); 141 if the program that reads the output has ended.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Protocol

import yaml
from jsonargparse import ArgumentParser, Namespace, set_loader, set_parsing_settings

import zoo
from tensortrain import terminal
from tensortrain.errors import TensorTrainError
from zoo.commands import (
    benchmark,
    compare,
    compress,
    data,
    entanglement,
    evaluate,
    export,
    gradients,
    import_weights,
    models,
    predict,
    report,
    search,
    speedrun,
    train,
)
from zoo.commands.options import PARSER_MODE, load_argument, write_out_numbers
from zoo.commands.starting import find_start
from zoo.errors import ZooError
from zoo.importing import OPTION, import_named
from zoo.registry import find_model

# what jsonargparse writes about a value of a wrong type
_WRONG_TYPE = re.compile(r'Parser key "([^"]+)":(.*?)(?:\. Got|\n +Given) value: (.*)', re.DOTALL)
_NO_SETTINGS = re.compile(r'Parser key "([^"]+)":\nUnable to load config (.+?)\n +- (.*)', re.DOTALL)
_TYPE = re.compile(r"Expected an? (?:<class '([^']+)'>|typing\.Literal\[(.*?)\])")
_REQUIRED = "the following arguments are required: "
_NEEDED = {
    "int": "a whole number is needed",
    "float": "a finite number is needed",
    "bool": "true or false is needed",
    "str": "a text is needed",
    "list": "a list is needed, such as '[4, 4]'",
    "tuple": "a list is needed, such as '[4, 4]'",
    "collections.abc.Sequence": "a list is needed, such as '[4, 4]'",
    "dict": "a mapping is needed, such as '{name: 1}'",
    "collections.abc.Mapping": "a mapping is needed, such as '{name: 1}'",
}

_IMPORTING = f"Every command also takes {OPTION} FILE: it first runs a Python file that registers your own models."


class Command(Protocol):
    """A module of `zoo.commands`."""

    def add_arguments(self, parser: ArgumentParser, words: Sequence[str]) -> None:
        """Add the options to the parser; they may depend on `words`, the whole command line."""

    def run(self, arguments: Namespace) -> None:
        """Run the command. The first line of this docstring is the command's help text."""


COMMANDS: dict[str, Command] = {
    "models": models,
    "data": data,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "predict": predict,
    "report": report,
    "gradients": gradients,
    "entanglement": entanglement,
    "search": search,
    "speedrun": speedrun,
    "benchmark": benchmark,
    "export": export,
    "import": import_weights,
    "compress": compress,
}


def main(words: Sequence[str] | None = None) -> None:
    """Run the command that the words of the command line name.

    Args:
        words: the command line without the name of the program; by default that of this process.

    Raises:
        SystemExit: if the command failed.
    """
    words = write_out_numbers(sys.argv[1:] if words is None else words)
    # a configuration may hold values only; it may not name anything to import
    set_parsing_settings(add_print_completion_argument=True, import_path_denylist=["*"])
    with terminal.reported("zoo", ZooError, TensorTrainError):
        words = import_named(words)
        arguments = parse(words)
        COMMANDS[arguments.command].run(arguments[arguments.command])


def parse(words: Sequence[str]) -> Namespace:
    """Parse the command line and the configuration files that it names.

    Raises:
        ZooError: if a command, option or value is unknown or missing.
    """
    try:
        arguments = make_parser(words).parse_args(list(words))
    except (argparse.ArgumentError, ValueError) as error:  # jsonargparse raises both
        unknown = str(error).startswith("unrecognized arguments")
        command = " ".join(["zoo", *[word for word in words if word in COMMANDS][:1]])
        hint = f"; `{command} --help` lists the options, which cannot be abbreviated" if unknown else ""
        reason = _why_not(str(error), words) if unknown and command == "zoo train" else ""
        raise ZooError(f"{_reworded(str(error), words)}{reason}{hint}") from error
    plain: Namespace = arguments.clone(with_meta=False)  # without the names of the files that hold settings
    return plain


def _reworded(error: str, words: Sequence[str]) -> str:
    r"""An error of jsonargparse in words of the command line, where it names Python types or its own keys.

    >>> _reworded('Parser key "options.hidden":\n  Expected a <class \'list\'>. Got value: 4', [])
    "--options.hidden = 4; a list is needed, such as '[4, 4]'"
    """
    if error.startswith(_REQUIRED):
        return _missing(error.removeprefix(_REQUIRED), words)
    if group := _NO_SETTINGS.fullmatch(error):
        option, value, reason = group.groups()
        if not reason.startswith("Parser key"):
            return f"--{option} = {value} cannot be read as YAML: {reason}"
        return (
            f"--{option} = {value} is neither a file of settings nor settings, as in --{option} '{{name: value}}'; "
            f"single settings are written as --{option}.NAME VALUE"
        )
    wrong = _WRONG_TYPE.fullmatch(error)
    if wrong is None:
        return error
    option, types, value = wrong.groups()
    kinds = [(name, choices) for name, choices in _TYPE.findall(types) if name != "NoneType"]
    if not kinds or not all(choices or name in _NEEDED for name, choices in kinds):
        return error
    needed = dict.fromkeys(f"one of {choices} is needed" if choices else _NEEDED[name] for name, choices in kinds)
    return f"--{option} = {_quoted(value)}; {', or '.join(needed)}"


def _missing(keys: str, words: Sequence[str]) -> str:
    """The sentence about required arguments that are missing, from their keys such as "train.options.val"."""
    command, names = keys.partition(".")[0], [key.partition(".")[2] for key in keys.split(", ")]
    parser = ArgumentParser(exit_on_error=False)
    COMMANDS[command].add_arguments(parser, words)
    options = parser.format_usage().split()
    shown = [f"--{name}" if f"--{name}" in options else name.upper() for name in names]
    return f"{' and '.join(shown)} {'is' if len(shown) == 1 else 'are'} required; see `zoo {command} --help`"


def _quoted(value: str) -> str:
    """A value of the command line: a number, list or mapping as it is, and a text in quotation marks."""
    try:
        float(value)
    except ValueError:
        return value if value.startswith(("[", "{")) or value in ("True", "False", "None") else repr(value)
    return value


def _why_not(error: str, words: Sequence[str]) -> str:
    """Why a model that `zoo train` names has no such option, if other models have it; otherwise nothing."""
    start = find_start(words)
    if start is None:
        return ""
    model, unknown = find_model(start.recipe.model), {name.partition("=")[0] for name in error.split()}
    if any(name.startswith("--sampling.") for name in unknown) and not model.feeds_back(start.recipe.options):
        return f"; {model.name} reads no frames after the observed ones, so scheduled sampling does not apply"
    if model.reads == "series" and unknown & {"--options.patch", "--options.canvas", "--options.channels"}:
        return f"; {model.name} reads series, which have no patches, canvas or channels"
    return ""


def make_parser(words: Sequence[str]) -> ArgumentParser:
    """The parser of all commands. The options of `zoo train` depend on the model, data set and preset in `words`."""
    set_loader(PARSER_MODE, load_argument, (yaml.YAMLError,))
    parser = ArgumentParser(
        prog="zoo",
        parser_mode=PARSER_MODE,
        allow_abbrev=False,  # the commands inherit it
        description=_first_line(__doc__).partition(": ")[2].capitalize(),
        exit_on_error=False,
        version=zoo.__version__,
        epilog=_IMPORTING,
    )
    commands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        summary = _first_line(command.run.__doc__)
        subparser = ArgumentParser(description=summary, exit_on_error=False)
        command.add_arguments(subparser, words)
        subparser.epilog = f"{subparser.epilog}. {_IMPORTING}" if subparser.epilog else _IMPORTING
        commands.add_subcommand(name, subparser, help=summary)
    return parser


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
