"""Validate a recipe: the types of its settings, their ranges, and what must fit together. No data are needed."""

from zoo.errors import ZooError
from zoo.settings import (
    CosineRate,
    LearningRate,
    PlateauRate,
    PlateauSampling,
    Recipe,
    Sampling,
    from_plain,
    to_plain,
)

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")


def check_recipe(recipe: Recipe) -> Recipe:
    """Validate a recipe; returns it as it would be read back from a file, with lists for tuples.

    Raises:
        ZooError: a setting of the wrong type or outside its range, or settings that do not fit together.
    """
    try:
        recipe = from_plain(to_plain(recipe), "the recipe")
    except TypeError as error:
        raise ZooError(
            f"options = {recipe.options} cannot be written to a file ({error}); give plain values"
        ) from error
    data, training = recipe.data, recipe.training
    _at_least(1, "data", data, "size", "observed", "clips_per_epoch")
    if data.length <= data.observed:
        raise ZooError(f"data.length = {data.length} must exceed data.observed = {data.observed}: nothing to predict")
    _check_sampling(recipe.sampling)
    _check_learning_rate(recipe.learning_rate)
    _at_least(1, "training", training, "steps", "batch_size", "log_every", "devices", "nodes")
    _at_least(0, "training", training, "l1", "l2", "clip_norm", "validate_every", "validation_clips", "save_every")
    _at_least(0, "training", training, "early_stop", "max_time", "num_workers")
    if training.l1 == training.l2 == 0:
        raise ZooError("training.l1 = training.l2 = 0 leaves no loss; make one of them positive")
    if not 0 <= training.seed < 2**64:
        raise ZooError(f"training.seed = {training.seed} must be at least 0 and below 2^64")
    if training.precision not in PRECISIONS:
        raise ZooError(f"training.precision = {training.precision!r} must be one of {', '.join(PRECISIONS)}")
    processes = training.devices * training.nodes
    if training.batch_size % processes:
        raise ZooError(
            f"training.batch_size = {training.batch_size} cannot be shared out among {processes} processes; take a "
            f"multiple of {processes}"
        )
    return recipe


def _check_sampling(sampling: Sampling) -> None:
    if isinstance(sampling, PlateauSampling):
        _at_least(0, "sampling", sampling, "patience", "decay")
        return
    _at_least(0, "sampling", sampling, "start")
    if sampling.stop < sampling.start:
        raise ZooError(f"sampling.stop = {sampling.stop} must be at least sampling.start = {sampling.start}")


def _check_learning_rate(rate: LearningRate) -> None:
    _at_least(0, "learning_rate", rate, "base")
    if isinstance(rate, CosineRate):
        _at_least(0, "learning_rate", rate, "warmup")
    if isinstance(rate, PlateauRate):
        _at_least(0, "learning_rate", rate, "patience")
        _at_least(1, "learning_rate", rate, "every")
        if not 0 < rate.factor <= 1:
            raise ZooError(f"learning_rate.factor = {rate.factor} must be above 0 and at most 1")


def _at_least(least: int, group: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not least <= value < float("inf"):  # so that nan is refused too
            raise ZooError(f"{group}.{name} = {value} must be a finite number, at least {least}")
