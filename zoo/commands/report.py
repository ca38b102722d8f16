"""`zoo report`: write an HTML page about trained models."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.measuring import held_out_clips, horizon_of, measure
from zoo.commands.options import add_horizon, add_measuring, add_models, add_sources, check_measuring
from zoo.commands.trained import TrainedModel, files_of, find_trained_models
from zoo.errors import ZooError
from zoo.files import aside, destination
from zoo.names import check_suffix

if TYPE_CHECKING:
    from tensortrain.pages import Part
    from zoo.evaluation import Scores


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The models, and how to evaluate them."""
    add_models(parser)
    parser.add_argument("--output", "-o", type=str, required=True, help="HTML file to write.")
    add_horizon(parser)
    add_sources(parser)
    add_measuring(parser)
    parser.set_defaults({"count": 64})


def run(arguments: Namespace) -> None:
    """Write an HTML page about trained models: scores, predictions, training curves, speed, settings, versions."""
    check_measuring(arguments)
    check_suffix(arguments.output, (".html",))
    destination(arguments.output, files_of(arguments.runs, arguments.checkpoint))
    models = find_trained_models(arguments.runs, arguments.checkpoint)
    from zoo.reporting import read_source, run_page

    folders = [Path(reference) if Path(reference).is_dir() else None for reference in arguments.runs]
    sources = [read_source(*trained, folder) for trained, folder in zip(models, folders, strict=True)]
    scores: list[Scores] = []
    notes = []
    for trained in models:
        try:
            scores.append(measure(trained, horizon_of(arguments.horizon, trained.recipe.data), None, arguments))
        except ZooError as error:
            notes.append(f"{trained.name} could not be evaluated: {error}.")
    examples = _examples(models, scores, arguments)
    page = run_page(sources, scores, examples, notes, shlex.join(["zoo", *sys.argv[1:]]))
    with aside(arguments.output) as temporary:
        temporary.write_text(page.to_html(), encoding="utf-8")
    print(arguments.output)


def _examples(models: Sequence[TrainedModel], scores: "Sequence[Scores]", arguments: Namespace) -> "list[Part]":
    """The best, the middle and the worst of the evaluated clips. Models of the same data share them."""
    import numpy as np

    from zoo.data import SeriesDataset
    from zoo.evaluation import predict, predict_series
    from zoo.reporting.films import film, series_picture, strip

    parts: list[Part] = []
    groups: dict[str, list[Scores]] = {}
    for one in scores:
        groups.setdefault(f"{one.measured_on()} {one.observed}", []).append(one)
    for group in groups.values():
        names = [one.name for one in group]
        trained = [each for each in models if each.name in names]
        data = trained[0].recipe.data
        horizon = horizon_of(arguments.horizon, data)
        dataset = held_out_clips(data, horizon, arguments)
        by_name = {each.name: each.model for each in trained}
        key = group[0].convention.measures[0].key
        order = np.sum([one.per_clip[one.name][key] for one in group], 0).argsort()
        places: dict[int, str] = {}  # if there are few clips, one may be in several places
        for place, index in (("middle", order[len(order) // 2]), ("best", order[0]), ("worst", order[-1])):
            places.setdefault(int(index), place)
        for i, (index, place) in enumerate(places.items()):
            title = f"The {place} clip, number {index}"
            clip = dataset.clips([index])[0]
            if isinstance(dataset, SeriesDataset):
                series = predict_series(by_name, clip, horizon, data.observed, dataset.columns)
                parts.append(series_picture(title, series))
                continue
            prediction = predict(by_name, clip, horizon, data.observed)
            parts.append(film(title, prediction))
            if i == 0:
                parts.append(strip(f"{title}, frame by frame", prediction))
    return parts
