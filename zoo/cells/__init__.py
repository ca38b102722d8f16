"""Recurrent cells as functions of their state: `h, state = cell(x, state)` or `h, m, state = cell(x, m, state)`."""

from zoo.cells.causal_lstm import CausalLSTMCell, SpatialToTemporalCell
from zoo.cells.cell import Cell
from zoo.cells.conv import SameConv2d
from zoo.cells.conv_lstm import ConvLSTMCell, ConvLSTMState
from zoo.cells.conv_tt_lstm import ConvTTLSTMCell, ConvTTLSTMState
from zoo.cells.dual_memory import DualMemoryCell, DualState
from zoo.cells.form import PAPER, PREDRNN, RELEASED, Form, find_form
from zoo.cells.highway import GradientHighway, HighwayState
from zoo.cells.st_lstm import STLSTMCell

__all__ = [
    "PAPER",
    "PREDRNN",
    "RELEASED",
    "CausalLSTMCell",
    "Cell",
    "ConvLSTMCell",
    "ConvLSTMState",
    "ConvTTLSTMCell",
    "ConvTTLSTMState",
    "DualMemoryCell",
    "DualState",
    "Form",
    "GradientHighway",
    "HighwayState",
    "STLSTMCell",
    "SameConv2d",
    "SpatialToTemporalCell",
    "find_form",
]
