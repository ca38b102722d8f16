"""The models, one file each; importing this package registers them."""

from zoo.models.conv_lstm import conv_lstm
from zoo.models.conv_tt_lstm import conv_tt_lstm_fw, conv_tt_lstm_sw

__all__ = ["conv_lstm", "conv_tt_lstm_fw", "conv_tt_lstm_sw"]
