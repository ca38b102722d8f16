"""The network of the first ConvLSTM paper: an encoder of recurrent layers, and a forecaster that mirrors it."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.peephole_lstm import PeepholeLSTMCell, PeepholeState
from zoo.errors import ZooError
from zoo.predictors.forecaster import Forecaster

Layers = tuple[PeepholeState, ...]


class EncoderForecaster(Forecaster):
    """An encoder of ConvLSTM layers and a forecaster of as many, each of which starts from its twin's last state.

    The forecaster runs in the opposite order. The twin of the encoder's top layer runs first and has no input; each
    layer below reads the layer above. A 1×1 convolution reads the hidden states of all of them.

        frames → layer 1 → layer 2 → layer 3 ══ state ══ layer 3' → layer 2' → layer 1'
                                                              └─────────┴────────┴─→ 1×1 → σ → frame

    Shi et al., "Convolutional LSTM network", NeurIPS 2015, figure 3.

    Args:
        hidden: channels of each layer, starting next to the frames.
        kernel: side k of all kernels of the recurrent layers.
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels.

    Raises:
        ZooError: if there is no layer, or a size is below 1.
    """

    def __init__(self, hidden: Sequence[int], kernel: int, channels: int, patch: int) -> None:
        super().__init__(channels, patch)
        if not hidden or min(hidden) < 1:
            raise ZooError(f"hidden = {list(hidden)} must list the channels of at least one layer, each at least 1")
        if kernel < 1:
            raise ZooError(f"kernel = {kernel} must be at least 1")
        pixels = channels * patch**2
        below = [pixels, *hidden[:-1]]
        above = [*hidden[1:], 0]
        self.encoder = nn.ModuleList(
            PeepholeLSTMCell(inputs, count, kernel) for inputs, count in zip(below, hidden, strict=True)
        )
        self.forecaster = nn.ModuleList(
            PeepholeLSTMCell(inputs, count, kernel) for inputs, count in zip(above, hidden, strict=True)
        )
        self.output = SameConv2d(sum(hidden), pixels, 1)

    def encode(self, frames: Tensor) -> Layers:
        """Read all frames `(T, B, c, h, w)`, layer by layer; return the last state of every layer."""
        size = (frames.shape[-2], frames.shape[-1])
        states = []
        xs = frames
        for cell in cast("list[PeepholeLSTMCell]", list(self.encoder)):
            xs, state = cell.run(xs, cell.initial_state(frames.shape[1], size, frames.device, frames.dtype))
            states.append(state)
        return tuple(states)

    def forecast(self, state: Layers, frame: Tensor | None) -> tuple[Tensor, Layers]:
        """Predict the next frame `(B, c, h, w)`, from the top layer down. `frame` is not read."""
        h = None
        after: list[PeepholeState] = []
        for cell, before in zip(reversed(self.forecaster), reversed(state), strict=True):
            h, s = cell(h, before)
            after.insert(0, s)
        maps = torch.cat([layer.h for layer in after], 1)
        return self.normalized(torch.sigmoid(self.output(maps))), tuple(after)
