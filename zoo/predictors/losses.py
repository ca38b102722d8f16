"""The losses of the papers: errors of frames and values, cross-entropy of grey values, and gradient difference."""

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.errors import ZooError


def frame_loss(
    predictions: Tensor,
    frames: Tensor,
    l1: float = 1.0,
    l2: float = 1.0,
    cross_entropy: float = 0.0,
    gradient: float = 0.0,
) -> Tensor:
    """A weighted sum of errors. Each is a mean over all pixels, computed in 32-bit precision or higher.

    Args:
        predictions: the predicted frames `(B, T, C, H, W)`.
        frames: the true frames, of the same shape.
        l1: weight of the mean absolute error.
        l2: weight of the mean squared error.
        cross_entropy: weight of the cross-entropy in nats; see `grey_cross_entropy`.
        gradient: weight of the gradient difference; see `gradient_difference`.

    Returns:
        The loss, a scalar.

    >>> frame_loss(torch.zeros(2, 3, 1, 4, 4), torch.full((2, 3, 1, 4, 4), 0.5)).item()
    0.75
    """
    loss = mean_error(predictions, frames, l1, l2)
    predictions, true = _precise(predictions, frames)
    if cross_entropy:
        loss = loss + cross_entropy * grey_cross_entropy(predictions, true)
    if gradient:
        loss = loss + gradient * gradient_difference(predictions, true)
    return loss


def mean_error(predictions: Tensor, true: Tensor, l1: float, l2: float) -> Tensor:
    """A weighted sum of the mean absolute and the mean squared error, computed in 32-bit precision or higher.

    Args:
        predictions: predicted values, of any shape.
        true: the true values, of the same shape.
        l1: weight of the mean absolute error.
        l2: weight of the mean squared error.

    Raises:
        ZooError: if the shapes differ; torch would repeat a single frame.

    >>> mean_error(torch.zeros(2, 3), torch.full((2, 3), 0.5), l1=0.0, l2=1.0).item()
    0.25
    """
    if predictions.shape != true.shape:
        raise ZooError(
            f"predictions {tuple(predictions.shape)} and true values {tuple(true.shape)} differ in shape; pass clips "
            "with all steps that are predicted"
        )
    predictions, true = _precise(predictions, true)
    return l1 * F.l1_loss(predictions, true) + l2 * F.mse_loss(predictions, true)


def grey_cross_entropy(predictions: Tensor, frames: Tensor) -> Tensor:
    """The mean cross-entropy of pixels in nats. Predicted and true grey values are read as probabilities of white.

    Predictions outside [0, 1] count as 0 or 1, and logarithms are at least -100, as in
    `torch.nn.functional.binary_cross_entropy`.

    >>> grey_cross_entropy(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 1.0])).item()
    0.3465735912322998
    """
    inside = predictions.clamp(0, 1)
    return -(frames * _log(inside) + (1 - frames) * _log(1 - inside)).mean()


def _log(probabilities: Tensor) -> Tensor:
    """The logarithm, at least -100, with slope 0 at 0. The slope of a clamped logarithm there would be 0 · ∞ = nan."""
    zero = probabilities == 0
    return probabilities.masked_fill(zero, 1).log().clamp(min=-100).masked_fill(zero, -100)


def gradient_difference(predictions: Tensor, frames: Tensor) -> Tensor:
    """How much the differences of neighbouring pixels differ: mean | |∂y| − |∂ŷ| |, summed over both directions.

    Mathieu, Couprie and LeCun, "Deep multi-scale video prediction beyond mean square error", ICLR 2016, eq. (6).

    >>> edge = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])
    >>> gradient_difference(torch.full((1, 2, 2), 0.5), edge).item()
    1.0
    """
    return sum(
        (
            F.l1_loss(predictions.diff(dim=axis).abs(), frames.diff(dim=axis).abs())
            for axis in (-2, -1)
            if frames.shape[axis] > 1
        ),
        start=predictions.new_zeros(()),
    )


def _precise(predictions: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Both tensors in the precision of the predictions, but at least in 32 bits."""
    predictions = predictions.to(torch.promote_types(predictions.dtype, torch.float32))
    return predictions, true.to(predictions.dtype)
