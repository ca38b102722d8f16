"""Settings that fit together."""

from zoo.errors import ZooError
from zoo.settings import Recipe, from_plain, to_plain
from zoo.training.batches import share
from zoo.video_model import VideoModel

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")


def check_recipe(recipe: Recipe) -> Recipe:
    """The recipe as it would be read back from a file.

    Raises:
        ZooError: a setting of the wrong type, or outside its legal values.
    """
    try:
        recipe = from_plain(to_plain(recipe), "the recipe")
    except TypeError as error:
        raise ZooError(f"options = {recipe.options} cannot be written down ({error}); give plain values") from error
    data, sampling, rate, training = recipe.data, recipe.sampling, recipe.rate, recipe.training
    _at_least(1, "data", data, "canvas", "observed", "clips")
    if data.length <= data.observed:
        raise ZooError(f"data.length = {data.length} must exceed data.observed = {data.observed}: nothing to predict")
    _at_least(0, "sampling", sampling, "patience", "rate", "start")
    if sampling.stop < sampling.start:
        raise ZooError(f"sampling.stop = {sampling.stop} must be at least sampling.start = {sampling.start}")
    _at_least(0, "rate", rate, "base", "patience", "warmup")
    _at_least(1, "rate", rate, "every")
    if not 0 < rate.factor <= 1:
        raise ZooError(f"rate.factor = {rate.factor} must be above 0 and at most 1")
    _at_least(1, "training", training, "steps", "batch", "finite_every", "devices", "nodes")
    zero = ("l1", "l2", "clip", "validate_every", "validation_clips", "save_every", "early_stop", "max_time", "workers")
    _at_least(0, "training", training, *zero)
    if training.l1 == training.l2 == 0:
        raise ZooError("training.l1 = training.l2 = 0 leaves no loss; make one of them positive")
    if not 0 <= training.seed < 2**64:
        raise ZooError(f"training.seed = {training.seed} must be at least 0 and below 2^64")
    if training.precision not in PRECISIONS:
        raise ZooError(f"training.precision = {training.precision!r} must be one of {', '.join(PRECISIONS)}")
    share(training.batch, 0, training.devices * training.nodes)
    return recipe


def check_frames(recipe: Recipe, model: VideoModel) -> None:
    """Raise a ZooError unless the model can read the recipe's frames."""
    data = recipe.data
    if model.channels != data.channels:
        raise ZooError(
            f"data.channels = {data.channels}, but {recipe.model} reads {model.channels}; give both the same number, "
            "1 for grey and 3 for RGB"
        )
    if data.canvas % model.patch:
        raise ZooError(
            f"data.canvas = {data.canvas} does not divide into patches of {model.patch}×{model.patch} pixels; choose "
            "another canvas or patch"
        )


def _at_least(least: int, group: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not least <= value < float("inf"):  # so that nan is refused too
            raise ZooError(f"{group}.{name} = {value} must be a finite number, at least {least}")
