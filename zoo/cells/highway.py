"""Gradient highway unit (Wang et al., "PredRNN++", ICML 2018, eq. (2))."""

from typing import NamedTuple

import torch
from torch import Tensor

from zoo.cells.cell import Cell
from zoo.cells.form import PAPER, Form, FormConv


class HighwayState(NamedTuple):
    """The state of a gradient highway: z, `(B, C, H, W)`."""

    z: Tensor


class GradientHighway(Cell):
    """A recurrent layer through which gradients take a short way back in time.

        p  = tanh(Wpx * x + Wpz * z)
        s  = σ(Wsx * x + Wsz * z)
        z' = s ∘ p + (1 - s) ∘ z

    Args:
        inputs: channels of x.
        hidden: channels C of z.
        kernel: side k of the square kernels.
        form: the paper's equations, or those of the authors' code.

    >>> highway = GradientHighway(inputs=3, hidden=4, kernel=3)
    >>> z, state = highway(torch.zeros(2, 3, 8, 8), highway.initial_state(2, (8, 8)))
    >>> z.shape
    torch.Size([2, 4, 8, 8])
    """

    def __init__(self, inputs: int, hidden: int, kernel: int = 5, form: Form = PAPER) -> None:
        super().__init__(inputs, hidden, kernel)
        # the output channels are p, then s
        self.from_x = FormConv(inputs, 2 * hidden, kernel, form)
        self.from_z = FormConv(hidden, 2 * hidden, kernel, form)

    def initial_state(
        self,
        batch: int,
        size: tuple[int, int],
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> HighwayState:
        """Zeros."""
        return HighwayState(torch.zeros(batch, self.hidden, *size, device=device, dtype=dtype))

    def project(self, x: Tensor) -> Tensor:
        """The input's share of p and s, `(N, 2C, H, W)`."""
        projected: Tensor = self.from_x(x)
        return projected

    def step(self, projected: Tensor, state: HighwayState) -> tuple[Tensor, HighwayState]:
        """One time step: a projected input to z, `(B, C, H, W)`, which is both the output and the new state."""
        p, s = (projected + self.from_z(state.z)).chunk(2, 1)
        s = torch.sigmoid(s)
        z = s * torch.tanh(p) + (1 - s) * state.z
        return z, HighwayState(z)
