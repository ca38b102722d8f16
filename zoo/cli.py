"""The command `zoo`: train, measure and look at video-prediction models.

Exit status: 0 for success, 2 for bad input, 130 if interrupted (training goes on when the command is given again).
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

import zoo
from zoo.errors import ZooError, nearest
from zoo.presets import PRESETS, recipe
from zoo.registry import find_model
from zoo.rollout import VideoModel
from zoo.settings import Data, Rate, Recipe, Sampling, Training

PARTS = {"data": Data, "sampling": Sampling, "rate": Rate, "training": Training}
DATA_SETS = ("moving-mnist",)
ROOT_HELP = "Folder with data and weights of metrics; else $ZOO_DATA, else ~/.cache/zoo."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; ends with `SystemExit`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    set_parsing_settings(add_print_completion_argument=True)
    try:
        parser = make_parser(given)
        chosen = parser.parse_args(given)
        COMMANDS[chosen.command].run(chosen[chosen.command])
    except (ZooError, argparse.ArgumentError) as error:
        print(f"zoo: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("zoo: interrupted", file=sys.stderr)
        sys.exit(130)


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


# ---- models and data --------------------------------------------------------------------------------------


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
        with device("meta"):
            count = sum(parameter.numel() for parameter in entry.make().parameters())
        table.add_row(name, f"{count:,}", entry.paper, entry.summary, "\n".join(pretrained_names(name)))
    show(table)


def show(table: Any) -> None:
    """Print a table; a pipe or a file gets it unbroken."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200).print(table)


def data_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which data set, and where."""
    parser.add_argument("name", type=Literal["mnist"], help="Data set to prepare.")
    parser.add_argument("--download", action="store_true", help="Fetch what is missing; an interrupted one goes on.")
    parser.add_argument("--mirror", type=str | None, help="Address of a folder with the original files.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def data(chosen: Namespace) -> None:
    """Say which digits there are, and download MNIST if asked to."""
    from zoo.data import MovingMNIST, download_mnist

    if chosen.download:
        download_mnist(chosen.data_root, mirror=chosen.mirror)
    for split in ("train", "val", "test"):
        print(MovingMNIST(split, root=chosen.data_root).describe())


# ---- training ---------------------------------------------------------------------------------------------


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
    return recipe(next((word for word in words if word in zoo.model_names()), words[0]), found.preset)


def train(chosen: Namespace) -> None:
    """Train a model, or go on with a run that was stopped."""
    if chosen.dataset not in DATA_SETS:
        raise ZooError(f"no data set {chosen.dataset!r}; {nearest(chosen.dataset, DATA_SETS)}")
    training = dict(chosen.training)
    for short in ("devices", "nodes"):
        if chosen[short] is not None:
            training[short] = chosen[short]
    if chosen.max_time is not None:
        training["max_time"] = minutes(chosen.max_time)
    asked = Recipe(
        model=chosen.model,
        options=dict(chosen.options),
        data=Data(**dict(chosen.data) | {"name": chosen.dataset}),
        sampling=Sampling(**dict(chosen.sampling)),
        rate=Rate(**dict(chosen.rate)),
        training=Training(**training),
    )
    folder = chosen.output or f"runs/{chosen.model}-{chosen.dataset}-{chosen.preset}"
    run = zoo.fit(asked, folder, root=chosen.data_root, resume=not chosen.fresh)
    print(f"{run.folder}: the best weights are those of step {run.step}; look at them with: zoo evaluate {run.folder}")


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


# ---- evaluation -------------------------------------------------------------------------------------------


class Subject(NamedTuple):
    """A trained model to look at."""

    name: str
    model: VideoModel
    recipe: Recipe
    folder: Path | None


def find_subject(reference: str, checkpoint: str = "best") -> Subject:
    """The model of a run's folder, of a safetensors file, or `MODEL:WEIGHTS` of the weights that ship.

    Raises:
        ZooError: none of these.
    """
    from zoo.pretrained import load_pretrained, load_weights

    path = Path(reference)
    if path.is_dir():
        run = zoo.open_run(path, checkpoint)
        return Subject(path.name, run.model, run.recipe, path)
    if path.suffix == ".safetensors":
        model, made = load_weights(path)
        return Subject(path.stem, model, made, None)
    if ":" in reference:
        name, _, weights = reference.partition(":")
        find_model(name)
        model, made = load_pretrained(name, weights)
        return Subject(reference, model, made, None)
    raise ZooError(
        f"{reference} is no folder of a run; give one that `zoo train` made, a .safetensors file that `zoo export` "
        "wrote, or MODEL:WEIGHTS as `zoo models` lists them"
    )


def measuring_arguments(parser: ArgumentParser) -> None:
    """What `evaluate` and `compare` share."""
    parser.add_argument("--horizon", type=int, default=10, help="Frames to predict.")
    parser.add_argument("--convention", default="correct", help="How to measure: correct, or a publication's way.")
    parser.add_argument("--digits", type=int | None, help="Moving digits in a clip; default: as trained.")
    parser.add_argument("--published", type=str | None, help="Measure on this mnist_test_seq.npy instead.")
    parser.add_argument("--count", type=int | None, help="Clips of the test split; default: all.")
    parser.add_argument("--batch", type=int, default=16, help="Clips at a time.")
    parser.add_argument("--checkpoint", default="best", help="Of a run: best, last, step-N, or a path.")
    parser.add_argument("--device", type=str | None, help="Where to compute, such as cuda.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def measure(subject: Subject, chosen: Namespace) -> Any:
    """Scores of a subject on the test split of its data."""
    from zoo.data import ClipDataset, PublishedMovingMNIST, make_dataset
    from zoo.evaluation import evaluate

    settings = subject.recipe.data
    if chosen.digits is not None:
        settings = dataclasses.replace(settings, digits=chosen.digits)
    dataset: ClipDataset
    if chosen.published:
        dataset = PublishedMovingMNIST(chosen.published)
    else:
        dataset = make_dataset(settings, "test", chosen.data_root, settings.observed + chosen.horizon)
    print(f"{subject.name} on {dataset.describe()}", file=sys.stderr)
    return evaluate(
        subject.model,
        dataset,
        chosen.horizon,
        observed=settings.observed,
        convention=chosen.convention,
        count=chosen.count,
        batch=chosen.batch,
        name=subject.name,
        device=chosen.device,
        root=chosen.data_root,
        progress=sys.stderr.isatty(),
    )


def evaluate_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """One run and how to measure it."""
    parser.add_argument("run", type=str, help="Folder of a run, a .safetensors file, or MODEL:WEIGHTS.")
    measuring_arguments(parser)
    parser.add_argument("--output", "-o", type=str | None, help="CSV file with the values of every predicted frame.")


def evaluate(chosen: Namespace) -> None:
    """Measure a trained model and the trivial baselines on the test split."""
    scores = measure(find_subject(chosen.run, chosen.checkpoint), chosen)
    show(scores.table())
    if chosen.output:
        scores.to_csv(chosen.output)


def compare_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Several runs and how to measure them."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs, .safetensors files, or MODEL:WEIGHTS.")
    measuring_arguments(parser)
    parser.add_argument("--layout", type=str | None, help="Table of a paper; default: the one that fits.")
    parser.add_argument("--curves", type=str | None, help="PNG file for the values of every predicted frame.")


def compare(chosen: Namespace) -> None:
    """Set trained models beside published results, as a table and as curves."""
    from zoo import evaluation

    scores = [measure(find_subject(run, chosen.checkpoint), chosen) for run in chosen.runs]
    show(evaluation.compare(scores, chosen.layout))
    if chosen.curves:
        evaluation.save_figure(evaluation.curves(scores), chosen.curves)


def predict_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which models, which clip, and the picture to write."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs, .safetensors files, or MODEL:WEIGHTS.")
    parser.add_argument("--output", "-o", type=str, required=True, help="Picture: .png is a strip, .gif and .mp4 move.")
    parser.add_argument("--video", type=str | None, help="Video or GIF to go on with, instead of a test clip.")
    parser.add_argument("--clip", type=int, default=0, help="Which test clip.")
    parser.add_argument("--horizon", type=int, default=10, help="Frames to predict.")
    parser.add_argument("--checkpoint", default="best", help="Of a run: best, last, step-N, or a path.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def predict(chosen: Namespace) -> None:
    """Draw what models predict beside the truth."""
    from zoo.data import make_dataset
    from zoo.evaluation import Blank, CopyLast, read_video
    from zoo.evaluation import predict as draw

    subjects = [find_subject(run, chosen.checkpoint) for run in chosen.runs]
    settings = subjects[0].recipe.data
    channels = subjects[0].model.channels
    if chosen.video:
        clip = read_video(chosen.video, settings.canvas, channels == 1, settings.observed + chosen.horizon)
    else:
        dataset = make_dataset(settings, "test", chosen.data_root, settings.observed + chosen.horizon)
        print(dataset.describe(), file=sys.stderr)
        clip = dataset.clips([chosen.clip])[0]
    shown: dict[str, VideoModel] = {subject.name: subject.model for subject in subjects}
    shown["copy last frame"], shown["blank frames"] = CopyLast(channels), Blank(channels)
    draw(shown, clip, chosen.horizon, settings.observed).save(chosen.output)
    print(chosen.output)


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


class Command(NamedTuple):
    """What a command does, and what it takes."""

    run: Callable[[Namespace], None]
    arguments: Callable[[ArgumentParser, Sequence[str]], None]


COMMANDS = {
    "models": Command(models, models_arguments),
    "data": Command(data, data_arguments),
    "train": Command(train, train_arguments),
    "evaluate": Command(evaluate, evaluate_arguments),
    "compare": Command(compare, compare_arguments),
    "predict": Command(predict, predict_arguments),
    "export": Command(export, export_arguments),
}
