"""The VPN baseline: residual multiplicative blocks at full resolution around one ConvLSTM."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.conv_lstm import ConvLSTMCell, ConvLSTMState
from zoo.errors import ZooError
from zoo.recurrent import RecurrentPredictor


class MultiplicativeUnit(nn.Module):
    """A convolution with gates, as in an LSTM but without a state.

        g1, g2, g3 = σ(W1 * h), σ(W2 * h), σ(W3 * h)        MU(h) = g1 ∘ tanh(g2 ∘ h + g3 ∘ tanh(W4 * h))

    The four convolutions are one. (Kalchbrenner et al., "Video pixel networks", ICML 2017, section 4.1.)
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.gates = SameConv2d(channels, 4 * channels, 3, dilation=dilation)

    def forward(self, h: Tensor) -> Tensor:
        """`(N, C, H, W)` to the same shape."""
        g1, g2, g3, u = self.gates(h).chunk(4, 1)
        return torch.sigmoid(g1) * torch.tanh(torch.sigmoid(g2) * h + torch.sigmoid(g3) * torch.tanh(u))


class ResidualMultiplicativeBlock(nn.Module):
    """Two multiplicative units at half of the width, between 1×1 convolutions, added to what goes in."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.narrow = SameConv2d(2 * channels, channels, 1)
        self.units = nn.Sequential(MultiplicativeUnit(channels, dilation), MultiplicativeUnit(channels, dilation))
        self.widen = SameConv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, 2C, H, W)` to the same shape."""
        added: Tensor = self.widen(self.units(self.narrow(x)))
        return x + added


class VideoPixelBaseline(RecurrentPredictor):
    """All pixels of the next frame at once, independent of each other given the past.

    The full video pixel network draws one pixel after the other; this is the baseline of its tables, which replaces
    that decoder by blocks without masks. Nothing is pooled.

        frame → 1×1 → encoder blocks → ConvLSTM → decoder blocks → 1×1 → σ

    Kalchbrenner et al., "Video pixel networks", ICML 2017, sections 4 and 5.

    Args:
        width: c, the width of the multiplicative units; the blocks have 2c channels.
        dilations: dilation of each encoder block.
        decoder_blocks: how many.
        channels: C of the frames.
        patch: side of the pixel blocks folded into channels; above 1 the network is no longer at full resolution.
    """

    def __init__(self, width: int, dilations: Sequence[int], decoder_blocks: int, channels: int, patch: int) -> None:
        super().__init__(channels, patch, sigmoid=True)
        if width < 1 or not dilations or min(dilations) < 1 or decoder_blocks < 1:
            raise ZooError(
                f"width = {width}, dilations = {list(dilations)}, decoder_blocks = {decoder_blocks}: each must be at "
                "least 1, with at least one encoder block"
            )
        pixels = channels * patch**2
        self.input = SameConv2d(pixels, 2 * width, 1)
        self.encoder = nn.Sequential(*(ResidualMultiplicativeBlock(width, dilation) for dilation in dilations))
        self.memory = ConvLSTMCell(2 * width, 2 * width, 3, forget_bias=1.0)
        self.decoder = nn.Sequential(*(ResidualMultiplicativeBlock(width) for _ in range(decoder_blocks)))
        self.output = SameConv2d(2 * width, pixels, 1)

    def initial_state(
        self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype
    ) -> ConvLSTMState:
        """Zeros."""
        return self.memory.initial_state(batch, size, device, dtype)

    def read(self, frames: Tensor, state: ConvLSTMState) -> tuple[Tensor, ConvLSTMState]:
        """Encoder and decoder over all frames `(T, B, c, h, w)` at once, the ConvLSTM in between step by step."""
        encoded = self.encoder(self.input(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])
        hs, state = self.memory.run(encoded, state)
        predictions = self.output(self.decoder(hs.flatten(0, 1)))
        return predictions.unflatten(0, frames.shape[:2]), state
