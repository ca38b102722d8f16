"""Read the test clips of a trained model, and evaluate it, for several commands."""

import dataclasses
import sys
from typing import TYPE_CHECKING, Any

from jsonargparse import Namespace

from zoo.commands.trained import TrainedModel
from zoo.errors import ZooError
from zoo.settings import Data

if TYPE_CHECKING:
    from zoo.data import ClipDataset
    from zoo.evaluation import Scores


def held_out_clips(data: Data, horizon: int, arguments: Namespace, digits: int | None = None) -> "ClipDataset":
    """The test split of a model's training data, with clips that are long enough for a horizon.

    Args:
        data: the data settings of the training.
        horizon: the number of frames to predict after `data.observed` frames.
        arguments: the command's arguments `windows` and `data_root`.
        digits: the number of moving digits in a clip; None for that of the settings.

    Raises:
        ZooError: if an option belongs to another kind of data set, or in the cases of `zoo.data.make_dataset`.
    """
    from zoo.data import make_dataset

    options: list[tuple[str, str, Any]] = [("digits", "moving-mnist", digits), ("windows", "kth", arguments.windows)]
    for setting, kind, value in options:
        if value is not None and data.kind != kind:
            raise ZooError(f"--{setting} is an option of {kind}, but the clips are of {data.name}; leave it out")
        if value is not None:
            data = dataclasses.replace(data, **{setting: value})
    return make_dataset(data, "test", arguments.data_root, data.observed + horizon)


def horizon_of(horizon: int | None, data: Data) -> int:
    """The horizon that the user asked for; by default the horizon of the training."""
    return data.length - data.observed if horizon is None else horizon


def clips_to_measure(trained: TrainedModel, horizon: int, digits: int | None, arguments: Namespace) -> "ClipDataset":
    """The published clips if the user names them, otherwise the test split of a model's training data.

    Args:
        trained: the model.
        horizon: the number of frames to predict.
        digits: the number of moving digits in a clip; None for that of the training.
        arguments: the command's arguments, those of `zoo.commands.options.add_sources` and `add_measuring`.

    Raises:
        ZooError: if options exclude each other, or in the cases of `held_out_clips`.
    """
    from zoo.data import PublishedMovingMNIST

    data = trained.recipe.data
    if arguments.published and digits is not None:
        raise ZooError(f"--digits {digits} has no effect with --published, whose clips are fixed; leave one out")
    if arguments.published and data.content != "video":
        raise ZooError(f"--published holds video, but {trained.name} was trained on {data.name}; leave it out")
    if arguments.published:
        return PublishedMovingMNIST(arguments.published)
    return held_out_clips(data, horizon, arguments, digits)


def measure(
    trained: TrainedModel,
    dataset: "ClipDataset",
    horizon: int,
    count: int | None,
    arguments: Namespace,
    announcement: str | None = None,
) -> "Scores":
    """Evaluate a model, after a line on standard error.

    Args:
        trained: the model.
        dataset: the clips, such as those of `clips_to_measure`.
        horizon: the number of frames to predict.
        count: the number of clips; None for all.
        arguments: the command's arguments, those of `zoo.commands.options.add_sources` and `add_measuring`.
        announcement: the line; by default the name of the model and the description of the clips.

    Raises:
        ZooError: in the cases of `zoo.evaluate`.
    """
    from zoo.evaluation import evaluate

    print(announcement or f"{trained.name} on {dataset.describe()}", file=sys.stderr)
    return evaluate(
        trained.model,
        dataset,
        horizon,
        observed=trained.recipe.data.observed,
        convention=arguments.convention,
        count=count,
        batch=arguments.batch,
        name=trained.name,
        recipe=trained.recipe,
        device=arguments.device,
        root=arguments.data_root,
        progress=sys.stderr.isatty(),
    )
