"""The loss of the Conv-TT-LSTM and PredRNN++ papers."""

import torch
import torch.nn.functional as F
from torch import Tensor


def frame_loss(predictions: Tensor, frames: Tensor, l1: float = 1.0, l2: float = 1.0) -> Tensor:
    """`l1` · mean absolute error + `l2` · mean squared error, computed in 32 bits or more.

    Args:
        predictions: `(B, T, C, H, W)`.
        frames: the true ones, of the same shape.
        l1: weight of the absolute error.
        l2: weight of the squared error.

    >>> frame_loss(torch.zeros(2, 3, 1, 4, 4), torch.full((2, 3, 1, 4, 4), 0.5)).item()
    0.75
    """
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    true = frames.to(predictions.dtype)
    return l1 * F.l1_loss(predictions, true) + l2 * F.mse_loss(predictions, true)
