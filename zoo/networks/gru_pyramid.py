"""The network of the TrajGRU paper: recurrent layers at three resolutions, encoded upwards and predicted downwards."""

import itertools
from collections.abc import Callable, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.conv_gru import SLOPE, ConvGRUCell, TrajGRUCell
from zoo.errors import ZooError
from zoo.predictors.forecaster import Forecaster

MakeCell = Callable[[int, int], ConvGRUCell]  # makes a cell from its numbers of input and hidden channels


class GRUPyramid(Forecaster):
    """Each level halves the resolution of the one below it. The forecaster goes through the levels in reverse.

        frames → conv → GRU 1 → ½ conv → GRU 2 → ½ conv → GRU 3
                          ║                ║                ║ state
        frame ← convs ← GRU 1' ←── 2× ── GRU 2' ←── 2× ── GRU 3'

    GRU 3' has no input. Every convolution but the last is followed by a leaky ReLU.

    Shi et al., "Deep learning for precipitation nowcasting", NeurIPS 2017, figure 1 and appendix.

    Args:
        cell: makes a layer from its numbers of input channels (0 for no input) and hidden channels.
        first: channels of the convolution before the first level, and of the one before the output.
        hidden: channels of each level, starting next to the frames.
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels; 1 in the paper.

    Raises:
        ZooError: if there is no level, or a number of channels is below 1.
    """

    def __init__(self, cell: MakeCell, first: int, hidden: Sequence[int], channels: int, patch: int = 1) -> None:
        if not hidden or min(hidden) < 1 or first < 1:
            raise ZooError(
                f"first = {first}, hidden = {list(hidden)}: each must be at least 1, with at least one level"
            )
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
        # enlarge[k] enlarges the output of level k for the level below it; enlarge[0] keeps the frames' resolution
        self.enlarge = nn.ModuleList([nn.ConvTranspose2d(hidden[0], first, 3, padding=1)])
        for count in hidden[1:]:
            self.enlarge.append(nn.ConvTranspose2d(count, count, 4, stride=2, padding=1))
        self.last = SameConv2d(first, first, 3)
        self.output = SameConv2d(first, pixels, 1)

    def encode(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Read all frames `(T, B, C, H, W)`, level by level; return the last h of every level."""
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
        """Predict the next frame `(B, c, h, w)`, from the top level down. `frame` is not read."""
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
