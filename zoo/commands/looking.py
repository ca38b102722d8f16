"""Commands that look at trained models: evaluate, compare, predict, gradients, entanglement."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.subjects import ROOT_HELP, Subject, find_subject, find_subjects, show
from zoo.rollout import VideoModel


def models_arguments(parser: ArgumentParser) -> None:
    """Several models, and what `rollout_arguments` adds."""
    parser.add_argument("runs", type=str, nargs="+", help="Folders of runs, .safetensors files, or MODEL:WEIGHTS.")
    rollout_arguments(parser)


def rollout_arguments(parser: ArgumentParser) -> None:
    """What every look at trained models takes."""
    parser.add_argument("--horizon", type=int, default=10, help="Frames to predict.")
    parser.add_argument("--checkpoint", default="best", help="Of a run: best, last, step-N, or a path.")
    parser.add_argument("--data-root", type=str | None, help=ROOT_HELP)


def measuring_arguments(parser: ArgumentParser) -> None:
    """What `evaluate` and `compare` share."""
    parser.add_argument("--convention", default="correct", help="How to measure: correct, or a publication's way.")
    parser.add_argument("--digits", type=int | None, help="Moving digits in a clip; default: as trained.")
    parser.add_argument("--published", type=str | None, help="Measure on this mnist_test_seq.npy instead.")
    parser.add_argument("--count", type=int | None, help="Clips of the test split; default: all.")
    parser.add_argument("--batch", type=int, default=16, help="Clips at a time.")
    parser.add_argument("--device", type=str | None, help="Where to compute, such as cuda.")


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
    rollout_arguments(parser)
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
    models_arguments(parser)
    measuring_arguments(parser)
    parser.add_argument("--layout", type=str | None, help="Table of a paper; default: the one that fits.")
    parser.add_argument("--curves", type=str | None, help="PNG file for the values of every predicted frame.")


def compare(chosen: Namespace) -> None:
    """Set trained models beside published results, as a table and as curves."""
    from zoo import evaluation

    scores = [measure(subject, chosen) for subject in find_subjects(chosen.runs, chosen.checkpoint)]
    show(evaluation.compare(scores, chosen.layout))
    if chosen.curves:
        evaluation.save_figure(evaluation.curves(scores), chosen.curves)


def predict_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which models, which clip, and the picture to write."""
    models_arguments(parser)
    parser.add_argument("--output", "-o", type=str, required=True, help="Picture: .png is a strip, .gif and .mp4 move.")
    parser.add_argument("--video", type=str | None, help="Video or GIF to go on with, instead of a test clip.")
    parser.add_argument("--clip", type=int, default=0, help="Which test clip.")


def predict(chosen: Namespace) -> None:
    """Draw what models predict beside the truth."""
    from zoo.data import make_dataset
    from zoo.evaluation import Blank, CopyLast, read_video
    from zoo.evaluation import predict as draw

    subjects = find_subjects(chosen.runs, chosen.checkpoint)
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


def gradients_arguments(parser: ArgumentParser, given: Sequence[str]) -> None:
    """Which models, and the picture to write."""
    models_arguments(parser)
    parser.add_argument("--output", "-o", type=str, required=True, help="PNG file; the numbers go to a CSV beside it.")
    parser.add_argument("--count", type=int | None, help="Clips of the test split; default: all.")
    parser.add_argument("--batch", type=int, default=8, help="Clips at a time.")


def gradients(chosen: Namespace) -> None:
    """Show how far back the gradients of the last frame's error reach."""
    from zoo.data import make_dataset
    from zoo.evaluation import gradient_norms

    subjects = find_subjects(chosen.runs, chosen.checkpoint)
    settings = subjects[0].recipe.data
    dataset = make_dataset(settings, "test", chosen.data_root, settings.observed + chosen.horizon)
    models = {subject.name: subject.model for subject in subjects}
    found = gradient_norms(
        models,
        dataset,
        chosen.horizon,
        observed=settings.observed,
        count=chosen.count,
        batch=chosen.batch,
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

    dataset = MovingMNIST("test", root=chosen.data_root, digits=chosen.digits, length=chosen.length)
    write_series(measure_overlap(dataset, count=chosen.count, progress=sys.stderr.isatty()), chosen.output)


def write_series(series: Any, output: str) -> None:
    """Write the picture, and the numbers beside it."""
    from zoo.evaluation import save_figure

    save_figure(series.figure(), output)
    table = Path(output).with_suffix(".csv")
    series.to_csv(table)
    print(f"{output}, {table}")
