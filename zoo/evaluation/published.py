"""The layouts that `compare` can print: which published rows and columns each has."""

from collections.abc import Mapping
from dataclasses import dataclass

from zoo.data.kth_windows import BY_RULE
from zoo.evaluation.conventions import CONVENTIONS, Convention
from zoo.papers import CONV_TT_LSTM, OPENSTL, PREDRNN_PP, Columns, ResultsTable, Task

PIXELS = {"moving-mnist-2": 64 * 64, "moving-mnist-3": 64 * 64, "kth": 128 * 128}  # number of pixels in a frame


@dataclass(frozen=True)
class Published:
    """A published row of a table.

    Args:
        model: the name of the model in the publication.
        source: where the numbers are printed.
        convention: how they were measured.
        values: the values by task and metric, in the metric's own unit and not in thousandths. Empty if the numbers of
            a row are not known here.
        parameters: the number of parameters in millions; 0 if it is not printed.
    """

    model: str
    source: str
    convention: Convention
    values: Mapping[Task, Mapping[str, float]]
    parameters: float


@dataclass(frozen=True)
class Layout:
    """A table with published rows.

    Args:
        name: the name for `compare`.
        title: the title of the table.
        columns: the metrics of each task.
        rows: the published rows.
    """

    name: str
    title: str
    columns: Columns
    rows: tuple[Published, ...]


def published_task(task: Task) -> Task:
    """The task under which papers print numbers. They cut the windows of KTH by several rules, but name none.

    >>> published_task(("kth, windows by mcnet", 10, 20))
    ('kth', 10, 20)
    """
    data, observed, horizon = task
    return data.partition(BY_RULE)[0], observed, horizon


def _published(table: ResultsTable) -> tuple[Published, ...]:
    """The rows of a paper's table, in the units of their metrics."""
    convention = CONVENTIONS[table.convention]
    rows = []
    for row in table.rows:
        values = {
            task: {key: number / convention[key].scale for key, number in numbers.items()}
            for task, numbers in row.values.items()
        }
        rows.append(Published(row.model, table.source, convention, values, row.millions))
    return tuple(rows)


_TT_MNIST, _TT_KTH, _TT_MNIST_FIXED, _TT_ABLATIONS, _TT_KTH_FIXED = CONV_TT_LSTM.tables
_PP_MNIST, _PP_HIGHWAY, _PP_KTH = PREDRNN_PP.tables
(_OPENSTL,) = OPENSTL.tables

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "conv-tt-lstm",
            "Moving-MNIST-2, as in Table 2 of the Conv-TT-LSTM paper",
            _TT_MNIST.columns,
            (*_published(_PP_MNIST), *_published(_OPENSTL), *_published(_TT_MNIST), *_published(_TT_MNIST_FIXED)),
        ),
        Layout(
            "conv-tt-lstm-ablations",
            "Moving-MNIST-2, the settings of Table 3 of the Conv-TT-LSTM paper",
            _TT_ABLATIONS.columns,
            _published(_TT_ABLATIONS),
        ),
        Layout(
            "predrnn-pp",
            "Moving-MNIST, as in Table 1 of the PredRNN++ paper",
            _PP_MNIST.columns,
            _published(_PP_MNIST),
        ),
        Layout(
            "predrnn-pp-highway",
            "Moving-MNIST-2, place of the gradient highway, as in Table 2 of the PredRNN++ paper",
            _PP_HIGHWAY.columns,
            _published(_PP_HIGHWAY),
        ),
        Layout(
            "kth",
            "KTH actions, as in Table 4 of the Conv-TT-LSTM paper",
            _TT_KTH.columns,
            (*_published(_PP_KTH), *_published(_TT_KTH), *_published(_TT_KTH_FIXED)),
        ),
        Layout(
            "kth-predrnn-pp", "KTH actions, as in Table 3 of the PredRNN++ paper", _PP_KTH.columns, _published(_PP_KTH)
        ),
    )
}
