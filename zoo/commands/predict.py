"""`zoo predict`: predict the continuation of a clip, and write it as a picture, numbers or frames."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.measuring import held_out_clips, horizon_of
from zoo.commands.options import DEVICE_HELP, add_horizon, add_models, add_sources
from zoo.commands.trained import files_of, find_trained_models, shared_data
from zoo.errors import ZooError
from zoo.files import destination, new_folder
from zoo.names import CURVES, PREDICTIONS, check_suffix
from zoo.settings import ArraysData, LorenzData, Resize, StoredData, Video, VideoData

if TYPE_CHECKING:
    from zoo.evaluation import Prediction, SeriesPrediction
    from zoo.predictors.predictor import Predictor


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The models, the clip, and the file to write."""
    add_models(parser)
    add_horizon(parser)
    add_sources(parser)
    parser.add_argument(
        "--output",
        "-o",
        type=str,
        required=True,
        help="What to write: .png for a strip of frames (or curves of a series), .gif or .mp4 for an animation, .npz "
        "for numbers, or a new folder (a name without a suffix) for a PNG file of each frame.",
    )
    parser.add_argument("--observed", type=int | None, help="Number of observed frames; default: as in training.")
    parser.add_argument(
        "--video",
        type=str | None,
        help="Video, GIF or .npy file to continue (for a model of arrays: a file of the same kind as its training "
        "data); default: a test clip.",
    )
    parser.add_argument("--clip", type=int, default=0, help="Number of the test clip, counted from 0.")
    parser.add_argument("--device", type=str | None, help=DEVICE_HELP)


def run(arguments: Namespace) -> None:
    """Predict how a clip continues, and write it next to the truth as a picture, animation, numbers or frames."""
    check_suffix(arguments.output, PREDICTIONS)
    if arguments.observed is not None and arguments.observed < 1:
        raise ZooError(f"--observed {arguments.observed} must be at least 1")
    if Path(arguments.output).suffix:
        destination(arguments.output, [*files_of(arguments.runs, arguments.checkpoint), arguments.video or ""])
    else:
        new_folder(arguments.output)
    models = find_trained_models(arguments.runs, arguments.checkpoint)
    data = shared_data(models, arguments.windows, arguments.data_root)
    horizon = horizon_of(arguments.horizon, data)
    if arguments.observed is not None:
        data = dataclasses.replace(data, observed=arguments.observed)
    by_name = {trained.name: trained.model for trained in models}
    if isinstance(data, Video):
        _of_video(by_name, data, horizon, arguments).save(arguments.output)
    else:
        _of_series(by_name, data, horizon, arguments).save(arguments.output)
    print(arguments.output)


def _of_video(models: "dict[str, Predictor]", data: VideoData, horizon: int, arguments: Namespace) -> "Prediction":
    """Predict frames, together with the baseline that copies the last frame."""
    from zoo.evaluation import CopyLast, predict, read_video

    count = data.observed + horizon
    if arguments.video and isinstance(data, ArraysData):
        from zoo.data import own_clip

        clip = own_clip(data, arguments.video, count, arguments.data_root)
    elif arguments.video:
        # as for the training clips
        how: tuple[Resize, int] = (data.resize, data.stride) if isinstance(data, StoredData) else ("stretch", 1)
        clip = read_video(arguments.video, data.frame, data.channels == 1, count, *how)
    else:
        dataset = held_out_clips(data, horizon, arguments)
        print(dataset.describe(), file=sys.stderr)
        clip = dataset.clips([arguments.clip])[0]
    models |= {"copy last frame": CopyLast(data.channels)}
    return predict(models, clip, horizon, data.observed, arguments.device)


def _of_series(
    models: "dict[str, Predictor]", data: LorenzData, horizon: int, arguments: Namespace
) -> "SeriesPrediction":
    """Predict a series."""
    from zoo.data import SeriesDataset
    from zoo.evaluation import predict_series

    if arguments.video:
        raise ZooError(f"--video is for video models, but these were trained on {data.name}; leave it out")
    check_suffix(arguments.output, CURVES)
    dataset = held_out_clips(data, horizon, arguments)
    assert isinstance(dataset, SeriesDataset)
    print(dataset.describe(), file=sys.stderr)
    series = dataset.clips([arguments.clip])[0]
    return predict_series(models, series, horizon, data.observed, dataset.columns, arguments.device)
