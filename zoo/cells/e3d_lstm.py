"""E3D-LSTM (Wang et al., "Eidetic 3D LSTM", ICLR 2019): 3-D convolutions, and attention to all past cell states."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.cells.conv import glorot_bound
from zoo.errors import ZooError

E3DForm = Literal["paper", "released"]
WINDOW, SIDE = 2, 5  # kernel size of every convolution: in frames, and in pixels along both axes


class SameConv3d(nn.Conv3d):
    """A zero-padded 3-D convolution that keeps the size of its input. In time, zeros are padded at the end only."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int], bias: bool) -> None:
        self.bound = glorot_bound(inputs, outputs, 1) / (kernel[0] * kernel[1] * kernel[2]) ** 0.5
        super().__init__(inputs, outputs, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2), bias=bias)
        self.behind = kernel[0] - 1

    def reset_parameters(self) -> None:
        """Initialise the weights at random and the bias with zero."""
        nn.init.uniform_(self.weight, -self.bound, self.bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, inputs, T, H, W)` to `(N, outputs, T, H, W)`."""
        return super().forward(F.pad(x, (0, 0, 0, 0, 0, self.behind)))


class E3DLSTMCell(nn.Module):
    """A cell over maps of two frames, `(B, C, 2, H, W)`. Each layer has a memory c; m passes from layer to layer.

        c' = i ∘ g + norm(c + recall(r, past))          m' = i' ∘ g' + σ(f' + 1) ∘ m
        o  = σ(Wx x + Wh h + Wco c' + Wmo m')           h' = o ∘ tanh(W₁ [c', m'])

    c has no forget gate. The *recall* replaces it: every position of the gate r attends to all positions of all
    earlier c of the layer. (Wang et al., 2019, eq. (2)–(4).)

    The form "released" is what the authors' code computes. It has a bias in every convolution and layer norms on the
    shares of x, h and m. In m', it replaces m by the tanh of another share of m, and it has o = σ(tanh(…)). It also
    passes on the old m instead of m', so that m stays zero and its kernel has no effect.

    Args:
        inputs: channels of x.
        hidden: channels N of h, c and m.
        form: "paper" or "released".
        eps: number added to the variance in layer norms; 1e-12 in the authors' code.

    Raises:
        ZooError: if `form` is unknown.
    """

    def __init__(self, inputs: int, hidden: int, form: E3DForm = "paper", eps: float = 1e-5) -> None:
        super().__init__()
        if form not in ("paper", "released"):
            raise ZooError(f'form = {form!r} must be "paper" or "released"')
        released = form == "released"
        self.hidden, self.released = hidden, released
        kernel = (WINDOW, SIDE, SIDE)
        memory_gates = 4 if released else 3
        self.from_x = SameConv3d(inputs, 7 * hidden, kernel, bias=True)
        self.from_h = SameConv3d(hidden, 4 * hidden, kernel, bias=released)
        self.from_m = SameConv3d(hidden, memory_gates * hidden, kernel, bias=released)
        self.from_new_c = SameConv3d(hidden, hidden, kernel, bias=released)
        self.from_new_m = SameConv3d(hidden, hidden, kernel, bias=released)
        self.mix = SameConv3d(2 * hidden, hidden, (1, 1, 1), bias=released)
        self.norm_c = nn.GroupNorm(1, hidden, eps)
        self.norms = nn.ModuleList(
            nn.GroupNorm(1, count * hidden, eps) if released else nn.Identity() for count in (7, 4, memory_gates)
        )

    def forward(self, x: Tensor, h: Tensor, c: Tensor, m: Tensor, past: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One time step.

        Args:
            x: the input `(B, inputs, 2, H, W)`.
            h: the hidden state `(B, N, 2, H, W)`.
            c: the layer's memory `(B, N, 2, H, W)`, the newest in `past`.
            m: the memory from the layer below, `(B, N, 2, H, W)`.
            past: all earlier c of this layer, the oldest first, `(B, N, 2τ, H, W)`.

        Returns:
            The new h, the new c, and the m for the next layer.
        """
        norm_x, norm_h, norm_m = self.norms
        i, g, r, o, i2, g2, f2 = norm_x(self.from_x(x)).chunk(7, 1)
        hi, hg, hr, ho = norm_h(self.from_h(h)).chunk(4, 1)
        mi, mf, mg, *rest = norm_m(self.from_m(m)).chunk(4 if self.released else 3, 1)
        recalled = recall(torch.sigmoid(r + hr), past)
        new_c = torch.sigmoid(i + hi) * torch.tanh(g + hg) + self.norm_c(c + recalled)
        kept = torch.tanh(rest[0]) if self.released else m
        new_m = torch.sigmoid(i2 + mi) * torch.tanh(g2 + mg) + torch.sigmoid(f2 + mf + 1) * kept
        o = o + ho + self.from_new_c(new_c) + self.from_new_m(new_m)
        o = torch.sigmoid(torch.tanh(o) if self.released else o)
        new_h = o * torch.tanh(self.mix(torch.cat([new_c, new_m], 1)))
        return new_h, new_c, m if self.released else new_m  # the authors' code passes on the old m


def recall(query: Tensor, past: Tensor) -> Tensor:
    """Attention of every position to all positions of the past: softmax(q · pᵀ) p, without a scale.

    Args:
        query: `(B, N, T, H, W)`.
        past: both keys and values, `(B, N, τT, H, W)`.

    Returns:
        A tensor of the shape of `query`. The matrix of attention weights, `T·H·W × τT·H·W`, is never stored.

    >>> recall(torch.zeros(1, 1, 1, 1, 1), torch.tensor([1.0, 3.0]).view(1, 1, 2, 1, 1)).item()
    2.0
    """
    keys = past.flatten(2).transpose(1, 2)
    queries = query.flatten(2).transpose(1, 2).to(keys.dtype)
    attended = F.scaled_dot_product_attention(queries, keys, keys, scale=1.0)
    return attended.transpose(1, 2).view_as(query)
