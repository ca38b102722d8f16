"""Recipes to and from plain data, which YAML and JSON keep."""

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

# the parts of a recipe that are one of several classes: the entry that says which, and the classes by its values
CHOICES: dict[str, tuple[str, dict[str, Any]]] = {
    "sampling": ("schedule", {one.schedule: one for one in get_args(Sampling)}),
    "learning_rate": ("schedule", {one.schedule: one for one in get_args(LearningRate)}),
    "optimizer": ("method", {one.method: one for one in get_args(Optimizer)}),
}


def to_plain(recipe: Recipe) -> dict[str, Any]:
    """A recipe as mappings, lists, strings and numbers, which YAML and JSON keep and `from_plain` reads.

    Raises:
        TypeError: an option that is no plain value.
    """
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def from_plain(value: Any, where: str) -> Recipe:
    """The recipe that plain data describe.

    Args:
        value: what was read from YAML or JSON.
        where: the file's name, for error messages.

    Raises:
        ZooError: an unknown or missing setting, or a value of the wrong type.
    """
    try:
        text = json.dumps(value)
    except TypeError as error:
        raise ZooError(f"{where}: a value is neither text nor a number, a list or a mapping: {error}") from None
    settings = validate(_schema(), text, where, noun="setting", known=_known)
    return Recipe(**{name: getattr(settings, name) for name in settings.model_fields_set})


def settings_class(part: str, choice: str) -> Any:
    """The settings class that a part of a recipe has for a choice.

    Args:
        part: "sampling", "learning_rate" or "optimizer".
        choice: the name of the schedule or of the method.

    Raises:
        ZooError: no such choice.

    >>> settings_class("sampling", "linear")().stop
    50000
    """
    entry, classes = CHOICES[part]
    if choice not in classes:
        raise ZooError(f"{part}.{entry} = {choice!r} is unknown; {nearest(str(choice), classes)}")
    return classes[choice]


@functools.cache
def _schema() -> "TypeAdapter[Any]":
    """The schema of a recipe: its classes, with the setting that says which of several classes another one is."""
    from pydantic import ConfigDict, TypeAdapter, create_model

    types = get_type_hints(Recipe) | {
        "data": one_of("name", DATA_CLASSES, kind_of),
        **{part: one_of(entry, classes) for part, (entry, classes) in CHOICES.items()},
    }
    parts: Any = {name: (hint, ... if name == "model" else None) for name, hint in types.items()}
    return TypeAdapter(create_model("Recipe", __config__=ConfigDict(strict=True, extra="forbid"), **parts))


def _known(location: Sequence[Any]) -> list[str]:
    """The settings beside one that does not exist."""
    part, *inside = location
    if len(inside) == 2:  # in one of several classes
        choice = inside[0].strip("<>")
        owner = DATA_CLASSES[choice] if part == "data" else settings_class(part, choice)
    else:
        owner = {"training": Training, "origin": Origin}[str(part)] if inside else Recipe
    return [each.name for each in dataclasses.fields(owner)]
