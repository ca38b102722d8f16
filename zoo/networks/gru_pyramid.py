"""The network of the TrajGRU paper: recurrent layers at three resolutions, read upwards and predicted downwards."""

import itertools
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.conv_gru import SLOPE, ConvGRUCell, TrajGRUCell
from zoo.errors import ZooError
from zoo.forecaster import Forecaster

MakeCell = Callable[[int, int], ConvGRUCell]  # from input and hidden channels


class GRUPyramid(Forecaster):
    """Each level halves the maps of the one below; the forecaster goes the same way back.

        frames → conv → GRU 1 → ½ conv → GRU 2 → ½ conv → GRU 3
                          ║                ║                ║ state
        frame ← convs ← GRU 1' ←── 2× ── GRU 2' ←── 2× ── GRU 3'

    GRU 3' has no input. Every convolution but the last is followed by a leaky ReLU.

    Shi et al., "Deep learning for precipitation nowcasting", NeurIPS 2017, figure 1 and appendix.

    Args:
        cell: makes a layer from its input channels (0 for none) and its hidden channels.
        first: channels of the convolution below the first level, and of the one above the last prediction.
        hidden: channels of each level, from the frames up.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels; 1 in the paper.
    """

    def __init__(self, cell: MakeCell, first: int, hidden: Sequence[int], channels: int, patch: int = 1) -> None:
        if not hidden or min(hidden) < 1 or first < 1:
            raise ZooError(f"first = {first}, hidden = {list(hidden)}: each level needs at least one channel")
        super().__init__(channels, patch, multiple=patch * 2 ** (len(hidden) - 1))
        pixels = channels * patch**2
        below = [first, *hidden[1:]]
        self.reduce = nn.ModuleList([SameConv2d(pixels, first, 3)])
        for lower, upper in itertools.pairwise(hidden):
            self.reduce.append(nn.Conv2d(lower, upper, 3, stride=2, padding=1))
        self.encoder = nn.ModuleList(cell(inputs, count) for inputs, count in zip(below, hidden, strict=True))
        if isinstance(self.encoder[0], TrajGRUCell):
            self.unrepeatable = "grid_sample"
        above = [*hidden[1:], 0]
        self.forecaster = nn.ModuleList(cell(inputs, count) for inputs, count in zip(above, hidden, strict=True))
        # index k enlarges the output of level k for the level below; level 0 ends at the frames' own resolution
        self.enlarge = nn.ModuleList([nn.ConvTranspose2d(hidden[0], first, 3, padding=1)])
        for count in hidden[1:]:
            self.enlarge.append(nn.ConvTranspose2d(count, count, 4, stride=2, padding=1))
        self.last = SameConv2d(first, first, 3)
        self.output = SameConv2d(first, pixels, 1)

    def encode(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Level by level, each over all frames `(T, B, C, H, W)`: the last h of every level."""
        states = []
        xs = frames
        for reduce, layer in zip(self.reduce, cast("list[ConvGRUCell]", list(self.encoder)), strict=True):
            xs = F.leaky_relu(reduce(xs.flatten(0, 1)), SLOPE).unflatten(0, frames.shape[:2])
            size = (xs.shape[-2], xs.shape[-1])
            start = layer.initial_state(frames.shape[1], size, xs.device, frames.dtype)
            xs = layer.run(xs, start, bool(self.recompute) and torch.is_grad_enabled())
            states.append(xs[-1])
        return tuple(states)

    def forecast(self, state: tuple[Tensor, ...], frame: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """From the top level down; no frame is read."""
        x = None
        after: list[Tensor] = []
        for enlarge, layer, before in zip(
            reversed(self.enlarge), reversed(self.forecaster), reversed(state), strict=True
        ):
            h = layer(x, before)
            after.insert(0, h)
            x = F.leaky_relu(enlarge(h), SLOPE)
        prediction: Tensor = self.output(F.leaky_relu(self.last(x), SLOPE))
        return prediction, tuple(after)
