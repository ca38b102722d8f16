"""The base class of cells over vectors, and the plain LSTM."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from zoo.errors import ZooError


class VectorCell(nn.Module, ABC):
    """A recurrent layer over vectors whose input passes through a linear map that does not depend on the state.

    `project` is that map. All inputs that are known beforehand are projected in one call.

    Args:
        inputs: d, the number of entries of x.
        hidden: H, the number of entries of h.
        gates: the number of entries of a projected input.

    Raises:
        ZooError: if `inputs` or `hidden` is below 1.
    """

    def __init__(self, inputs: int, hidden: int, gates: int) -> None:
        super().__init__()
        for name, value in (("inputs", inputs), ("hidden", hidden)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        self.hidden = hidden
        self.from_x = nn.Linear(inputs, gates)

    @abstractmethod
    def initial_state(self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None) -> Any:
        """The state before the first input: a NamedTuple of tensors."""

    @abstractmethod
    def step(self, projected: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: a projected input `(B, gates)` to h `(B, H)` and the new state."""

    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates: any number of inputs `(…, d)` to `(…, gates)`."""
        projected: Tensor = self.from_x(x)
        return projected

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One time step: x `(B, d)` to h `(B, H)` and the new state."""
        return self.step(self.project(x), state)

    def run(self, xs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """All time steps in order: `(T, B, d)` to all h `(T, B, H)` and the last state."""
        hs = []
        for projected in self.project(xs):
            h, state = self.step(projected, state)
            hs.append(h)
        return torch.stack(hs), state


class LSTMState(NamedTuple):
    """The state of an LSTM: h and c, each `(B, H)`."""

    h: Tensor
    c: Tensor


class LSTMCell(VectorCell):
    """An LSTM without peepholes and with one bias for each gate: `4 H (d + H + 1)` parameters.

        [i, g, f, o] = U x + W h + b,    c' = σ(f + 1) ∘ c + σ(i) ∘ tanh(g),    h' = σ(o) ∘ tanh(c')

    Its forget bias of 1 is that of the tensor-train LSTM, which it is compared with. `torch.nn.LSTM` has two biases for
    each gate, of which only the sum matters.

    Args:
        inputs: d, the number of entries of x.
        hidden: H, the number of entries of h.

    >>> cell = LSTMCell(inputs=3, hidden=16)
    >>> sum(p.numel() for p in cell.parameters())
    1280
    """

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, 4 * hidden)
        self.from_h = nn.Linear(hidden, 4 * hidden, bias=False)

    def initial_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> LSTMState:
        """Zeros."""
        zeros = torch.zeros(batch, self.hidden, device=device, dtype=dtype)
        return LSTMState(zeros, zeros)

    def step(self, projected: Tensor, state: LSTMState) -> tuple[Tensor, LSTMState]:
        """One time step: a projected input `(B, 4 H)` to h `(B, H)` and the new state."""
        h, c = update_memory(projected + self.from_h(state.h), state.c)
        return h, LSTMState(h, c)


def update_memory(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the new h and c of an LSTM: gates i, g, f, o before their nonlinearities `(B, 4 H)`, and c `(B, H)`."""
    i, g, f, o = gates.chunk(4, 1)
    c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
