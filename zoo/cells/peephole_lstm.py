"""LSTM with diagonal peepholes, over vectors or over maps: the cell of FC-LSTM and of the ConvLSTM of 2015."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d


class PeepholeState(NamedTuple):
    """The state of a peephole LSTM: h and c, each `(B, C)` or `(B, C, H, W)`."""

    h: Tensor
    c: Tensor


class PeepholeLSTMCell(nn.Module):
    """An LSTM in which i and f also read the old c, and o the new c, with one weight for each channel (peepholes).

        i = σ(Wx x + Wh h + w_ci ∘ c)        c' = f ∘ c + i ∘ tanh(g)
        f = σ(Wx x + Wh h + w_cf ∘ c)        h' = σ(Wx x + Wh h + w_co ∘ c') ∘ tanh(c')

    A cell without input has no Wx; it continues from its first state. There is no forget bias.

    Srivastava et al., "Unsupervised learning of video representations using LSTMs", ICML 2015, section 2.1; Shi et al.,
    "Convolutional LSTM network", NeurIPS 2015, eq. (3). The parameter counts there show one peephole for each channel.

    Args:
        inputs: channels of x; 0 for a cell without input.
        hidden: channels C of h.
        kernel: side k of the square kernels; None for a cell over vectors.

    >>> cell = PeepholeLSTMCell(inputs=0, hidden=4, kernel=3)
    >>> h, state = cell(None, cell.initial_state(2, (8, 8)))
    >>> h.shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, inputs: int, hidden: int, kernel: int | None) -> None:
        super().__init__()
        self.hidden, self.vectors = hidden, kernel is None

        def linear(channels: int, bias: bool) -> nn.Module:
            if kernel is None:
                return nn.Linear(channels, 4 * hidden, bias=bias)
            return SameConv2d(channels, 4 * hidden, kernel, bias=bias)

        self.from_x = linear(inputs, bias=False) if inputs else None
        self.from_h = linear(hidden, bias=True)  # it holds the bias of the gates, as every cell has this map
        # weights of i, f and o; small at first, so that the gates start near one half and all weights get a gradient
        self.peepholes = nn.Parameter(torch.empty(3, hidden).uniform_(-0.1, 0.1))

    def initial_state(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> PeepholeState:
        """Zeros. `size` is the size of the maps; a cell over vectors ignores it."""
        shape = (batch, self.hidden) if self.vectors else (batch, self.hidden, *size)
        zeros = torch.zeros(shape, device=device, dtype=dtype)
        return PeepholeState(zeros, zeros)

    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates, for as many inputs at once as x holds."""
        assert self.from_x is not None, "a cell without input has nothing to project"
        projected: Tensor = self.from_x(x)
        return projected

    def step(self, projected: Tensor | None, state: PeepholeState) -> tuple[Tensor, PeepholeState]:
        """One time step: a projected input (None for a step without input) to h and the new state."""
        h, c = state
        gates = self.from_h(h)
        if projected is not None:
            gates = gates + projected
        i, f, g, o = gates.chunk(4, 1)
        see_i, see_f, see_o = self.peepholes if self.vectors else self.peepholes[..., None, None]
        new = torch.sigmoid(f + see_f * c) * c + torch.sigmoid(i + see_i * c) * torch.tanh(g)
        h = torch.sigmoid(o + see_o * new) * torch.tanh(new)
        return h, PeepholeState(h, new)

    def forward(self, x: Tensor | None, state: PeepholeState) -> tuple[Tensor, PeepholeState]:
        """One time step: x `(B, inputs, …)` (None for a step without input) to h `(B, hidden, …)` and the new state."""
        return self.step(None if x is None else self.project(x), state)

    def run(self, xs: Tensor, state: PeepholeState) -> tuple[Tensor, PeepholeState]:
        """All time steps in order: `(T, B, inputs, …)` to all h `(T, B, hidden, …)` and the last state."""
        hs = []
        for projected in self.project(xs.flatten(0, 1)).unflatten(0, xs.shape[:2]):
            h, state = self.step(projected, state)
            hs.append(h)
        return torch.stack(hs), state
