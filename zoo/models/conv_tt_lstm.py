"""Conv-TT-LSTM with a sliding and with a fixed window."""

from collections.abc import Sequence

from zoo.cells import ConvTTLSTMCell
from zoo.networks.stack import RecurrentStack
from zoo.registry import register

PAPER = "Conv-TT-LSTM (Su et al.)"


@register("conv-tt-lstm-sw", PAPER)
def conv_tt_lstm_sw(
    order: int = 3,
    steps: int = 3,
    rank: int = 8,
    hidden: Sequence[int] = (32, 48, 48, 32),
    layers: Sequence[int] = (3, 3, 3, 3),
    kernel: int = 5,
    channels: int = 1,
    patch: int = 1,
    sigmoid: bool = False,
) -> RecurrentStack:
    """Conv-TT-LSTM with a sliding window: the paper's model.

    2,687,281 parameters as it stands, the paper's count; `layers=(1, 1, 1, 1)` gives the paper's 4-layer ablation.

    Args:
        order: m, cores in each layer's train.
        steps: n ≥ order, past hidden states a layer sees.
        rank: R of the train.
        hidden: channels of each block.
        layers: layers of each block.
        kernel: k of every convolution, 5 or 3 in the paper.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels; 1 in the paper.
        sigmoid: squash the predictions into (0, 1); on for KTH in the paper.
    """

    def cell(inputs: int, outputs: int) -> ConvTTLSTMCell:
        return ConvTTLSTMCell(inputs, outputs, kernel, order, steps, rank, "sliding")

    return RecurrentStack(cell, hidden, layers, channels, patch, sigmoid)


@register("conv-tt-lstm-fw", PAPER)
def conv_tt_lstm_fw(
    order: int = 1,
    steps: int = 3,
    rank: int = 8,
    hidden: Sequence[int] = (32, 48, 48, 32),
    layers: Sequence[int] = (3, 3, 3, 3),
    kernel: int = 5,
    channels: int = 1,
    patch: int = 1,
    sigmoid: bool = False,
) -> RecurrentStack:
    """Conv-TT-LSTM with a fixed window: every core sees all steps.

    2,648,497 parameters as it stands, the paper's count. Options as for `conv-tt-lstm-sw`.
    """

    def cell(inputs: int, outputs: int) -> ConvTTLSTMCell:
        return ConvTTLSTMCell(inputs, outputs, kernel, order, steps, rank, "fixed")

    return RecurrentStack(cell, hidden, layers, channels, patch, sigmoid)
