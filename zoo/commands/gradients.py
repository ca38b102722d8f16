"""`zoo gradients`: draw gradients with respect to earlier frames."""

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.measuring import held_out_clips, horizon_of
from zoo.commands.options import COUNT_HELP, DEVICE_HELP, PICTURE_HELP, add_horizon, add_models, add_sources
from zoo.commands.output import check_png, write_series
from zoo.commands.trained import files_of, find_trained_models, shared_data


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The models, and the picture to write."""
    add_models(parser)
    add_horizon(parser)
    add_sources(parser)
    parser.add_argument("--output", "-o", type=str, required=True, help=PICTURE_HELP)
    parser.add_argument("--count", type=int | None, help=COUNT_HELP)
    parser.add_argument("--batch", type=int, default=8, help="Number of clips to process at a time.")
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)


def run(arguments: Namespace) -> None:
    """Draw the gradients of the last frame's error with respect to earlier frames and states."""
    check_png(arguments.output, files_of(arguments.runs, arguments.checkpoint))
    models = find_trained_models(arguments.runs, arguments.checkpoint)
    from zoo.evaluation import gradient_norms

    data = shared_data(models, arguments.windows, arguments.data_root)
    horizon = horizon_of(arguments.horizon, data)
    norms = gradient_norms(
        {trained.name: trained.model for trained in models},
        held_out_clips(data, horizon, arguments),
        horizon,
        observed=data.observed,
        count=arguments.count,
        batch=arguments.batch,
        device=arguments.device,
        progress=sys.stderr.isatty(),
    )
    write_series(norms, arguments.output)
