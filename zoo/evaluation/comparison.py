"""Tables and curves that compare several models, with published results next to measured ones."""

import math
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensortrain.figures import palette, styled
from tensortrain.tables import Column, Table
from zoo.errors import ZooError, nearest
from zoo.evaluation.conventions import CONVENTIONS, Convention
from zoo.evaluation.measure import Measure
from zoo.evaluation.metrics import Mae, Mse
from zoo.evaluation.published import LAYOUTS, PIXELS, Layout, Published, published_task
from zoo.evaluation.scores import PerFrame, Scores, averages, beaten, by_horizon, interval_note, shown, task_title
from zoo.evaluation.spread import may_be_chance
from zoo.files import aside
from zoo.names import check_name, check_picture
from zoo.papers import Columns, Task

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def compare(scores: Sequence[Scores], layout: str | None = None) -> Table:
    """Make a table of measured rows. If a paper has numbers for the same data, its published rows follow below.

    The scores of a model at several horizons, or on several data sets, share one row. `>` marks the best model of a
    column, and `≈` a model whose difference from it may be chance; see `zoo.evaluation.spread`. Published errors are
    converted to the unit of the measured convention. A star marks a published number that was measured in a different
    way, which no conversion can correct. Some papers have rows whose numbers are not known here. Such a row has dashes,
    and is shown only in that paper's layout. Scores of series have their own table, `zoo.evaluation.scores.by_horizon`.

    Args:
        scores: results of `evaluate`, all with the same convention.
        layout: one of `zoo.evaluation.LAYOUTS`, for all columns and rows of that paper's table. By default there are
            only the measured columns, and the published rows that have a number in one of them.

    Raises:
        ZooError: if there are no scores, several conventions, or two scores for the same cell; or if the layout is
            unknown, or the scores are of series.

    >>> import zoo
    >>> from zoo.evaluation import Blank, CopyLast
    >>> test = zoo.MovingMNIST("test", source="embedded", size=32, length=6)
    >>> models = {"copy": CopyLast(), "black": Blank()}
    >>> scores = [
    ...     zoo.evaluate(model, test, horizon=4, observed=2, metrics=["mse"], count=3, name=name)
    ...     for name, model in models.items()
    ... ]
    >>> [row[0] for row in compare(scores).rows]
    ['copy', 'black', 'copy last frame', 'blank frames']
    """
    convention = _shared_convention(scores)
    if convention.content == "series":
        if layout is not None:
            raise ZooError(f"layout = {layout!r} is a table for video, but the scores are of series; leave it out")
        return by_horizon(scores)
    paper = _find_layout(scores, layout)
    return _table(scores, convention, paper, whole=layout is not None)


def measured(scores: Sequence[Scores]) -> Table:
    """Make the table of `compare` with the measured rows only.

    Raises:
        ZooError: if there are no scores, several conventions, or two scores for the same cell.
    """
    convention = _shared_convention(scores)
    return by_horizon(scores) if convention.content == "series" else _table(scores, convention, None, whole=False)


_UNKNOWN = "–"  # a number that is printed in a paper, but not known here


def _table(scores: Sequence[Scores], convention: Convention, paper: Layout | None, whole: bool) -> Table:
    """The measured rows, and the rows of the paper that have a number; with `whole`, all its columns and rows."""
    columns: dict[Task, tuple[str, ...]] = {}
    for task, keys in paper.columns.items() if paper and whole else ():
        ours_for = dict.fromkeys(_task(one) for one in scores if published_task(_task(one)) == task)
        columns |= dict.fromkeys(ours_for or [task], keys)
    for one in scores:
        columns.setdefault(_task(one), tuple(measure.key for measure in convention.measures))
    cells: list[tuple[Task, Measure]] = []
    for task, keys in columns.items():
        for key in keys:
            cells.append((task, convention[key] if key in convention else _published_measure(paper, task, key)))

    ours, best = _measured_rows(scores, cells)
    faint = {number for number, (name, *_) in enumerate(ours) if any(name in one.baselines for one in scores)}
    rows = ours
    sources: list[str] = []
    for row in paper.rows if paper else ():
        numbers = [_published_cell(row, task, measure) for task, measure in cells] if row.values else []
        if whole or any(numbers):
            faint.add(len(rows))
            printed = numbers or [_UNKNOWN] * len(cells)
            rows = [*rows, [row.model, f"{row.parameters:.2f} M" if row.parameters else "", *printed]]
            sources.append(f"published: {row.source}")
    heads = [Column("Model", words=True), Column("Parameters")]
    several = len(columns) > 1
    names = _data_names(columns)
    heads += [Column(f"{_task_text(task, names)}\n{m.heading}" if several else m.heading) for task, m in cells]
    if sources:
        heads.append(Column("Source", words=True))
        rows = [[*row, source] for row, source in zip(rows, ["measured"] * len(ours) + sources, strict=True)]
    title = paper.title if paper and whole else "" if several else task_title(scores[0])
    notes = _notes(scores, paper if sources else None, convention, best, names)
    if any(_UNKNOWN in row for row in rows):
        notes.append(f"{_UNKNOWN}: the paper has this number, but it is missing from the copy that was used here.")
    return Table(heads, rows, title, notes, frozenset(best), frozenset(faint))


_LONGEST = 24  # largest number of characters of a data set's name above a column; longer names are numbered
_FAR = 4  # a baseline is not drawn if it exceeds the models' largest value by this factor


@styled
def curves(scores: Sequence[Scores], metrics: Sequence[str] | None = None) -> "Figure":
    """Draw values at each predicted step, with a panel for each metric, as in Figure 2 of the Conv-TT-LSTM paper.

    Scores on other data, or after another number of observed steps, have panels of their own.

    The band around the line of a model is the 95 % confidence interval of the average over the clips. It does not say
    how much another training would differ.

    If the values of a baseline are so large that the models' lines could not be distinguished, a note in the panel
    replaces its line.

    Args:
        scores: results of `evaluate`, all with the same convention; horizons may differ. The baselines of a panel are
            those of the longest horizon.
        metrics: the metrics to draw; by default all that were measured.

    Raises:
        ZooError: if there are no scores, several conventions, or a metric that was not measured.
    """
    from matplotlib.figure import Figure

    convention = _shared_convention(scores)
    keys = [m.key for m in convention.measures if any(m.key in one.per_frame for one in scores)]
    for key in metrics or ():
        if key not in keys:
            raise ZooError(f"no metric {key!r} was measured; {nearest(key, keys)}")
    keys = list(metrics or keys)
    groups: dict[tuple[str, int], list[Scores]] = {}
    for one in scores:
        groups.setdefault((one.comparable_with, one.observed), []).append(one)
    names = _data_names({_task(one): () for one in scores})
    looks = {name: _look(number) for number, name in enumerate(dict.fromkeys(one.name for one in scores))}

    rows, columns = math.ceil(len(keys) / 3), min(len(keys), 3)
    size = max(3.6 * columns, 6), 3.2 * rows * len(groups) + 1
    figure = Figure(figsize=size, layout="constrained")
    panels = list(figure.subplots(rows * len(groups), columns, squeeze=False).flat)
    entries: dict[str, Artist] = {}
    feet = []
    for number, ((data, observed), group) in enumerate(groups.items()):
        own = panels[number * rows * columns : (number + 1) * rows * columns]
        for spare in own[len(keys) :]:
            spare.set_axis_off()
        place = f"{names[data]} after {observed} observed {group[0].step}{'s' * (observed != 1)}".lstrip()
        for axes, key in zip(own, keys, strict=False):
            for name, line in _draw(axes, group, convention[key], looks).items():
                entries.setdefault(name, line)
            heading = convention[key].heading.replace("\n", " ")
            axes.set_title(f"{place}\n{heading}" if len(groups) > 1 else heading)
        feet.append(f"{place[0].upper()}{place[1:]}; {group[0].measured_on()}.")
    inches = 0.7 + 0.08 * max(map(len, entries))  # width of a legend entry in small print
    beside = max(1, int(figure.get_figwidth() / inches))
    figure.legend(entries.values(), entries, loc="outside upper center", ncols=beside, frameon=False, fontsize="small")
    banded = any(one.half_intervals.get(one.name) for one in scores)
    band = "Bands: 95 % confidence intervals over the clips. " if banded else ""
    foot = f"{' '.join(feet)} {band}{convention.text()}"
    figure.supxlabel(textwrap.fill(foot, int(figure.get_figwidth() * 17)), fontsize=7, color="0.4", x=0.01, ha="left")
    return figure


def _look(number: int) -> dict[str, Any]:
    """Colour and line of a model. The last colour of the style is grey, as baselines are."""
    *colours, _ = palette()
    style = ("-", "--", "-.")[number // len(colours) % 3]
    return {"color": colours[number % len(colours)], "linestyle": style, "marker": "."}


def _draw(
    axes: "Axes", scores: Sequence[Scores], measure: Measure, looks: Mapping[str, dict[str, Any]]
) -> "dict[str, Artist]":
    """Draw one metric of scores on the same data. Returns the line of each model and baseline, by its name."""
    from matplotlib.ticker import AutoLocator

    key = measure.key
    longest = max(scores, key=lambda one: one.horizon)
    dashes = zip(longest.baselines, cycle(("--", ":")), strict=False)
    styles: dict[str, dict[str, Any]] = {name: {"color": "0.5", "linestyle": dash} for name, dash in dashes}
    lines = [*longest.baselines.items(), *((one.name, one.per_frame) for one in scores)]
    bands: list[PerFrame] = [{}] * len(longest.baselines) + [one.half_intervals.get(one.name, {}) for one in scores]
    reach = _FAR * max((float(abs(one.per_frame[key]).max()) for one in scores if key in one.per_frame), default=0.0)
    drawn: dict[str, Artist] = {}
    for (name, per_frame), halves in zip(lines, bands, strict=True):
        if key in per_frame:
            values = per_frame[key] * measure.scale
            far = name in styles and abs(per_frame[key]).max() > reach
            style = styles.get(name) or looks[name]
            steps = range(1, len(values) + 1)
            (drawn[name],) = axes.plot(steps, values * math.nan if far else values, label=name, **style)
            if key in halves:
                half = halves[key] * measure.scale
                axes.fill_between(steps, values - half, values + half, color=style["color"], alpha=0.2, lw=0)
            if far:
                note = f"{name}: about {values.mean():.3g}"
                axes.text(0.98, 0.02, note, transform=axes.transAxes, fontsize=7, color="0.4", ha="right")
    axes.set_xlabel(f"predicted {longest.step}")
    locator = AutoLocator()
    locator.set_params(integer=True)
    axes.xaxis.set_major_locator(locator)
    axes.margins(x=0)  # there is no step 0
    axes.grid(alpha=0.3)
    return drawn


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure to a `.png` file, completely or not at all.

    Raises:
        ZooError: if the suffix is another one, or the folder cannot be written.
    """
    check_picture(path)
    with aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _task(scores: Scores) -> Task:
    return scores.comparable_with, scores.observed, scores.horizon


def _shared_convention(scores: Sequence[Scores]) -> Convention:
    """The convention of all scores, with every metric that any of them has."""
    if not scores:
        raise ZooError("no scores to compare; evaluate a run first")
    measures: dict[str, Measure] = {}
    for one in scores:
        if one.content != scores[0].content:
            raise ZooError(
                f"{scores[0].name!r} was measured on {scores[0].content}, but {one.name!r} on {one.content}; compare "
                "each kind separately"
            )
        for measure in one.convention.measures:
            if measures.setdefault(measure.key, measure) != measure:
                raise ZooError(
                    f"{scores[0].name!r} was measured by convention {scores[0].convention.name!r}, but {one.name!r} by "
                    f"{one.convention.name!r}, which differs in {measure.key.upper()}; evaluate both by one convention"
                )
    return replace(scores[0].convention, measures=tuple(measures.values()))


def _find_layout(scores: Sequence[Scores], name: str | None) -> Layout | None:
    """The layout of this name; without a name, the first layout with a column for some of the scores, if any."""
    if name is None:
        tasks = {published_task(_task(one)) for one in scores}
        return next((paper for paper in LAYOUTS.values() if tasks & paper.columns.keys()), None)
    check_name("layout", name, LAYOUTS)
    return LAYOUTS[name]


def _data_names(columns: Columns) -> dict[str, str]:
    """A short name for each data set of the columns. If there is only one data set, its name is empty."""
    data = list(dict.fromkeys(each for each, *_ in columns))
    if len(data) == 1:
        return {data[0]: ""}
    return {each: each if len(each) <= _LONGEST else f"data set {number}" for number, each in enumerate(data, 1)}


def _task_text(task: Task, names: Mapping[str, str]) -> str:
    """The heading of a task's columns: its horizon, and its data set if there are several."""
    data, observed, horizon = task
    return f"{names[data]} {observed}→{horizon}".lstrip()


def _published_measure(layout: Layout | None, task: Task, key: str) -> Measure:
    """The measure of the first row that has a number for this task and metric, or else the standard measure."""
    rows = layout.rows if layout else ()
    published = (row.convention[key] for row in rows if key in row.values.get(published_task(task), {}))
    return next(published, CONVENTIONS["standard"][key])


def _published_cell(row: Published, task: Task, measure: Measure) -> str:
    """A published number in the unit of the measured ones, with a star if it was measured in a different way."""
    task = published_task(task)
    value = row.values.get(task, {}).get(measure.key)
    if value is None:
        return ""
    theirs = row.convention[measure.key]
    if isinstance(theirs, Mse | Mae) and isinstance(measure, Mse | Mae) and theirs.per != measure.per:
        value *= PIXELS[task[0]] if measure.per == "frame" else 1 / PIXELS[task[0]]
        theirs = replace(theirs, per=measure.per)
    return measure.shown(value) + ("" if theirs == measure else "*")


def _measured_rows(
    scores: Sequence[Scores], cells: Sequence[tuple[Task, Measure]]
) -> tuple[list[list[str]], set[tuple[int, int]]]:
    """The rows of models and then of baselines, and the positions of the best cells of the columns."""
    models: dict[str, dict[Task, Scores]] = {}
    for one in scores:
        if _task(one) in models.setdefault(one.name, {}):
            raise ZooError(f"two scores are named {one.name!r} at horizon {one.horizon}; give them different names")
        models[one.name][_task(one)] = one
    names = list(models)
    rows = [[name, _millions(next(iter(of.values())).parameters)] for name, of in models.items()]
    best: set[tuple[int, int]] = set()
    for column, (task, measure) in enumerate(cells, 2):
        entries = {name: of[task] for name, of in models.items() if task in of and measure.key in of[task].per_frame}
        sign = 1 if measure.higher_is_better else -1
        ranked = sorted(entries.values(), key=lambda one: -sign * averages(one.per_frame)[measure.key])
        for number, name in enumerate(names):
            if name not in entries:
                rows[number].append("")
                continue
            mark = _mark(entries[name], ranked[0], measure.key) if len(ranked) > 1 else ""
            if mark == "> ":
                best.add((number, column))
            rows[number].append(mark + shown(entries[name], name, measure))
    for name in dict.fromkeys(name for one in scores for name in one.baselines):
        row = [name, ""]
        for task, measure in cells:
            of_task = [one for one in scores if _task(one) == task and measure.key in one.baselines.get(name, {})]
            row.append(shown(of_task[0], name, measure) if of_task else "")
        rows.append(row)
    return rows, best


def _mark(one: Scores, first: Scores, key: str) -> str:
    """The mark of a model in a column whose best model is `first`; empty if they were measured on different clips."""
    if one is first:
        return "> "
    values, others = (scores.clip_values(scores.name, key) for scores in (one, first))
    if values is None or others is None or (one.data, one.clips) != (first.data, first.clips):
        return ""
    return "≈ " if may_be_chance(values, others) else ""


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.2f} M" if parameters else ""


def _notes(
    scores: Sequence[Scores],
    paper: Layout | None,
    convention: Convention,
    best: Collection[tuple[int, int]],
    names: Mapping[str, str],
) -> list[str]:
    """The notes below the table: the data, the convention, and how to read the marks."""
    by_data: dict[str, list[str]] = {}
    for one in scores:
        by_data.setdefault(one.measured_on(), []).append(_task_text(_task(one), names))
    notes = [f"Measured {', '.join(dict.fromkeys(tasks))}: {data}." for data, tasks in by_data.items()]
    pairs = {(one.comparable_with, one.name) for one in scores}
    if len({data for data, _ in pairs}) > 1 and len({name for _, name in pairs}) == len(pairs):
        notes.append("The models were measured on different data, so their numbers cannot be compared.")
    for task in dict.fromkeys(_task(one) for one in scores):
        if len({one.measured_on() for one in scores if _task(one) == task}) > 1:
            notes.append(
                f"{_task_text(task, names)}: the models were measured on different clips, which may cause differences."
            )
    notes += [convention.text(), *dict.fromkeys(note for one in scores for note in one.notes), *interval_note(scores)]
    if best:
        notes.append("> marks the best model of a column; ≈ marks models whose difference from it may be chance.")
    notes += beaten(scores) if len({_task(one) for one in scores}) == 1 else []
    if paper is None:
        return notes
    notes.append("Published rows were measured by others on their own clips; errors are converted to this unit.")
    keys = {key for metrics in paper.columns.values() for key in metrics}
    others = {row.convention.name: row.convention for row in paper.rows if row.convention.name != convention.name}
    if others:
        notes.append("* was measured in a different way from the measured rows, so the two cannot be compared:")
    return notes + [
        theirs.choose([m.key for m in theirs.measures if m.key in keys]).text() for theirs in others.values()
    ]
