"""The models, one file each; importing this package registers them."""

from zoo.models.causal_lstm import causal_lstm, causal_lstm_s2t
from zoo.models.conv_lstm import conv_lstm
from zoo.models.conv_tt_lstm import conv_tt_lstm_fw, conv_tt_lstm_sw
from zoo.models.predrnn import predrnn, predrnn_ghu
from zoo.models.predrnn_pp import predrnn_pp

__all__ = [
    "causal_lstm",
    "causal_lstm_s2t",
    "conv_lstm",
    "conv_tt_lstm_fw",
    "conv_tt_lstm_sw",
    "predrnn",
    "predrnn_ghu",
    "predrnn_pp",
]
