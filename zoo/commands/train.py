"""`zoo train`: train a model on a data set."""

import dataclasses
import re
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from jsonargparse import ArgumentParser, Namespace

import zoo
from tensortrain.terminal import INTERRUPTED
from zoo.checks import check_recipe
from zoo.commands.options import ROOT_HELP
from zoo.commands.starting import PARTS, PRESET, find_start
from zoo.errors import ZooError
from zoo.importing import imports_in_words
from zoo.names import LOGGERS, check_name
from zoo.presets import PRESETS, recipe
from zoo.registry import find_model
from zoo.settings import CHOICES, DATA_SETS, Origin, Recipe, Training, data_class, settings_class

CONFIG_HELP = (
    "YAML file with settings that replace those of the preset. Without MODEL and DATASET, it must hold all settings of "
    "a run, such as runs/NAME/config.yaml; a new run in a new folder then starts from step 0, or from the last step of "
    "the run that origin.run names."
)


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The model, the data set, the preset, and all settings that can replace those of the preset.

    Which settings exist depends on `words`, that is, on the model, data set, preset, schedules and optimiser.
    """
    beginning = find_start(words)
    # argparse cannot tell apart two optional positional words that are separated on the command line
    count: dict[str, Any] = {"nargs": "?"} if beginning is not None and beginning.folder else {}
    parser.add_argument("model", type=str, help="Name of the model, as in `zoo models`.", **count)
    parser.add_argument("dataset", type=str, help=f"Data set, one of: {', '.join(DATA_SETS)}.", **count)
    parser.add_argument("--preset", default=PRESET, help=f"Settings to start from: {', '.join(PRESETS)}.")
    parser.add_argument(
        "--protocol",
        type=str | None,
        help="With --preset paper: use the settings of another paper, such as predrnn-pp.",
    )
    parser.add_argument("--config", action="config", help=CONFIG_HELP)
    parser.add_argument(
        "--output", "-o", type=str | None, help="Folder of the run; default: runs/MODEL-DATASET-PRESET."
    )
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)
    parser.add_argument("--init", type=str | None, help="Short for --origin.weights: weights to start from.")
    parser.add_argument(
        "--continue",
        type=str | None,
        help="Folder of a run to continue in a new folder, with other settings and without its time limit.",
    )
    parser.add_argument(
        "--freeze", type=str, nargs="+", help="Short for --origin.freeze: parameters that are not trained."
    )
    for short in ("devices", "nodes"):
        parser.add_argument(f"--{short}", type=int | None, help=f"Short for --training.{short}.")
    parser.add_argument(
        "--max-time", type=str | None, help="Stop after a time such as 25m or 2h; the run can be resumed."
    )
    parser.add_argument(
        "--logger",
        type=str | None,
        help=f"Loggers to use besides metrics.csv, separated by commas: {', '.join(LOGGERS)}. Default: tensorboard if "
        "it is installed; a resumed run keeps its loggers.",
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="Stop with an error if the folder already holds a run; without this option, such a run is resumed.",
    )

    defaults: dict[str, Any] = {}
    start = recipe("conv-tt-lstm-sw") if beginning is None else beginning.recipe
    if beginning is None:  # for `zoo train --help`
        parser.epilog = (
            "For the settings of a model with a preset's values see: zoo train MODEL DATASET --preset NAME --help"
        )
    else:
        entry = find_model(start.model)
        parser.add_function_arguments(entry.make, "options", skip=set(entry.fixed))
        defaults = {f"options.{name}": value for name, value in {**entry.defaults, **start.options}.items()}
        if beginning.folder:
            defaults |= {"model": start.model, "dataset": start.data.name, "output": beginning.folder}
    for part in PARTS:
        settings = getattr(start, part)
        parser.add_class_arguments(type(settings), part)
        defaults |= {f"{part}.{name}": value for name, value in dataclasses.asdict(settings).items()}
    parser.set_defaults(defaults)


def run(arguments: Namespace) -> None:
    """Train a model, or resume a training that was stopped."""
    name = f"{arguments.model}-{re.sub('[^A-Za-z0-9_.]+', '-', arguments.dataset)}-{arguments.preset}"
    folder = arguments.output or f"runs/{name}"
    loggers = None if arguments.logger is None else [kind.strip() for kind in arguments.logger.split(",")]
    for kind in loggers or []:
        check_name("logger", kind, LOGGERS)
    wanted = check_recipe(_recipe(arguments))
    from zoo.reporting.training import PAGE, TrainingPage
    from zoo.training.interrupt import CleanStop
    from zoo.training.progress import say

    try:
        finished = zoo.fit(
            wanted,
            folder,
            root=arguments.data_root,
            resume=not arguments.fresh,
            watch=TrainingPage(folder, wanted.training.steps, arguments.data_root),
            loggers=loggers,
        )
    except CleanStop:  # a line about it was printed already
        sys.exit(INTERRUPTED)
    place = finished.folder
    validated = (place / "checkpoints" / "best.ckpt").exists()
    held = "best weights" if validated else "last weights, as it stopped before its first validation"
    page = f" {PAGE} in it shows the training." if (place / PAGE).exists() else ""
    say(f"{place} holds the {held}: those of step {finished.step}.{page} Next:")
    run, suffix = shlex.quote(str(place)), ".gif" if finished.recipe.data.content == "video" else ".png"
    imports = imports_in_words()
    say(f"  zoo evaluate {run}{imports}")
    say(f"  zoo predict {run} -o {shlex.quote(place.resolve().name + suffix)}{imports}")


def _recipe(arguments: Namespace) -> Recipe:
    """The recipe that the arguments describe.

    Raises:
        ZooError: if `data.name` is not the data set of the command, or a time is illegal.
    """
    if arguments.data.name != arguments.dataset:
        raise ZooError(
            f"data.name = {arguments.data.name!r} differs from the data set {arguments.dataset!r}; leave data.name out"
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
    origin = Origin(**dict(arguments.origin))
    if arguments.init is not None:
        origin = dataclasses.replace(origin, weights=arguments.init)
    if arguments.freeze is not None:
        origin = dataclasses.replace(origin, freeze=arguments.freeze)
    return Recipe(arguments.model, _options(arguments), data, training=Training(**training), origin=origin, **choices)


def _options(arguments: Namespace) -> dict[str, Any]:
    """The options of the model.

    If the command starts from a run or from a file with all settings, options that these omit, and that still have
    their default values, are omitted here too. Otherwise the same settings would count as different ones.
    """
    options = dict(arguments.options)
    run, files = arguments["continue"], arguments.config or []
    words = ["--continue", run] if run else ["--config", str(files[-1])] if files else []
    start = find_start(["train", *words])
    if start is None or not start.folder:
        return options
    defaults = find_model(arguments.model).options
    return {name: value for name, value in options.items() if name in start.recipe.options or value != defaults[name]}


def minutes(text: str) -> float:
    """Convert a time such as "90s", "25m", "2h" or "25" (minutes) to minutes.

    Raises:
        ZooError: if the text is not a time, or the time is not above zero and finite.

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
        raise ZooError(f"--max-time = {text!r} must be a time above zero, such as 90s, 25m or 2h")
    return time
