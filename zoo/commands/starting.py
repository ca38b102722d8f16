"""Find what a `zoo train` command starts from: a preset, a file with all settings, or an earlier run.

This is read from the words before there is a parser, because it decides which settings exist.
"""

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from zoo.checks import check_recipe
from zoo.errors import ZooError
from zoo.presets import change, recipe
from zoo.reading import MOST_BYTES, load_yaml, read_text
from zoo.registry import find_model, model_names
from zoo.settings import CHOICES, Origin, Recipe, from_plain

PRESET = "small"
PARTS = ("data", *CHOICES, "training", "origin")
FILES = ("--config", "--options", *(f"--{part}" for part in PARTS))  # options that may name a file
HINTS = {
    "--lr": "--learning_rate.base",
    "--learning-rate": "--learning_rate.base",
    "--steps": "--training.steps",
    "--batch-size": "--training.batch_size",
    "--seed": "--training.seed",
}


class Start(NamedTuple):
    """What a run starts from.

    Args:
        recipe: the settings to start from, with the schedules and optimiser that the words name.
        folder: a new folder beside the run or file that the run starts from; empty if it starts from a preset.
    """

    recipe: Recipe
    folder: str = ""


def find_start(words: Sequence[str]) -> Start | None:
    """Find what a `zoo train` command starts from.

    The result is None if the words are not those of `zoo train`, or name no model, as in `zoo train --help`.

    Raises:
        ZooError: if a model, data set, preset, protocol, schedule or optimiser is unknown, if a file and the command
            name different ones, or if a file cannot be one of settings.
    """
    if words[:1] != ["train"]:
        return None
    _check_files(words)
    first = _parse_first(words[1:])
    choices = {part: {entry: name} for part, (entry, _) in CHOICES.items() if (name := _choice(part, first.sources))}
    if whole := _whole_recipe(first):
        file, start = whole
        for part, change_of in choices.items():
            start = replace(start, **{part: change(part, getattr(start, part), change_of)})
        _check_hints(words, start)
        return Start(start, _beside(file))
    named = [str(settings["model"]) for settings in first.sources if "model" in settings]
    model = first.model or ([None, *named][-1])
    if model is None:
        return None
    _check_kind(model)
    _check_names(first, model)
    presets = [str(settings["preset"]) for settings in first.sources if "preset" in settings]
    # if several presets are named, the last one counts, as with every other option
    start = recipe(model, [PRESET, *presets][-1], dataset=first.dataset, protocol=first.protocol, **choices)
    _check_hints(words, start)
    return Start(start)


def _whole_recipe(first: argparse.Namespace) -> tuple[Path, Recipe] | None:
    """The recipe of the run to continue; or of a file with all settings, if the words name no model."""
    if first.continued is not None:
        folder = Path(first.continued)
        config = folder / "config.yaml"
        if not config.is_file():
            raise ZooError(f"--continue {folder} is not a run; name a folder that `zoo train` has made")
        start = _read_whole(config)
        if first.model not in (None, start.model):
            raise ZooError(f"{folder} is a run of {start.model}, which {first.model} cannot continue; use --init")
        if first.dataset not in (None, start.data.name):
            other = recipe(start.model, PRESET, start.options, first.dataset).data
            shared = {name: getattr(start.data, name) for name in ("observed", "length")}
            start = replace(start, data=replace(other, **shared))
        return config, replace(start, origin=Origin(run=str(folder.resolve())))
    files = [name for name in first.files if os.path.isfile(name)]
    if first.model is not None or not files:
        return None
    settings = _read_settings(files[-1])
    if not {"model", *PARTS} - {"origin"} <= settings.keys():
        return None
    return Path(files[-1]), _read_whole(Path(files[-1]))


def _read_whole(config: Path) -> Recipe:
    """Read the recipe in the configuration of a run, or in the output of `--print_config`."""
    settings = _read_settings(str(config))
    known = {each.name for each in fields(Recipe)}
    start = from_plain({name: value for name, value in settings.items() if name in known}, str(config))
    try:
        return check_recipe(start)
    except ZooError as error:
        raise ZooError(f"{config}: {error}") from error


def _beside(config: Path) -> str:
    """A folder that does not exist yet, named after the folder of a run or after a file."""
    start = config.parent if config.name == "config.yaml" else config.with_suffix("")
    start = start.resolve() if start == Path() else start
    return str(next(each for i in count(2) if not (each := start.with_name(f"{start.name}-{i}")).exists()))


def _check_kind(model: str) -> None:
    """Raise a ZooError if trained weights are named in place of a model, as other commands accept them."""
    if (":" in model or os.path.exists(model)) and model not in model_names():
        raise ZooError(
            f"{model} names trained weights, not a model; to start from them, use `zoo train MODEL DATA --init {model}`"
        )


def _check_names(first: argparse.Namespace, model: str) -> None:
    """Raise a ZooError if a configuration names another model or data set than the words do."""
    for settings in first.sources:
        if (theirs := settings.get("model", model)) != model:
            known = find_model(model).options
            options = settings.get("options")
            foreign = [name for name in options if name not in known] if isinstance(options, dict) else []
            extra = f"; its options {', '.join(map(str, foreign))} do not apply to {model}" if foreign else ""
            raise ZooError(
                f"a configuration says model = {theirs!r}, but the command line says {model!r}{extra}; leave it out of "
                "the configuration"
            )
        dataset = settings.get("dataset", first.dataset)
        if first.dataset is not None and dataset != first.dataset:
            raise ZooError(
                f"a configuration says dataset = {dataset!r}, but the command line says {first.dataset!r}; leave it "
                "out of the configuration"
            )


def _check_hints(words: Sequence[str], start: Recipe) -> None:
    """Raise a ZooError that names the right option if a word is an option of other programs, such as --lr."""
    for word in words:
        option = word.partition("=")[0]
        if option == "--epochs":
            steps = -(-start.data.clips_per_epoch // start.training.batch_size)
            raise ZooError(f"--epochs is not an option; use --training.steps. An epoch of this run has {steps:,} steps")
        if option in HINTS:
            raise ZooError(f"{option} is not an option; use {HINTS[option]}")


def _choice(part: str, sources: Sequence[dict[str, Any]]) -> str:
    """The schedule or optimiser that the sources name for a part of the recipe; empty if none does.

    Raises:
        ZooError: if they name several. Each has its own settings, so the last one cannot simply count.
    """
    settings = [source[part] for source in sources if isinstance(source.get(part), dict)]
    entry = CHOICES[part][0]
    names = list(dict.fromkeys(str(named[entry]) for named in settings if entry in named))
    if len(names) > 1:
        raise ZooError(f"{part}.{entry} is both {names[0]!r} and {names[1]!r}; name only one")
    return "".join(names)


def _parse_first(words: Sequence[str]) -> argparse.Namespace:
    """Read the words that decide which settings exist, before there can be a parser of these settings.

    Returns:
        A namespace. `model` and `dataset` are None if missing. `continued` is the run to continue. `files` are the
        configurations. `sources` has a mapping of settings for each word or file that names a preset, a schedule or an
        optimiser, in the order of the words.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    sources: dict[str, Callable[[str], Any]] = {"--config": _read_settings, "--preset": lambda name: {"preset": name}}
    for part, (entry, _) in CHOICES.items():
        sources |= {f"--{part}": partial(_read_part, part), f"--{part}.{entry}": partial(_name, part, entry)}
    for option, read in sources.items():
        parser.add_argument(option, dest="sources", action="append", type=read, default=[])
    parser.add_argument("--output", "-o")
    parser.add_argument("--continue", dest="continued")
    parser.add_argument("--freeze", nargs="+")
    for option in ("--init", "--data-root", "--protocol", "--devices", "--nodes", "--max-time", "--logger"):
        parser.add_argument(option)
    # other settings, such as `--training.steps 5` or `--data FILE`, are unknown here and keep their values
    joined: list[str] = []
    for word in words:
        if joined and re.fullmatch(rf"--(\w+\.[\w.]+\+?|options|{'|'.join(PARTS)})", joined[-1]):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    first, others = parser.parse_known_args(joined)
    names = [word for word in others if not word.startswith("-")]
    first.model, first.dataset, *_ = [*names, None, None]
    pairs = [*pairwise(words), *(word.partition("=")[::2] for word in words)]
    first.files = [value for option, value in pairs if option == "--config"]
    return first


def _read_part(part: str, text: str) -> dict[str, Any]:
    return {part: _read_settings(text)}


def _name(part: str, entry: str, choice: str) -> dict[str, Any]:
    return {part: {entry: choice}}


def _read_settings(text: str) -> dict[str, Any]:
    """The settings in a YAML file or text. Empty if it has none or is damaged: jsonargparse reads it too, and reports
    what is wrong."""
    try:
        settings = load_yaml(read_text(Path(text), MOST_BYTES) if os.path.isfile(text) else text)
    except (ZooError, yaml.YAMLError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _check_files(words: Sequence[str]) -> None:
    """Raise a ZooError if a file of settings is not a regular file, such as a pipe, or is far too large.

    jsonargparse, which reads these files, would wait for a pipe."""
    named = [word.partition("=")[::2] for word in words] + list(pairwise(words))
    for option, value in named:
        meant = len(option) > 2 and any(full.startswith(option) for full in FILES)  # options may be abbreviated
        if meant and os.path.exists(value) and not os.path.isdir(value):
            read_text(Path(value), MOST_BYTES)
