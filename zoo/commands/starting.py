"""Find what a `zoo train` command starts from: a preset, a file with all settings, or an earlier run.

The words of the command line are read before there is a parser, because the start decides which settings exist.
"""

import argparse
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import ArgumentParser

from zoo.checks import check_recipe
from zoo.commands.options import PARSER_MODE, load_argument
from zoo.errors import ZooError
from zoo.presets import DEFAULTS, change, recipe
from zoo.reading import MOST_BYTES, read_text
from zoo.registry import find_model, model_names
from zoo.settings import CHOICES, Recipe, data_class, from_plain

PRESET = "small"
PARTS = ("data", *CHOICES, "training", "origin")
FILES = ("--config", "--options", *(f"--{part}" for part in PARTS))  # options that may name a file
SHORT = {  # the short forms of settings
    "init": ("origin", "weights"),
    "continue": ("origin", "run"),
    "freeze": ("origin", "freeze"),
    "devices": ("training", "devices"),
    "nodes": ("training", "nodes"),
    "max_time": ("training", "max_time"),
}
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
    _check_short(first.sources)
    choices = {part: {entry: name} for part, (entry, _) in CHOICES.items() if (name := _choice(part, first.sources))}
    if whole := _whole_recipe(first):
        file, start = whole
        _check_preset(first.sources, file)
        for part, change_of in choices.items():
            start = replace(start, **{part: change(part, getattr(start, part), change_of)})
        _check_hints(words, start)
        return Start(start, _beside(file))
    model = first.model or _last(first.sources, "model")
    if model is None:
        return None
    _check_kind(model)
    _check_names(first, model)
    dataset = first.dataset or _last(first.sources, "dataset") or DEFAULTS[find_model(model).reads]
    preset, protocol = _last(first.sources, "preset") or PRESET, _last(first.sources, "protocol")
    options, data = _changes(first.sources, model, dataset)
    start = recipe(model, preset, options, dataset, protocol, data=data, **choices)
    _check_hints(words, start)
    return Start(start)


class _Source(NamedTuple):
    """Settings that a word or a configuration of the command line names.

    Args:
        settings: the settings, as far as they are known before there is a parser.
        words: the model's options and the settings of the data among them, as words of a command line.
        file: the configuration; empty for a word.
    """

    settings: dict[str, Any]
    words: tuple[str, ...] = ()
    file: str = ""


class _First(NamedTuple):
    """What the words say before there is a parser.

    Args:
        model: the word that names the model; None if there is none.
        dataset: the word that names the data set; None if there is none.
        sources: the settings that are named, in the order of the words.
    """

    model: str | None
    dataset: str | None
    sources: list[_Source]


def _last(sources: Sequence[_Source], name: str) -> str | None:
    """The last value that the sources give to an option, because it replaces earlier ones; None if there is none."""
    values = [source.settings[name] for source in sources if source.settings.get(name) is not None]
    return str(values[-1]) if values else None


def _changes(sources: Sequence[_Source], model: str, dataset: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the model and the settings of the data that the sources name. Presets depend on them.

    Both are empty if a value is illegal: the parser of all options then reports it.
    """
    words = [word for source in sources for word in source.words]
    if not words:
        return {}, {}
    entry = find_model(model)
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False, parser_mode=PARSER_MODE)
    parser.add_function_arguments(entry.make, "options", skip=set(entry.fixed))
    parser.add_class_arguments(data_class(dataset), "data")
    try:
        parsed = parser.parse_args([f"--data.name={dataset}", *words], defaults=False)
    except (argparse.ArgumentError, ValueError):
        return {}, {}
    named = parsed.clone(with_meta=False).as_dict()  # without the names of files
    return named.get("options", {}), {name: value for name, value in named["data"].items() if name != "name"}


def _whole_recipe(first: _First) -> tuple[Path, Recipe] | None:
    """The file and the recipe of the run to continue or, if the words name no model, of a file with all settings.

    None if the words name neither.
    """
    continued = _last(first.sources, "continue")
    if continued is not None:
        folder = Path(continued)
        config = folder / "config.yaml"
        if not config.is_file():
            raise ZooError(f"--continue {folder} is not a run; name a folder that `zoo train` has made")
        start = _read_whole(config)
        if first.model not in (None, start.model):
            raise ZooError(f"{folder} is a run of {start.model}, which {first.model} cannot continue; use --init")
        if first.dataset not in (None, start.data.name):
            start = replace(start, data=_other_data(start, str(first.dataset)))
        origin = replace(start.origin, run=str(folder.resolve()), weights="")
        # the time limit was meant for the earlier run only
        return config, replace(start, origin=origin, training=replace(start.training, max_time=0.0))
    files = [source for source in first.sources if source.file and os.path.isfile(source.file)]
    if first.model is not None or not files or not _is_whole(files[-1].settings):
        return None
    return Path(files[-1].file), _read_whole(Path(files[-1].file))


def _other_data(start: Recipe, dataset: str) -> Any:
    """The settings of another data set, with those settings of a run's data that belong to its model: the steps, and
    the normalisation where the data set has one."""
    data = recipe(start.model, PRESET, start.options, dataset).data
    names = {each.name for each in fields(data)} & {each.name for each in fields(start.data)}
    kept = names & {"observed", "length", "mean", "std"}
    return replace(data, **{name: getattr(start.data, name) for name in kept})


def _is_whole(settings: dict[str, Any]) -> bool:
    """Whether settings are all those of a run."""
    return {"model", *PARTS} - {"origin"} <= settings.keys()


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
        command = f"zoo train MODEL DATA --init {shlex.quote(model)}"
        raise ZooError(f"{model} names trained weights, not a model; to start from them, use `{command}`")


def _check_names(first: _First, model: str) -> None:
    """Raise a ZooError if a configuration names another model or data set than the words do."""
    for settings, *_ in first.sources:
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


def _check_preset(sources: Sequence[_Source], file: Path) -> None:
    """Raise a ZooError if a preset or protocol is named, although all settings are those in a file."""
    for name in ("preset", "protocol"):
        value = _last([source for source in sources if not _is_whole(source.settings)], name)
        if value is not None:
            raise ZooError(
                f"--{name} {value} would change nothing, because {file} holds all settings; leave it out, or start "
                "from the preset with `zoo train MODEL DATA`"
            )


def _check_short(sources: Sequence[_Source]) -> None:
    """Raise a ZooError if a setting follows its short form: the short form, which comes first, would replace it."""
    for short, (part, name) in SHORT.items():
        places = [i for i, source in enumerate(sources) if source.settings.get(short) is not None]
        for source in sources[places[0] + 1 :] if places else ():
            if isinstance(named := source.settings.get(part), dict) and name in named:
                where = f"{part}.{name} in {source.file}" if source.file else f"--{part}.{name}"
                raise ZooError(
                    f"--{short.replace('_', '-')} is short for {part}.{name}, and {where} follows it; give only one"
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


def _choice(part: str, sources: Sequence[_Source]) -> str:
    """The schedule or optimiser that the sources name for a part of the recipe; empty if none does.

    Raises:
        ZooError: if they name several. Each has its own settings, so the last one cannot simply replace the others.
    """
    settings = [named for source in sources if isinstance(named := source.settings.get(part), dict)]
    entry = CHOICES[part][0]
    names = list(dict.fromkeys(str(named[entry]) for named in settings if entry in named))
    if len(names) > 1:
        raise ZooError(f"{part}.{entry} is both {names[0]!r} and {names[1]!r}; name only one")
    return "".join(names)


def _parse_first(words: Sequence[str]) -> _First:
    """Read the words that decide which settings exist, before there can be a parser of these settings."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    source: dict[str, Any] = {"dest": "sources", "action": "append", "default": []}
    parser.add_argument("--config", type=_read_config, **source)
    for name in ("preset", "protocol", *SHORT):
        how = source | {"action": "extend", "nargs": "+"} if name == "freeze" else source
        parser.add_argument(f"--{name.replace('_', '-')}", type=partial(_read_short, name), **how)
    for option in dict.fromkeys(word.partition("=")[0] for word in words):
        if match := re.fullmatch(rf"--({'|'.join(('options', *PARTS))})(?:\.([\w.]+\+?))?", option):
            parser.add_argument(option, type=partial(_read_setting, option, *match.groups()), **source)
    parser.add_argument("--output", "-o")
    for option in ("--data-root", "--logger"):
        parser.add_argument(option)
    first, others = parser.parse_known_args(words)
    names = [word for word in others if not word.startswith("-")]
    model, dataset, *_ = [*names, None, None]
    return _First(model, dataset, first.sources)


def _read_config(text: str) -> _Source:
    settings = _read_settings(text)
    parts = {part: named for part in ("options", "data") if isinstance(named := settings.get(part), dict)}
    words = (f"--{part}={yaml.safe_dump(named, default_flow_style=True)}" for part, named in parts.items())
    return _Source(settings, tuple(words), text)


def _read_short(name: str, text: str) -> _Source:
    return _Source({name: text})


def _read_setting(option: str, part: str, name: str | None, text: str) -> _Source:
    settings = _read_settings(text) if name is None else {name: text}
    # what is appended to a preset's value (+) can change no other setting
    words = (f"{option}={text}",) if part in ("options", "data") and not option.endswith("+") else ()
    return _Source({part: settings}, words)


def _read_settings(text: str) -> dict[str, Any]:
    """The settings in a YAML file or text. Empty if it has none or is damaged: jsonargparse reads it too, and reports
    what is wrong."""
    try:
        settings = load_argument(read_text(Path(text), MOST_BYTES) if os.path.isfile(text) else text)
    except (ZooError, yaml.YAMLError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _check_files(words: Sequence[str]) -> None:
    """Raise a ZooError if a file of settings is not a regular file, such as a pipe, or is far too large.

    jsonargparse, which reads these files, would wait for a pipe."""
    named = [word.partition("=")[::2] for word in words] + list(pairwise(words))
    for option, value in named:
        if option in FILES and os.path.exists(value) and not os.path.isdir(value):
            read_text(Path(value), MOST_BYTES)
