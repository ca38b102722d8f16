"""`zoo evaluate`: evaluate one trained model."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from tensortrain.tables import show
from zoo.commands.measuring import clips_to_measure, horizon_of, measure
from zoo.commands.options import add_horizon, add_measuring, add_sources, check_measuring
from zoo.commands.output import check_png, write_curves
from zoo.commands.trained import files_of, find_trained_model


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The model, and how to evaluate it."""
    parser.add_argument("run", type=str, help="Folder of a run, a .safetensors file, or MODEL:WEIGHTS.")
    add_horizon(parser)
    add_sources(parser)
    parser.add_argument("--digits", type=int | None, help="Number of moving digits in a clip; default: as in training.")
    add_measuring(parser)


def run(arguments: Namespace) -> None:
    """Evaluate a trained model and two trivial baselines on the test split."""
    check_measuring(arguments)
    inputs = files_of([arguments.run], arguments.checkpoint)
    check_png(arguments.curves, [*inputs, arguments.published or ""])
    trained = find_trained_model(arguments.run, arguments.checkpoint)
    horizon = horizon_of(arguments.horizon, trained.recipe.data)
    dataset = clips_to_measure(trained, horizon, arguments.digits, arguments)
    scores = measure(trained, dataset, horizon, arguments.count, arguments)
    show(scores.table())
    write_curves([scores], arguments.curves)
