"""Conv-TT-LSTM (Su et al., "Convolutional Tensor-Train LSTM for long-term video prediction"), eqs. (9)–(11).

| paper | here |
|---|---|
| order m, steps n, ranks R | `order`, `steps`, `rank` |
| window of states that H̃(t, o) reads | `ages[o - 1]`: how many steps back each state is, the newest first |
| H̃(t, o), o = 1 … m, o = 1 next to the gates | `pending[o - 1][0]` before the step at t |
| the maps from states to H̃(t, o) | `windows` (all of them in one convolution) and `window_biases` |
| T(1) and W, the input convolution | `gate_core` and `from_x`: the parts of one convolution over cat[x, ·] |
| T(2) … T(m) | `cores` |
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.cell import Cell, lstm_gates
from zoo.cells.conv import SameConv2d, glorot_bound
from zoo.errors import ZooError


class ConvTTLSTMState(NamedTuple):
    """The cell state, and what past hidden states have already added to the windows of future steps.

    A window is a linear function of the hidden states that it reads. So each h is mapped once, for all windows, in the
    step that computes it. The hidden states themselves need not be kept. For a sliding window with m = 2 and n = 3,
    before the step at t:

        pending[0] = (H̃(t, 1), H̃(t+1, 1))               window 1 reads h(t-1), h(t-2)
        pending[1] = (H̃(t, 2), H̃(t+1, 2), H̃(t+2, 2))     window 2 reads h(t-2), h(t-3)

    Only the first entry of each queue is complete. The step uses it and removes it. Then it appends an entry that holds
    only the bias, and adds its own h to all windows that read it:

                    t+1      t+2      t+3
        queue 1   [ + h  ,   + h  ]
        queue 2   [  ·   ,   + h  ,   + h  ]

    Args:
        c: the cell state, `(B, C, H, W)`.
        pending: `pending[o - 1][s]` is the known part of H̃(t + s, o), `(B, R, H, W)`.
    """

    c: Tensor
    pending: tuple[tuple[Tensor, ...], ...]


class ConvTTLSTMCell(Cell):
    """An LSTM whose gates read x and, through a convolutional tensor train, the last `steps` hidden states.

        H̃(t, o) = window map o of the hidden states in window o            eq. (11)
        V(m) = 0,  V(l-1) = T(l) * (V(l) + H̃(t, l)),  l = m … 1            eq. (10)
        i, f, o, g = W * x + V(0),  c' = σ(f) ∘ c + σ(i) ∘ tanh(g),  h = σ(o) ∘ tanh(c')      eq. (9)

    The function `written_out` is these equations as code. The cell computes the same with fewer convolutions; see
    `ConvTTLSTMState`.

    Args:
        inputs: channels of x.
        hidden: channels C of h and c.
        kernel: side k of all kernels.
        order: m, the number of cores of the train.
        steps: n ≥ order, the number of past hidden states that the gates read.
        rank: R, which is used for all ranks of the train.
        window: "sliding" (eq. (11b)): core o reads n - m + 1 consecutive states, and core 1, next to the gates, reads
            the newest ones. "fixed" (eq. (11a)): every core reads all n states.

    Raises:
        ZooError: if order > steps, a size is below 1, or `window` is unknown.

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
            raise ZooError(f"order = {order} exceeds steps = {steps}, but each window needs a state; raise steps")
        if window not in ("sliding", "fixed"):
            raise ZooError(f'window = {window!r} must be "sliding" or "fixed"')
        self.order, self.steps, self.rank, self.window = order, steps, rank, window
        lags = steps - order + 1 if window == "sliding" else steps
        starts = range(1, order + 1) if window == "sliding" else [1] * order
        self.ages = [range(start, start + lags) for start in starts]

        bound = glorot_bound(inputs + rank, 4 * hidden, kernel)
        self.from_x = SameConv2d(inputs, 4 * hidden, kernel, bound=bound)
        self.gate_core = SameConv2d(rank, 4 * hidden, kernel, bias=False, bound=bound)
        self.cores = nn.ModuleList(SameConv2d(rank, rank, kernel) for _ in range(order - 1))
        # maps h to its share of every window that will read it: output channels (order, lags, rank)
        bound = glorot_bound(lags * hidden, rank, kernel)
        self.windows = SameConv2d(hidden, order * lags * rank, kernel, bias=False, bound=bound)
        self.window_biases = nn.Parameter(torch.zeros(order, rank))  # added once for each window, not once for each h

    def initial_state(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> ConvTTLSTMState:
        """The state if all earlier hidden states are zero: every window is its bias."""
        zeros = torch.zeros(batch, self.hidden, *size, device=device, dtype=dtype)
        empty = [bias.to(zeros)[:, None, None].expand(batch, -1, *size) for bias in self.window_biases]
        return ConvTTLSTMState(zeros, tuple((value,) * ages[-1] for value, ages in zip(empty, self.ages, strict=True)))

    def project(self, x: Tensor) -> Tensor:
        """The input's share of the gates, `(N, 4C, H, W)`."""
        projected: Tensor = self.from_x(x)
        return projected

    def step(self, projected: Tensor, state: ConvTTLSTMState) -> tuple[Tensor, ConvTTLSTMState]:
        """One time step: a projected input `(B, 4C, H, W)` to h `(B, C, H, W)` and the new state."""
        windows = [queue[0] for queue in state.pending]
        h, c = lstm_gates(projected + self.gate_core(self.chain(windows)), state.c)
        return h, ConvTTLSTMState(c, self._advance(state.pending, h))

    def chain(self, windows: Sequence[Tensor]) -> Tensor:
        """Compute V(1) + H̃(t, 1), the input of the gate core, from the windows H̃(t, o), each `(B, R, H, W)`.

        It equals `tensortrain.conv.functional.conv_tt` with padding "same_per_step" and stop 1.
        """
        value = windows[-1]
        for l in range(self.order, 1, -1):
            value = windows[l - 2] + self._core(l, value)
        return value

    def _core(self, l: int, value: Tensor) -> Tensor:
        """T(l) * value. Even kernels pad their extra zero alternately after and before the value, to avoid a drift."""
        core = cast(SameConv2d, self.cores[l - 2])
        if self.kernel % 2 or l % 2:
            padded: Tensor = core(value)
            return padded
        shifted: Tensor = core(F.pad(value, (1, 0, 1, 0)))
        return shifted[..., :-1, :-1]

    def _advance(self, pending: tuple[tuple[Tensor, ...], ...], h: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """The queues one step later, with h added to every window that will read it."""
        maps = self.windows(h).unflatten(1, (self.order, -1, self.rank))
        queues = []
        for queue, ages, parts, bias in zip(pending, self.ages, maps.unbind(1), self.window_biases, strict=True):
            later = [*queue[1:], bias[:, None, None]]
            for age, part in zip(ages, parts.unbind(1), strict=True):
                later[age - 1] = later[age - 1] + part
            queues.append(tuple(later))
        return tuple(queues)


def written_out(cell: ConvTTLSTMCell, projected: Tensor, hs: Sequence[Tensor], c: Tensor) -> tuple[Tensor, Tensor]:
    """One step of a cell, computed as eqs. (9)–(11) are printed: each window from the hidden states that it reads.

    Args:
        cell: the cell whose weights and windows are used.
        projected: the input's share of the gates, `(B, 4C, H, W)`.
        hs: the last `cell.steps` hidden states, `(h(t-1), h(t-2), …)`, each `(B, C, H, W)`.
        c: the old cell state, `(B, C, H, W)`.

    Returns:
        The new h and c, each `(B, C, H, W)`.

    >>> cell = ConvTTLSTMCell(inputs=1, hidden=4, kernel=3, order=2, steps=3)
    >>> xs, zeros = torch.randn(5, 2, 1, 8, 8), torch.zeros(2, 4, 8, 8)
    >>> expected, _ = cell.run(xs, cell.initial_state(2, (8, 8)))
    >>> hs, c = [zeros] * 3, zeros
    >>> for x in xs:
    ...     h, c = written_out(cell, cell.project(x), hs, c)
    ...     hs = [h, *hs[:-1]]
    >>> torch.allclose(h, expected[-1], atol=1e-6)
    True
    """
    maps = cell.windows.weight.unflatten(0, (cell.order, -1, cell.rank))  # (order, lags, R, C, k, k)
    value: Tensor | None = None
    for l in range(cell.order, 0, -1):
        seen = torch.cat([hs[age - 1] for age in cell.ages[l - 1]], 1)  # (B, lags · C, H, W)
        kernel = maps[l - 1].transpose(0, 1).flatten(1, 2)  # (R, lags · C, k, k)
        window = F.conv2d(seen, kernel, cell.window_biases[l - 1], padding="same")
        value = window if value is None else value + window
        if l > 1:
            core, reach = cast(SameConv2d, cell.cores[l - 2]), cell.kernel - 1
            before = l * reach // 2 - (l - 1) * reach // 2  # see `tensortrain.conv.alignment`
            value = F.conv2d(F.pad(value, (before, reach - before) * 2), core.weight, core.bias)
    assert value is not None
    return lstm_gates(projected + cell.gate_core(value), c)
