"""Recurrent cells as functions of state: `h, state = cell(x, state)`."""

from zoo.cells.cell import Cell
from zoo.cells.conv_lstm import ConvLSTMCell, ConvLSTMState
from zoo.cells.conv_tt_lstm import ConvTTLSTMCell, ConvTTLSTMState

__all__ = ["Cell", "ConvLSTMCell", "ConvLSTMState", "ConvTTLSTMCell", "ConvTTLSTMState"]
