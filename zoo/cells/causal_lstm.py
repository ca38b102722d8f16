"""Causal LSTM (Wang et al., "PredRNN++", ICML 2018, eq. (1)) and its spatial-to-temporal variant.

| paper | here |
|---|---|
| W1 | the first 3C channels of `from_x` and of `from_h`, and `from_first` |
| W2 | the next 3C channels of `from_x`, the first 3C of `from_new_first`, `from_second` |
| W3 | `reshape`, or the last C channels of `from_second` where it is k×k |
| W4 | the last C channels of `from_x` and of `from_new_first`, and `from_new_second` |
| W5 | `mix` |
"""

from abc import ABC

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.cells.dual_memory import DualMemoryCell, DualState, carry, update
from zoo.cells.form import PAPER, Form, pointwise


class Cascade(DualMemoryCell, ABC):
    """Updates two memories, one after the other. The subclasses differ in which memory comes first.

    Args:
        inputs: channels of x.
        hidden: channels C of h and of both updated memories.
        memory: channels of the incoming m.
        kernel: side k of the square kernels.
        form: the paper's equations, or those of the authors' code.
        first: channels of the incoming first memory.
        second: channels of the incoming second memory.
    """

    def __init__(
        self, inputs: int, hidden: int, memory: int, kernel: int, form: Form, *, first: int, second: int
    ) -> None:
        super().__init__(inputs, hidden, memory, kernel, form)
        self.second_gates = 3 if form.modulation_reads_m else 2
        # the outputs of each convolution are the gates that its input affects, in the order i f g, i' f' g', o
        self.from_x = self.conv(inputs, 7)
        self.from_h = self.conv(hidden, 4 if form.output_reads_h else 3)
        self.from_first = self.conv(first, 3)
        self.from_second = self.conv(second, self.second_gates + form.wide_w3)
        self.from_new_first = self.conv(hidden, 4)
        self.from_new_second = self.conv(hidden, 1)
        self.carry = carry(first, hidden, form)
        self.reshape = None if form.wide_w3 else pointwise(second, hidden, form)

    def cascade(self, projected: Tensor, h: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return h and the first and second memory of this step, each `(B, C, H, W)`."""
        width, forget_bias = self.hidden, self.form.forget_bias
        x_first, x_second, out = projected.split((3 * width, 3 * width, width), 1)
        h_first, *h_out = self.from_h(h).split(3 * width, 1)
        seen, *wide = self.from_second(second).split(self.second_gates * width, 1)
        kept = wide[0] if self.reshape is None else self.reshape(second)

        new_first = update(self.carry(first).to(first.dtype), x_first + h_first + self.from_first(first), forget_bias)
        first_second, first_out = self.from_new_first(new_first).split((3 * width, width), 1)
        gates = x_second + first_second + F.pad(seen, (0, 0, 0, 0, 0, 3 * width - seen.shape[1]))
        new_second = update(torch.tanh(kept).to(second.dtype), gates, forget_bias)

        o = torch.tanh(sum(h_out, out + first_out + self.from_new_second(new_second)))
        return o * torch.tanh(self.mix(torch.cat([new_first, new_second], 1))), new_first, new_second


class CausalLSTMCell(Cascade):
    """Updates the temporal memory first, and then the spatial memory from it.

        c' = f ∘ c + i ∘ g                    g, i, f from W1 * [x, h, c]
        m' = f' ∘ tanh(W3 * m) + i' ∘ g'      g', i', f' from W2 * [x, c', m]
        o  = tanh(W4 * [x, c', m'])
        h' = o ∘ tanh(W5 * [c', m'])

    See `DualMemoryCell` for the arguments and shapes.

    >>> cell = CausalLSTMCell(inputs=1, hidden=4, memory=2, kernel=3)
    >>> h, m, state = cell(torch.zeros(2, 1, 8, 8), torch.zeros(2, 2, 8, 8), cell.initial_state(2, (8, 8)))
    >>> h.shape, m.shape
    (torch.Size([2, 4, 8, 8]), torch.Size([2, 4, 8, 8]))
    """

    def __init__(self, inputs: int, hidden: int, memory: int, kernel: int = 5, form: Form = PAPER) -> None:
        super().__init__(inputs, hidden, memory, kernel, form, first=hidden, second=memory)

    def step(self, projected: Tensor, m: Tensor, state: DualState) -> tuple[Tensor, Tensor, DualState]:
        """One time step."""
        h, c, m = self.cascade(projected, state.h, state.c, m)
        return h, m, DualState(h, c)


class SpatialToTemporalCell(Cascade):
    """Updates the spatial memory first, and then the temporal memory from it: eq. (1) with C and M exchanged.

        m' = f ∘ m + i ∘ g                    g, i, f from W1 * [x, h, m]
        c' = f' ∘ tanh(W3 * c) + i' ∘ g'      g', i', f' from W2 * [x, m', c]
        o  = tanh(W4 * [x, m', c'])
        h' = o ∘ tanh(W5 * [m', c'])

    The paper describes this variant in words (section 4.1). If the incoming m does not have C channels, a 1×1
    convolution maps it to C channels before f is applied. The option `modulation_reads_m` of the form refers to c here.
    See `DualMemoryCell` for the arguments and shapes.

    >>> cell = SpatialToTemporalCell(inputs=1, hidden=4, memory=2, kernel=3)
    >>> h, m, state = cell(torch.zeros(2, 1, 8, 8), torch.zeros(2, 2, 8, 8), cell.initial_state(2, (8, 8)))
    >>> h.shape, m.shape
    (torch.Size([2, 4, 8, 8]), torch.Size([2, 4, 8, 8]))
    """

    def __init__(self, inputs: int, hidden: int, memory: int, kernel: int = 5, form: Form = PAPER) -> None:
        super().__init__(inputs, hidden, memory, kernel, form, first=memory, second=hidden)

    def step(self, projected: Tensor, m: Tensor, state: DualState) -> tuple[Tensor, Tensor, DualState]:
        """One time step."""
        h, m, c = self.cascade(projected, state.h, m, state.c)
        return h, m, DualState(h, c)
