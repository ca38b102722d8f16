"""Tensor-train RNN and LSTM (Yu et al., "Long-term forecasting using tensor-train RNNs", 2017)."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tensortrain.functional import tt_evaluate
from zoo.cells.vector import VectorCell, update_memory
from zoo.errors import ZooError


class TTState(NamedTuple):
    """The state of a tensor-train cell.

    Attributes:
        past: the last L hidden states, the newest first, `(B, L, H)`.
        c: the memory of an LSTM, `(B, H)`; zero in an RNN.
    """

    past: Tensor
    c: Tensor


class TTRecurrentCell(VectorCell):
    """A recurrent cell of higher order: its gates are a polynomial of the last L hidden states.

    Let s = [h_{t-1}; …; h_{t-L}; 1], a vector of N = H·L + 1 entries. The gates are

        z = U x + b + W · (s ⊗ s ⊗ … ⊗ s)      (P factors s)

    The tensor W is a tensor train over its P axes, and its last rank is the number of gates. It is evaluated core by
    core by `tensortrain.functional.tt_evaluate`, with s in every axis. Neither W nor the outer product is ever formed.
    Because of the constant entry of s, the polynomial contains all lower orders. (Yu et al., 2017, eq. (5)–(8).)

        RNN:  h' = tanh(z)        LSTM:  c' = σ(f + 1) ∘ c + σ(i) ∘ tanh(g),  h' = σ(o) ∘ tanh(c')

    Args:
        inputs: d, the number of entries of x.
        hidden: H, the number of entries of h.
        lags: L, the number of past states.
        ranks: the P - 1 inner ranks of the train. Their number plus one is the order P.
        lstm: True for four gates i, g, f, o and a memory; False for a plain RNN.

    Raises:
        ZooError: if a size, lag or rank is below 1.

    A step costs `Σ_p r_{p-1} N r_p + d · gates` multiplications for each sample.

    >>> cell = TTRecurrentCell(inputs=3, hidden=8, lags=2, ranks=[2], lstm=True)
    >>> sum(p.numel() for p in cell.parameters())
    1250
    >>> h, state = cell(torch.zeros(5, 3), cell.initial_state(5))
    >>> h.shape
    torch.Size([5, 8])
    """

    def __init__(self, inputs: int, hidden: int, lags: int, ranks: Sequence[int], lstm: bool) -> None:
        gates = (4 if lstm else 1) * hidden
        super().__init__(inputs, hidden, gates)
        if min([lags, *ranks]) < 1:
            raise ZooError(f"lags = {lags} and ranks = {list(ranks)} must all be at least 1")
        self.lags, self.lstm = lags, lstm
        entries = hidden * lags + 1
        bonds = [1, *ranks, gates]
        # with these bounds each core keeps the scale of its input, so a product of many neither vanishes nor explodes
        self.cores = nn.ParameterList(
            torch.empty(left, entries, right).uniform_(-1, 1) * math.sqrt(3 / (left * entries))
            for left, right in itertools.pairwise(bonds)
        )

    def initial_state(
        self, batch: int, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> TTState:
        """Zeros."""
        past = torch.zeros(batch, self.lags, self.hidden, device=device, dtype=dtype)
        return TTState(past, past[:, 0])

    def step(self, projected: Tensor, state: TTState) -> tuple[Tensor, TTState]:
        """One time step: a projected input `(B, gates)` to h `(B, H)` and the new state."""
        past = state.past.flatten(1)
        s = torch.cat([past, past.new_ones(past.shape[0], 1)], 1)  # len() would fix the number of clips in an export
        z = projected + tt_evaluate(list(self.cores), [s] * len(self.cores)).squeeze(1)
        h, c = update_memory(z, state.c) if self.lstm else (torch.tanh(z), state.c)
        return h, TTState(torch.cat([h[:, None], state.past[:, :-1]], 1), c)
