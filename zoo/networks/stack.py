"""The network of the Conv-TT-LSTM paper: blocks of recurrent layers, with two skip connections."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.cells import Cell, SameConv2d
from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor


class RecurrentStack(RecurrentPredictor):
    """Blocks of recurrent layers. From the third block on, skip connections add the output of two blocks earlier.

    With four blocks of three layers, `cat(layer 9, layer 3)` is the input of layer 10, and `cat(layer 12, layer 6)` is
    the input of the 1×1 output convolution:

        frames → block 1 ─→ block 2 ─→ block 3 ─→ cat → block 4 ─→ cat → output → predictions
                        └────────────────────────↗            ↗
                                   └─────────────────────────┘

    Each layer reads all frames that are known before the next layer starts.

    Args:
        cell: makes a layer from its numbers of input and hidden channels.
        hidden: number of channels of each block.
        layers: number of layers of each block.
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels.
        sigmoid: apply a sigmoid to the predictions, so that they lie in (0, 1).

    Raises:
        ZooError: if `hidden` and `layers` differ in length, are empty, or `layers` has a number below 1.
    """

    def __init__(
        self,
        cell: Callable[[int, int], Cell],
        hidden: Sequence[int],
        layers: Sequence[int],
        channels: int,
        patch: int,
        sigmoid: bool,
    ) -> None:
        super().__init__(channels, patch, sigmoid)
        if not hidden or len(hidden) != len(layers) or min(layers) < 1:
            raise ZooError(
                f"hidden = {list(hidden)}, layers = {list(layers)} must be lists of the same length with one entry for "
                "each block, and each block needs at least one layer"
            )
        pixels = channels * patch**2
        self.blocks = nn.ModuleList()
        width = pixels
        for b, (count, depth) in enumerate(zip(hidden, layers, strict=True)):
            block = nn.ModuleList(cell(width if at == 0 else count, count) for at in range(depth))
            self.blocks.append(block)
            width = count + (hidden[b - 2] if b >= 2 else 0)
        self.output = SameConv2d(width, pixels, 1)

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Any:
        """The initial states of all layers, by block."""
        return tuple(tuple(cell.initial_state(batch, size, device, dtype) for cell in block) for block in self.cells)

    @property
    def cells(self) -> list[list[Cell]]:
        """The layers of each block."""
        return [list(cast("list[Cell]", block)) for block in self.blocks]

    def read(self, frames: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Read all frames `(T, B, c, h, w)`, layer by layer."""
        outputs: list[Tensor] = []
        after = []
        xs = frames
        for b, (block, before) in enumerate(zip(self.cells, state, strict=True)):
            ends = []
            for cell, s in zip(block, before, strict=True):
                xs, s = cell.run(xs, s)
                ends.append(s)
            after.append(tuple(ends))
            outputs.append(xs)
            if b >= 2:
                xs = torch.cat([xs, outputs[b - 2]], 2)
        predictions = self.output(xs.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return predictions, tuple(after)
