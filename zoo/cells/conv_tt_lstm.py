"""Conv-TT-LSTM (Su et al., "Convolutional Tensor-Train LSTM for long-term video prediction"), eqs. (9)–(11).

| paper | here |
|---|---|
| order m, steps n, ranks R | `order`, `steps`, `rank` |
| lags D = n - m + 1 of a sliding window | `ConvTTLSTMCell.ages` |
| H̃(t, o), o = 1 … m, o = 1 at the gates | `pending[o - 1][0]` before the step at t |
| T(1) and W, the input conv | `gate_core`, `input_weight`: one conv over cat[x, ·] in two parts |
| T(2) … T(m) | `cores` |
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from tensortrain.conv.functional import conv_tt
from zoo.cells.cell import Cell, lstm_gates, same_conv, xavier_
from zoo.errors import ZooError


class ConvTTLSTMState(NamedTuple):
    """The cell state and what past hidden states have already added to future windows.

    A window map is linear in the hidden states it sees, so each h is mapped once, for all windows, when it appears;
    the hidden states themselves need not be kept.

    Args:
        c: `(B, C, H, W)`.
        pending: `pending[o - 1][s]` is the part of H̃(·, o) known so far, `(B, R, H, W)`, s steps before it is used.
    """

    c: Tensor
    pending: tuple[tuple[Tensor, ...], ...]


class ConvTTLSTMCell(Cell):
    """Gates i, f, o, g from x and, through a convolutional tensor train, from the last `steps` hidden states.

    Args:
        inputs: channels of x.
        hidden: channels C.
        kernel: k of every convolution.
        order: m, the number of cores.
        steps: n ≥ order, the number of hidden states the cell sees.
        rank: R, all ranks of the train.
        window: "sliding", eq. (11b): core o sees n - m + 1 consecutive states, the newest ones at the gates;
            "fixed", eq. (11a): every core sees all n.

    Raises:
        ZooError: order > steps, or a size below 1.

    >>> cell = ConvTTLSTMCell(inputs=1, hidden=4, kernel=3)
    >>> h, state = cell(torch.zeros(2, 1, 8, 8), cell.initial_state(2, (8, 8)))
    >>> h.shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        kernel: int = 5,
        order: int = 3,
        steps: int = 3,
        rank: int = 8,
        window: Literal["sliding", "fixed"] = "sliding",
    ) -> None:
        super().__init__(inputs, hidden, kernel)
        for name, value in (("order", order), ("rank", rank)):
            if value < 1:
                raise ZooError(f"{name} = {value} must be at least 1")
        if order > steps:
            raise ZooError(f"order = {order} exceeds steps = {steps}: every window needs a state; raise steps")
        if window not in ("sliding", "fixed"):
            raise ZooError(f'window = {window!r}; "sliding" or "fixed" is legal')
        self.order, self.steps, self.rank, self.window = order, steps, rank, window
        lags = steps - order + 1 if window == "sliding" else steps
        # ages[o - 1]: how many steps back window o looks, the newest first
        starts = range(1, order + 1) if window == "sliding" else [1] * order
        self.ages = [range(start, start + lags) for start in starts]

        self.input_weight = nn.Parameter(torch.empty(4 * hidden, inputs, kernel, kernel))
        self.gate_core = nn.Parameter(torch.empty(4 * hidden, rank, kernel, kernel))
        self.gate_bias = nn.Parameter(torch.zeros(4 * hidden))
        self.cores = nn.ParameterList(torch.empty(rank, rank, kernel, kernel) for _ in range(order - 1))
        self.biases = nn.ParameterList(torch.zeros(rank) for _ in range(order - 1))
        self.window_weight = nn.Parameter(torch.empty(order, lags, rank, hidden, kernel, kernel))
        self.window_bias = nn.Parameter(torch.zeros(order, rank))
        for weight in (self.input_weight, self.gate_core):
            xavier_(weight, inputs + rank)
        for core in self.cores:
            xavier_(core)
        for weight in self.window_weight.detach().flatten(0, 1):
            xavier_(weight, lags * hidden)

    def initial_state(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> ConvTTLSTMState:
        """Zero states, whose window maps are the biases alone."""
        zeros = torch.zeros(batch, self.hidden, *size, device=device, dtype=dtype)
        empty = [bias.to(zeros)[:, None, None].expand(batch, -1, *size) for bias in self.window_bias]
        return ConvTTLSTMState(zeros, tuple((value,) * ages[-1] for value, ages in zip(empty, self.ages, strict=True)))

    def project(self, x: Tensor) -> Tensor:
        """The input's part of the gates, `(N, 4C, H, W)`."""
        return same_conv(x, self.input_weight, self.gate_bias)

    def step(self, projected: Tensor, state: ConvTTLSTMState) -> tuple[Tensor, ConvTTLSTMState]:
        """One time step."""
        h, c = self.gates(projected, [queue[0] for queue in state.pending], state.c)
        return h, ConvTTLSTMState(c, self._advance(state.pending, h))

    def gates(self, projected: Tensor, windows: Sequence[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
        """h and c from the input's part of the gates, the window maps H̃(t, o), each `(B, R, H, W)`, and the last c."""
        value = windows[0]
        if self.order > 1:
            chain, biases = [self.gate_core, *self.cores], [None, *self.biases]
            value = value + conv_tt(chain, [None, *windows[1:]], biases, "same_per_step", stop=1)
        return lstm_gates(projected + same_conv(value, self.gate_core), c)

    def _advance(self, pending: tuple[tuple[Tensor, ...], ...], h: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """The queues one step later, with what h adds to every window that will see it."""
        maps = same_conv(h, self.window_weight.flatten(0, 2)).unflatten(1, (self.order, -1, self.rank))
        queues = []
        for queue, ages, added, bias in zip(pending, self.ages, maps.unbind(1), self.window_bias, strict=True):
            later = [*queue[1:], bias[:, None, None]]
            for age, part in zip(ages, added.unbind(1), strict=True):
                later[age - 1] = later[age - 1] + part
            queues.append(tuple(later))
        return tuple(queues)
