"""How much a number depends on the clips that it was measured on: intervals, and differences that may be chance.

Scores of the same clips are compared clip by clip, which is far sharper than a comparison of two intervals. Neither
says how much another training, with another seed, would have changed.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from zoo.evaluation.measure import Measure

if TYPE_CHECKING:
    from zoo.evaluation.scores import Scores

NORMAL = 1.96  # standard errors on either side of a mean, for 95 %


def half_interval(scores: "Scores", row: str, measure: Measure) -> float | None:
    """Half of the 95 % confidence interval of a row's average; None of fewer than two clips.

    Args:
        scores: of the clips.
        row: the model's name or a baseline's.
        measure: what was measured.
    """
    values = scores.per_clip.get(row, {}).get(measure.key)
    if values is None or len(values) < 2:
        return None
    mean, half = float(values.mean()), NORMAL * standard_error(values)
    low, high = (float(measure.of_mean(torch.tensor(max(value, 0.0)))) for value in (mean - half, mean + half))
    return (high - low) / 2


def may_be_chance(one: "Scores", other: "Scores", key: str) -> bool:
    """Whether the 95 % interval of the difference between two models' values, clip by clip, contains zero.

    False if they were not measured on the same clips, of which nothing can be said.

    >>> standard_error(np.array([1.0, 2.0, 3.0]))
    0.5773502691896258
    """
    pair = [scores.per_clip.get(scores.name, {}).get(key) for scores in (one, other)]
    if _clips(one) != _clips(other) or pair[0] is None or pair[1] is None or len(pair[0]) < 2:
        return False
    difference = pair[0] - pair[1]
    return bool(abs(difference.mean()) <= NORMAL * standard_error(difference))


def standard_error(values: NDArray[np.float64]) -> float:
    """The standard error of the mean of values."""
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _clips(scores: "Scores") -> tuple[str, int, int, int]:
    return scores.data, scores.clips, scores.observed, scores.horizon
