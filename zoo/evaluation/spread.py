"""Statistics over clips: confidence intervals of averages, and whether a difference may be chance.

Scores on the same clips are compared clip by clip, which is much more precise than comparing two intervals. Neither
method says how much a new training with another seed would change.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.evaluation.measure import Measure

NORMAL = 1.96  # number of standard errors on each side of a mean for 95 %


def half_interval(values: NDArray[np.float64], measure: Measure) -> float:
    """Half of the width of the 95 % confidence interval of an average.

    Args:
        values: the values of at least two clips.
        measure: the measure of these values.
    """
    mean, half = torch.tensor(values.mean()), torch.tensor(NORMAL * standard_error(values))
    return float(_half_width(mean, half, measure))


def half_intervals(total: Tensor, squares: Tensor, count: int, measure: Measure) -> Tensor:
    """Half of the width of the 95 % confidence interval of the average at each step, `(T,)`.

    Args:
        total: the sums of the values over the clips, `(T,)`.
        squares: the sums of the squared values over the clips, `(T,)`.
        count: the number of clips, at least 2.
        measure: the measure of these values.

    >>> from zoo.evaluation.metrics import Mse
    >>> values = torch.tensor([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    >>> half_intervals(values.sum(0), values.square().sum(0), 3, Mse()) / NORMAL  # standard errors
    tensor([0.5774, 0.0000])
    """
    mean = total / count
    variance = (squares - total * mean).clamp(min=0) / (count - 1)
    return _half_width(mean, NORMAL * (variance / count).sqrt(), measure)


def _half_width(mean: Tensor, half: Tensor, measure: Measure) -> Tensor:
    """Half of the width of an interval of reported values, from an interval of means."""
    return (measure.of_mean(mean + half) - measure.of_mean(mean - half)) / 2


def may_be_chance(values: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether the 95 % confidence interval of the mean difference between two models contains zero.

    Args:
        values: the values of one model on at least two clips.
        others: the values of the other model on the same clips.

    >>> noise = np.array([0.0, 1.0, 2.0, 3.0])
    >>> may_be_chance(noise, noise[::-1]), may_be_chance(noise, noise + 0.1)
    (True, False)
    """
    difference = values - others
    return bool(abs(difference.mean()) <= NORMAL * standard_error(difference))


def standard_error(values: NDArray[np.float64]) -> float:
    """The standard error of the mean of some values.

    >>> round(standard_error(np.array([1.0, 2.0, 3.0])), 4)
    0.5774
    """
    return float(values.std(ddof=1)) / math.sqrt(len(values))
