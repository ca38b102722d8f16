"""ST-LSTM (Wang et al., "PredRNN", NeurIPS 2017), the cell that PredRNN++ is compared with."""

from dataclasses import replace

import torch
from torch import Tensor

from zoo.cells.dual_memory import DualMemoryCell, DualState, carry, update
from zoo.cells.form import PREDRNN, Form, FormConv


class STLSTMCell(DualMemoryCell):
    """Updates its two memories independently: c from x and h, m from x and m. h comes from both.

        c' = f ∘ c + i ∘ g            i, f, g from (x, h)
        m' = f' ∘ m + i' ∘ g'         i', f', g' from (x, m)
        o  = σ(Wx * x + Wh * h + Wo * [c', m'])
        h' = o ∘ tanh(W1×1 * [c', m'])

    All i, f and o are sigmoids, and 1 is added inside both forget gates. All layers of PredRNN have the same number of
    channels. If they differ, a 1×1 convolution maps m to C channels before f' is applied, as W3 does in a causal LSTM.
    See `DualMemoryCell` for the arguments and shapes.

    >>> cell = STLSTMCell(inputs=1, hidden=4, memory=2, kernel=3)
    >>> h, m, state = cell(torch.zeros(2, 1, 8, 8), torch.zeros(2, 2, 8, 8), cell.initial_state(2, (8, 8)))
    >>> h.shape, m.shape
    (torch.Size([2, 4, 8, 8]), torch.Size([2, 4, 8, 8]))
    """

    def __init__(self, inputs: int, hidden: int, memory: int, kernel: int = 5, form: Form = PREDRNN) -> None:
        super().__init__(inputs, hidden, memory, kernel, form)
        self.from_x = FormConv(inputs, 7 * hidden, kernel, replace(form, bias=True))
        self.from_h = self.conv(hidden, 4)
        self.from_m = self.conv(memory, 3)
        self.from_memories = self.conv(2 * hidden, 1)
        self.carry = carry(memory, hidden, form)

    def step(self, projected: Tensor, m: Tensor, state: DualState) -> tuple[Tensor, Tensor, DualState]:
        """One time step: a projected input and m to h and m, each `(B, C, H, W)`, and the new state."""
        x_temporal, x_spatial, x_out = projected.split((3 * self.hidden, 3 * self.hidden, self.hidden), 1)
        h_temporal, h_out = self.from_h(state.h).split((3 * self.hidden, self.hidden), 1)
        c = update(state.c, x_temporal + h_temporal, self.form.forget_bias)
        m = update(self.carry(m).to(m.dtype), x_spatial + self.from_m(m), self.form.forget_bias)
        memories = torch.cat([c, m], 1)
        o = torch.sigmoid(x_out + h_out + self.from_memories(memories))
        h = o * torch.tanh(self.mix(memories))
        return h, m, DualState(h, c)
