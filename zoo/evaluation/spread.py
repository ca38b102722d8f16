"""Statistics over clips: confidence intervals of averages, and whether a difference may be chance.

Scores on the same clips are compared clip by clip, which is much more precise than comparing two intervals. Neither
method says how much the scores would differ after a new training with another seed. The spread of a few clips is
itself known only roughly, so the number of standard errors in an interval is Student's, which is larger for fewer
clips.
"""

import math
from functools import cache
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.evaluation.measure import Measure

CONFIDENCE = 0.95
_EXACT = 1000  # largest number of degrees of freedom whose quantile is found by bisection


def half_interval(values: NDArray[np.float64], measure: Measure) -> float:
    """Half of the width of the 95 % confidence interval of an average.

    Args:
        values: the values of at least two clips.
        measure: the measure of these values.
    """
    mean, half = torch.tensor(values.mean()), torch.tensor(student(len(values) - 1) * standard_error(values))
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
    >>> half_intervals(values.sum(0), values.square().sum(0), 3, Mse()) / student(2)  # standard errors
    tensor([0.5774, 0.0000])
    """
    mean = total / count
    variance = (squares - total * mean).clamp(min=0) / (count - 1)
    return _half_width(mean, student(count - 1) * (variance / count).sqrt(), measure)


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
    return bool(abs(difference.mean()) <= student(len(difference) - 1) * standard_error(difference))


def standard_error(values: NDArray[np.float64]) -> float:
    """The standard error of the mean of some values.

    >>> round(standard_error(np.array([1.0, 2.0, 3.0])), 4)
    0.5774
    """
    return float(values.std(ddof=1)) / math.sqrt(len(values))


@cache
def student(freedom: int) -> float:
    """Student's quantile: how many standard errors a 95 % confidence interval reaches to each side of a mean.

    Args:
        freedom: the degrees of freedom, which are the number of values minus one; at least 1.

    >>> [round(student(freedom), 3) for freedom in (1, 2, 9, 63, 9_999)]
    [12.706, 4.303, 2.262, 1.998, 1.96]
    """
    if freedom > _EXACT:
        return _near_normal(freedom)
    low, high = 0.0, math.pi / 2
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (middle, high) if _inside(middle, freedom) < CONFIDENCE else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _inside(angle: float, freedom: int) -> float:
    """The probability that Student's t is between -√freedom · tan(angle) and √freedom · tan(angle).

    This is the finite sum for whole degrees of freedom (Abramowitz and Stegun, 26.7.3 and 26.7.4). All its terms are
    positive, so it has no rounding errors to speak of.
    """
    odd = freedom % 2
    total, term = 0.0, math.cos(angle) if odd else 1.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * math.cos(angle) ** 2
    inside = math.sin(angle) * total
    return 2 / math.pi * (angle + inside) if odd else inside


def _near_normal(freedom: int) -> float:
    """The quantile for many degrees of freedom, where it is near that of the normal distribution.

    This is its expansion in powers of 1 / freedom (Abramowitz and Stegun, 26.7.5), which starts with that quantile.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
