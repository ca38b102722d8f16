"""The ConvLSTM baseline of the Conv-TT-LSTM paper."""

from collections.abc import Sequence

from zoo.cells import ConvLSTMCell
from zoo.networks.stack import RecurrentStack
from zoo.registry import register


@register("conv-lstm", paper="Conv-TT-LSTM (Su et al.), baseline")
def conv_lstm(
    hidden: Sequence[int] = (32, 48, 48, 32),
    layers: Sequence[int] = (3, 3, 3, 3),
    kernel: int = 5,
    channels: int = 1,
    patch: int = 1,
    sigmoid: bool = False,
) -> RecurrentStack:
    """ConvLSTM network: 12 layers with two skip connections, as published.

    3,973,201 parameters as it stands, the paper's count; `layers=(1, 1, 1, 1)` gives the paper's 4-layer ablation.

    Args:
        hidden: channels of each block.
        layers: layers of each block.
        kernel: k of every convolution, 5 or 3 in the paper.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels; 1 in the paper.
        sigmoid: squash the predictions into (0, 1); on for KTH in the paper.
    """
    return RecurrentStack(lambda i, o: ConvLSTMCell(i, o, kernel), hidden, layers, channels, patch, sigmoid)
