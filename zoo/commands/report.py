"""`zoo report`: write an HTML page about trained models."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.measuring import clips_to_measure, horizon_of, measure
from zoo.commands.options import COUNT_HELP, add_horizon, add_measuring, add_models, add_sources, check_measuring
from zoo.commands.trained import TrainedModel, files_of, find_trained_models
from zoo.errors import ZooError
from zoo.files import aside, destination
from zoo.names import check_suffix

if TYPE_CHECKING:
    from tensortrain.pages import Part
    from zoo.data import ClipDataset
    from zoo.evaluation import Scores

FEW = 64  # test clips that are evaluated by default


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The models, and how to evaluate them."""
    add_models(parser)
    parser.add_argument("--output", "-o", type=str, required=True, help="HTML file to write.")
    add_horizon(parser)
    add_sources(parser)
    add_measuring(parser, COUNT_HELP.replace("all", f"{FEW}, or all if there are fewer"))


def run(arguments: Namespace) -> None:
    """Write an HTML page about trained models: scores, predictions, training curves, speed, settings, versions."""
    check_measuring(arguments)
    check_suffix(arguments.output, (".html",))
    destination(arguments.output, files_of(arguments.runs, arguments.checkpoint))
    models = find_trained_models(arguments.runs, arguments.checkpoint)
    from tensortrain.pages import Details, Section
    from zoo.reporting import read_source, run_page

    folders = [Path(reference) if Path(reference).is_dir() else None for reference in arguments.runs]
    sources = [read_source(*trained, folder) for trained, folder in zip(models, folders, strict=True)]
    scores: list[Scores] = []
    datasets: dict[str, ClipDataset] = {}
    notes = []
    for trained in models:
        horizon = horizon_of(arguments.horizon, trained.recipe.data)
        try:
            dataset = datasets[trained.name] = clips_to_measure(trained, horizon, None, arguments)
            count = min(FEW, len(dataset)) if arguments.count is None else arguments.count
            scores.append(measure(trained, dataset, horizon, count, arguments))
        except ZooError as error:
            notes.append(f"{trained.name} could not be evaluated: {error}.")
    examples = _examples(models, scores, datasets)
    predictions = Section("Predictions", examples, "The best, the middle and the worst of the evaluated clips.")
    command = Details("Command", shlex.join(["zoo", *sys.argv[1:]]), open=True)
    page = run_page(sources, scores, predictions, Section("How to make this page again", [command]), notes)
    with aside(arguments.output) as temporary:
        temporary.write_text(page.to_html(), encoding="utf-8")
    print(arguments.output)


def _examples(
    models: Sequence[TrainedModel], scores: "Sequence[Scores]", datasets: "Mapping[str, ClipDataset]"
) -> "list[Part]":
    """The best, the middle and the worst of the evaluated clips, once for all models evaluated on the same clips.

    Args:
        models: the trained models.
        scores: the scores of the models that could be evaluated.
        datasets: the clips that each model was evaluated on, by the model's name.
    """
    import numpy as np

    from zoo.data import SeriesDataset
    from zoo.evaluation import predict, predict_series
    from zoo.reporting.films import film, series_picture, strip

    parts: list[Part] = []
    groups: dict[tuple[str, str, int, int], list[Scores]] = {}
    for one in scores:
        groups.setdefault((one.comparable_with, one.measured_on(), one.observed, one.horizon), []).append(one)
    for (*_, observed, horizon), group in groups.items():
        names = [one.name for one in group]
        dataset = datasets[names[0]]
        by_name = {each.name: each.model for each in models if each.name in names}
        key = group[0].convention.measures[0].key
        order = np.sum([one.per_clip[one.name][key] for one in group], 0).argsort()
        places: dict[int, str] = {}  # if there are few clips, one may be in several places
        for place, index in (("middle", order[len(order) // 2]), ("best", order[0]), ("worst", order[-1])):
            places.setdefault(int(index), place)
        for i, (index, place) in enumerate(places.items()):
            title = f"The {place} clip, number {index}"
            clip = dataset.clips([index])[0]
            if isinstance(dataset, SeriesDataset):
                series = predict_series(by_name, clip, horizon, observed, dataset.columns)
                parts.append(series_picture(title, series))
                continue
            prediction = predict(by_name, clip, horizon, observed)
            parts.append(film(title, prediction))
            if i == 0:
                parts.append(strip(f"{title}, frame by frame", prediction))
    return parts
