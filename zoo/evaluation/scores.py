"""The result of an evaluation: values at each predicted step, and how they were measured."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tensortrain.tables import Column, Table
from zoo.data.clips import counted
from zoo.errors import ZooError
from zoo.evaluation.conventions import Convention
from zoo.evaluation.measure import Measure
from zoo.evaluation.spread import half_interval
from zoo.files import aside, path_of
from zoo.papers import Task
from zoo.settings import Content, Recipe, from_plain, to_plain

PerFrame = Mapping[str, NDArray[np.float64]]  # values (horizon,) by metric


class Averages(dict[str, float]):
    """Numbers by the names of metrics. They are printed with four digits.

    >>> Averages(mse=0.0280412345678, ssim=0.6512345)
    mse 0.02804, ssim 0.6512
    """

    def __repr__(self) -> str:
        return ", ".join(f"{name} {value:.4g}" for name, value in self.items())


@dataclass(frozen=True, repr=False)
class Scores:
    """The values of one model and of the trivial baselines on the same clips.

    Args:
        name: the name of the model in tables.
        parameters: its number of parameters.
        data: a description of the data set in one line.
        comparable_with: scores with equal values are comparable, such as "moving-mnist-2"; see `zoo.data.ClipDataset`.
        clips: the number of clips that were evaluated.
        observed: the number of observed steps T_in.
        horizon: the number of predicted steps.
        frame: the shape (C, H, W) of a frame, or (d,) of the values of a series.
        convention: how the values were measured.
        per_frame: for each metric, the values `(horizon,)` at each predicted step, averaged over clips. They have the
            units of the convention, without the factor of tables.
        baselines: the same for each baseline, by name.
        notes: further notes for readers, such as why a metric is missing.
        per_clip: for each row and metric, the values `(clips,)` of the clips, averaged over steps; see
            `zoo.evaluation.spread`.
        half_intervals: for each row and metric, half of the width `(horizon,)` of the 95 % confidence interval of each
            step's average over the clips; empty if there is only one clip.
        recipe: the recipe that trained the model, if it is known.
    """

    name: str
    parameters: int
    data: str
    comparable_with: str
    clips: int
    observed: int
    horizon: int
    frame: tuple[int, ...]
    convention: Convention
    per_frame: PerFrame
    baselines: Mapping[str, PerFrame]
    notes: tuple[str, ...] = ()
    per_clip: Mapping[str, PerFrame] = field(default_factory=dict)
    half_intervals: Mapping[str, PerFrame] = field(default_factory=dict)
    recipe: Recipe | None = None

    @property
    def rows(self) -> dict[str, PerFrame]:
        """The values at each step of the baselines and of the model, by name."""
        return {**self.baselines, self.name: self.per_frame}

    @property
    def average(self) -> "Averages":
        """The model's values, averaged over the predicted steps."""
        return Averages(averages(self.per_frame))

    @property
    def task(self) -> Task:
        """Data, number of observed steps and horizon. Scores with the same task share a column of a table."""
        return self.comparable_with, self.observed, self.horizon

    @property
    def content(self) -> Content:
        """What was predicted: "video" or "series"."""
        return self.convention.content

    @property
    def step(self) -> str:
        """The word for a step: "frame" or "step"."""
        return "frame" if self.content == "video" else "step"

    def clip_values(self, row: str, key: str) -> NDArray[np.float64] | None:
        """The values of a row for each clip; None if there are fewer than two clips, which do not allow statistics."""
        values = self.per_clip.get(row, {}).get(key)
        return None if values is None or len(values) < 2 else values

    def measured_on(self) -> str:
        """The number of clips and the data set, as a phrase."""
        return f"{counted(self.clips, 'clip')} of {self.data}"

    def table(self) -> Table:
        """A table of the averages, the model first, with notes on what was measured. For series it is `by_horizon`."""
        if self.content == "series":
            return by_horizon([self])
        measures = self.convention.measures
        rows = []
        for name in (self.name, *self.baselines):
            means = averages(self.rows[name])
            rows.append([name, *(shown(self, name, m) if m.key in means else "" for m in measures)])
        return Table(
            (Column("Model", words=True), *(Column(measure.heading) for measure in measures)),
            rows,
            title=task_title(self),
            notes=(*self.footnotes().split("\n"), *interval_note([self]), *beaten([self])),
            faint=frozenset(range(1, len(rows))),
        )

    def __repr__(self) -> str:
        return self.table().text()

    def _repr_html_(self) -> str:
        """For notebooks: the table."""
        return self.table().to_html()

    def footnotes(self) -> str:
        """Data, convention and notes, one line each."""
        return "\n".join([f"{self.measured_on()}.", self.convention.text(), *self.notes])

    def save(self, path: str | Path) -> None:
        """Write everything to a JSON file. `load` is the inverse.

        Raises:
            ZooError: if the file cannot be written.
        """
        plain = {
            **vars(self),
            "convention": self.convention.to_dict(),
            "per_frame": _lists(self.per_frame),
            "baselines": {name: _lists(values) for name, values in self.baselines.items()},
            "per_clip": {name: _lists(values) for name, values in self.per_clip.items()},
            "half_intervals": {name: _lists(values) for name, values in self.half_intervals.items()},
            "recipe": None if self.recipe is None else to_plain(self.recipe),
        }
        with aside(path) as temporary:
            temporary.write_text(json.dumps(plain, indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> "Scores":
        """Read a file of `save`.

        Raises:
            ZooError: if the file does not exist or does not hold scores.
        """
        path = path_of("path", path)
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            plain["convention"] = Convention.from_dict(plain["convention"])
            plain["per_frame"] = _arrays(plain["per_frame"])
            plain["baselines"] = {name: _arrays(values) for name, values in plain["baselines"].items()}
            for name in ("per_clip", "half_intervals"):
                plain[name] = {row: _arrays(values) for row, values in plain[name].items()}
            if plain.get("recipe") is not None:
                plain["recipe"] = from_plain(plain["recipe"], str(path))
            return cls(**{**plain, "frame": tuple(plain["frame"]), "notes": tuple(plain["notes"])})
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ZooError(f"{path} does not hold scores ({error}); evaluate again") from None


def task_title(scores: Scores) -> str:
    """The numbers of observed and predicted frames, as the title of a table."""
    return f"{scores.observed} observed → {scores.horizon} predicted frame{'s' * (scores.horizon != 1)}"


def save_values(scores: Sequence[Scores], path: str | Path) -> None:
    """Write a CSV file with a row for each model or baseline, metric and predicted step (counted from 1).

    The last column is half of the width of the 95 % confidence interval over the clips; empty for a single clip.

    Raises:
        ZooError: if the file cannot be written.
    """
    rows = {
        (one.comparable_with, one.observed, one.horizon, name): (per_frame, one.half_intervals.get(name, {}))
        for one in scores
        for name, per_frame in one.rows.items()
    }
    step = next((one.step for one in scores), "step")
    with aside(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("data", "observed", "horizon", "model", "metric", step, "value", "half_interval"))
        for place, (per_frame, halves) in rows.items():
            for metric, values in per_frame.items():
                spread = halves[metric].tolist() if metric in halves else [""] * len(values)
                pairs = enumerate(zip(values.tolist(), spread, strict=True), 1)
                writer.writerows((*place, metric, t, *pair) for t, pair in pairs)


_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # the columns of steps, in addition to the last step


def by_horizon(scores: Sequence[Scores]) -> Table:
    """A table of the errors of series, with a row for each model and baseline, and columns for some predicted steps.

    The last column is the first step at which the error exceeds half of the spread. The spread is the error of the
    baseline that predicts the mean of the data. If a model was measured at several horizons, the longest is shown.

    Args:
        scores: scores of series, measured on the same data after the same number of observed steps.

    Raises:
        ZooError: if scores are of different data, or two models have the same name.
    """
    longest: dict[str, Scores] = {}
    for one in scores:
        if (one.comparable_with, one.observed) != (scores[0].comparable_with, scores[0].observed):
            raise ZooError(
                f"{one.name!r} was measured on {one.comparable_with} after {counted(one.observed, 'step')}, but "
                f"{scores[0].name!r} on {scores[0].comparable_with} after {scores[0].observed}; compare each separately"
            )
        if one.name in longest and longest[one.name].horizon == one.horizon:
            raise ZooError(f"two scores are named {one.name!r} at horizon {one.horizon}; give them different names")
        longest[one.name] = max(one, longest.get(one.name, one), key=lambda each: each.horizon)
    widest = max(longest.values(), key=lambda each: each.horizon)
    (measure,) = widest.convention.measures
    steps = [step for step in _SHOWN if step < widest.horizon] + [widest.horizon]

    notes = dict.fromkeys(note for one in longest.values() for note in (f"{one.measured_on()}.", *one.notes))
    rows = [(one.name, one.parameters, one.per_frame) for one in longest.values()]
    rows += [(name, 0, values) for name, values in widest.baselines.items()]
    spread = widest.baselines["mean of the data"][measure.key].mean()
    seen = f"{widest.observed} observed one{'s' * (widest.observed != 1)}"
    lines = []
    for name, parameters, per_frame in rows:
        errors = per_frame[measure.key]
        cells = [measure.shown(errors[step - 1]) if step <= len(errors) else "" for step in steps]
        lines.append([name, f"{parameters:,}" if parameters else "", *cells, _passed(errors, spread / 2)])
    numbers = [Column("Parameters"), *(Column(f"{step}") for step in steps), Column("half of the\nspread at")]
    return Table(
        [Column("Model", words=True), *numbers],
        lines,
        title=f"{measure.heading} by predicted step, after {seen}",
        notes=(*notes, widest.convention.text()),
        faint=frozenset(range(len(longest), len(lines))),
    )


def _passed(errors: NDArray[np.float64], limit: float) -> str:
    """The first step at which an error exceeds a limit, as text."""
    beyond = np.flatnonzero(errors > limit)
    return f"{beyond[0] + 1}" if len(beyond) else f"> {len(errors)}"


def shown(scores: Scores, row: str, measure: Measure) -> str:
    """A row's average as it is printed in tables, with half of its confidence interval if that is known."""
    mean = measure.shown(averages(scores.rows[row])[measure.key])
    values = scores.clip_values(row, measure.key)
    return mean if values is None else f"{mean} ± {measure.shown(half_interval(values, measure))}"


def interval_note(scores: Sequence[Scores]) -> list[str]:
    """A note that explains the numbers after ±, if there are any."""
    if all(one.clip_values(one.name, measure.key) is None for one in scores for measure in one.convention.measures):
        return []
    return ["± is the 95 % confidence interval over these clips; another training may differ by more."]


def beaten(scores: Sequence[Scores]) -> list[str]:
    """A sentence for each baseline that is better than all models, with the metrics in which it is."""
    by_baseline: dict[str, list[str]] = {}
    for measure in scores[0].convention.measures:
        sign = 1 if measure.higher_is_better else -1
        models = [sign * averages(one.per_frame)[measure.key] for one in scores if measure.key in one.per_frame]
        for name, per_frame in scores[0].baselines.items():
            if models and measure.key in per_frame and sign * per_frame[measure.key].mean() > max(models):
                by_baseline.setdefault(name, []).append(measure.key.upper())
    return [
        f"By {', '.join(keys)} the baseline {name!r} is better than every model: train longer, or trust other metrics."
        for name, keys in by_baseline.items()
    ]


def averages(per_frame: PerFrame) -> dict[str, float]:
    """The values, averaged over the predicted steps."""
    return {metric: float(values.mean()) for metric, values in per_frame.items()}


def _lists(per_frame: PerFrame) -> dict[str, list[float]]:
    return {metric: values.tolist() for metric, values in per_frame.items()}


def _arrays(per_frame: dict[str, list[float]]) -> PerFrame:
    return {metric: np.asarray(values, dtype=np.float64) for metric, values in per_frame.items()}
