"""The papers whose tables `compare` can print, with the rows and columns of each table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from zoo.data.kth_windows import BY_RULE
from zoo.evaluation.conventions import CONVENTIONS, Convention
from zoo.papers import CONV_TT_LSTM, OPENSTL, PREDRNN_PP, Columns, ResultsTable, System, Task

PIXELS = {"moving-mnist-2": 64 * 64, "moving-mnist-3": 64 * 64, "kth": 128 * 128}  # number of pixels in a frame


@dataclass(frozen=True, eq=False)
class Published:
    """A published row of a table. Two tables may share it.

    Args:
        model: the name of the model in the publication.
        source: where the numbers are printed.
        convention: how they were measured.
        values: the values by task and metric, in the metric's own unit and not in thousandths. Empty if the numbers of
            a row are not known here.
        parameters: the number of parameters in millions; 0 if it is not printed.
        system: which models here are about the same; measured ones stand beside the row.
    """

    model: str
    source: str
    convention: Convention
    values: Mapping[Task, Mapping[str, float]]
    parameters: float
    system: System


@dataclass(frozen=True)
class PublishedTable:
    """A table of a paper.

    Args:
        title: its number and what is compared on which data.
        columns: the metrics of each task.
        rows: the published rows.
    """

    title: str
    columns: Columns
    rows: tuple[Published, ...]


@dataclass(frozen=True)
class Layout:
    """The tables of a paper.

    Args:
        name: the name for `compare`.
        title: the paper.
        tables: its tables of results.
    """

    name: str
    title: str
    tables: tuple[PublishedTable, ...]

    def tables_on(self, tasks: Iterable[Task]) -> tuple[PublishedTable, ...]:
        """The tables with a column for the data of some of these tasks; all tables if there is none."""
        measured = {published_task(task)[0] for task in tasks}
        on_them = tuple(one for one in self.tables if any(data in measured for data, *_ in one.columns))
        return on_them or self.tables


def published_task(task: Task) -> Task:
    """The task under which papers print numbers. They cut the windows of KTH by several rules, but name none.

    >>> published_task(("kth, windows by mcnet", 10, 20))
    ('kth', 10, 20)
    """
    data, observed, horizon = task
    return data.partition(BY_RULE)[0], observed, horizon


def _published(table: ResultsTable) -> PublishedTable:
    """A printed table, with its numbers in the units of their metrics."""
    convention = CONVENTIONS[table.convention]
    rows = []
    for row in table.rows:
        values = {
            task: {key: number / convention[key].scale for key, number in numbers.items()}
            for task, numbers in row.values.items()
        }
        rows.append(Published(row.model, table.source, convention, values, row.millions, row.system))
    return PublishedTable(table.source, table.columns, tuple(rows))


def _joined(title: str, *parts: PublishedTable) -> PublishedTable:
    """The rows of several tables with the columns of the last one."""
    return PublishedTable(title, parts[-1].columns, tuple(row for part in parts for row in part.rows))


_TT_MNIST, _TT_KTH, _TT_MNIST_FIXED, _TT_ABLATIONS, _TT_KTH_FIXED = map(_published, CONV_TT_LSTM.tables)
_PP_MNIST, _PP_HIGHWAY, _PP_KTH = map(_published, PREDRNN_PP.tables)
(_OPENSTL,) = map(_published, OPENSTL.tables)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "conv-tt-lstm",
            "Conv-TT-LSTM paper",
            (
                # the paper quotes the results of earlier systems
                _joined("Table 2, Moving-MNIST-2", _PP_MNIST, _TT_MNIST, _TT_MNIST_FIXED),
                _joined("Table 3, ablations on Moving-MNIST-2", _TT_ABLATIONS),
                _joined("Table 4, KTH", _PP_KTH, _TT_KTH, _TT_KTH_FIXED),
            ),
        ),
        Layout(
            "predrnn-pp",
            "PredRNN++ paper",
            (
                _joined("Table 1, Moving-MNIST", _PP_MNIST),
                _joined("Table 2, place of the gradient highway", _PP_HIGHWAY),
                _joined("Table 3, KTH", _PP_KTH),
            ),
        ),
        Layout("openstl", "OpenSTL benchmark", (_joined("Moving-MNIST-2", _OPENSTL),)),
    )
}
