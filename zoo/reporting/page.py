"""The content of the page about trained models."""

from collections.abc import Sequence

import numpy as np
import yaml
from numpy.typing import NDArray

import zoo
from tensortrain.pages import Details, Lines, Page, Part, Prose, Section, Tile
from tensortrain.tables import Column, Table
from zoo.evaluation import Scores, measured
from zoo.evaluation.measure import Measure
from zoo.evaluation.scores import averages
from zoo.registry import find_model
from zoo.reporting.course import Course
from zoo.reporting.source import Source, nearest_preset, settings_apart
from zoo.settings import to_plain

VERSIONS = ("python", "tensortrain", "torch", "lightning", "numpy", "machine", "device", "processes", "threads")
WHY = (
    "The loss may rise while the validation loss falls. As the sampling ratio falls, the model reads more of its own "
    "predictions instead of true ones. This is harder, but it is what the model is tested on."
)


def run_page(
    sources: Sequence[Source],
    scores: Sequence[Scores],
    predictions: Section,
    closing: Section,
    notes: Sequence[str] = (),
    lead: Sequence[str] = (),
) -> Page:
    """Make the page.

    Args:
        sources: the trained models.
        scores: the scores of the models that could be evaluated.
        predictions: predictions of some clips, as pictures and players; left out if it has no parts.
        closing: the last section, with commands to type.
        notes: what could not be shown, and why.
        lead: sentences for the top of the page, below those about the models.
    """
    sections = []
    if notes:
        sections.append(Section("What is missing", [Prose(notes)]))
    groups = _by_task(scores)
    if groups:
        sections.append(Section("Scores", [part for group in groups for part in _scores(group)]))
        sections += [_step_by_step(group, len(groups) > 1) for group in groups]
    if predictions.parts:
        sections.append(predictions)
    runs = [source for source in sources if source.course.rows]
    if runs:
        sections += [Section("Training", _training(runs), WHY), Section("Speed", _speed(runs))]
    sections.append(_settings(sources))
    if any(source.course.sessions for source in sources):
        sections.append(Section("Versions and machine", [_versions(sources)]))
    sections.append(closing)
    title = sources[0].name if len(sources) == 1 else f"{len(sources)} models compared"
    foot = f"Written by zoo {zoo.__version__}. This page loads nothing from other places."
    summary = [*map(_sentence, sources), *lead]
    return Page(title, summary, _tiles(sources, groups), sections, foot)


def _sentence(source: Source) -> str:
    """A sentence about the model, its data and its training, and one about the run that it continues."""
    course, recipe = source.course, source.course.recipe
    text = f"{source.name}: {recipe.model} ({find_model(recipe.model).citation}), {source.parameters:,} parameters"
    if not course.rows:
        return f"{text}, weights trained on {recipe.data.name}."
    clips = course.clips(0, course.steps)
    seen = "" if clips is None else f"{clips:,.0f} clips, "
    data = course.sessions[-1]["data"][0] if course.sessions and course.sessions[-1].get("data") else recipe.data.name
    return (
        f"{text}, trained for {course.steps:,} of {recipe.training.steps:,} steps, {seen}in "
        f"{duration(course.seconds)}, on {data}.{_continued(course)}"
    )


def _continued(course: Course) -> str:
    """A sentence about the run that a run continues; empty if it continues none."""
    run = course.recipe.origin.run
    if not run:
        return ""
    since = f" from step {course.start:,}" if course.sessions else ""
    unknown = "; the number of clips until then is not known" if course.clips(0, course.steps) is None else ""
    return f" It continues {run}{since}{unknown}."


def _tiles(sources: Sequence[Source], groups: Sequence[Sequence[Scores]]) -> list[Tile]:
    """The most important numbers. The score is that of the best model of the first group of comparable scores."""
    tiles = []
    if groups:
        measure = groups[0][0].convention.measures[0]
        choose = max if measure.higher_is_better else min
        best = choose(groups[0], key=lambda one: averages(one.per_frame)[measure.key])
        value = averages(best.per_frame)[measure.key]
        head = measure.heading.replace("\n", " ").replace(" ↓", "").replace(" ↑", "")
        tiles.append(
            Tile(
                measure.shown(value), f"{head}, {best.observed} → {best.horizon}", f"{best.name}, {best.clips:,} clips"
            )
        )
        for name, per_frame in best.baselines.items():
            error = averages(per_frame)[measure.key]
            if measure.higher_is_better:
                tiles.append(Tile(measure.shown(error), f"{measure.key.upper()} of {name!r}"))
            elif value > 0 and error > 0:
                better = error >= value
                label = f"{'less' if better else 'more'} error than {name!r}"
                tiles.append(Tile(f"{error / value if better else value / error:.2f}×", label, measure.shown(error)))
    run = next((source for source in sources if source.course.rows), None)
    if run is not None:
        tiles.append(Tile(duration(run.course.seconds), "training", f"{run.name}, {run.course.steps:,} steps"))
    tiles.append(Tile(f"{sources[0].parameters:,}", "parameters", sources[0].name))
    return tiles


def _by_task(scores: Sequence[Scores]) -> list[list[Scores]]:
    """Group scores of the same data, number of observed steps and horizon."""
    groups: dict[tuple[str, int, int], list[Scores]] = {}
    for one in scores:
        groups.setdefault((one.comparable_with, one.observed, one.horizon), []).append(one)
    return list(groups.values())


def _scores(scores: Sequence[Scores]) -> list[Part]:
    """The table of scores of one task, and in words at which steps the models are better than the baselines."""
    measure = scores[0].convention.measures[0]
    lines = []
    for one in scores:
        for name, values in one.baselines.items():
            ours, theirs = one.per_frame[measure.key], values[measure.key]
            better = ours > theirs if measure.higher_is_better else ours < theirs
            where = steps_in_words(better.tolist(), one.step)
            lines.append(f"The {measure.key.upper()} of {one.name} is better than that of {name!r} {where}.")
    return [measured(scores), Prose(lines)]


def steps_in_words(chosen: Sequence[bool], step: str = "frame") -> str:
    """Which predicted steps are chosen, in words.

    >>> steps_in_words([False, True, True]), steps_in_words([True, True]), steps_in_words([True, False, True, True])
    ('from predicted frame 2 on', 'at every predicted frame', 'at predicted frames 1 and 3 to 4')
    """
    ranges: list[list[int]] = []
    for t, one in enumerate(chosen, 1):
        if one and ranges and ranges[-1][1] == t - 1:
            ranges[-1][1] = t
        elif one:
            ranges.append([t, t])
    if len(ranges) <= 1:
        if not ranges:
            return f"at no predicted {step}"
        first, last = ranges[0]
        if last == len(chosen):
            return f"at every predicted {step}" if first == 1 else f"from predicted {step} {first} on"
    texts = [f"{first}" if first == last else f"{first} to {last}" for first, last in ranges]
    many = len(texts) > 1 or " " in texts[0]
    listed = texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"
    return f"at predicted {step}{'s' * many} {listed}"


def _step_by_step(scores: Sequence[Scores], named: bool) -> Section:
    """A chart for each metric over the predicted steps. With `named`, the heading lists the models."""
    longest = max(scores, key=lambda one: one.horizon)
    charts: list[Part] = []
    for measure in longest.convention.measures:
        lines = {
            one.name: _points(one.per_frame[measure.key], measure) for one in scores if measure.key in one.per_frame
        }
        faint = [name for name, values in longest.baselines.items() if measure.key in values]
        lines |= {name: _points(longest.baselines[name][measure.key], measure) for name in faint}
        if lines:
            title = measure.heading.replace("\n", " ")
            charts.append(Lines(title, f"predicted {longest.step}", title, lines=lines, faint=faint))
    title = "Frame by frame" if longest.content == "video" else "Step by step"
    title += f": {', '.join(one.name for one in scores)}" if named else ""
    intro = f"After {longest.observed} observed {longest.step}s. The arrow points to better values."
    return Section(title, charts, intro)


def _points(values: NDArray[np.float64], measure: Measure) -> list[tuple[float, float]]:
    return [(t, float(value) * measure.scale) for t, value in enumerate(values, 1)]


def _training(runs: Sequence[Source]) -> list[Part]:
    losses: dict[str, list[tuple[float, float]]] = {}
    pairs = {}
    step = "frame" if all(run.course.recipe.data.content == "video" for run in runs) else "step"
    for run in runs:
        validation, training = f"{run.name}, validation", f"{run.name}, training"
        if curve := run.course.curve("validation_loss"):
            losses[validation] = curve
            pairs[training] = validation
        losses[training] = run.course.curve("loss")
    charts: list[Part] = [Lines("Loss", "step", "loss", lines=losses, pairs=pairs)]
    for title, column, unit, caption in (
        (
            "Sampling ratio",
            "sampling_ratio",
            "ratio",
            f"The fraction of true {step}s that the model reads after the observed ones; the others are predictions.",
        ),
        ("Learning rate", "learning_rate", "rate", ""),
        ("Gradient norm", "gradient_norm", "norm", "The largest since the previous row, before clipping."),
        (
            "Error on validation clips",
            "validation_mse",
            f"squared error of a {step}",
            f"Summed over a {step}'s values.",
        ),
    ):
        lines = {run.name: curve for run in runs if (curve := run.course.curve(column))}
        if lines:
            logarithmic = column == "gradient_norm" and all(y > 0 for line in lines.values() for _, y in line)
            charts.append(Lines(title, "step", unit, caption, lines=lines, logarithmic=logarithmic))
    return charts


def _speed(runs: Sequence[Source]) -> list[Part]:
    lines = {run.name: speed for run in runs if (speed := run.course.speed())}
    rows = []
    for run in runs:
        session = run.course.sessions[-1] if run.course.sessions else {}
        clips = run.course.clips(0, run.course.steps)
        rate = f"{clips / run.course.seconds:.3g}" if clips is not None and run.course.seconds else ""
        precision = run.course.recipe.training.precision
        rows.append(
            [
                run.name,
                duration(run.course.seconds),
                rate,
                precision,
                str(session.get("device", "")),
                str(session.get("threads", "")),
            ]
        )
    heads = [Column("run", words=True), *map(Column, ("time", "clips/s")), Column("precision", words=True)]
    table = Table([*heads, Column("device", words=True), Column("threads")], rows, notes=("Validations are included.",))
    chart = Lines("Clips per second", "step", "clips/s", lines=lines)
    return [chart, table] if lines else [table]


def _settings(sources: Sequence[Source]) -> Section:
    """The settings in which the runs differ, or one run and its nearest preset; all settings below."""
    recipes = {source.name: source.course.recipe for source in sources}
    title = "Settings that differ"
    if len(recipes) == 1 and (preset := nearest_preset(sources[0].course.recipe)) is not None:
        name, start = preset
        title = f"Settings that differ from the preset {name}"
        recipes[f"preset {name}"] = start
    rows = settings_apart(recipes)
    heads = [Column("setting", words=True), *(Column(name, words=True, wraps=True) for name in recipes)]
    parts: list[Part] = [Table(heads, rows)] if rows else [Prose(["None."])]
    for source in sources:
        text = yaml.safe_dump(to_plain(source.course.recipe), sort_keys=False)
        parts.append(Details(f"All settings of {source.name}", text))
    return Section(title, parts)


def _versions(sources: Sequence[Source]) -> Table:
    """A table with a row for each session."""
    rows = []
    for source in sources:
        for session in source.course.sessions:
            notes = [str(session["note"])] if "note" in session else []
            rows.append(
                [
                    source.name,
                    str(session.get("step", "")),
                    *(str(session.get(name, "")) for name in VERSIONS),
                    *notes,
                    *[""] * (not notes),
                ]
            )
    heads = [Column("run", words=True), Column("from step"), *(Column(name, words=True) for name in VERSIONS)]
    return Table([*heads, Column("note", words=True, wraps=True)], rows)


def duration(seconds: float) -> str:
    """A time as text, in a suitable unit.

    >>> duration(42), duration(150), duration(9000)
    ('42 s', '2.5 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
