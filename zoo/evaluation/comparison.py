"""Tables that compare several models, with published results next to measured ones."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from tensortrain.tables import Column, Table
from zoo import models as _models  # noqa: F401 - registers the models of the package
from zoo.errors import ZooError
from zoo.evaluation.conventions import CONVENTIONS, Convention
from zoo.evaluation.measure import Measure
from zoo.evaluation.metrics import Mae, Mse
from zoo.evaluation.published import LAYOUTS, PIXELS, Published, PublishedTable, published_task
from zoo.evaluation.scores import Scores, averages, beaten, by_horizon, interval_note, shown, task_title
from zoo.evaluation.spread import may_be_chance
from zoo.names import check_name
from zoo.papers import Columns, System, Task
from zoo.registry import find_model

_UNKNOWN = "–"  # a number that is printed in a paper, but not known here
_LONGEST = 24  # largest number of characters of a data set's name above a column; longer names are numbered


def compare(scores: Sequence[Scores], layout: str | None = None) -> Table:
    """Make a table of measured rows. If papers have numbers for the same data, their rows follow below.

    The scores of a model at several horizons, or on several data sets, share one row. `>` marks the best model of a
    column, and `≈` a model whose difference from it may be chance; see `zoo.evaluation.spread`. Published errors are
    converted to the unit of the measured convention. A star marks a published number that was measured in a different
    way, which no conversion can correct. Scores of series have their own table, `zoo.evaluation.scores.by_horizon`.

    With a layout, the table has all columns and rows that a paper has for the measured data. Each model whose scores
    have a `recipe` stands below the published row of the same system, and again where the paper repeats it in another
    table. Numbers of a paper that are not known here are dashes.

    Args:
        scores: results of `evaluate`, all with the same convention.
        layout: one of `zoo.evaluation.LAYOUTS`, for all columns and rows of that paper's tables. By default there are
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
    convention = shared_convention(scores)
    if convention.content == "series":
        if layout is not None:
            raise ZooError(f"layout = {layout!r} is a table for video, but the scores are of series; leave it out")
        return by_horizon(scores)
    tasks = [one.task for one in scores]
    if layout is None:
        published = list(dict.fromkeys(row for each in LAYOUTS.values() for table in each.tables for row in table.rows))
        cells = _cells(scores, convention, {}, published)
        theirs = [row for row in (_published_row(each, cells) for each in published) if any(row.cells[2:])]
        return _table(scores, convention, cells, [*_measured_rows(scores, cells), *theirs])
    check_name("layout", layout, LAYOUTS)
    tables = LAYOUTS[layout].tables_on(tasks)
    columns = {task: keys for table in tables for task, keys in table.columns.items()}
    cells = _cells(scores, convention, columns, [row for table in tables for row in table.rows])
    title = f"{LAYOUTS[layout].title}: {'; '.join(table.title for table in tables)}"
    return _table(scores, convention, cells, _beside(_measured_rows(scores, cells), tables, cells), title)


def measured(scores: Sequence[Scores]) -> Table:
    """Make the table of `compare` with the measured rows only.

    Raises:
        ZooError: if there are no scores, several conventions, or two scores for the same cell.
    """
    convention = shared_convention(scores)
    if convention.content == "series":
        return by_horizon(scores)
    cells = _cells(scores, convention, {}, ())
    return _table(scores, convention, cells, _measured_rows(scores, cells))


_Cells = Sequence[tuple[Task, Measure]]  # the columns of a table after those of the name and of the parameters


@dataclass(frozen=True, eq=False)
class _Row:
    """A row of a table.

    Args:
        cells: its texts: name, parameters, and one for each column.
        published: the published result, or None if it was measured.
        scores: the scores of a model; none for a baseline and a published result.
        best: the columns, counted from 0, in which it is the best model.
    """

    cells: tuple[str, ...]
    published: Published | None = None
    scores: tuple[Scores, ...] = ()
    best: frozenset[int] = frozenset()


def _cells(
    scores: Sequence[Scores], convention: Convention, columns: Columns, published: Sequence[Published]
) -> _Cells:
    """The columns of a paper, and those that were measured besides."""
    ours: dict[Task, tuple[str, ...]] = {}
    for task, keys in columns.items():
        of_task = dict.fromkeys(one.task for one in scores if published_task(one.task) == task)
        ours |= dict.fromkeys(of_task or [task], keys)
    for one in scores:
        ours.setdefault(one.task, tuple(measure.key for measure in convention.measures))
    return [
        (task, convention[key] if key in convention else _published_measure(published, task, key))
        for task, keys in ours.items()
        for key in keys
    ]


def _beside(ours: Sequence[_Row], tables: Sequence[PublishedTable], cells: _Cells) -> list[_Row]:
    """The rows of a paper's tables, each followed by the measured models of its system; before them what is left."""
    rows: list[_Row] = []
    for table in tables:
        in_table = [row for row in ours if any(published_task(one.task) in table.columns for one in row.scores)]
        for system, group in groupby(table.rows, key=lambda row: row.system):
            rows += [_published_row(row, cells, table.columns) for row in group]
            rows += [row for row in in_table if any(_is_of(one, system) for one in row.scores)]
    return [row for row in ours if row not in rows] + rows


def _is_of(scores: Scores, system: System) -> bool:
    """Whether scores are of a model that was trained as a system."""
    recipe = scores.recipe
    return recipe is not None and system.describes(recipe, find_model(system.model).options)


def _published_row(row: Published, cells: _Cells, columns: Columns | None = None) -> _Row:
    """A published result. If its numbers are not known, it has dashes in the columns of its table."""
    if row.values or columns is None:
        numbers = [_published_cell(row, task, measure) for task, measure in cells]
    else:
        numbers = [_UNKNOWN if m.key in columns.get(published_task(task), ()) else "" for task, m in cells]
    return _Row((row.model, f"{row.parameters:.2f} M" if row.parameters else "", *numbers), row)


def _table(
    scores: Sequence[Scores], convention: Convention, cells: _Cells, rows: Sequence[_Row], title: str = ""
) -> Table:
    """Rows as a table, with notes below."""
    tasks = list(dict.fromkeys(task for task, _ in cells))
    names = data_names(tasks)
    published = [row.published for row in rows if row.published is not None]
    best = frozenset((number, column) for number, row in enumerate(rows) for column in row.best)
    heads = [Column("Model", words=True), Column("Parameters")]
    heads += [Column(f"{_task_text(task, names)}\n{m.heading}" if len(tasks) > 1 else m.heading) for task, m in cells]
    texts = [row.cells for row in rows]
    if published:
        heads.append(Column("Source", words=True))
        texts = [(*row.cells, f"published: {row.published.source}" if row.published else "measured") for row in rows]
    notes = _notes(scores, convention, bool(best), names) + _notes_on_published(published, convention, cells)
    if any(_UNKNOWN in row.cells for row in rows):
        notes.append(f"{_UNKNOWN}: the paper has this number, but it is missing from the copy that was used here.")
    faint = frozenset(number for number, row in enumerate(rows) if not row.scores)
    return Table(heads, texts, title or ("" if len(tasks) > 1 else task_title(scores[0])), notes, best, faint)


def shared_convention(scores: Sequence[Scores]) -> Convention:
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


def data_names(tasks: Iterable[Task]) -> dict[str, str]:
    """A short name for the data set of each task. If there is only one data set, its name is empty."""
    data = list(dict.fromkeys(each for each, *_ in tasks))
    if len(data) == 1:
        return {data[0]: ""}
    return {each: each if len(each) <= _LONGEST else f"data set {number}" for number, each in enumerate(data, 1)}


def _task_text(task: Task, names: Mapping[str, str]) -> str:
    """The heading of a task's columns: its horizon, and its data set if there are several."""
    data, observed, horizon = task
    return f"{names[data]} {observed}→{horizon}".lstrip()


def _published_measure(rows: Sequence[Published], task: Task, key: str) -> Measure:
    """The measure of the first row that has a number for this task and metric, or else the standard measure."""
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


def _measured_rows(scores: Sequence[Scores], cells: _Cells) -> list[_Row]:
    """The rows of models and then of baselines."""
    models: dict[str, dict[Task, Scores]] = {}
    for one in scores:
        if one.task in models.setdefault(one.name, {}):
            raise ZooError(f"two scores are named {one.name!r} at horizon {one.horizon}; give them different names")
        models[one.name][one.task] = one
    texts = {name: [name, _millions(next(iter(of.values())).parameters)] for name, of in models.items()}
    best: dict[str, set[int]] = {name: set() for name in models}
    for column, (task, measure) in enumerate(cells, 2):
        entries = {name: of[task] for name, of in models.items() if task in of and measure.key in of[task].per_frame}
        sign = 1 if measure.higher_is_better else -1
        ranked = sorted(entries.values(), key=lambda one: -sign * averages(one.per_frame)[measure.key])
        for name in models:
            if name not in entries:
                texts[name].append("")
                continue
            mark = _mark(entries[name], ranked[0], measure.key) if len(ranked) > 1 else ""
            if mark == "> ":
                best[name].add(column)
            texts[name].append(mark + shown(entries[name], name, measure))
    rows = [
        _Row(tuple(texts[name]), scores=tuple(of.values()), best=frozenset(best[name])) for name, of in models.items()
    ]
    for name in dict.fromkeys(name for one in scores for name in one.baselines):
        values = [name, ""]
        for task, measure in cells:
            of_task = [one for one in scores if one.task == task and measure.key in one.baselines.get(name, {})]
            values.append(shown(of_task[0], name, measure) if of_task else "")
        rows.append(_Row(tuple(values)))
    return rows


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


def _notes(scores: Sequence[Scores], convention: Convention, marks: bool, names: Mapping[str, str]) -> list[str]:
    """The notes on what was measured: the data, the convention, and how to read the marks."""
    by_data: dict[str, list[str]] = {}
    for one in scores:
        by_data.setdefault(one.measured_on(), []).append(_task_text(one.task, names))
    notes = [f"Measured {', '.join(dict.fromkeys(tasks))}: {data}." for data, tasks in by_data.items()]
    pairs = {(one.comparable_with, one.name) for one in scores}
    if len({data for data, _ in pairs}) > 1 and len({name for _, name in pairs}) == len(pairs):
        notes.append("The models were measured on different data, so their numbers cannot be compared.")
    for task in dict.fromkeys(one.task for one in scores):
        if len({one.measured_on() for one in scores if one.task == task}) > 1:
            notes.append(
                f"{_task_text(task, names)}: the models were measured on different clips, which may cause differences."
            )
    notes += [convention.text(), *dict.fromkeys(note for one in scores for note in one.notes), *interval_note(scores)]
    if marks:
        notes.append("> marks the best model of a column; ≈ marks models whose difference from it may be chance.")
    return notes + (beaten(scores) if len({one.task for one in scores}) == 1 else [])


def _notes_on_published(published: Sequence[Published], convention: Convention, cells: _Cells) -> list[str]:
    """The notes on published rows: what was done to their numbers, and how those with a star were measured."""
    if not published:
        return []
    notes = ["Published rows were measured by others on their own clips; errors are converted to this unit."]
    printed = {key for row in published for numbers in row.values.values() for key in numbers}
    keys = printed & {measure.key for _, measure in cells}
    others = {row.convention.name: row.convention for row in published if row.convention.name != convention.name}
    if others:
        notes.append("* was measured in a different way from the measured rows, so the two cannot be compared:")
    return notes + [
        theirs.choose([m.key for m in theirs.measures if m.key in keys]).text() for theirs in others.values()
    ]
