"""Convert frames in [0, 1] to normalised frames, and back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalization(nn.Module):
    """Converts frames in [0, 1] to `(frame - mean) / std`, and back. Both take patched frames too.

    Args:
        mean: the mean of each channel.
        std: the standard deviation of each channel.

    >>> normalization = Normalization([0.5], [0.25])
    >>> normalization(torch.ones(1, 1, 1)).item(), normalization.undo(torch.zeros(1, 1, 1)).item()
    (2.0, 0.5)
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # the settings hold these numbers, so the weights need not
        self.register_buffer("mean", torch.tensor([*mean])[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor([*std])[:, None, None], persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """Normalise frames `(…, C, H, W)`, or patched frames `(…, C · patch², H, W)`."""
        return (frames - self._spread("mean", frames)) / self._spread("std", frames)

    def undo(self, frames: Tensor) -> Tensor:
        """Convert normalised frames back."""
        return frames * self._spread("std", frames) + self._spread("mean", frames)

    def _spread(self, name: str, frames: Tensor) -> Tensor:
        """The numbers of the channels, for each of the channels to which patches have turned them."""
        values = self.get_buffer(name)
        return values[:, None].expand(-1, frames.shape[-3] // len(values), -1, -1).flatten(0, 1)
