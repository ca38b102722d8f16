"""ConvLSTM (Shi et al., "Convolutional LSTM network", NeurIPS 2015), as the Conv-TT-LSTM paper trains it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.cells.cell import Cell, lstm_gates
from zoo.cells.conv import SameConv2d, glorot_bound


class ConvLSTMState(NamedTuple):
    """The state of a ConvLSTM: h and c, each `(B, C, H, W)`."""

    h: Tensor
    c: Tensor


class ConvLSTMCell(Cell):
    """An LSTM whose gates i, f, o, g come from one convolution over x and h. It has no peepholes.

    The convolution is held as two, `from_x` and `from_h`, so that the part over x can run for many time steps at once.
    Their initial weights have the Glorot bound of the whole convolution.

    Args:
        inputs: channels of x.
        hidden: channels C of h.
        kernel: side k of the square kernels.
        forget_bias: the initial bias of the forget gate; the other biases are initialised with zero.

    >>> cell = ConvLSTMCell(inputs=1, hidden=4, kernel=3)
    >>> h, state = cell(torch.zeros(2, 1, 8, 8), cell.initial_state(2, (8, 8)))
    >>> h.shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, inputs: int, hidden: int, kernel: int = 5, forget_bias: float = 0.0) -> None:
        super().__init__(inputs, hidden, kernel)
        bound = glorot_bound(inputs + hidden, 4 * hidden, kernel)
        self.from_x = SameConv2d(inputs, 4 * hidden, kernel, bound=bound)
        self.from_h = SameConv2d(hidden, 4 * hidden, kernel, bias=False, bound=bound)
        if forget_bias:
            assert self.from_x.bias is not None
            nn.init.constant_(self.from_x.bias[hidden : 2 * hidden], forget_bias)  # the order is i, f, o, g

    def initial_state(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> ConvLSTMState:
        """Zeros."""
        zeros = torch.zeros(batch, self.hidden, *size, device=device, dtype=dtype)
        return ConvLSTMState(zeros, zeros)

    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates, `(N, 4C, H, W)`."""
        projected: Tensor = self.from_x(x)
        return projected

    def step(self, projected: Tensor, state: ConvLSTMState) -> tuple[Tensor, ConvLSTMState]:
        """One time step: a projected input `(B, 4C, H, W)` to h `(B, C, H, W)` and the new state."""
        h, c = lstm_gates(projected + self.from_h(state.h), state.c)
        return h, ConvLSTMState(h, c)
