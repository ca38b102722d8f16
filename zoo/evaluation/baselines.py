"""Trivial predictors that every model should beat."""

from collections.abc import Callable

import torch
from torch import Tensor

from zoo.data import ClipDataset, SeriesDataset
from zoo.predictors.recurrent import RecurrentPredictor


class CopyLast(RecurrentPredictor):
    """Predicts that nothing moves: every predicted frame is a copy of the last observed one.

    >>> x = torch.rand(1, 3, 1, 8, 8)
    >>> bool((CopyLast()(x, horizon=2)[:, -2:] == x[:, -1:]).all())
    True
    """

    def __init__(self, channels: int = 1) -> None:
        super().__init__(channels)

    def initial_state(self, batch: int, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> tuple[()]:
        """An empty state."""
        return ()

    def read(self, frames: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """Predict that each frame is repeated."""
        return frames, state


class Blank(CopyLast):
    """Predicts black frames.

    >>> bool((Blank()(torch.rand(1, 3, 1, 8, 8), horizon=2)[:, -2:] == 0).all())
    True
    """

    def read(self, frames: Tensor, state: tuple[()]) -> tuple[Tensor, tuple[()]]:
        """Predict a black frame after each frame."""
        return torch.zeros_like(frames), state


def trivial_predictions(dataset: ClipDataset) -> dict[str, Callable[[Tensor], Tensor]]:
    """The trivial predictors for a data set, by the names that tables and pictures show.

    Each is a function from observed steps `(B, T_in, …)` to one step `(B, 1, …)`, which is the same for the whole
    horizon.
    """
    if isinstance(dataset, SeriesDataset):
        mean = dataset.mean
        return {"copy last values": _last, "mean of the data": lambda x: mean.to(x).expand(len(x), 1, -1)}
    return {"copy last frame": _last, "blank frames": lambda x: torch.zeros_like(x[:, :1])}


def _last(x: Tensor) -> Tensor:
    return x[:, -1:]
