"""Check, before any data are prepared, that a model can be trained as a recipe says."""

import torch

from zoo.errors import ZooError
from zoo.predictor import Predictor
from zoo.series_model import SeriesModel
from zoo.settings import Recipe, Video
from zoo.video_model import VideoModel


def check_steps(recipe: Recipe, model: Predictor) -> None:
    """Raise a ZooError unless the model can read the steps of the recipe's clips: frames, or values of a series."""
    data = recipe.data
    if isinstance(data, Video) and isinstance(model, VideoModel):
        if model.channels != data.channels:
            raise ZooError(
                f"data.channels = {data.channels}, but {recipe.model} reads {model.channels}; give both the same "
                "number, 1 for grey and 3 for RGB (--data.channels, --options.channels)"
            )
        if not all(data.frame):  # those of an array, which are known once it is opened
            return
        try:
            model.check_size(*data.frame)
        except ZooError as error:
            raise ZooError(f"data.size = {data.size}: {error}") from None
    elif not isinstance(data, Video) and isinstance(model, SeriesModel):
        if model.columns != data.columns:
            raise ZooError(
                f"{data.name} has {data.columns} columns, but {recipe.model} reads {model.columns}; set "
                f"options.columns to {data.columns}"
            )
    else:
        raise ZooError(
            f"{recipe.model} is registered as a model of {data.content}, but made a {type(model).__name__}; register "
            "it with what it reads"
        )


def check_repeatable(recipe: Recipe, model: Predictor, device: torch.device) -> None:
    """Raise a ZooError if a run is to give the same bits every time, and the model cannot do so on the device."""
    if recipe.training.deterministic and device.type == "cuda" and model.unrepeatable:
        raise ZooError(
            f"training.deterministic = true: on a GPU {recipe.model} does not give the same bits twice, since the "
            f"backward pass of {model.unrepeatable} adds up in no fixed order, so a resumed run would end with other "
            "weights than an unbroken one; set it to false to train all the same"
        )
