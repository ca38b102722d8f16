"""Effort and time of the fits of a network."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tensortrain import checks
from tensortrain.conv.planner import OBJECTIVES


@dataclass(frozen=True)
class Effort:
    """Settings that the fits of all kernels of a network share.

    Attributes:
        seed: seed of the random starting points.
        effort: factor on the work of each fit.
        seconds: time limit for all fits together; None for no limit.
        objective: how "auto" chooses a format, see `ConvTensorTrain.decompose`.
        size: height and width in pixels of the images on which formats are timed.
    """

    seed: int = 0
    effort: float = 1.0
    seconds: float | None = None
    objective: str = "error"
    size: int | Sequence[int] | None = None

    def check(self) -> None:
        """Check the values.

        Raises:
            TensorTrainError: a value is out of range.
        """
        checks.seed(self.seed)
        checks.positive("effort", self.effort)
        if self.seconds is not None:
            checks.positive("seconds", self.seconds)
        checks.choice("objective", self.objective, OBJECTIVES)
        if self.size is not None:
            axes = len(list(self.size)) if checks.iterates(self.size) else 1
            checks.per_axis("size", self.size, axes)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments for `ConvTensorTrain.decompose`, except the time limit, which `Allowance` divides."""
        return {"seed": self.seed, "effort": self.effort, "objective": self.objective, "size": self.size}


class Allowance:
    """Divides a time limit among several fits. Each fit gets its share of the remaining time when it starts.

    Args:
        seconds: time limit for all fits together; None for no limit.
        at_once: number of fits that run at the same time.
        shares: the share of the time of each fit, in any unit.
    """

    def __init__(self, seconds: float | None, at_once: int, shares: Sequence[float]) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds
        self._at_once, self._left = at_once, float(sum(shares))

    def deadline(self, share: float) -> float:
        """Return the time at which the next fit must end, on the clock `time.monotonic`."""
        seconds = self.seconds(share)
        return math.inf if seconds is None else time.monotonic() + seconds

    def seconds(self, share: float) -> float | None:
        """Return how many seconds the next fit may take: None without a limit, and 1 ms if no time is left."""
        if self._end is None:
            return None
        left = max(0.0, self._end - time.monotonic())
        part = min(1.0, share / max(share, self._left) * self._at_once)
        self._left -= share
        return max(1e-3, left * part)
