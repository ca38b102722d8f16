"""How many clips and how much processor time runs needed to reach a validation error."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tensortrain.tables import Column, Table
from zoo.errors import ZooError
from zoo.names import check_unique
from zoo.reporting.course import Course, read_course
from zoo.reporting.source import settings_apart
from zoo.settings import Recipe, to_plain
from zoo.training.run_folder import FREE, complete, read_recipe


@dataclass(frozen=True)
class Speedrun:
    """What a run folder says about the course of a training.

    Args:
        name: the name of the folder.
        course: its settings, metrics and sessions, and those of the earlier run that it continues.
    """

    name: str
    course: Course

    def reached(self, error: float) -> tuple[float | None, float] | None:
        """The clips and the processor minutes up to the first validation with at most this error; None if none has.

        The clips are None if an earlier run has taken some of these steps and cannot be read any more.

        Args:
            error: the squared error on the validation clips, summed over a predicted step.
        """
        for row in self.course.rows:
            if row.get("validation_mse", float("inf")) <= error:
                return self.course.clips(0, row["step"]), self._minutes(int(row["step"]))
        return None

    def _minutes(self, step: int) -> float:
        """The minutes up to a step, times the processes and the threads of each that were used."""
        minutes, before = 0.0, 0.0
        for row in self.course.rows:
            if row["step"] <= step:
                minutes += (row["seconds"] - before) / 60 * self._threads(row["step"])
                before = row["seconds"]
        return minutes

    def _threads(self, step: float) -> int:
        """The threads of all processes in the session that took this step.

        The steps of an earlier run that cannot be read any more count as if the first session had taken them.
        """
        session = self.course.session(step)
        return int(session["processes"]) * int(session["threads"])


def read_speedrun(folder: Path | str) -> Speedrun:
    """Read a run.

    Raises:
        ZooError: if there is no run in the folder, it was never validated, or a file is damaged.
    """
    folder = Path(folder)
    recipe = read_recipe(folder / "config.yaml")
    course = read_course(folder, recipe)
    if not any("validation_mse" in row for row in course.rows):
        raise ZooError(f"{folder} has no validation yet; train it further, or leave it out")
    if not course.sessions or any("seconds" not in row for row in course.rows):
        raise ZooError(f"{folder} does not say how long its steps took; leave it out")
    return Speedrun(folder.resolve().name, course)


def speedrun_tables(runs: Sequence[Speedrun], errors: Sequence[float]) -> list[Table]:
    """A table with a row for each recipe, and one with the settings in which the recipes differ, if they do.

    Runs that differ in their seeds alone have the same recipe. Their row has the averages, and the range in brackets.

    Raises:
        ZooError: if two runs have the same name.
    """
    check_unique("runs", [run.name for run in runs])
    groups: dict[str, list[Speedrun]] = {}
    for run in runs:
        groups.setdefault(_recipe_text(run.course.recipe), []).append(run)
    rows = []
    for group in groups.values():
        cells = [", ".join(run.name for run in group), group[0].course.recipe.model]
        for error in errors:
            records = [reached for run in group if (reached := run.reached(error)) is not None]
            cells += _cells(records, len(group))
        rows.append(cells)
    heads = [Column("runs", words=True, wraps=True), Column("model", words=True)]
    for error in errors:
        heads += [Column(f"clips to\n{error:g}"), Column(f"minutes to\n{error:g}")]
    notes = [
        "Up to the first validation with at most this squared error, summed over a predicted frame (or step of a "
        "series). Minutes are those of the training with its validations, times processes and threads.",
    ]
    for run in runs:
        origin = run.course.recipe.origin
        if origin.weights:
            notes.append(f"{run.name} starts from {origin.weights}, whose clips and minutes are not counted.")
        if origin.run:
            notes.append(f"{run.name} continues {origin.run}, {_counted(run.course)}.")
    tables = [Table(heads, rows, notes=tuple(notes))]
    recipes = {", ".join(run.name for run in group): complete(group[0].course.recipe) for group in groups.values()}
    if len(recipes) > 1:
        differing = [row for row in settings_apart(recipes) if row[0] not in _NOT_OF_THE_RECIPE]
        columns = [Column("setting", words=True), *(Column(name, words=True, wraps=True) for name in recipes)]
        tables.append(Table(columns, differing, title="Settings that differ"))
    return tables


def _counted(course: Course) -> str:
    """How the steps of the run that a run continues are counted, in words."""
    if course.clips(0, course.start) is None:
        return "whose clips are not known; threads that are not known count as those of this run"
    return "whose clips and minutes are counted"


# seeds, and settings that do not affect the results
_NOT_OF_THE_RECIPE = ("data.seed", "training.seed", *(f"training.{name}" for name in FREE))


def _recipe_text(recipe: Recipe) -> str:
    """The settings that make two runs comparable as one recipe with several seeds."""
    plain = to_plain(complete(recipe))
    for name in _NOT_OF_THE_RECIPE:
        part, _, setting = name.partition(".")
        plain[part].pop(setting, None)
    return yaml.safe_dump(plain)


def _cells(reached: Sequence[tuple[float | None, float]], runs: int) -> list[str]:
    """The cells for clips and minutes of the runs that reached an error."""
    if not reached:
        return ["–", "–"]
    missing = f"\n{len(reached)} of {runs} runs" if len(reached) < runs else ""
    clips, minutes = zip(*reached, strict=True)
    return [_summary(clips, 0) + missing, _summary(minutes, 1) + missing]


def _summary(values: Sequence[float | None], digits: int) -> str:
    """The average, with the range if the values differ.

    >>> _summary([800, 1000], 0), _summary([2.5], 1), _summary([800, None], 0)
    ('900 (800–1,000)', '2.5', 'unknown')
    """
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "unknown"
    text = f"{sum(known) / len(known):,.{digits}f}"
    if min(known) == max(known):
        return text
    return f"{text} ({min(known):,.{digits}f}–{max(known):,.{digits}f})"
