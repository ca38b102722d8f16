"""What several commands do with a trained model: take its test clips, measure it."""

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
    """The test split of the data that a model was trained on, in clips long enough for a horizon.

    Args:
        data: the settings that the model was trained with.
        horizon: frames to predict after `data.observed` ones.
        arguments: with `windows` and `data_root`.
        digits: moving digits in a clip instead of the settings' own.

    Raises:
        ZooError: an option of another kind of data set, or what `zoo.data.make_dataset` refuses.
    """
    from zoo.data import make_dataset

    options: list[tuple[str, str, Any]] = [("digits", "moving-mnist", digits), ("windows", "kth", arguments.windows)]
    for setting, kind, value in options:
        if value is not None and data.kind != kind:
            raise ZooError(f"--{setting} is an option of {kind}, and the clips are of {data.name}; leave it out")
        if value is not None:
            data = dataclasses.replace(data, **{setting: value})
    return make_dataset(data, "test", arguments.data_root, data.observed + horizon)


def measure(trained: TrainedModel, horizon: int, digits: int | None, arguments: Namespace) -> "Scores":
    """Scores of a model on the test split of its data; says on standard error which clips these are.

    Args:
        trained: the model.
        horizon: frames to predict.
        digits: moving digits in a clip; None for as many as it was trained with.
        arguments: those of `zoo.commands.options.add_sources` and `add_measuring`.

    Raises:
        ZooError: options that exclude each other, or what `zoo.evaluate` refuses.
    """
    from zoo.data import PublishedMovingMNIST
    from zoo.evaluation import evaluate

    data = trained.recipe.data
    if arguments.published and digits is not None:
        raise ZooError(f"--digits {digits} beside --published, whose clips are as they are; leave one out")
    if arguments.published and data.content != "video":
        raise ZooError(f"--published holds video, and {trained.name} was trained on {data.name}; leave it out")
    if arguments.published:
        dataset: ClipDataset = PublishedMovingMNIST(arguments.published)
    else:
        dataset = held_out_clips(data, horizon, arguments, digits)
    print(f"{trained.name} on {dataset.describe()}", file=sys.stderr)
    return evaluate(
        trained.model,
        dataset,
        horizon,
        observed=data.observed,
        convention=arguments.convention,
        count=arguments.count,
        batch=arguments.batch,
        name=trained.name,
        device=arguments.device,
        root=arguments.data_root,
        progress=sys.stderr.isatty(),
    )
