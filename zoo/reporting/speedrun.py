"""How many clips and how much processor time runs needed to reach a validation error."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tensortrain.tables import Column, Table
from zoo.errors import ZooError
from zoo.reporting.source import Row, read_metrics, settings_apart
from zoo.settings import Recipe, to_plain
from zoo.training.run_folder import FREE, read_recipe, read_sessions


@dataclass(frozen=True)
class Speedrun:
    """What a run folder says about the course of a training.

    Args:
        name: the name of the folder.
        recipe: the settings of the run.
        rows: the rows of its metrics.
        sessions: its sessions, from `versions.json`.
    """

    name: str
    recipe: Recipe
    rows: Sequence[Row]
    sessions: Sequence[Mapping[str, Any]]

    def reached(self, error: float) -> tuple[float, float] | None:
        """The clips and the processor minutes up to the first validation with at most this error; None if none has.

        Args:
            error: the squared error on the validation clips, summed over a predicted step.
        """
        for row in self.rows:
            if row.get("validation_mse", float("inf")) <= error:
                return row["step"] * self.recipe.training.batch_size, self._minutes(int(row["step"]))
        return None

    def _minutes(self, step: int) -> float:
        """The minutes up to a step, times the processes and the threads of each that were used."""
        minutes, before = 0.0, 0.0
        for row in self.rows:
            if row["step"] <= step:
                minutes += (row["seconds"] - before) / 60 * self._threads(row["step"])
                before = row["seconds"]
        return minutes

    def _threads(self, step: float) -> int:
        """The threads of all processes in the session that took this step.

        A run that continues another one has the metrics of that run too, but not its sessions. These steps count as if
        the first session had taken them.
        """
        session = next((each for each in reversed(self.sessions) if each["step"] < step), self.sessions[0])
        return int(session["processes"]) * int(session["threads"])


def read_speedrun(folder: Path | str) -> Speedrun:
    """Read a run.

    Raises:
        ZooError: if there is no run in the folder, it was never validated, or a file is damaged.
    """
    folder = Path(folder)
    recipe = read_recipe(folder / "config.yaml")
    rows, sessions = read_metrics(folder / "metrics.csv"), read_sessions(folder / "versions.json")
    if not any("validation_mse" in row for row in rows):
        raise ZooError(f"{folder} has no validation yet; train it further, or leave it out")
    if not sessions or any("seconds" not in row for row in rows):
        raise ZooError(f"{folder} does not say how long its steps took; leave it out")
    return Speedrun(folder.resolve().name, recipe, rows, sessions)


def speedrun_tables(runs: Sequence[Speedrun], errors: Sequence[float]) -> list[Table]:
    """A table with a row for each recipe, and one with the settings in which the recipes differ, if they do.

    Runs that differ in their seeds alone have the same recipe. Their row has the averages, and the range in brackets.
    """
    groups: dict[str, list[Speedrun]] = {}
    for run in runs:
        groups.setdefault(_recipe_text(run.recipe), []).append(run)
    rows = []
    for group in groups.values():
        cells = [", ".join(run.name for run in group), group[0].recipe.model]
        for error in errors:
            records = [reached for run in group if (reached := run.reached(error)) is not None]
            cells += _cells(records, len(group))
        rows.append(cells)
    heads = [Column("runs", words=True, wraps=True), Column("model", words=True)]
    for error in errors:
        heads += [Column(f"clips to\n{error:g}"), Column(f"minutes to\n{error:g}")]
    notes = [
        "Up to the first validation with at most this squared error, summed over a predicted frame. Minutes are those "
        "of the training with its validations, times processes and threads.",
    ]
    for run in runs:
        origin = run.recipe.origin
        if origin.weights:
            notes.append(f"{run.name} starts from {origin.weights}, whose clips and minutes are not counted.")
        if origin.run:
            notes.append(f"{run.name} continues {origin.run}, whose steps count as if this run had taken them.")
    tables = [Table(heads, rows, notes=tuple(notes))]
    recipes = {", ".join(run.name for run in group): group[0].recipe for group in groups.values()}
    if len(recipes) > 1:
        differing = [row for row in settings_apart(recipes) if row[0] not in _NOT_OF_THE_RECIPE]
        columns = [Column("setting", words=True), *(Column(name, words=True, wraps=True) for name in recipes)]
        tables.append(Table(columns, differing, title="Settings that differ"))
    return tables


# seeds, and settings that do not affect the results
_NOT_OF_THE_RECIPE = ("data.seed", "training.seed", *(f"training.{name}" for name in FREE))


def _recipe_text(recipe: Recipe) -> str:
    """The settings that make two runs comparable as one recipe with several seeds."""
    plain = to_plain(recipe)
    for name in _NOT_OF_THE_RECIPE:
        part, _, setting = name.partition(".")
        plain[part].pop(setting, None)
    return yaml.safe_dump(plain)


def _cells(reached: Sequence[tuple[float, float]], runs: int) -> list[str]:
    """The cells for clips and minutes of the runs that reached an error."""
    if not reached:
        return ["–", "–"]
    missing = f"\n{len(reached)} of {runs} runs" if len(reached) < runs else ""
    return [_summary([each[i] for each in reached], digits) + missing for i, digits in enumerate((0, 1))]


def _summary(values: Sequence[float], digits: int) -> str:
    """The average, with the range if the values differ.

    >>> _summary([800, 1000], 0), _summary([2.5], 1)
    ('900 (800–1,000)', '2.5')
    """
    text = f"{sum(values) / len(values):,.{digits}f}"
    if min(values) == max(values):
        return text
    return f"{text} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"
