"""What a page reads of a trained model: its recipe, and of a run its metrics and sessions."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.predictor import Predictor
from zoo.presets import PRESETS, recipe
from zoo.settings import Recipe, to_plain
from zoo.training.run_folder import read_sessions

Row = Mapping[str, float]


@dataclass(frozen=True)
class Source:
    """A trained model with what is known of its training.

    Args:
        name: that the page calls it.
        model: with its weights.
        recipe: it was trained by.
        rows: of `metrics.csv`; a value that a row lacks is missing. None for weights without a run.
        sessions: of `versions.json`.
    """

    name: str
    model: Predictor
    recipe: Recipe
    rows: Sequence[Row] = ()
    sessions: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def parameters(self) -> int:
        """How many the model has."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def steps(self) -> int:
        """Steps until the last row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def seconds(self) -> float:
        """That training took, validations included."""
        return self.rows[-1].get("seconds", 0.0) if self.rows else 0.0

    def curve(self, column: str) -> list[tuple[float, float]]:
        """A column of the metrics over the steps."""
        return [(row["step"], row[column]) for row in self.rows if column in row]

    def speed(self) -> list[tuple[float, float]]:
        """Clips trained on per second over the steps, validations included."""
        pairs = zip(self.rows, self.rows[1:], strict=False)
        batch = self.recipe.training.batch_size
        return [
            (now["step"], batch * (now["step"] - was["step"]) / (now["seconds"] - was["seconds"]))
            for was, now in pairs
            if now.get("seconds", 0) > was.get("seconds", 0)
        ]


def read_source(name: str, model: Predictor, of: Recipe, folder: Path | None) -> Source:
    """Read what the folder of a run says; None for weights that have none.

    Raises:
        ZooError: a file that is damaged.
    """
    if folder is None:
        return Source(name, model, of)
    return Source(name, model, of, read_metrics(folder / "metrics.csv"), read_sessions(folder / "versions.json"))


def read_metrics(path: Path) -> list[Row]:
    """The rows of a `metrics.csv`; empty cells are left out. None if there is no such file.

    Raises:
        ZooError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[Row] = [
                {name: float(text) for name, text in row.items() if text} for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, TypeError) as error:
        raise ZooError(f"{path} cannot be read as metrics ({error}); resume the run, which writes it anew") from None
    if any("step" not in row for row in rows):
        raise ZooError(f"{path} has a row without a step; resume the run, which writes it anew")
    return rows


def settings_apart(recipes: Mapping[str, Recipe]) -> list[list[str]]:
    """The settings in which recipes differ: a row with the name, then each recipe's value; empty where it has none."""
    flat = [_flat(to_plain(each)) for each in recipes.values()]
    names = dict.fromkeys(name for one in flat for name in one)
    rows = [[name, *(one.get(name, "") for one in flat)] for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def nearest_preset(one: Recipe) -> tuple[str, Recipe] | None:
    """The preset from which a recipe differs in the fewest settings; None if none trains such a model on such data."""
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
