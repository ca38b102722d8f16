"""The VPN baseline: residual multiplicative blocks at full resolution, with one ConvLSTM between them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from zoo.cells.conv import SameConv2d
from zoo.cells.conv_lstm import ConvLSTMCell, ConvLSTMState
from zoo.errors import ZooError
from zoo.predictors.recurrent import RecurrentPredictor


class MultiplicativeUnit(nn.Module):
    """A convolution with gates like those of an LSTM, but without a state.

        g1, g2, g3 = σ(W1 * h), σ(W2 * h), σ(W3 * h)        MU(h) = g1 ∘ tanh(g2 ∘ h + g3 ∘ tanh(W4 * h))

    One convolution computes all four. (Kalchbrenner et al., "Video pixel networks", ICML 2017, section 4.1.)
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.gates = SameConv2d(channels, 4 * channels, 3, dilation=dilation)

    def forward(self, h: Tensor) -> Tensor:
        """Map `(N, C, H, W)` to the same shape."""
        g1, g2, g3, u = self.gates(h).chunk(4, 1)
        return torch.sigmoid(g1) * torch.tanh(torch.sigmoid(g2) * h + torch.sigmoid(g3) * torch.tanh(u))


class ResidualMultiplicativeBlock(nn.Module):
    """Two multiplicative units at half of the width, between 1×1 convolutions, with a residual connection."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.narrow = SameConv2d(2 * channels, channels, 1)
        self.units = nn.Sequential(MultiplicativeUnit(channels, dilation), MultiplicativeUnit(channels, dilation))
        self.widen = SameConv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, 2C, H, W)` to the same shape."""
        added: Tensor = self.widen(self.units(self.narrow(x)))
        return x + added


class VideoPixelBaseline(RecurrentPredictor):
    """Predicts all pixels of the next frame at once; they are independent of each other, given the past.

    The full video pixel network generates one pixel after the other. This is the baseline in its paper's tables, which
    replaces the decoder by blocks without masks. There is no pooling.

        frame → 1×1 → encoder blocks → ConvLSTM → decoder blocks → 1×1 → σ

    Kalchbrenner et al., "Video pixel networks", ICML 2017, sections 4 and 5.

    Args:
        width: c, the width of the multiplicative units. The blocks have 2c channels.
        dilations: the dilation of each encoder block.
        decoder_blocks: number of decoder blocks.
        channels: C of the frames.
        patch: side of the blocks of pixels that become channels; above 1, the network is not at full resolution.

    Raises:
        ZooError: if there is no encoder block, or a number is below 1.
    """

    def __init__(self, width: int, dilations: Sequence[int], decoder_blocks: int, channels: int, patch: int) -> None:
        super().__init__(channels, patch, sigmoid=True)
        if width < 1 or not dilations or min(dilations) < 1 or decoder_blocks < 1:
            raise ZooError(
                f"width = {width}, dilations = {list(dilations)}, decoder_blocks = {decoder_blocks}: each must be at "
                "least 1, and there must be at least one encoder block"
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
        """Read frames `(T, B, c, h, w)`: encoder and decoder for all frames at once, the ConvLSTM step by step."""
        encoded = self.encoder(self.input(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])
        hs, state = self.memory.run(encoded, state)
        predictions = self.output(self.decoder(hs.flatten(0, 1)))
        return predictions.unflatten(0, frames.shape[:2]), state
