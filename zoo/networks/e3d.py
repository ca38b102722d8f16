"""The network of the E3D-LSTM paper: layers over pairs of frames, and a memory that passes from layer to layer."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.cells.e3d_lstm import WINDOW, E3DForm, E3DLSTMCell
from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor


class E3DState(NamedTuple):
    """The state of the network.

    Attributes:
        layers: h of each layer, `(B, N, 2, h, w)`.
        past: all earlier c of each layer, the oldest first, `(B, N, 2τ, h, w)`. It grows with each frame.
        m: the memory that the lowest layer reads next, `(B, N, 2, h, w)`.
        frame: the last frame, patched, `(B, c, h, w)`.
    """

    layers: tuple[Tensor, ...]
    past: tuple[Tensor, ...]
    m: Tensor
    frame: Tensor


class E3DNetwork(RecurrentPredictor):
    """E3D-LSTM layers that read the last two frames. A convolution over both time steps computes the next frame.

    The memory m enters the lowest layer and passes through all layers. With the next frame, it enters the lowest layer
    again, as in PredRNN. (Wang et al., "Eidetic 3D LSTM", ICLR 2019, figure 3.)

    Args:
        hidden: channels N of every layer.
        layers: number of layers.
        form: "paper" or "released"; see `zoo.cells.e3d_lstm.E3DLSTMCell`.
        eps: number added to the variance in layer norms.
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels.

    Raises:
        ZooError: if a size is below 1.
    """

    def __init__(self, hidden: int, layers: int, form: E3DForm, eps: float, channels: int, patch: int) -> None:
        super().__init__(channels, patch)
        if hidden < 1 or layers < 1:
            raise ZooError(f"hidden = {hidden}, layers = {layers} must both be at least 1")
        pixels = channels * patch**2
        self.hidden = hidden
        self.unrepeatable = "scaled_dot_product_attention"
        self.layers = nn.ModuleList(
            E3DLSTMCell(pixels if layer == 0 else hidden, hidden, form, eps) for layer in range(layers)
        )
        self.output = nn.Conv3d(hidden, pixels, (WINDOW, 1, 1))

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> E3DState:
        """Zeros. The first c counts as part of the past."""
        zeros = torch.zeros(batch, self.hidden, WINDOW, *size, device=device, dtype=dtype)
        every = (zeros,) * len(self.layers)
        frame = torch.zeros(batch, self.output.out_channels, *size, device=device, dtype=dtype)
        return E3DState(every, every, zeros, frame)

    def read(self, frames: Tensor, state: E3DState) -> tuple[Tensor, E3DState]:
        """Read frames `(T, B, c, h, w)`, one after the other."""
        tops = []
        for frame in frames:
            top, state = self._step(frame, state)
            tops.append(top)
        predictions = self.output(torch.cat(tops)).squeeze(2)
        return predictions.unflatten(0, frames.shape[:2]), state

    def _step(self, frame: Tensor, state: E3DState) -> tuple[Tensor, E3DState]:
        """Read one frame `(B, c, h, w)`; return the top layer's h and the new state."""
        x, m = torch.stack([state.frame, frame], 2), state.m
        hs, pasts = [], []
        for layer, h, past in zip(self.layers, state.layers, state.past, strict=True):
            x, c, m = layer(x, h, past[:, :, -WINDOW:], m, past)
            hs.append(x)
            pasts.append(torch.cat([past, c.to(past.dtype)], 2))
        return x, E3DState(tuple(hs), tuple(pasts), m, frame)
