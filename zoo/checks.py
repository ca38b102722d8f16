"""Validate a recipe: the type and range of each setting, and whether the settings fit together. No data are needed.

The upper limits are far above any sensible value. They keep a recipe of unknown origin from asking for endless work.
"""

import dataclasses
import inspect
import json
from collections.abc import Mapping
from types import GenericAlias
from typing import Any

from zoo import models as _models  # noqa: F401 - registers the models of the package
from zoo.errors import ZooError
from zoo.registry import Entry, find_model
from zoo.schema import entry_name, shortened, validate
from zoo.settings import (
    DATA_SETS,
    FRAME_LOSSES,
    LARGEST_AUGMENTATION,
    LOSS_TERMS,
    CosineRate,
    Data,
    FilmedData,
    LearningRate,
    NoSampling,
    Optimizer,
    OwnData,
    PlateauRate,
    PlateauSampling,
    Recipe,
    SGDOptimizer,
    SigmoidSampling,
    StepRate,
    StoredData,
    Video,
    VideosData,
    data_class,
    from_plain,
    to_plain,
)

MOST_OPTION = 1_000_000  # the largest whole number in a model's options, such as layers, channels or steps
MOST_ITEMS = 4_096  # the largest number of items in a list and of characters in a text
MOST_RATE = 10**20  # the largest learning rate and weight decay: Adam raises if base / (1 - beta1) exceeds 3.4e38
PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")


def check_recipe(recipe: Recipe) -> Recipe:
    """Validate a recipe, and return it as if it had been read from a file: with lists in place of tuples.

    Args:
        recipe: any recipe, such as one that was made with `dataclasses.replace`.

    Raises:
        ZooError: if a setting has a wrong type or is out of range, or if settings do not fit together.

    >>> import zoo
    >>> check_recipe(zoo.recipe("conv-lstm", "demo")).training.steps
    600
    """
    if not isinstance(recipe, Recipe):
        raise ZooError(f"recipe = {shortened(recipe)} must be a recipe; make one with zoo.recipe")
    try:
        plain = to_plain(recipe)
    except (TypeError, ValueError, RecursionError) as error:
        raise ZooError(
            f"options = {shortened(recipe.options)} cannot be written to a file ({error}); give plain values"
        ) from error
    recipe = from_plain(plain, "the recipe")
    data, training = recipe.data, recipe.training
    _check_sizes(plain, ())
    check_content(find_model(recipe.model), data.name)
    check_options(find_model(recipe.model), recipe.options)
    check_clips(data)
    check_lengths(data)
    if recipe.origin.weights and recipe.origin.run:
        raise ZooError("origin.weights and origin.run are both set; a training can start from only one of them")
    _check_sampling(recipe)
    _check_learning_rate(recipe.learning_rate)
    _check_optimizer(recipe.optimizer)
    _within(1, 10**12, "training", training, "steps", "log_every")
    _within(1, 100_000, "training", training, "batch_size", "nodes")
    _within(1, 1_000, "training", training, "devices")
    _within(0, 1_000, "training", training, "num_workers")
    _at_least(0, "training", training, "clip_norm", "validate_every", "validation_clips", "save_every")
    _at_least(0, "training", training, "early_stop", "max_time")
    _at_least(0, "training", training, *LOSS_TERMS)
    for name in FRAME_LOSSES:
        if data.content == "series" and training.loss_weights[name]:
            raise ZooError(f"training.{name} is a loss of frames, but {data.name} has no frames; leave it at 0")
    if not any(training.loss_weights.values()):
        names = " = ".join(f"training.{name}" for name in LOSS_TERMS)
        raise ZooError(f"{names} = 0 leaves no loss to minimise; set one of them above 0")
    if not 0 <= training.seed < 2**64:
        raise ZooError(f"training.seed = {training.seed} must be at least 0 and below 2^64")
    if training.precision not in PRECISIONS:
        raise ZooError(f"training.precision = {training.precision!r} must be one of {', '.join(PRECISIONS)}")
    processes = training.devices * training.nodes
    if training.batch_size % processes:
        raise ZooError(
            f"training.batch_size = {training.batch_size} cannot be divided among {processes} processes; choose a "
            f"multiple of {processes}"
        )
    return recipe


def check_content(entry: Entry, dataset: str) -> None:
    """Raise a ZooError if the model reads another kind of clips (video or series) than the data set holds."""
    content = data_class(dataset).content
    if entry.reads != content:
        fitting = [name for name in DATA_SETS if data_class(name).content == entry.reads]
        raise ZooError(f"{entry.name} reads {entry.reads}, but {dataset} is {content}; choose {', '.join(fitting)}")


def _check_sizes(value: Any, location: tuple[str | int, ...]) -> None:
    """Raise a ZooError if a whole number, text or list in plain settings is absurdly large."""
    if isinstance(value, dict | list | str) and len(value) > MOST_ITEMS:
        raise ZooError(f"{entry_name(location)} = {shortened(value)} must have at most {MOST_ITEMS:,} items")
    if isinstance(value, dict | list):
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_sizes(item, (*location, name))
    elif isinstance(value, int):
        most = MOST_OPTION if location[0] == "options" else 2**64 - 1
        if abs(value) > most:
            raise ZooError(f"{entry_name(location)} = {shortened(value)} must be at most {most:,}")


def check_options(entry: Entry, options: Mapping[str, Any]) -> None:
    """Raise a ZooError if an option does not have the type that is annotated in the model's signature.

    An option of a type that no file can hold, or with such a value, is left to the model to check.
    """
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    if not options:
        return
    parameters = inspect.signature(entry.make).parameters
    for name, value in options.items():
        hint = parameters[name].annotation if name in parameters else inspect.Parameter.empty
        if hint is inspect.Parameter.empty or isinstance(hint, str):
            continue
        typed: Any = GenericAlias(dict, (str, hint))
        config = ConfigDict(strict=True, arbitrary_types_allowed=True)
        try:
            schema: TypeAdapter[Any] = TypeAdapter(typed, config=config)
            text = json.dumps({name: value})
        except (PydanticUserError, TypeError, ValueError):
            continue
        validate(schema, text, f"options of {entry.name}")


def check_clips(data: Data) -> None:
    """Raise a ZooError if a setting of the clips is outside its range."""
    if isinstance(data, OwnData):
        _check_own(data)
    elif isinstance(data, Video):
        _within(1, 16_384, "data", data, "size")
    if isinstance(data, FilmedData):
        _within(1, LARGEST_AUGMENTATION, "data", data, "max_zoom", "max_speed")
    _within(1, 100_000, "data", data, "observed", "length")
    _within(1, 100_000_000, "data", data, "clips_per_epoch")


def check_lengths(data: Data) -> None:
    """Raise a ZooError if clips are so short that no frame is left to predict."""
    if data.length <= data.observed:
        raise ZooError(
            f"data.length = {data.length} must exceed data.observed = {data.observed}, or no frame is left to predict"
        )


def _check_own(data: OwnData) -> None:
    sizes = [data.size] * 2 if isinstance(data.size, int) else data.size
    least = 0 if data.kind == "arrays" and data.size == 0 else 1
    if len(sizes) != 2 or not all(least <= side <= 16_384 for side in sizes):
        raise ZooError(
            f"data.size = {data.size} must be at least {least} and at most 16,384: give one number for both sides, or "
            "a list of height and width"
        )
    _within(1, 4_096, "data", data, "channels")
    if isinstance(data, VideosData) and data.channels not in (1, 3):
        raise ZooError(f"data.channels = {data.channels} must be 1 for grey or 3 for RGB")
    for name, low in (("mean", float("-inf")), ("std", 0.0)):
        values = getattr(data, name)
        if values and (len(values) != data.channels or not all(low < value < float("inf") for value in values)):
            raise ZooError(
                f"data.{name} = {values} must have {data.channels} finite numbers, one for each channel"
                + (", above 0" if name == "std" else "")
            )
    if isinstance(data, StoredData):
        _within(1, 10_000, "data", data, "stride")
        if bool(data.val) != bool(data.test):
            raise ZooError(
                f"data.val = {data.val} and data.test = {data.test}: list clips for both or for neither; with neither, "
                "a tenth of the clips is held out for each"
            )


def _check_sampling(recipe: Recipe) -> None:
    sampling = recipe.sampling
    if isinstance(sampling, NoSampling):
        return
    if not find_model(recipe.model).feeds_back(recipe.options):
        raise ZooError(
            f"sampling.schedule = {sampling.schedule!r}: {recipe.model} reads no frames after the observed ones, so "
            "scheduled sampling does not apply; leave sampling out"
        )
    if isinstance(sampling, PlateauSampling):
        _at_least(0, "sampling", sampling, "patience", "decay")
        return
    if isinstance(sampling, SigmoidSampling):
        _at_least(1, "sampling", sampling, "k")
        return
    _at_least(0, "sampling", sampling, "start")
    if sampling.stop < sampling.start:
        raise ZooError(f"sampling.stop = {sampling.stop} must be at least sampling.start = {sampling.start}")


def _check_learning_rate(rate: LearningRate) -> None:
    _within(0, MOST_RATE, "learning_rate", rate, "base")  # no schedule exceeds its base
    if isinstance(rate, CosineRate):
        _at_least(0, "learning_rate", rate, "warmup")
    if isinstance(rate, PlateauRate):
        _at_least(0, "learning_rate", rate, "patience")
    if isinstance(rate, PlateauRate | StepRate):
        _at_least(1, "learning_rate", rate, "every")
        if not 0 < rate.factor <= 1:
            raise ZooError(f"learning_rate.factor = {rate.factor} must be above 0 and at most 1")


def _check_optimizer(optimizer: Optimizer) -> None:
    names = [each.name for each in dataclasses.fields(optimizer) if each.name not in ("method", "weight_decay")]
    for name in names:
        if not 0 <= getattr(optimizer, name) < 1:
            raise ZooError(f"optimizer.{name} = {getattr(optimizer, name)} must be at least 0 and below 1")
    if isinstance(optimizer, SGDOptimizer):
        _within(0, MOST_RATE, "optimizer", optimizer, "weight_decay")


def _within(least: int, most: int, group: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not least <= value <= most:
            raise ZooError(f"{group}.{name} = {value} must be a finite number, at least {least} and at most {most:,}")


def _at_least(least: int, group: str, settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not least <= value < float("inf"):  # this form also refuses nan
            raise ZooError(f"{group}.{name} = {value} must be a finite number, at least {least}")
