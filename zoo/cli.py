"""The command `zoo`: train, measure and look at video-prediction models.

Exit status: 0 for success, 2 for bad input, 130 if interrupted (training goes on when the command is given again).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from zoo.commands import benchmark, looking, making, train
from zoo.errors import ZooError


class Command(NamedTuple):
    """What a command does, and what it takes."""

    run: Callable[[Namespace], None]
    arguments: Callable[[ArgumentParser, Sequence[str]], None]


COMMANDS = {
    "models": Command(making.models, making.models_arguments),
    "data": Command(making.data, making.data_arguments),
    "train": Command(train.run, train.add_arguments),
    "evaluate": Command(looking.evaluate, looking.evaluate_arguments),
    "compare": Command(looking.compare, looking.compare_arguments),
    "predict": Command(looking.predict, looking.predict_arguments),
    "gradients": Command(looking.gradients, looking.gradients_arguments),
    "entanglement": Command(looking.entanglement, looking.entanglement_arguments),
    "benchmark": Command(benchmark.benchmark, benchmark.benchmark_arguments),
    "export": Command(making.export, making.export_arguments),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends with `SystemExit`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # a configuration names values, never anything to import
    set_parsing_settings(add_print_completion_argument=True, import_path_denylist=["*"])
    try:
        chosen = parse(given)
        COMMANDS[chosen.command].run(chosen[chosen.command])
    except ZooError as error:
        print(f"zoo: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("zoo: interrupted", file=sys.stderr)
        sys.exit(130)


def parse(given: Sequence[str]) -> Namespace:
    """The words of the command line and what configuration files add to them.

    Raises:
        ZooError: they make no sense; jsonargparse says it in two ways.
    """
    try:
        found: Namespace = make_parser(given).parse_args(list(given))
    except (argparse.ArgumentError, ValueError) as error:
        raise ZooError(str(error)) from error
    return found


def make_parser(given: Sequence[str]) -> ArgumentParser:
    """The parser of all commands; that of `train` shows the options and settings of the model and preset `given`."""
    parser = ArgumentParser(
        prog="zoo", description=_first_line(__doc__).partition(": ")[2].capitalize(), exit_on_error=False
    )
    commands = parser.add_subcommands(dest="command")
    for name, command in COMMANDS.items():
        one = ArgumentParser(description=_first_line(command.run.__doc__), exit_on_error=False)
        command.arguments(one, given)
        commands.add_subcommand(name, one, help=_first_line(command.run.__doc__))
    return parser


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
