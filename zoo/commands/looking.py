"""Commands that look at trained models: evaluate, compare, predict, gradients, entanglement."""

import dataclasses
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.trained import ROOT_HELP, Subject, find_subject, find_subjects, show
from zoo.errors import ZooError
from zoo.settings import Data, Windows
from zoo.video_model import VideoModel

DEVICE_HELP = "Where to compute, such as cuda."

if TYPE_CHECKING:
    from zoo.data import ClipDataset
    from zoo.evaluation import Scores


def models_arguments(parser: ArgumentParser) -> None:
    """Several models."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs, .safetensors files, or MODEL:WEIGHTS.")


def rollout_arguments(parser: ArgumentParser) -> None:
    """One horizon, and what every look at trained models takes."""
    parser.add_argument("--horizon", type=int, default=10, help="Frames to predict.")
    place_arguments(parser)


def place_arguments(parser: ArgumentParser) -> None:
    """Where weights and clips are, and which."""
    parser.add_argument("--checkpoint", default="best", help="Of a run: best, last, step-N, or a path.")
    parser.add_argument("--windows", type=Windows | None, help="Which windows of KTH's clips; default: as trained.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def measuring_arguments(parser: ArgumentParser) -> None:
    """What `evaluate` and `compare` share."""
    parser.add_argument("--convention", default="correct", help="How to measure: correct, or a publication's way.")
    parser.add_argument("--published", type=str | None, help="Measure on this mnist_test_seq.npy instead.")
    parser.add_argument("--count", type=int | None, help="Clips of the test split; default: all.")
    parser.add_argument("--batch", type=int, default=16, help="Clips at a time.")
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)
    parser.add_argument(
        "--curves", type=str | None, help="PNG file for the values at each frame; the numbers go to a CSV beside it."
    )


def held_out(data: Data, horizon: int, chosen: Namespace, digits: int | None = None) -> "ClipDataset":
    """The test split of what a model was trained on, for `horizon` frames to predict.

    Raises:
        ZooError: an option that means nothing for these data, or what `make_dataset` says.
    """
    from zoo.data import make_dataset

    given: list[tuple[str, str, Any]] = [("digits", "moving-mnist", digits), ("windows", "kth", chosen.windows)]
    for setting, kind, value in given:
        if value is not None and data.kind != kind:
            raise ZooError(f"--{setting} is an option of {kind}, and the clips are of {data.name}; leave it out")
        if value is not None:
            data = dataclasses.replace(data, **{setting: value})
    return make_dataset(data, "test", chosen.data_root, data.observed + horizon)


def measure(subject: Subject, horizon: int, digits: int | None, chosen: Namespace) -> "Scores":
    """Scores of a subject on the test split of its data.

    Raises:
        ZooError: options that exclude each other, or what `evaluate` says.
    """
    from zoo.data import PublishedMovingMNIST
    from zoo.evaluation import evaluate

    data = subject.recipe.data
    if chosen.published and digits is not None:
        raise ZooError(f"--digits {digits} beside --published, whose clips are as they are; leave one out")
    dataset = PublishedMovingMNIST(chosen.published) if chosen.published else held_out(data, horizon, chosen, digits)
    print(f"{subject.name} on {dataset.describe()}", file=sys.stderr)
    return evaluate(
        subject.model,
        dataset,
        horizon,
        observed=data.observed,
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
    rollout_arguments(parser)
    parser.add_argument("--digits", type=int | None, help="Moving digits in a clip; default: as trained.")
    measuring_arguments(parser)


def evaluate(chosen: Namespace) -> None:
    """Measure a trained model and the trivial baselines on the test split."""
    check_png(chosen.curves)
    scores = measure(find_subject(chosen.run, chosen.checkpoint), chosen.horizon, chosen.digits, chosen)
    show(scores.table())
    write_curves([scores], chosen.curves)


def compare_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Several runs and how to measure them."""
    models_arguments(parser)
    parser.add_argument("--horizon", type=int, nargs="+", default=[10], help="Frames to predict; one or more numbers.")
    parser.add_argument(
        "--digits", type=int, nargs="+", help="Moving digits in a clip; one or more numbers; default: as trained."
    )
    place_arguments(parser)
    measuring_arguments(parser)
    parser.add_argument("--layout", type=str | None, help="Table of a paper; default: the one that fits.")


def compare(chosen: Namespace) -> None:
    """Set trained models beside published results, as a table and as curves of the longest horizon."""
    from zoo import evaluation

    check_png(chosen.curves)
    subjects = find_subjects(chosen.runs, chosen.checkpoint)
    tasks = dict.fromkeys(itertools.product(chosen.horizon, chosen.digits or [None]))
    scores = {task: [measure(subject, *task, chosen) for subject in subjects] for task in tasks}
    show(evaluation.compare([one for found in scores.values() for one in found], chosen.layout))
    write_curves(scores[max(tasks, key=lambda task: task[0])], chosen.curves)


def predict_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which models, which clip, and the picture to write."""
    models_arguments(parser)
    rollout_arguments(parser)
    parser.add_argument("--output", "-o", type=str, required=True, help="Picture: .png is a strip, .gif and .mp4 move.")
    parser.add_argument("--video", type=str | None, help="Video or GIF to go on with, instead of a test clip.")
    parser.add_argument("--clip", type=int, default=0, help="Which test clip.")


def predict(chosen: Namespace) -> None:
    """Draw what models predict beside the truth."""
    from zoo.evaluation import Blank, CopyLast, read_video
    from zoo.evaluation import predict as draw

    subjects = find_subjects(chosen.runs, chosen.checkpoint)
    settings = shared_data(subjects)
    channels = subjects[0].model.channels
    if chosen.video:
        clip = read_video(chosen.video, settings.size, channels == 1, settings.observed + chosen.horizon)
    else:
        dataset = held_out(settings, chosen.horizon, chosen)
        print(dataset.describe(), file=sys.stderr)
        clip = dataset.clips([chosen.clip])[0]
    shown: dict[str, VideoModel] = {subject.name: subject.model for subject in subjects}
    shown["copy last frame"], shown["blank frames"] = CopyLast(channels), Blank(channels)
    draw(shown, clip, chosen.horizon, settings.observed).save(chosen.output)
    print(chosen.output)


def gradients_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which models, and the picture to write."""
    models_arguments(parser)
    rollout_arguments(parser)
    parser.add_argument("--output", "-o", type=str, required=True, help="PNG file; the numbers go to a CSV beside it.")
    parser.add_argument("--count", type=int | None, help="Clips of the test split; default: all.")
    parser.add_argument("--batch", type=int, default=8, help="Clips at a time.")
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)


def gradients(chosen: Namespace) -> None:
    """Show how far back the gradients of the last frame's error reach."""
    from zoo.evaluation import gradient_norms

    check_png(chosen.output)
    subjects = find_subjects(chosen.runs, chosen.checkpoint)
    settings = shared_data(subjects)
    dataset = held_out(settings, chosen.horizon, chosen)
    models = {subject.name: subject.model for subject in subjects}
    found = gradient_norms(
        models,
        dataset,
        chosen.horizon,
        observed=settings.observed,
        count=chosen.count,
        batch=chosen.batch,
        device=chosen.device,
        progress=sys.stderr.isatty(),
    )
    write_series(found, chosen.output)


def entanglement_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which clips, and the picture to write."""
    parser.add_argument("--output", "-o", type=str, required=True, help="PNG file; the numbers go to a CSV beside it.")
    parser.add_argument("--digits", type=int, default=2, help="Moving digits in a clip.")
    parser.add_argument("--length", type=int, default=20, help="Frames of a clip.")
    parser.add_argument("--count", type=int | None, help="Clips of the test split; default: all.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def entanglement(chosen: Namespace) -> None:
    """Show how often digits overlap in each frame."""
    from zoo.data import MovingMNIST
    from zoo.evaluation import entanglement as measure_overlap

    check_png(chosen.output)
    dataset = MovingMNIST("test", root=chosen.data_root, digits=chosen.digits, length=chosen.length)
    write_series(measure_overlap(dataset, count=chosen.count, progress=sys.stderr.isatty()), chosen.output)


def shared_data(subjects: Sequence[Subject]) -> Data:
    """The data of models that are looked at on the same clips.

    Raises:
        ZooError: some read other frames than the first.
    """
    first = subjects[0]
    for other in subjects[1:]:
        for setting in ("name", "size", "channels", "observed", "digits"):
            theirs, ours = (getattr(subject.recipe.data, setting) for subject in (other, first))
            if theirs != ours:
                raise ZooError(
                    f"{other.name} was trained with data.{setting} = {theirs!r} and {first.name} with {ours!r}; "
                    "look at them one by one"
                )
    return first.recipe.data


def check_png(path: str | None) -> None:
    """Raise a ZooError, before anything is computed, if a figure cannot be written to `path`."""
    from zoo.evaluation.comparison import check_figure

    if path is not None:
        check_figure(path)


def write_curves(scores: "Sequence[Scores]", path: str | None) -> None:
    """Write the curves, if asked for, and the numbers beside them."""
    from zoo import evaluation

    if path is not None:
        evaluation.save_figure(evaluation.curves(scores), path)
        evaluation.save_values(scores, Path(path).with_suffix(".csv"))


def write_series(series: Any, output: str) -> None:
    """Write the picture, and the numbers beside it."""
    from zoo.evaluation import save_figure

    save_figure(series.figure(), output)
    table = Path(output).with_suffix(".csv")
    series.to_csv(table)
    print(f"{output}, {table}")
