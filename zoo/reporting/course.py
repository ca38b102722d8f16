"""The course of a training: its metrics, its sessions, and the earlier run that it continues."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.errors import ZooError
from zoo.settings import Recipe
from zoo.training.checkpoint import RunProgress
from zoo.training.run_folder import read_recipe, read_sessions

Row = Mapping[str, float]


@dataclass(frozen=True)
class Course:
    """What is known of how a model was trained.

    Args:
        recipe: the settings that it was trained by.
        rows: the rows of `metrics.csv`, without empty cells. A run that continues another one has its rows too. Empty
            for weights without a run.
        sessions: the sessions of `versions.json`.
        earlier: the course of the run that this one continues; None if there is none, or if it is not known any more.
    """

    recipe: Recipe
    rows: Sequence[Row] = ()
    sessions: Sequence[Mapping[str, Any]] = ()
    earlier: "Course | None" = None

    @property
    def steps(self) -> int:
        """The number of steps up to the last row."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    @property
    def seconds(self) -> float:
        """The seconds of training, including validations."""
        return self.rows[-1].get("seconds", 0.0) if self.rows else 0.0

    @property
    def start(self) -> int:
        """The number of steps that the earlier run had taken when this one continued it."""
        return int(self.sessions[0]["step"]) if self.recipe.origin.run and self.sessions else 0

    @property
    def stalled(self) -> bool:
        """Whether the training stopped early: the validations of this run say so, not those of the earlier one."""
        progress = RunProgress.at_start()
        for step, loss in self.curve("validation_loss"):
            if step > self.start:
                progress.observe(int(step), loss)
        return progress.stalled(self.recipe.training.early_stop)

    def curve(self, column: str) -> list[tuple[float, float]]:
        """A column of the metrics, as pairs of step and value."""
        return [(row["step"], row[column]) for row in self.rows if column in row]

    def clips(self, since: float, until: float) -> float | None:
        """The training clips of the steps from `since` to `until`; None if the earlier run took some and is not known.

        The batches of the earlier run may have had another size.
        """
        own = max(0.0, until - max(since, self.start)) * self.recipe.training.batch_size
        if not self.recipe.origin.run or (self.sessions and since >= self.start):
            return own
        before = self.earlier.clips(since, min(until, self.start)) if self.earlier else None
        return None if before is None else before + own

    def speed(self) -> list[tuple[float, float]]:
        """Training clips per second including validations, as pairs of step and value, where they are known."""
        pairs = zip(self.rows, self.rows[1:], strict=False)
        return [
            (now["step"], clips / (now["seconds"] - was["seconds"]))
            for was, now in pairs
            if now.get("seconds", 0) > was.get("seconds", 0)
            and (clips := self.clips(was["step"], now["step"])) is not None
        ]

    def session(self, step: float) -> Mapping[str, Any]:
        """The session that took a step; the first one that is known if none of them did.

        There must be a session.
        """
        if step <= self.start and self.earlier and self.earlier.sessions:
            return self.earlier.session(step)
        return next((each for each in reversed(self.sessions) if each["step"] < step), self.sessions[0])


def read_course(folder: Path, recipe: Recipe, later: Sequence[Path] = ()) -> Course:
    """Read the course of a run, and of the earlier runs that it continues.

    Args:
        folder: the folder of the run.
        recipe: its settings.
        later: the folders of runs that continue this one.

    Raises:
        ZooError: if a file of the run is damaged.
    """
    course = Course(recipe, read_metrics(folder / "metrics.csv"), read_sessions(folder / "versions.json"))
    if not recipe.origin.run or not course.sessions:
        return course
    return Course(recipe, course.rows, course.sessions, _earlier(course, [folder.resolve(), *later]))


def _earlier(course: Course, later: Sequence[Path]) -> Course | None:
    """The course of the run that a run continues; None if its folder is gone, is damaged, or now holds another run."""
    folder = Path(course.recipe.origin.run)
    if folder in later:  # by then, a run that continues the others has taken its name
        return None
    try:
        earlier = read_course(folder, read_recipe(folder / "config.yaml"), later)
    except ZooError:
        return None
    inherited = [row for row in course.rows if row["step"] <= course.start]
    return earlier if earlier.rows[: len(inherited)] == inherited else None


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
