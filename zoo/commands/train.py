"""`zoo train`: train a model on a data set."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

import zoo
from zoo.commands.trained import ROOT_HELP
from zoo.errors import ZooError
from zoo.presets import PRESETS, recipe
from zoo.registry import find_model
from zoo.settings import DATA_SETS, Recipe, Training, data_class, schedule_class

PARTS = ("data", "sampling", "learning_rate", "training")
SCHEDULED = ("sampling", "learning_rate")


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The model, the data set, the preset, and every setting over it."""
    parser.add_argument("model", type=str, help="As `zoo models` lists them.")
    parser.add_argument("dataset", type=str, help=f"One of: {', '.join(DATA_SETS)}.")
    parser.add_argument("--preset", default="small", help=f"Settings to start from: {', '.join(PRESETS)}.")
    parser.add_argument("--config", action="config", help="YAML file with settings over the preset's.")
    parser.add_argument("--output", "-o", type=str | None, help="Folder of the run; else runs/MODEL-DATASET-PRESET.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)
    for short in ("devices", "nodes"):
        parser.add_argument(f"--{short}", type=int | None, help=f"Short for --training.{short}.")
    parser.add_argument("--max-time", type=str | None, help="Stop, resumable, after a time such as 25m or 2h.")
    parser.add_argument("--fresh", action="store_true", help="Refuse to resume a run that the folder holds.")

    start = _starting_recipe(words)
    defaults: dict[str, Any] = {}
    if start is None:  # the help alone: the settings of the default preset's classes
        start = recipe("conv-tt-lstm-sw")
    else:
        entry = find_model(start.model)
        parser.add_function_arguments(entry.make, "options", skip=set(entry.fixed))
        defaults = {f"options.{name}": value for name, value in {**entry.defaults, **start.options}.items()}
    for part in PARTS:
        settings = getattr(start, part)
        parser.add_class_arguments(type(settings), part)
        defaults |= {f"{part}.{name}": value for name, value in dataclasses.asdict(settings).items()}
    parser.set_defaults(defaults)


def run(arguments: Namespace) -> None:
    """Train a model, or resume a run that was stopped."""
    from zoo.training.progress import say

    if arguments.data.name != arguments.dataset:
        raise ZooError(
            f"data.name = {arguments.data.name!r} beside the data set {arguments.dataset!r}; leave data.name out"
        )
    training = dict(arguments.training)
    for short in ("devices", "nodes"):
        if arguments[short] is not None:
            training[short] = arguments[short]
    if arguments.max_time is not None:
        training["max_time"] = minutes(arguments.max_time)
    parts = {part: schedule_class(part, arguments[part].schedule)(**dict(arguments[part])) for part in SCHEDULED}
    data = data_class(arguments.dataset)(**dict(arguments.data))
    asked = Recipe(arguments.model, dict(arguments.options), data, training=Training(**training), **parts)
    name = f"{arguments.model}-{re.sub('[^A-Za-z0-9_.]+', '-', arguments.dataset)}-{arguments.preset}"
    done = zoo.fit(asked, arguments.output or f"runs/{name}", root=arguments.data_root, resume=not arguments.fresh)
    say(f"{done.folder}: the best weights are those of step {done.step}; measure them with: zoo evaluate {done.folder}")


def _starting_recipe(words: Sequence[str]) -> Recipe | None:
    """The recipe that a `zoo train` command starts from: its preset, with the schedules that the command names.

    None if the words are not those of `zoo train`, or name no model, as in `zoo train --help`.
    """
    if words[:1] != ["train"]:
        return None
    first = _parse_first(words[1:])
    if first.model is None:
        return None
    schedules: dict[str, Any] = {}
    for part in SCHEDULED:
        if (name := _schedule(first, part)) is not None:
            schedules[part] = {"schedule": name}
    return recipe(first.model, first.preset, dataset=first.dataset or DATA_SETS[0], **schedules)


def _parse_first(words: Sequence[str]) -> argparse.Namespace:
    """What decides which settings there are: model, data set, preset, files and schedules; all else is left aside."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("model", nargs="?")
    parser.add_argument("dataset", nargs="?")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--config", action="append", default=[])
    for part in SCHEDULED:
        parser.add_argument(f"--{part}.schedule")
    for option in (("--output", "-o"), ("--data-root",), ("--devices",), ("--nodes",), ("--max-time",)):
        parser.add_argument(*option)
    # an option that is not known here, such as `--training.steps 5`, keeps its value to itself
    joined: list[str] = []
    for word in words:
        if joined and re.fullmatch(r"--\w+\.[\w.]+", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return parser.parse_known_intermixed_args(joined)[0]


def _schedule(first: argparse.Namespace, part: str) -> str | None:
    """The schedule that the command names for a part of the recipe, on the command line or else in a file."""
    named: str | None = getattr(first, f"{part}.schedule")
    for path in first.config:
        try:
            settings = yaml.safe_load(Path(path).read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue  # reading the file for its settings gives the error
        if named is None and isinstance(settings, dict) and isinstance(settings.get(part), dict):
            named = settings[part].get("schedule")
    return named


def minutes(text: str) -> float:
    """A time such as "90s", "25m", "2h" or "25" (minutes), in minutes.

    >>> minutes("2h")
    120.0
    """
    units = {"s": 1 / 60, "m": 1.0, "h": 60.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "m")
    try:
        time = float(number) * units[unit]
    except ValueError:
        time = 0.0
    if not 0 < time < float("inf"):
        raise ZooError(f"--max-time = {text!r} is no time above zero; write 90s, 25m or 2h")
    return time
