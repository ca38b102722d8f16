"""The network of PredRNN and PredRNN++: a spatial memory passes through all layers of all steps in one line.

Each layer keeps its own h and c from step to step. The spatial memory m passes upwards through the layers of a step
together with h. From the top layer it enters the lowest layer of the next step, so that its path is a zigzag. The
drawing shows three layers, with a gradient highway z between the lowest two:

                  step t                        step t + 1

                prediction                      prediction
                    ↑                               ↑
    h, c ──→ [   layer 3   ] ── h, c ───→ [   layer 3   ] ──→ h, c
              ↑ h       ↑ m └── m ─┐       ↑ h       ↑ m └── m, to step t + 2
    h, c ──→ [   layer 2   ] ── h, c ───→ [   layer 2   ] ──→ h, c
              ↑ h       │          │       ↑ h       │
       z ──→ [ highway ]│ ── z ────│────→ [ highway ]│ ─────→ z
              ↑ h       ↑ m        │       ↑ h       ↑ m
    h, c ──→ [   layer 1   ] ── h, c ───→ [   layer 1   ] ──→ h, c
              ↑         ↑ m        │       ↑         ↑
              frame                │       frame     │
                                   └──────── m ──────┘
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from zoo.cells import DualMemoryCell, DualState, Form, GradientHighway, HighwayState, SameConv2d
from zoo.errors import ZooError
from zoo.networks import Slot
from zoo.predictors.recurrent import RecurrentPredictor


class ZigzagState(NamedTuple):
    """The state between two time steps.

    Args:
        layers: h and c of each layer.
        m: the top layer's spatial memory `(B, C, h, w)`, which the lowest layer reads next.
        highway: z of the gradient highway; None if there is none.
    """

    layers: tuple[DualState, ...]
    m: Tensor
    highway: HighwayState | None


class MakeCell(Protocol):
    """A class of cells, or a function that makes a cell."""

    def __call__(self, inputs: int, hidden: int, memory: int, kernel: int, form: Form) -> DualMemoryCell:
        """Make a layer. The arguments are those of `DualMemoryCell`."""
        ...


class Zigzag(RecurrentPredictor):
    """A stack of layers with two memories each, and optionally a gradient highway between two of the layers.

    It computes step by step and, within a step, layer by layer. m enters layer k with the channels of layer k - 1, and
    layer 1 with the channels of the top layer.

    Args:
        cell: makes a layer, such as the class `CausalLSTMCell`.
        hidden: channels of each layer, starting next to the frames.
        kernel: side k of the square kernels.
        form: the paper's equations, or those of the authors' code.
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels.
        sigmoid: apply a sigmoid to the predictions, so that they lie in (0, 1).
        highway: the place of the gradient highway. A number k puts it between layers k and k + 1. Table 2 of the
            PredRNN++ paper has names for three places: "bottom" (k = 1), "middle" (half of the layers are below it) and
            "top" (all layers but one are below it). It has as many channels as layer k. None omits it.

    Raises:
        ZooError: if there is no layer, a size is below 1, or there is no such place.
    """

    def __init__(
        self,
        cell: MakeCell,
        hidden: Sequence[int],
        kernel: int,
        form: Form,
        channels: int,
        patch: int,
        sigmoid: bool,
        highway: Slot | None = None,
    ) -> None:
        super().__init__(channels, patch, sigmoid)
        if not hidden or min(hidden) < 1:
            raise ZooError(f"hidden = {list(hidden)} must list the channels of at least one layer, each at least 1")
        pixels = channels * patch**2
        below = [pixels, *hidden[:-1]]
        memories = [hidden[-1], *hidden[:-1]]
        self.layers = nn.ModuleList(
            cell(inputs, count, memory, kernel, form)
            for inputs, count, memory in zip(below, hidden, memories, strict=True)
        )
        self.slot = None if highway is None else find_slot(highway, len(hidden))
        self.highway = None
        if self.slot is not None:
            width = hidden[self.slot - 1]
            self.highway = GradientHighway(width, width, kernel, form)
        self.output = SameConv2d(hidden[-1], pixels, 1)

    @property
    def cells(self) -> list[DualMemoryCell]:
        """The layers, starting next to the frames."""
        return list(cast("list[DualMemoryCell]", self.layers))

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> ZigzagState:
        """Zeros."""
        at = (batch, size, device, dtype)
        return ZigzagState(
            tuple(cell.initial_state(*at) for cell in self.cells),
            torch.zeros(batch, self.cells[0].memory, *size, device=device, dtype=dtype),
            None if self.highway is None else self.highway.initial_state(*at),
        )

    def read(self, frames: Tensor, state: ZigzagState) -> tuple[Tensor, ZigzagState]:
        """Read frames `(T, B, c, h, w)` step by step. The lowest layer projects all of them at once."""
        tops = []
        for projected in self.cells[0].project(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]):
            top, state = self._step(projected, state)
            tops.append(top)
        predictions = self.output(torch.cat(tops)).unflatten(0, frames.shape[:2])
        return predictions, state

    def _step(self, projected: Tensor, state: ZigzagState) -> tuple[Tensor, ZigzagState]:
        """One step, from the lowest layer's projected input `(B, gates, h, w)`; returns the top h and the new state."""
        h, m, highway = projected, state.m, state.highway
        after: list[DualState] = []
        for k, (cell, before) in enumerate(zip(self.cells, state.layers, strict=True), 1):
            h, m, kept = cell.step(h if k == 1 else cell.project(h), m, before)
            after.append(kept)
            if self.highway is not None and k == self.slot:
                h, highway = self.highway(h, highway)
        return h, ZigzagState(tuple(after), m, highway)


def find_slot(highway: Slot, layers: int) -> int:
    """The number k of the layer whose output the highway reads.

    Raises:
        ZooError: if there is no such place between two layers.

    >>> [find_slot(name, 4) for name in ("bottom", "middle", "top")]
    [1, 2, 3]
    """
    named = {"bottom": 1, "middle": layers // 2, "top": layers - 1}
    slot = highway if type(highway) is int else named.get(str(highway), 0)
    if not 0 < slot < layers:
        raise ZooError(
            f'highway = {highway!r} is not a place between two of {layers} layer(s); legal are "bottom", "middle", '
            f'"top" and numbers k = 1 … layers - 1, for between layers k and k + 1'
        )
    return slot
