"""What the cells with a temporal and a spatial memory have in common."""

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
    """A recurrent layer with a memory c of its own and a spatial memory m that it is handed and hands on.

    m climbs through the layers of one step and goes on to the lowest layer of the next; so it comes in with the
    channels of the layer below (or of the top one) and leaves with this layer's.

    Args:
        inputs: channels of x.
        hidden: channels C of h, of c and of m as it leaves.
        memory: channels of m as it comes in.
        kernel: side k of the square kernels.
        form: the paper's equations or the deviations of its authors' code.
    """

    from_x: FormConv  # to i f g, i' f' g', o, in this order: seven gates in all

    def __init__(self, inputs: int, hidden: int, memory: int, kernel: int = 5, form: Form = PAPER) -> None:
        super().__init__()
        for name, value in (("inputs", inputs), ("hidden", hidden), ("memory", memory), ("kernel", kernel)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        self.inputs, self.hidden, self.memory, self.kernel, self.form = inputs, hidden, memory, kernel, form
        self.mix = pointwise(2 * hidden, hidden, form)  # of both memories, for h

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
        """What inputs `(N, inputs, H, W)` of any times add to the gates, `(N, 7C, H, W)`."""
        projected: Tensor = self.from_x(x)
        return projected

    @abstractmethod
    def step(self, projected: Tensor, m: Tensor, state: DualState) -> tuple[Tensor, Tensor, DualState]:
        """One time step from a projected input: h and m, each `(B, C, H, W)`, and the new state."""

    def forward(self, x: Tensor, m: Tensor, state: DualState) -> tuple[Tensor, Tensor, DualState]:
        """One time step: x `(B, inputs, H, W)` and m `(B, memory, H, W)` to h, m and the new state."""
        return self.step(self.project(x), m, state)


def carry(memory: int, hidden: int, form: Form) -> nn.Module:
    """A memory as a layer of another width can add to it: a 1×1 convolution, or the memory itself."""
    return nn.Identity() if memory == hidden else pointwise(memory, hidden, form)


def update(memory: Tensor, gates: Tensor, forget_bias: float) -> Tensor:
    """`f∘memory + i∘g` from a memory `(B, C, H, W)` and the three gates i, f, g `(B, 3C, H, W)`."""
    i, f, g = gates.chunk(3, 1)
    return torch.sigmoid(f + forget_bias) * memory + torch.sigmoid(i) * torch.tanh(g)
