"""`zoo predict`: draw what trained models predict."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from zoo.commands.measuring import held_out_clips
from zoo.commands.options import add_horizon, add_models, add_sources
from zoo.commands.trained import files_of, find_trained_models, shared_data
from zoo.files import destination
from zoo.names import PICTURES, check_suffix

if TYPE_CHECKING:
    from zoo.video_model import VideoModel


def add_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """The models, the clip, and the picture to write."""
    add_models(parser)
    add_horizon(parser)
    add_sources(parser)
    parser.add_argument(
        "--output", "-o", type=str, required=True, help="The picture to write: .png is a strip, .gif and .mp4 move."
    )
    parser.add_argument("--video", type=str | None, help="Video or GIF to continue; default: a test clip.")
    parser.add_argument("--clip", type=int, default=0, help="Which test clip.")


def run(arguments: Namespace) -> None:
    """Draw what models predict beside the truth."""
    check_suffix(arguments.output, PICTURES)
    destination(arguments.output, [*files_of(arguments.runs, arguments.checkpoint), arguments.video or ""])
    models = find_trained_models(arguments.runs, arguments.checkpoint)
    from zoo.evaluation import Blank, CopyLast, predict, read_video

    data = shared_data(models)
    channels = models[0].model.channels
    if arguments.video:
        clip = read_video(arguments.video, data.frame, channels == 1, data.observed + arguments.horizon)
    else:
        dataset = held_out_clips(data, arguments.horizon, arguments)
        print(dataset.describe(), file=sys.stderr)
        clip = dataset.clips([arguments.clip])[0]
    by_name: dict[str, VideoModel] = {trained.name: trained.model for trained in models}
    by_name |= {"copy last frame": CopyLast(channels), "blank frames": Blank(channels)}
    predict(by_name, clip, arguments.horizon, data.observed).save(arguments.output)
    print(arguments.output)
