"""Check that a model can read the clips it is to be trained on, before any data are prepared."""

from zoo.errors import ZooError
from zoo.settings import Recipe
from zoo.video_model import VideoModel


def check_frames(recipe: Recipe, model: VideoModel) -> None:
    """Raise a ZooError unless the model can read the recipe's frames."""
    data = recipe.data
    if model.channels != data.channels:
        raise ZooError(
            f"data.channels = {data.channels}, but {recipe.model} reads {model.channels}; give both the same number, "
            "1 for grey and 3 for RGB (--data.channels, --options.channels)"
        )
    if not all(data.frame):  # those of an array, which are known once it is opened
        return
    try:
        model.check_size(*data.frame)
    except ZooError as error:
        raise ZooError(f"data.size = {data.size}: {error}") from None
