"""The base class of cells with one hidden state, and the gates of an LSTM."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from zoo.errors import ZooError


class Cell(nn.Module, ABC):
    """A recurrent layer whose input passes through a convolution that does not depend on the state.

    `project` is that convolution, and `step` computes the rest. So all inputs that are known beforehand are projected
    in one call, and the loop over time contains only what depends on the state.

    Args:
        inputs: channels of x.
        hidden: channels C of h.
        kernel: side k of the square kernels; for even k see `SameConv2d`.

    Raises:
        ZooError: if an argument is below 1.
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
        """The input's share of the gates: x `(N, inputs, H, W)` to `(N, gates, H, W)`.

        N is batch size × time steps. The result does not depend on the state, so all known frames are projected at
        once.
        """

    @abstractmethod
    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: a projected input `(B, gates, H, W)` to h `(B, hidden, H, W)` and the new state."""

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: x `(B, inputs, H, W)` to h `(B, hidden, H, W)` and the new state."""
        return self.step(self.project(x), state)

    def run(self, xs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """All time steps in order: `(T, B, inputs, H, W)` to all h `(T, B, hidden, H, W)` and the last state."""
        if len(xs) == 1:  # avoids splitting and stacking the steps
            h, state = self(xs.flatten(0, 1), state)
            return h.unflatten(0, xs.shape[:2]), state
        hs = []
        for projected in self.project(xs.flatten(0, 1)).unflatten(0, xs.shape[:2]):
            h, state = self.step(projected, state)
            hs.append(h)
        return torch.stack(hs), state


def lstm_gates(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the new h and c of an LSTM.

    Args:
        gates: i, f, o and g before their nonlinearities, `(B, 4C, H, W)`.
        c: the old cell state `(B, C, H, W)`. It keeps its precision if the gates have a lower one.
    """
    i, f, o, g = gates.chunk(4, 1)  # split before the nonlinearities, so that a compiler can fuse all of it
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
