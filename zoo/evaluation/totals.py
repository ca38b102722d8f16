"""Values that are summed over clips, from which averages and their intervals are computed at the end."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from zoo.evaluation.measure import Measure
from zoo.evaluation.spread import half_intervals


class Totals:
    """The values of one model by one measure, summed over the clips that were evaluated so far.

    Only the average of each clip over its steps is kept, so the memory does not depend on the horizon.

    Args:
        measure: the measure of the values.
        horizon: the number of predicted steps T.
        device: where the values are.
    """

    def __init__(self, measure: Measure, horizon: int, device: torch.device) -> None:
        self._measure, self._count = measure, 0
        self._sums = torch.zeros(horizon, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self._sums)
        self._clips: list[Tensor] = []

    def add(self, values: Tensor) -> None:
        """Add the values `(B, T)` of some clips."""
        self._count += len(values)
        self._sums += values.sum(0)
        self._squares += values.square().sum(0)
        self._clips.append(values.mean(1))

    def per_step(self) -> NDArray[np.float64]:
        """The value `(T,)` at each step, averaged over the clips."""
        mean: NDArray[np.float64] = self._measure.of_mean(self._sums / self._count).cpu().numpy()
        return mean

    def half_intervals(self) -> NDArray[np.float64]:
        """Half of the width `(T,)` of the 95 % confidence interval of each step's average, of at least two clips."""
        halves: NDArray[np.float64] = (
            half_intervals(self._sums, self._squares, self._count, self._measure).cpu().numpy()
        )
        return halves

    def per_clip(self) -> NDArray[np.float64]:
        """The value `(clips,)` of each clip, averaged over its steps."""
        values: NDArray[np.float64] = torch.cat(self._clips).cpu().numpy()
        return values
