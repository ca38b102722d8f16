"""What every cell of a layered network has in common, and the pieces they share."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.errors import ZooError


class Cell(nn.Module, ABC):
    """A recurrent layer whose input enters by a convolution that knows nothing of the state.

    `project` is that convolution, `step` the rest; so known inputs are projected for all times at once, and only
    what depends on the state stays in the loop.

    Args:
        inputs: channels of x.
        hidden: channels C of h.
        kernel: side k of the square kernels; even ones are aligned as `tensortrain.conv.alignment` says.
    """

    def __init__(self, inputs: int, hidden: int, kernel: int) -> None:
        super().__init__()
        for name, value in (("inputs", inputs), ("hidden", hidden), ("kernel", kernel)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        self.inputs, self.hidden, self.kernel = inputs, hidden, kernel

    @abstractmethod
    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Any:
        """The state before the first input: a NamedTuple of tensors."""

    @abstractmethod
    def project(self, x: Tensor) -> Tensor:
        """What inputs `(N, inputs, H, W)` of any times add to the gates."""

    @abstractmethod
    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step from a projected input: h `(B, hidden, H, W)` and the new state."""

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: x `(B, inputs, H, W)` to h `(B, hidden, H, W)` and the new state."""
        return self.step(self.project(x), state)

    def run(self, xs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """All steps of `(T, B, inputs, H, W)` in order: every h, `(T, B, hidden, H, W)`, and the last state."""
        if len(xs) == 1:  # nothing to take apart and to put together
            h, state = self(xs.flatten(0, 1), state)
            return h.unflatten(0, xs.shape[:2]), state
        hs = []
        for projected in self.project(xs.flatten(0, 1)).unflatten(0, xs.shape[:2]):
            h, state = self.step(projected, state)
            hs.append(h)
        return torch.stack(hs), state


def same_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A zero-padded convolution that keeps the size.

    Channels last, because convolutions in bfloat16 then need no reordering on a CPU.
    """
    x, weight = (t.contiguous(memory_format=torch.channels_last) for t in (x, weight))
    if x.shape[1] == 1:  # then both orders are one, and torch would take the other
        x = x.squeeze(1)[..., None].movedim(3, 1)
    return F.conv2d(x, weight, bias, padding="same")


def lstm_gates(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Gates i, f, o, g `(B, 4C, H, W)` and c `(B, C, H, W)` to the new h and c.

    c keeps its own precision when the gates come in a lower one.
    """
    i, f, o, g = gates.chunk(4, 1)  # before they are squashed: what a compiler then fuses into one pass
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def xavier_(weight: Tensor, inputs: int | None = None) -> None:
    """Glorot's uniform initialiser; `inputs` counts all input channels where `weight` is a part of a wider conv."""
    taps = math.prod(weight.shape[2:])
    fans = taps * ((weight.shape[1] if inputs is None else inputs) + weight.shape[0])
    nn.init.uniform_(weight, -math.sqrt(6 / fans), math.sqrt(6 / fans))
