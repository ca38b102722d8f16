"""Commands that make things: models, data, train, export."""

import argparse
import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

import zoo
from zoo.commands.trained import ROOT_HELP, find_subject, show
from zoo.errors import ZooError
from zoo.presets import PRESETS, recipe
from zoo.registry import find_model
from zoo.settings import DATA_SETS, Data, Rate, Recipe, Sampling, Training, kind_of

PARTS = {"data": Data, "sampling": Sampling, "rate": Rate, "training": Training}


def models_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """None."""


def models(chosen: Namespace) -> None:
    """List the models, their published sizes and the weights that ship with them."""
    from rich.table import Table
    from torch import device

    from zoo.pretrained import pretrained_names

    table = Table("model", "parameters", "paper", "what it is", "weights")
    for name in zoo.model_names():
        entry = find_model(name)
        try:
            with device("meta"):
                size = f"{sum(parameter.numel() for parameter in entry.make().parameters()):,}"
        except TypeError:  # a model of the user's own that has no size until its options are given
            size = ""
        table.add_row(name, size, entry.paper, entry.summary, "\n".join(pretrained_names(name)))
    show(table)


def data_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which data set, and where."""
    parser.add_argument("name", type=Literal["mnist", "kth"], help="Data set to prepare.")
    parser.add_argument("--download", action="store_true", help="Fetch what is missing; an interrupted one goes on.")
    parser.add_argument("--mirror", type=str | None, help="Address of a folder with the original files.")
    parser.add_argument("--source", type=str | None, help="Folder with KTH's files; else kth in the data root.")
    parser.add_argument("--size", type=int, default=128, help="Side of KTH's frames, in pixels.")
    parser.add_argument("--check", action="store_true", help="Only list what is wrong with KTH's original files.")
    parser.add_argument("--data-root", "--root", type=str | None, help=ROOT_HELP)


def data(chosen: Namespace) -> None:
    """Prepare a data set, downloading it if asked to, and say what there is."""
    if chosen.mirror and not chosen.download:
        raise ZooError("--mirror says where to download from; add --download, or leave it out")
    if chosen.name != "kth" and (chosen.source or chosen.check):
        raise ZooError("--source and --check are options of kth; leave them out")
    {"mnist": _mnist, "kth": _kth}[chosen.name](chosen)


def _mnist(chosen: Namespace) -> None:
    from zoo.data import MovingMNIST, download_mnist

    if chosen.download:
        download_mnist(chosen.data_root, mirror=chosen.mirror)
    for split in ("train", "val", "test"):
        print(MovingMNIST(split, root=chosen.data_root).describe())


def _kth(chosen: Namespace) -> None:
    from zoo.data import check_kth, download_kth, prepare_kth
    from zoo.data.kth import report

    if chosen.download:
        download_kth(chosen.data_root, mirror=chosen.mirror)
    if chosen.check:
        print("\n".join(check_kth(chosen.data_root, chosen.source)) or "nothing is wrong")
        return
    store = prepare_kth(chosen.data_root, chosen.source, size=chosen.size)
    print("\n".join(report(store)))


def train_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """What to train on what, the preset, and every setting over it."""
    parser.add_argument("model", type=str, help="As `zoo models` lists them.")
    parser.add_argument("dataset", type=str, help=f"One of: {', '.join(DATA_SETS)}.")
    parser.add_argument("--preset", default="small", help=f"Settings to start from: {', '.join(PRESETS)}.")
    parser.add_argument("--config", action="config", help="YAML file with settings over the preset's.")
    parser.add_argument("--output", "-o", type=str | None, help="Folder of the run; else runs/MODEL-DATASET-PRESET.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)
    for short in ("devices", "nodes"):
        parser.add_argument(f"--{short}", type=int | None, help=f"Short for --training.{short}.")
    parser.add_argument("--max-time", type=str | None, help="Stop, resumable, after a time such as 25m or 2h.")
    parser.add_argument("--fresh", action="store_true", help="Refuse to go on with a run that the folder holds.")

    made = _preset(given)
    if made is not None:
        parser.add_function_arguments(find_model(made.model).make, "options")
    for part, kind in PARTS.items():
        parser.add_class_arguments(kind, part)
    if made is not None:
        defaults = {f"options.{name}": value for name, value in made.options.items()}
        for part in PARTS:
            settings = dataclasses.asdict(getattr(made, part))
            defaults |= {f"{part}.{name}": value for name, value in settings.items()}
        parser.set_defaults(defaults)


def _preset(given: Sequence[str]) -> Recipe | None:
    """The recipe that the words after `zoo train` begin with; None if they name no model, as in `zoo train --help`."""
    if given[:1] != ["train"]:
        return None
    first = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    first.add_argument("--preset", default="small")
    found, rest = first.parse_known_args(given[1:])
    words = [word for word in rest if not word.startswith("-")]
    if not words:
        return None
    model = next((word for word in words if word in zoo.model_names()), words[0])
    dataset = next((word for word in words if word in DATA_SETS or word.startswith("videos:")), DATA_SETS[0])
    return recipe(model, found.preset, dataset=dataset)


def train(chosen: Namespace) -> None:
    """Train a model, or go on with a run that was stopped."""
    from zoo.training.progress import say

    kind_of(chosen.dataset)
    if chosen.data.name != chosen.dataset:
        raise ZooError(f"data.name = {chosen.data.name!r} beside the data set {chosen.dataset!r}; leave data.name out")
    training = dict(chosen.training)
    for short in ("devices", "nodes"):
        if chosen[short] is not None:
            training[short] = chosen[short]
    if chosen.max_time is not None:
        training["max_time"] = minutes(chosen.max_time)
    asked = Recipe(
        model=chosen.model,
        options=dict(chosen.options),
        data=Data(**dict(chosen.data)),
        sampling=Sampling(**dict(chosen.sampling)),
        rate=Rate(**dict(chosen.rate)),
        training=Training(**training),
    )
    folder = chosen.output or f"runs/{chosen.model}-{re.sub('[^A-Za-z0-9_.]+', '-', chosen.dataset)}-{chosen.preset}"
    run = zoo.fit(asked, folder, root=chosen.data_root, resume=not chosen.fresh)
    say(f"{run.folder}: the best weights are those of step {run.step}; look at them with: zoo evaluate {run.folder}")


def minutes(text: str) -> float:
    """A time such as "90s", "25m", "2h" or "25" (minutes), in minutes.

    >>> minutes("2h")
    120.0
    """
    units = {"s": 1 / 60, "m": 1.0, "h": 60.0}
    number, unit = (text[:-1], text[-1]) if text[-1:] in units else (text, "m")
    try:
        found = float(number) * units[unit]
    except ValueError:
        found = 0.0
    if not 0 < found < float("inf"):
        raise ZooError(f"--max-time = {text!r} is no time above zero; write 90s, 25m or 2h")
    return found


def export_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which run, and the file to write."""
    parser.add_argument("run", type=str, help="Folder of a run.")
    parser.add_argument("--output", "-o", type=str, required=True, help="Safetensors file.")
    parser.add_argument("--checkpoint", default="best", help="Best, last, step-N, or a path.")


def export(chosen: Namespace) -> None:
    """Write a run's weights and recipe as one safetensors file."""
    from zoo.pretrained import save_weights

    subject = find_subject(chosen.run, chosen.checkpoint)
    save_weights(chosen.output, subject.model, subject.recipe)
    print(chosen.output)
