"""Read what the page shows of a trained model: its recipe and, for a run, the course of its training."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.predictors.predictor import Predictor
from zoo.presets import PRESETS, recipe
from zoo.reporting.course import Course, read_course
from zoo.settings import Recipe, to_plain


@dataclass(frozen=True)
class Source:
    """A trained model, and what is known of its training.

    Args:
        name: its name on the page.
        model: the model with its weights.
        course: its settings and the course of its training.
    """

    name: str
    model: Predictor
    course: Course

    @property
    def parameters(self) -> int:
        """The model's number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())


def read_source(name: str, model: Predictor, of: Recipe, folder: Path | None) -> Source:
    """Read the course of a run. `folder` is None for weights without a run.

    Raises:
        ZooError: if a file is damaged.
    """
    return Source(name, model, Course(of) if folder is None else read_course(folder, of))


def settings_apart(recipes: Mapping[str, Recipe]) -> list[list[str]]:
    """The settings in which recipes differ. Each row has the name and each recipe's value, empty if it has none."""
    flat = [_flat(to_plain(each)) for each in recipes.values()]
    names = dict.fromkeys(name for one in flat for name in one)
    rows = [[name, *(one.get(name, "") for one in flat)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def nearest_preset(one: Recipe) -> tuple[str, Recipe] | None:
    """The preset from which a recipe differs in the fewest settings; None if no preset fits the model and data."""
    nearest: tuple[int, str, Recipe] | None = None
    for preset in PRESETS:
        try:
            start = recipe(one.model, preset, dataset=one.data.name)
        except ZooError:
            continue
        count = len(settings_apart({"run": one, preset: start}))
        if nearest is None or count < nearest[0]:
            nearest = count, preset, start
    return None if nearest is None else nearest[1:]


def _flat(value: Any, where: str = "") -> dict[str, str]:
    if not isinstance(value, dict):
        return {where: ", ".join(map(str, value)) if isinstance(value, list) else str(value)}
    flat: dict[str, str] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{where}.{name}" if where else name)
    return flat
