"""ConvLSTM (Shi et al., "Convolutional LSTM network", NeurIPS 2015), as the Conv-TT-LSTM paper trains it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.cells.cell import Cell, lstm_gates, same_conv, xavier_


class ConvLSTMState(NamedTuple):
    """h and c, each `(B, C, H, W)`."""

    h: Tensor
    c: Tensor


class ConvLSTMCell(Cell):
    """Gates i, f, o, g from one convolution over x and h; no peepholes.

    That convolution is held as its two parts, so that the one over x can run for many times at once.

    >>> cell = ConvLSTMCell(inputs=1, hidden=4, kernel=3)
    >>> h, state = cell(torch.zeros(2, 1, 8, 8), cell.initial_state(2, (8, 8)))
    >>> h.shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, inputs: int, hidden: int, kernel: int = 5) -> None:
        super().__init__(inputs, hidden, kernel)
        self.input_weight = nn.Parameter(torch.empty(4 * hidden, inputs, kernel, kernel))
        self.hidden_weight = nn.Parameter(torch.empty(4 * hidden, hidden, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        for weight in (self.input_weight, self.hidden_weight):
            xavier_(weight, inputs + hidden)

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
        """The input's part of the gates, `(N, 4C, H, W)`."""
        return same_conv(x, self.input_weight, self.bias)

    def step(self, projected: Tensor, state: ConvLSTMState) -> tuple[Tensor, ConvLSTMState]:
        """One time step."""
        h, c = lstm_gates(projected + same_conv(state.h, self.hidden_weight), state.c)
        return h, ConvLSTMState(h, c)
