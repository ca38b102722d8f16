"""Check that a model can be trained by a recipe, before any data are prepared."""

import torch

from zoo.errors import ZooError
from zoo.predictors.predictor import Predictor
from zoo.predictors.series_model import SeriesModel
from zoo.predictors.video_model import VideoModel
from zoo.settings import Recipe, Video


def check_steps(recipe: Recipe, model: Predictor) -> None:
    """Raise a ZooError unless the model can read the steps of the recipe's clips, which are frames or values."""
    data = recipe.data
    if isinstance(data, Video) and isinstance(model, VideoModel):
        if model.channels != data.channels:
            raise ZooError(
                f"data.channels = {data.channels}, but {recipe.model} reads {model.channels} channels; give both the "
                "same number, 1 for grey or 3 for RGB (--data.channels, --options.channels)"
            )
        if not all(data.frame):  # an array keeps its own size, which is known once it is opened
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
            f"{recipe.model} is registered as a model of {data.content}, but it makes a {type(model).__name__}; "
            "register it with the right `reads`"
        )


def check_repeatable(recipe: Recipe, model: Predictor, device: torch.device) -> None:
    """Raise a ZooError if the run must be deterministic, but the model cannot be on this device."""
    if recipe.training.deterministic and device.type == "cuda" and model.unrepeatable:
        raise ZooError(
            f"training.deterministic = true, but on a GPU {recipe.model} does not compute the same bits every time: "
            f"the backward pass of {model.unrepeatable} sums in no fixed order, so a resumed run would end with other "
            "weights than an uninterrupted run; set it to false to accept this"
        )
