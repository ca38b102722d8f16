"""Check that a model can read the clips it is to be trained on, before any data are prepared."""

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
