"""Convert recipes to and from plain data, which YAML and JSON can hold."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from zoo.errors import ZooError, nearest
from zoo.schema import one_of, validate
from zoo.settings.data import DATA_CLASSES, kind_of
from zoo.settings.optimizers import Optimizer
from zoo.settings.recipe import Origin, Recipe, Training
from zoo.settings.schedules import LearningRate, Sampling

if TYPE_CHECKING:
    from pydantic import TypeAdapter

# parts of a recipe that may have any of several classes: the name of the setting that decides, and the classes
CHOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "sampling": ("schedule", {one.schedule: one for one in get_args(Sampling)}),
    "learning_rate": ("schedule", {one.schedule: one for one in get_args(LearningRate)}),
    "optimizer": ("method", {one.method: one for one in get_args(Optimizer)}),
}


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """Convert a recipe to mappings, lists, strings and numbers. `from_plain` is the inverse.

    Raises:
        TypeError: if an option is not a plain value.
    """
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def from_plain(value: Any, where: str) -> Recipe:
    """Convert plain data to a recipe.

    Args:
        value: data that were read from YAML or JSON.
        where: the name of the file, for error messages.

    Raises:
        ZooError: if a setting is unknown, missing or of the wrong type.
    """
    try:
        text = json.dumps(value)
    except TypeError as error:
        raise ZooError(f"{where}: a value is neither text nor a number, a list or a mapping: {error}") from None
    settings = validate(_schema(), text, where, noun="setting", known=_known)
    return Recipe(**{name: getattr(settings, name) for name in settings.model_fields_set})


def settings_class(part: str, choice: str) -> Any:
    """The settings class of a part of a recipe, for a choice of schedule or method.

    Args:
        part: "sampling", "learning_rate" or "optimizer".
        choice: the name of the schedule or method.

    Raises:
        ZooError: if there is no such choice.

    >>> settings_class("sampling", "linear")().stop
    50000
    """
    entry, classes = CHOICES[part]
    if choice not in classes:
        raise ZooError(f"{part}.{entry} = {choice!r} is unknown; {nearest(str(choice), classes)}")
    return classes[choice]


@functools.cache
def _schema() -> "TypeAdapter[Any]":
    """The schema of a recipe, in which some parts may have any of several classes."""
    from pydantic import ConfigDict, TypeAdapter, create_model

    types = get_type_hints(Recipe) | {
        "data": one_of("name", DATA_CLASSES, kind_of),
        **{part: one_of(entry, classes) for part, (entry, classes) in CHOICES.items()},
    }
    parts: Any = {name: (hint, ... if name == "model" else None) for name, hint in types.items()}
    return TypeAdapter(create_model("Recipe", __config__=ConfigDict(strict=True, extra="forbid"), **parts))


def _known(location: Sequence[Any]) -> list[str]:
    """The legal settings at the location of an unknown one."""
    part, *inside = location
    if len(inside) == 2:  # inside one of several classes
        choice = inside[0].strip("<>")
        owner = DATA_CLASSES[choice] if part == "data" else settings_class(part, choice)
    else:
        owner = {"training": Training, "origin": Origin}[str(part)] if inside else Recipe
    return [each.name for each in dataclasses.fields(owner)]
