"""`zoo train`: train a model on a data set."""

import argparse
import dataclasses
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace

import zoo
from zoo.checks import check_recipe
from zoo.commands.options import ROOT_HELP
from zoo.errors import ZooError
from zoo.presets import PRESETS, recipe
from zoo.reading import MOST_BYTES, load_yaml, read_text
from zoo.registry import find_model
from zoo.settings import CHOICES, DATA_SETS, Recipe, Training, data_class, settings_class

PRESET = "small"
PARTS = ("data", *CHOICES, "training")
FILES = ("--config", "--options", *(f"--{part}" for part in PARTS))  # options that may name a file


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The model, the data set, the preset, and every setting that replaces one of the preset's.

    Which settings exist depends on what `words` name: model, data set, preset, schedules and optimiser.
    """
    parser.add_argument("model", type=str, help="As `zoo models` lists them.")
    parser.add_argument("dataset", type=str, help=f"One of: {', '.join(DATA_SETS)}.")
    parser.add_argument("--preset", default=PRESET, help=f"Settings to start from: {', '.join(PRESETS)}.")
    parser.add_argument(
        "--protocol",
        type=str | None,
        help="With --preset paper: train by the settings of another paper, such as predrnn-pp.",
    )
    parser.add_argument("--config", action="config", help="YAML file with settings that replace the preset's.")
    parser.add_argument(
        "--output", "-o", type=str | None, help="Folder of the run; default: runs/MODEL-DATASET-PRESET."
    )
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)
    for short in ("devices", "nodes"):
        parser.add_argument(f"--{short}", type=int | None, help=f"Short for --training.{short}.")
    parser.add_argument("--max-time", type=str | None, help="Stop after a time such as 25m or 2h; the run can resume.")
    parser.add_argument("--fresh", action="store_true", help="Refuse to resume a run that the folder holds.")

    start = _starting_recipe(words)
    defaults: dict[str, Any] = {}
    if start is None:  # the help alone
        start = recipe("conv-tt-lstm-sw")
        parser.epilog = "The settings of a run, with its preset's values: zoo train MODEL DATASET --preset NAME --help"
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
    name = f"{arguments.model}-{re.sub('[^A-Za-z0-9_.]+', '-', arguments.dataset)}-{arguments.preset}"
    folder = arguments.output or f"runs/{name}"
    wanted = check_recipe(_recipe(arguments))
    from zoo.training.progress import say

    finished = zoo.fit(wanted, folder, root=arguments.data_root, resume=not arguments.fresh)
    say(
        f"{finished.folder}: the best weights are those of step {finished.step}; "
        f"measure them with: zoo evaluate {finished.folder}"
    )


def _recipe(arguments: Namespace) -> Recipe:
    """The recipe that the arguments amount to.

    Raises:
        ZooError: `data.name` is not the data set that the command names, or a time that is none.
    """
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
    choices = {
        part: settings_class(part, arguments[part][entry])(**dict(arguments[part]))
        for part, (entry, _) in CHOICES.items()
    }
    data = data_class(arguments.dataset)(**dict(arguments.data))
    return Recipe(arguments.model, dict(arguments.options), data, training=Training(**training), **choices)


def _starting_recipe(words: Sequence[str]) -> Recipe | None:
    """The recipe that a `zoo train` command starts from: its preset's, with what it names of schedules and optimisers.

    None if the words are not those of `zoo train`, or name no model, as in `zoo train --help`.

    Raises:
        ZooError: an unknown model, data set, preset, protocol, schedule or optimiser, a file that names others than the
            command, or one that cannot be a file of settings.
    """
    if words[:1] != ["train"]:
        return None
    _check_files(words)
    first = _parse_first(words[1:])
    if first.model is None:
        return None
    for name in ("model", "dataset"):
        word = getattr(first, name)
        for settings in first.sources:
            if word is not None and settings.get(name, word) != word:
                raise ZooError(
                    f"{name} = {settings[name]!r} in a configuration beside {word!r} on the command line; "
                    "leave it out of the configuration"
                )
    presets = [str(settings["preset"]) for settings in first.sources if "preset" in settings]
    choices: dict[str, Any] = {
        part: {entry: name} for part, (entry, _) in CHOICES.items() if (name := _choice(part, first.sources))
    }
    # of several presets the last one holds, as with every other option
    return recipe(first.model, [PRESET, *presets][-1], dataset=first.dataset, protocol=first.protocol, **choices)


def _choice(part: str, sources: Sequence[dict[str, Any]]) -> str:
    """The schedule or the optimiser that the sources name for a part of the recipe; empty if none does.

    Raises:
        ZooError: they name several. The settings of one mean nothing to another, so the last cannot simply hold.
    """
    settings = [source[part] for source in sources if isinstance(source.get(part), dict)]
    entry = CHOICES[part][0]
    names = list(dict.fromkeys(str(named[entry]) for named in settings if entry in named))
    if len(names) > 1:
        raise ZooError(f"{part}.{entry} is both {names[0]!r} and {names[1]!r}; name one")
    return "".join(names)


def _parse_first(words: Sequence[str]) -> argparse.Namespace:
    """What decides which settings exist, read before there can be a parser of these settings.

    Returns:
        `model` and `dataset`, None where missing; `sources`, in the order of the words: a mapping of settings for each
        word or file that names a preset, a schedule or an optimiser.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    sources: dict[str, Callable[[str], Any]] = {"--config": _read_settings, "--preset": lambda name: {"preset": name}}
    for part, (entry, _) in CHOICES.items():
        sources |= {f"--{part}": partial(_read_part, part), f"--{part}.{entry}": partial(_name, part, entry)}
    for option, read in sources.items():
        parser.add_argument(option, dest="sources", action="append", type=read, default=[])
    parser.add_argument("--output", "-o")
    for option in ("--data-root", "--protocol", "--devices", "--nodes", "--max-time"):
        parser.add_argument(option)
    # the other settings, such as `--training.steps 5` or `--data FILE`, are unknown here and keep their values
    joined: list[str] = []
    for word in words:
        if joined and re.fullmatch(rf"--(\w+\.[\w.]+\+?|options|{'|'.join(PARTS)})", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    first, others = parser.parse_known_args(joined)
    names = [word for word in others if not word.startswith("-")]
    first.model, first.dataset, *_ = [*names, None, None]
    return first


def _read_part(part: str, text: str) -> dict[str, Any]:
    return {part: _read_settings(text)}


def _name(part: str, entry: str, choice: str) -> dict[str, Any]:
    return {part: {entry: choice}}


def _read_settings(text: str) -> dict[str, Any]:
    """The settings in a YAML file, or in a YAML text. None where there are none: jsonargparse reads it too and says
    what is wrong."""
    try:
        settings = load_yaml(read_text(Path(text), MOST_BYTES) if os.path.isfile(text) else text)
    except (ZooError, yaml.YAMLError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _check_files(words: Sequence[str]) -> None:
    """Raise a ZooError if a word names a file of settings that is no regular file, such as a pipe, or far too large.

    jsonargparse, which reads these files, would wait for the pipe."""
    named = [word.partition("=")[::2] for word in words] + list(pairwise(words))
    for option, value in named:
        meant = len(option) > 2 and any(full.startswith(option) for full in FILES)  # it may be abbreviated
        if meant and os.path.exists(value) and not os.path.isdir(value):
            read_text(Path(value), MOST_BYTES)


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
