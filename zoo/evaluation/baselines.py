"""What any model must beat."""

import torch
from torch import Tensor

from zoo.recurrent import RecurrentPredictor


class CopyLast(RecurrentPredictor):
    """Predicts that nothing moves: every frame is the last observed one.

    >>> x = torch.rand(1, 3, 1, 8, 8)
    >>> bool((CopyLast()(x, horizon=2)[:, -2:] == x[:, -1:]).all())
    True
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__(channels)

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> tuple[()]:
        """Nothing to remember."""
        return ()

    def read(self, frames: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """What follows a frame is the frame itself."""
        return frames, state


class Blank(CopyLast):
    """Predicts black frames."""

    def read(self, frames: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """What follows a frame is black."""
        return torch.zeros_like(frames), state
