"""Published results, and the tables in which the papers show them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from zoo.evaluation.conventions import CONVENTIONS, Convention

PIXELS = {"moving-mnist-2": 64 * 64, "moving-mnist-3": 64 * 64, "kth": 128 * 128}  # of a frame

Task = tuple[str, int, int]  # kind of data set, observed frames, horizon
Columns = Mapping[Task, tuple[str, ...]]  # the metrics of each task, in order


@dataclass(frozen=True)
class Published:
    """A row that somebody else measured.

    Args:
        model: as its authors call it.
        source: where the numbers stand: the PredRNN++ paper, the README of the Conv-TT-LSTM authors' code (the text
            of their paper that we have lost its tables), or the OpenSTL benchmark (200 epochs, other clips).
        convention: how they were measured.
        values: task to metric to value; means are not in thousandths.
        parameters: how many, in millions; 0 where not given.
    """

    model: str
    source: str
    convention: Convention
    values: Mapping[Task, Mapping[str, float]]
    parameters: float


@dataclass(frozen=True)
class Layout:
    """A table of a paper.

    Args:
        name: by which `compare` knows it.
        title: printed above it.
        columns: metrics of each task.
        rows: what was published.
        kinds: how a kind of data set is called above its columns, where a table has several.
    """

    name: str
    title: str
    columns: Columns
    rows: tuple[Published, ...]
    kinds: Mapping[str, str] = field(default_factory=dict)


def _rows(
    source: str, convention: str, columns: Columns, *rows: tuple[str, float, tuple[float, ...]]
) -> tuple[Published, ...]:
    """Rows of a model, its millions of parameters, and its numbers as printed, in the order of the columns."""
    chosen = CONVENTIONS[convention]

    def values(numbers: Iterable[float]) -> Mapping[Task, Mapping[str, float]]:
        left = iter(numbers)
        return {task: {key: next(left) / chosen[key].scale for key in keys} for task, keys in columns.items()}

    return tuple(Published(model, source, chosen, values(numbers), millions) for model, millions, numbers in rows)


_MNIST_10, _MNIST_30, _MNIST_3 = ("moving-mnist-2", 10, 10), ("moving-mnist-2", 10, 30), ("moving-mnist-3", 10, 10)
_KTH_20, _KTH_40 = ("kth", 10, 20), ("kth", 10, 40)

_TABLE_2: Columns = {_MNIST_10: ("mse", "ssim", "lpips"), _MNIST_30: ("mse", "ssim", "lpips")}
_TABLE_4: Columns = {_KTH_20: ("psnr", "ssim", "lpips"), _KTH_40: ("psnr", "ssim", "lpips")}
_PP_TABLE_1: Columns = {_MNIST_10: ("ssim", "mse"), _MNIST_30: ("ssim", "mse"), _MNIST_3: ("ssim", "mse")}
_PP_TABLE_2: Columns = {_MNIST_10: ("ssim", "mse")}
_PP_TABLE_3: Columns = {_KTH_20: ("psnr", "ssim")}

_PP_MNIST = _rows(
    "PredRNN++, Table 1",
    "predrnn-pp",
    _PP_TABLE_1,
    ("FC-LSTM", 0, (0.690, 118.3, 0.583, 180.1, 0.651, 162.4)),
    ("ConvLSTM", 0, (0.707, 103.3, 0.597, 156.2, 0.673, 142.1)),
    ("TrajGRU", 0, (0.713, 106.9, 0.588, 163.0, 0.682, 134.0)),
    ("CDNA", 0, (0.721, 97.4, 0.609, 142.3, 0.669, 138.2)),
    ("DFN", 0, (0.726, 89.0, 0.601, 149.5, 0.679, 140.5)),
    ("VPN", 0, (0.870, 64.1, 0.620, 129.6, 0.734, 112.3)),
    ("PredRNN", 0, (0.867, 56.8, 0.645, 112.2, 0.782, 93.4)),
    ("Causal LSTM", 0, (0.882, 52.5, 0.685, 100.7, 0.795, 89.2)),
    ("Causal LSTM, spatial-to-temporal", 0, (0.875, 54.0, 0.672, 103.6, 0.784, 91.8)),
    ("PredRNN + GHU", 0, (0.886, 50.7, 0.713, 98.4, 0.790, 88.9)),
    ("PredRNN++ (causal LSTM + GHU)", 15.05, (0.898, 46.5, 0.733, 91.1, 0.814, 81.7)),
)
_PP_HIGHWAY = _rows(
    "PredRNN++, Table 2",
    "predrnn-pp",
    _PP_TABLE_2,
    ("PredRNN++, highway at the bottom (1, 2)", 0, (0.898, 46.5)),
    ("PredRNN++, highway in the middle (2, 3)", 0, (0.894, 48.1)),
    ("PredRNN++, highway at the top (3, 4)", 0, (0.885, 52.0)),
)
_PP_KTH = _rows(
    "PredRNN++, Table 3",
    "predrnn-pp",
    _PP_TABLE_3,
    ("ConvLSTM", 0, (23.58, 0.712)),
    ("TrajGRU", 0, (26.97, 0.790)),
    ("DFN", 0, (27.26, 0.794)),
    ("MCNet", 0, (25.95, 0.804)),
    ("PredRNN", 0, (27.55, 0.839)),
    ("PredRNN++", 0, (28.47, 0.865)),
)
_OPENSTL = _rows(
    "OpenSTL",
    "openstl",
    {_MNIST_10: ("mse", "ssim")},
    ("ConvLSTM-S", 15.0, (29.80, 0.9288)),
    ("PredRNN", 23.8, (23.97, 0.9462)),
    ("PredRNN++", 38.6, (22.06, 0.9509)),
)
_TT_MNIST = _rows(
    "Conv-TT-LSTM, README",
    "conv-tt-lstm",
    _TABLE_2,
    ("ConvLSTM-12, original code", 3.97, (18.17, 0.882, 67.13, 33.08, 0.806, 140.1)),
    ("ConvLSTM-12, optimised code", 3.97, (15.15, 0.902, 49.87, 27.21, 0.822, 117.3)),
    ("Conv-TT-LSTM, original code", 2.69, (12.96, 0.915, 40.54, 25.81, 0.840, 90.38)),
    ("Conv-TT-LSTM, optimised code", 2.69, (14.09, 0.907, 46.03, 28.15, 0.834, 99.83)),
)
_TT_KTH = _rows(
    "Conv-TT-LSTM, README",
    "conv-tt-lstm",
    _TABLE_4,
    ("ConvLSTM-12, original code", 3.97, (28.21, 0.903, 137.1, 26.01, 0.876, 201.3)),
    ("Conv-TT-LSTM, original code", 2.69, (28.36, 0.907, 133.4, 26.11, 0.882, 191.2)),
    ("Conv-TT-LSTM, optimised code", 2.69, (28.44, 0.907, 150.5, 26.49, 0.883, 211.8)),
)

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "conv-tt-lstm",
            "Moving-MNIST-2, as in Table 2 of the Conv-TT-LSTM paper",
            _TABLE_2,
            (*_PP_MNIST, *_OPENSTL, *_TT_MNIST),
        ),
        Layout(
            "predrnn-pp",
            "Moving-MNIST, as in Table 1 of the PredRNN++ paper",
            _PP_TABLE_1,
            _PP_MNIST,
            {"moving-mnist-2": "MNIST-2", "moving-mnist-3": "MNIST-3"},
        ),
        Layout(
            "predrnn-pp-highway",
            "Moving-MNIST-2, place of the gradient highway, as in Table 2 of the PredRNN++ paper",
            _PP_TABLE_2,
            _PP_HIGHWAY,
        ),
        Layout("kth", "KTH actions, as in Table 4 of the Conv-TT-LSTM paper", _TABLE_4, (*_PP_KTH, *_TT_KTH)),
        Layout("kth-predrnn-pp", "KTH actions, as in Table 3 of the PredRNN++ paper", _PP_TABLE_3, _PP_KTH),
    )
}
