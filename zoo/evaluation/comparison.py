"""Tables and curves that compare several models, with published results beside measured ones."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from tensortrain.figures import styled
from zoo.errors import ZooError, nearest
from zoo.evaluation.conventions import CONVENTIONS, Convention
from zoo.evaluation.measure import Measure
from zoo.evaluation.metrics import Mae, Mse
from zoo.evaluation.published import LAYOUTS, PIXELS, Layout, Published
from zoo.evaluation.scores import PerFrame, Scores, averages, by_horizon
from zoo.files import aside
from zoo.names import check_name, check_picture
from zoo.papers import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table


def compare(scores: Sequence[Scores], layout: str | None = None) -> "Table":
    """A table as in a paper: its published rows, then the measured ones. The last column says where each is from.

    Scores of one model at several horizons, or on several data sets, are in one row. Scores that fit no column of the
    paper get columns of their own. Published errors are converted to the unit of the measured convention; a star marks
    a published number that was measured in another way, which no conversion can undo. Scores of series have a table of
    their own, `zoo.evaluation.scores.by_horizon`.

    Args:
        scores: measured by one convention.
        layout: of the table; one of `zoo.evaluation.LAYOUTS`. By default the first with a column for any of the scores.

    Raises:
        ZooError: no scores, several conventions, two scores for the same cell, no such layout, or one for series.
    """
    from rich.markup import escape
    from rich.table import Table

    convention = _shared_convention(scores)
    if convention.content == "series":
        if layout is not None:
            raise ZooError(f"layout = {layout!r} is a table of video, and the scores are of series; leave it out")
        return by_horizon(scores)
    paper = _find_layout(scores, layout)
    columns = dict(paper.columns)
    for one in scores:
        columns.setdefault(_task(one), tuple(measure.key for measure in convention.measures))

    table = Table(title=paper.title, caption_justify="left")
    table.add_column("Model")
    table.add_column("Parameters", justify="right")
    shown: list[tuple[Task, Measure]] = []
    for task, keys in columns.items():
        for key in keys:
            measure = convention[key] if key in convention else _published_measure(paper, task, key)
            table.add_column(escape(f"{_task_text(task, paper)}\n{measure.heading}"), justify="right")
            shown.append((task, measure))
    table.add_column("Source")

    for row in paper.rows:
        cells = [_published_cell(row, task, measure) for task, measure in shown]
        millions = f"{row.parameters:.2f} M" if row.parameters else ""
        table.add_row(row.model, millions, *cells, f"published: {row.source}", style="dim")
    table.add_section()
    for name, (parameters, tasks) in _measured_rows(scores).items():
        cells = [
            measure.shown(averages(tasks[task])[measure.key]) if measure.key in tasks.get(task, {}) else ""
            for task, measure in shown
        ]
        table.add_row(escape(name), f"{parameters / 1e6:.2f} M" if parameters else "", *cells, "measured")
    table.caption = escape(_caption(scores, paper, convention))
    return table


_FAR = 4  # a baseline that exceeds the models' largest value by this factor is not drawn


@styled
def curves(scores: Sequence[Scores], metrics: Sequence[str] | None = None) -> "Figure":
    """Values at each predicted step, a panel for each metric, as in Figure 2 of the Conv-TT-LSTM paper.

    A baseline whose values are so large that the models' lines could not be told apart is named in the panel instead.

    Args:
        scores: measured by one convention; horizons may differ. The baselines are those of the longest one.
        metrics: a panel for each; by default all that were measured.

    Raises:
        ZooError: no scores, several conventions, a metric that nobody measured.
    """
    from matplotlib.figure import Figure

    convention = _shared_convention(scores)
    keys = [m.key for m in convention.measures if any(m.key in one.per_frame for one in scores)]
    for key in metrics or ():
        if key not in keys:
            raise ZooError(f"no metric {key!r} was measured; {nearest(key, keys)}")
    keys = list(metrics or keys)
    longest = max(scores, key=lambda one: one.horizon)
    baselines = dict(zip(longest.baselines, cycle(("--", ":")), strict=False))
    lines = [*longest.baselines.items(), *((one.name, one.per_frame) for one in scores)]

    rows, columns = math.ceil(len(keys) / 3), min(len(keys), 3)
    figure = Figure(figsize=(max(3.6 * columns, 6), 3.2 * rows + 1), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in panels[len(keys) :]:
        spare.set_axis_off()
    for axes, key in zip(panels, keys, strict=False):
        measure = convention[key]
        reach = _FAR * max(float(abs(one.per_frame[key]).max()) for one in scores if key in one.per_frame)
        for name, per_frame in lines:
            if key in per_frame:
                style = {"color": "0.5", "linestyle": baselines[name]} if name in baselines else {"marker": "."}
                values = per_frame[key] * measure.scale
                far = name in baselines and abs(per_frame[key]).max() > reach
                axes.plot(range(1, len(values) + 1), values * math.nan if far else values, label=name, **style)
                if far:
                    note = f"{name}: about {values.mean():.3g}"
                    axes.text(0.98, 0.02, note, transform=axes.transAxes, fontsize=7, color="0.4", ha="right")
        axes.set(title=measure.heading.replace("\n", " "), xlabel=f"predicted {longest.step}")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    beside = 4 if columns > 1 else 3  # names of lines
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=beside, frameon=False)
    foot = f"After {longest.observed} observed {longest.step}s; {longest.measured_on()}. {convention.text()}"
    figure.supxlabel(textwrap.fill(foot, int(figure.get_figwidth() * 17)), fontsize=7, color="0.4", x=0.01, ha="left")
    return figure


def save_figure(figure: "Figure", path: str | Path) -> None:
    """Write a figure as `.png`. Nothing half-written is left.

    Raises:
        ZooError: another suffix, or a folder that cannot be written.
    """
    check_picture(path)
    with aside(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def _task(scores: Scores) -> Task:
    return scores.comparable_with, scores.observed, scores.horizon


def _shared_convention(scores: Sequence[Scores]) -> Convention:
    """The convention by which all scores were measured, with every metric that any of them has."""
    if not scores:
        raise ZooError("no scores to compare; evaluate a run first")
    measures: dict[str, Measure] = {}
    for one in scores:
        if one.content != scores[0].content:
            raise ZooError(
                f"{scores[0].name!r} was measured on {scores[0].content} and {one.name!r} on {one.content}; compare "
                "each kind alone"
            )
        for measure in one.convention.measures:
            if measures.setdefault(measure.key, measure) != measure:
                raise ZooError(
                    f"{scores[0].name!r} was measured by convention {scores[0].convention.name!r} and {one.name!r} by "
                    f"{one.convention.name!r}, which differ in {measure.key.upper()}; evaluate both by the same one"
                )
    return replace(scores[0].convention, measures=tuple(measures.values()))


def _find_layout(scores: Sequence[Scores], name: str | None) -> Layout:
    if name is None:
        tasks = {_task(one) for one in scores}
        return next((paper for paper in LAYOUTS.values() if tasks & paper.columns.keys()), LAYOUTS["conv-tt-lstm"])
    check_name("layout", name, LAYOUTS)
    return LAYOUTS[name]


def _task_text(task: Task, layout: Layout) -> str:
    data, observed, horizon = task
    name = layout.headings.get(data, "") if task in layout.columns else data
    return f"{name} {observed}→{horizon}".strip()


def _published_measure(layout: Layout, task: Task, key: str) -> Measure:
    """How the first row that has a number for this task and metric measured it; as defined if no row has one."""
    published = (row.convention[key] for row in layout.rows if key in row.values.get(task, {}))
    return next(published, CONVENTIONS["standard"][key])


def _published_cell(row: Published, task: Task, measure: Measure) -> str:
    """A published number in the unit of the measured ones, with a star if it was measured in another way."""
    value = row.values.get(task, {}).get(measure.key)
    if value is None:
        return ""
    theirs = row.convention[measure.key]
    if isinstance(theirs, Mse | Mae) and isinstance(measure, Mse | Mae) and theirs.per != measure.per:
        value *= PIXELS[task[0]] if measure.per == "frame" else 1 / PIXELS[task[0]]
        theirs = replace(theirs, per=measure.per)
    return measure.shown(value) + ("" if theirs == measure else "*")


def _measured_rows(scores: Sequence[Scores]) -> dict[str, tuple[int, dict[Task, PerFrame]]]:
    """For each baseline, then for each model, by name: the number of parameters, and the values for each task."""
    rows: dict[str, tuple[int, dict[Task, PerFrame]]] = {}
    for one in scores:
        for name, per_frame in one.baselines.items():
            rows.setdefault(name, (0, {}))[1].setdefault(_task(one), per_frame)
    for one in scores:
        tasks = rows.setdefault(one.name, (one.parameters, {}))[1]
        if _task(one) in tasks:
            raise ZooError(f"two scores are named {one.name!r} at horizon {one.horizon}; give them different names")
        tasks[_task(one)] = one.per_frame
    return rows


def _caption(scores: Sequence[Scores], layout: Layout, convention: Convention) -> str:
    data = {f"Measured {one.observed}→{one.horizon}: {one.measured_on()}.": None for one in scores}
    lines = [*data, convention.text(), *{note: None for one in scores for note in one.notes}]
    lines.append(
        "Published rows were measured by others on clips of their own; errors are converted to the unit above."
    )
    keys = {key for metrics in layout.columns.values() for key in metrics}
    others = {row.convention.name: row.convention for row in layout.rows if row.convention.name != convention.name}
    if others:
        lines.append("* measured in another way than the measured rows, so not comparable with them:")
    for theirs in others.values():
        lines.append(theirs.choose([m.key for m in theirs.measures if m.key in keys]).text())
    return "\n".join(lines)
