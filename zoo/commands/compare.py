"""`zoo compare`: compare trained models with each other, and with published results on the same data."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.measuring import clips_to_measure, horizon_of, measure
from zoo.commands.options import add_measuring, add_models, add_sources, check_measuring
from zoo.commands.output import check_png, check_table, show_table, write_curves
from zoo.commands.trained import TrainedModel, files_of, find_trained_models
from zoo.names import LAYOUTS, check_name

if TYPE_CHECKING:
    from zoo.evaluation import Scores


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The models, and how to evaluate them."""
    add_models(parser)
    parser.add_argument(
        "--horizon",
        type=int,
        nargs="+",
        help="Number of steps to predict; several give several columns; default: as the first model was trained.",
    )
    parser.add_argument(
        "--digits",
        type=int,
        nargs="+",
        help="Number of moving digits in a clip; several give several columns; default: as in training.",
    )
    add_sources(parser)
    add_measuring(parser)
    parser.add_argument(
        "--layout",
        type=str | None,
        help=f"Paper whose tables are shown whole, with each model below the published row of its system: "
        f"{', '.join(LAYOUTS)}. Default: only published rows for the same data.",
    )
    parser.add_argument("--output", "-o", type=str | None, help="File to write the table to: .csv, .md, .tex or .html.")


def run(arguments: Namespace) -> None:
    """Compare trained models with each other and with published results, as a table and as curves."""
    check_measuring(arguments)
    if arguments.layout is not None:
        check_name("layout", arguments.layout, LAYOUTS)
    inputs = files_of(arguments.runs, arguments.checkpoint)
    check_png(arguments.curves, [*inputs, arguments.published or ""])
    check_table(arguments.output, inputs)
    models = find_trained_models(arguments.runs, arguments.checkpoint)
    from zoo import evaluation

    horizons = arguments.horizon or [horizon_of(None, models[0].recipe.data)]
    tasks = dict.fromkeys(itertools.product(horizons, arguments.digits or [None]))
    scores: dict[int, list[Scores]] = {}
    for horizon, digits in tasks:
        for trained in models:
            dataset = clips_to_measure(trained, horizon, digits, arguments)
            line = _announcement(trained, horizon, digits)
            scores.setdefault(horizon, []).append(measure(trained, dataset, horizon, arguments.count, arguments, line))
    table = evaluation.compare([one for of_task in scores.values() for one in of_task], arguments.layout)
    show_table(table, arguments.output)
    write_curves(scores[max(scores)], arguments.curves)


def _announcement(trained: TrainedModel, horizon: int, digits: int | None) -> str:
    """A line that names the model, but not the clips, which are described below the table."""
    moving = "" if digits is None else f", {digits} moving digit{'s' * (digits != 1)}"
    return f"{trained.name}: {trained.recipe.data.observed} → {horizon} steps{moving}"
