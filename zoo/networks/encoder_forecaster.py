"""The network of the first ConvLSTM paper: an encoder of recurrent layers and a forecaster that mirrors it."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.peephole_lstm import PeepholeLSTMCell, PeepholeState
from zoo.errors import ZooError
from zoo.forecaster import Forecaster

Layers = tuple[PeepholeState, ...]


class EncoderForecaster(Forecaster):
    """ConvLSTM layers that read, and as many that predict: each forecaster layer starts from its twin's state.

    The forecaster stands on its head: the twin of the top layer runs first and has no input, each layer below reads
    the one above, and a 1×1 convolution sees the hidden maps of all of them.

        frames → layer 1 → layer 2 → layer 3 ══ state ══ layer 3' → layer 2' → layer 1'
                                                              └─────────┴────────┴─→ 1×1 → σ → frame

    Shi et al., "Convolutional LSTM network", NeurIPS 2015, figure 3.

    Args:
        hidden: channels of each layer, from the frames up.
        kernel: side k of every recurrent layer's kernels.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels.
    """

    def __init__(self, hidden: Sequence[int], kernel: int, channels: int, patch: int) -> None:
        super().__init__(channels, patch)
        if not hidden or min(hidden) < 1:
            raise ZooError(f"hidden = {list(hidden)}: give the channels of at least one layer, each at least 1")
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
        """Layer by layer, each over all frames `(T, B, c, h, w)`: the last state of every layer."""
        size = (frames.shape[-2], frames.shape[-1])
        states = []
        xs = frames
        for cell in cast("list[PeepholeLSTMCell]", list(self.encoder)):
            xs, state = cell.run(xs, cell.initial_state(frames.shape[1], size, frames.device, frames.dtype))
            states.append(state)
        return tuple(states)

    def forecast(self, state: Layers, frame: Tensor | None) -> tuple[Tensor, Layers]:
        """From the top layer down; no frame is read."""
        h = None
        after: list[PeepholeState] = []
        for cell, before in zip(reversed(self.forecaster), reversed(state), strict=True):
            h, s = cell(h, before)
            after.insert(0, s)
        maps = torch.cat([layer.h for layer in after], 1)
        return torch.sigmoid(self.output(maps)), tuple(after)
