"""How much a number depends on the clips that it was measured on: intervals, and differences that may be chance.

Scores of the same clips are compared clip by clip, which is far sharper than a comparison of two intervals. Neither
says how much another training, with another seed, would have changed.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.evaluation.measure import Measure

NORMAL = 1.96  # standard errors on either side of a mean, for 95 %


def half_interval(values: NDArray[np.float64], measure: Measure) -> float:
    """Half of the 95 % confidence interval of an average.

    Args:
        values: of at least two clips.
        measure: what was measured.
    """
    mean, half = float(values.mean()), NORMAL * standard_error(values)
    low, high = (float(measure.of_mean(torch.tensor(max(value, 0.0)))) for value in (mean - half, mean + half))
    return (high - low) / 2


def may_be_chance(values: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether the 95 % interval of the difference between two models, clip by clip, contains zero.

    Args:
        values: of the one on at least two clips.
        others: of the other on the same clips.

    >>> noise = np.array([0.0, 1.0, 2.0, 3.0])
    >>> may_be_chance(noise, noise[::-1]), may_be_chance(noise, noise + 0.1)
    (True, False)
    """
    difference = values - others
    return bool(abs(difference.mean()) <= NORMAL * standard_error(difference))


def standard_error(values: NDArray[np.float64]) -> float:
    """The standard error of the mean of values.

    >>> round(standard_error(np.array([1.0, 2.0, 3.0])), 4)
    0.5774
    """
    return float(values.std(ddof=1)) / math.sqrt(len(values))
