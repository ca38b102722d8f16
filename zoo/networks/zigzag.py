"""The network of PredRNN and PredRNN++: a spatial memory that climbs through the layers and on to the next step."""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from zoo.cells import DualMemoryCell, DualState, Form, GradientHighway, HighwayState
from zoo.cells.cell import same_conv, xavier_
from zoo.errors import ZooError
from zoo.video_model import VideoModel

Slot = Literal["bottom", "middle", "top"] | int


class ZigzagState(NamedTuple):
    """What goes from step to step.

    Args:
        layers: h and c of each layer.
        m: the top layer's spatial memory, which the lowest layer reads next, `(B, C, h, w)`.
        highway: z of the gradient highway, if there is one.
    """

    layers: tuple[DualState, ...]
    m: Tensor
    highway: HighwayState | None


class MakeCell(Protocol):
    """Makes a layer."""

    def __call__(self, inputs: int, hidden: int, memory: int, kernel: int, form: Form) -> DualMemoryCell:
        """From its input and hidden channels, those of the memory it is handed, the kernel's side and the form."""
        ...


class Zigzag(VideoModel):
    """A stack of layers with two memories, perhaps with a gradient highway between two of them.

    Step by step, layer by layer; m enters layer k with layer k - 1's channels, and layer 1 with the top layer's.

    Args:
        cell: makes a layer.
        hidden: channels of each layer.
        kernel: k of the square kernels.
        form: the paper's equations or the deviations of its authors' code.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels.
        sigmoid: squash the predictions into (0, 1).
        highway: k for a gradient highway between layers k and k + 1, as wide as layer k, or Table 2's "bottom"
            (k = 1), "middle" (half of the layers) or "top" (all but one); None for none.
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
            raise ZooError(f"hidden = {list(hidden)}: give the channels of at least one layer, each at least 1")
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
        self.output_weight = nn.Parameter(torch.empty(pixels, hidden[-1], 1, 1))
        self.output_bias = nn.Parameter(torch.zeros(pixels))
        xavier_(self.output_weight)

    @property
    def cells(self) -> list[DualMemoryCell]:
        """The layers from the frames up."""
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
        """Step by step over frames `(T, B, c, h, w)`, which enter the lowest layer all at once."""
        tops = []
        for projected in self.cells[0].project(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]):
            top, state = self._step(projected, state)
            tops.append(top)
        made = same_conv(torch.cat(tops), self.output_weight, self.output_bias)
        return made.unflatten(0, frames.shape[:2]), state

    def _step(self, projected: Tensor, state: ZigzagState) -> tuple[Tensor, ZigzagState]:
        """One step from the lowest layer's projected input: the top layer's h and the new state."""
        h, m, highway = projected, state.m, state.highway  # the lowest layer's h from below is projected already
        after: list[DualState] = []
        for k, (cell, before) in enumerate(zip(self.cells, state.layers, strict=True), 1):
            h, m, own = cell.step(h if k == 1 else cell.project(h), m, before)
            after.append(own)
            if self.highway is not None and k == self.slot:
                h, highway = self.highway(h, highway)
        return h, ZigzagState(tuple(after), m, highway)


def find_slot(highway: Slot, layers: int) -> int:
    """The layer k after which the highway comes.

    Raises:
        ZooError: no such slot between that many layers.

    >>> [find_slot(name, 4) for name in ("bottom", "middle", "top")]
    [1, 2, 3]
    """
    named = {"bottom": 1, "middle": layers // 2, "top": layers - 1}
    slot = highway if type(highway) is int else named.get(str(highway), 0)
    if not 0 < slot < layers:
        raise ZooError(
            f'highway = {highway!r} is no slot between {layers} layer(s); "bottom", "middle", "top" '
            f"or k = 1 … layers - 1, for between layers k and k + 1, with at least two layers"
        )
    return slot
