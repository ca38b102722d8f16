"""Papers: their citations, the settings by which they train on each data set, and the results that they print.

All of this is plain data, which is read without importing torch. Each paper has a module. `PAPERS` maps keys to papers;
presets, tables of results and `zoo.register` use these keys.
"""

from zoo.papers.baselines import (
    BASELINES,
    CDNA,
    CONV_LSTM_2015,
    DFN,
    E3D_LSTM,
    FC_LSTM,
    MCNET,
    TRAJ_GRU,
    TT_RNN,
    VPN,
)
from zoo.papers.conv_tt_lstm import CONV_TT_LSTM
from zoo.papers.openstl import OPENSTL
from zoo.papers.paper import (
    KTH_20,
    KTH_40,
    MNIST_3,
    MNIST_10,
    MNIST_30,
    Columns,
    Paper,
    PublishedSettings,
    Result,
    ResultsTable,
    System,
    Task,
    results_table,
)
from zoo.papers.predrnn import PREDRNN, PREDRNN_PP, PREDRNN_PP_RELEASED

PAPERS: dict[str, Paper] = {
    paper.key: paper for paper in (CONV_TT_LSTM, PREDRNN, PREDRNN_PP, PREDRNN_PP_RELEASED, OPENSTL, *BASELINES)
}

__all__ = [
    "CDNA",
    "CONV_LSTM_2015",
    "CONV_TT_LSTM",
    "DFN",
    "E3D_LSTM",
    "FC_LSTM",
    "KTH_20",
    "KTH_40",
    "MCNET",
    "MNIST_3",
    "MNIST_10",
    "MNIST_30",
    "OPENSTL",
    "PAPERS",
    "PREDRNN",
    "PREDRNN_PP",
    "PREDRNN_PP_RELEASED",
    "TRAJ_GRU",
    "TT_RNN",
    "VPN",
    "Columns",
    "Paper",
    "PublishedSettings",
    "Result",
    "ResultsTable",
    "System",
    "Task",
    "results_table",
]
