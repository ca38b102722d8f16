"""The base class of cells with a temporal and a spatial memory."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.cells.form import PAPER, Form, FormConv, pointwise
from zoo.errors import ZooError


class DualState(NamedTuple):
    """What a layer keeps from step to step: h and the temporal memory c, each `(B, C, H, W)`."""

    h: Tensor
    c: Tensor


class DualMemoryCell(nn.Module, ABC):
    """A recurrent layer that has its own temporal memory c, and passes a spatial memory m on to the next layer.

    Within a step, m passes through all layers from the lowest to the top one. From there it enters the lowest layer of
    the next step (see the drawing in `zoo/networks/zigzag.py`). So the incoming m has the channels of the layer below
    or of the top layer, and the outgoing m has this layer's.

    Args:
        inputs: channels of x.
        hidden: channels C of h, of c and of the outgoing m.
        memory: channels of the incoming m.
        kernel: side k of the square kernels.
        form: the paper's equations, or those of the authors' code.

    Raises:
        ZooError: if a size is below 1.
    """

    from_x: FormConv  # its outputs are seven gates, in the order i f g, i' f' g', o

    def __init__(self, inputs: int, hidden: int, memory: int, kernel: int = 5, form: Form = PAPER) -> None:
        super().__init__()
        for name, value in (("inputs", inputs), ("hidden", hidden), ("memory", memory), ("kernel", kernel)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        self.inputs, self.hidden, self.memory, self.kernel, self.form = inputs, hidden, memory, kernel, form
        self.mix = pointwise(2 * hidden, hidden, form)  # from both memories to h

    def conv(self, inputs: int, gates: int) -> FormConv:
        """A k×k convolution to `gates · C` channels."""
        return FormConv(inputs, gates * self.hidden, self.kernel, self.form)

    def initial_state(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> DualState:
        """Zeros."""
        zeros = torch.zeros(batch, self.hidden, *size, device=device, dtype=dtype)
        return DualState(zeros, zeros)

    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates: x `(N, inputs, H, W)` to `(N, 7C, H, W)`; N is batch size × time steps."""
        projected: Tensor = self.from_x(x)
        return projected

    @abstractmethod
    def step(self, projected: Tensor, m: Tensor, state: DualState) -> tuple[Tensor, Tensor, DualState]:
        """One time step: a projected input and m to h and m, each `(B, C, H, W)`, and the new state."""

    def forward(self, x: Tensor, m: Tensor, state: DualState) -> tuple[Tensor, Tensor, DualState]:
        """One time step: x `(B, inputs, H, W)` and m `(B, memory, H, W)` to h, m and the new state."""
        return self.step(self.project(x), m, state)


def carry(memory: int, hidden: int, form: Form) -> nn.Module:
    """Match the channels of an incoming memory to a layer's: the identity if they are equal, or a 1×1 convolution."""
    return nn.Identity() if memory == hidden else pointwise(memory, hidden, form)


def update(memory: Tensor, gates: Tensor, forget_bias: float) -> Tensor:
    """Return `f∘memory + i∘g`, from a memory `(B, C, H, W)` and the three gates i, f, g `(B, 3C, H, W)`."""
    i, f, g = gates.chunk(3, 1)
    return torch.sigmoid(f + forget_bias) * memory + torch.sigmoid(i) * torch.tanh(g)
