"""Read what the page shows of a trained model: its recipe and, for a run, its metrics and sessions."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.predictors.predictor import Predictor
from zoo.presets import PRESETS, recipe
from zoo.settings import Recipe, to_plain
from zoo.training.run_folder import read_sessions

Row = Mapping[str, float]


@dataclass(frozen=True)
class Source:
    """A trained model, and what is known of its training.

    Args:
        name: its name on the page.
        model: the model with its weights.
        recipe: the settings that it was trained by.
        rows: the rows of `metrics.csv`, without empty cells. Empty for weights without a run.
        sessions: the sessions of `versions.json`.
    """

    name: str
    model: Predictor
    recipe: Recipe
    rows: Sequence[Row] = ()
    sessions: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def parameters(self) -> int:
        """The model's number of parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def steps(self) -> int:
        """The number of steps up to the last row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def seconds(self) -> float:
        """The seconds of training, including validations."""
        return self.rows[-1].get("seconds", 0.0) if self.rows else 0.0

    def curve(self, column: str) -> list[tuple[float, float]]:
        """A column of the metrics, as pairs of step and value."""
        return [(row["step"], row[column]) for row in self.rows if column in row]

    def speed(self) -> list[tuple[float, float]]:
        """Training clips per second including validations, as pairs of step and value."""
        pairs = zip(self.rows, self.rows[1:], strict=False)
        batch = self.recipe.training.batch_size
        return [
            (now["step"], batch * (now["step"] - was["step"]) / (now["seconds"] - was["seconds"]))
            for was, now in pairs
            if now.get("seconds", 0) > was.get("seconds", 0)
        ]


def read_source(name: str, model: Predictor, of: Recipe, folder: Path | None) -> Source:
    """Read the metrics and sessions of a run. `folder` is None for weights without a run.

    Raises:
        ZooError: if a file is damaged.
    """
    if folder is None:
        return Source(name, model, of)
    return Source(name, model, of, read_metrics(folder / "metrics.csv"), read_sessions(folder / "versions.json"))


def read_metrics(path: Path) -> list[Row]:
    """Read the rows of a `metrics.csv` without empty cells. There are none if the file does not exist.

    Raises:
        ZooError: if the file is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[Row] = [
                {name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError) as error:
        raise ZooError(f"{path} cannot be read as metrics ({error}); resume the run, which writes it again") from None
    if any("step" not in row for row in rows):
        raise ZooError(f"{path} has a row without a step; resume the run, which writes it again")
    return rows


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
