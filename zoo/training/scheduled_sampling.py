"""Scheduled sampling: how often training reads the true frame instead of the model's prediction (Bengio et al., 2015).

The classes carry out the settings `PlateauSampling`, `LinearSampling` and `ReverseSampling`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from zoo import settings
from zoo.counter_rng import uniforms

_STREAM = 0x5A4D0001


class SamplingScheduler(ABC):
    """The probability of reading the true frame in each step. What validations have taught it is its state; most learn
    nothing from them."""

    @abstractmethod
    def ratio(self, step: int) -> float:
        """Probability that a frame beyond the observed ones is the true one."""

    @abstractmethod
    def fall(self, step: int) -> int | None:
        """The step at which the ratio began to fall; None if it has not yet."""

    def ratios(self, step: int, observed: int, horizon: int) -> list[float]:
        """That probability for each frame to decide on, as many as the model's `use_truth` has columns: here for the
        frames beyond the observed ones but the last, which is never read."""
        return [self.ratio(step)] * (horizon - 1)

    def observe(self, step: int, loss: float) -> None:  # noqa: B027
        """Take note of a validation loss after `step` steps."""

    def state_dict(self) -> dict[str, Any]:
        """The state, as plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Return to a state."""


class PlateauSamplingScheduler(SamplingScheduler):
    """1 until the validation loss has not improved for `patience` epochs, then `decay` less in each epoch, down to 0.

    Conv-TT-LSTM (Su et al., NeurIPS 2020), section 5.

    Args:
        patience: epochs without improvement before the fall.
        decay: how much the ratio falls in an epoch.
        epoch: optimiser steps in an epoch.

    >>> schedule = PlateauSamplingScheduler(patience=2, decay=0.25, epoch=10)
    >>> for step, loss in ((10, 1.0), (20, 0.5), (30, 0.5), (40, 0.6)):
    ...     schedule.observe(step, loss)
    >>> [schedule.ratio(step) for step in (40, 49, 50, 60, 1000)]
    [1.0, 1.0, 0.75, 0.5, 0.0]
    """

    def __init__(self, patience: int, decay: float, epoch: int) -> None:
        self._wait, self._decay, self._epoch = patience * epoch, decay, epoch
        self._best, self._best_step, self._fall = float("inf"), 0, -1

    def ratio(self, step: int) -> float:
        """1, then a stair that falls once in each epoch."""
        return 1.0 if self._fall < 0 else max(0.0, 1.0 - self._decay * (max(0, step - self._fall) // self._epoch))

    def fall(self, step: int) -> int | None:
        """The step of the validation that ended the wait."""
        return None if self._fall < 0 else self._fall

    def observe(self, step: int, loss: float) -> None:
        """Begin the fall when the last improvement is `patience` epochs old."""
        if loss < self._best:
            self._best, self._best_step = loss, step
        elif self._fall < 0 and step - self._best_step >= self._wait:
            self._fall = step

    def state_dict(self) -> dict[str, Any]:
        """The best loss, its step, and the step of the fall."""
        return {"best": self._best, "best_step": self._best_step, "fall": self._fall}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a state."""
        self._best, self._best_step, self._fall = state["best"], state["best_step"], state["fall"]


class LinearSamplingScheduler(SamplingScheduler):
    """From 1 at step `start` to 0 at step `stop`, whatever the validation loss: PredRNN++ (Wang et al., ICML 2018).

    >>> schedule = LinearSamplingScheduler(start=100, stop=200)
    >>> [schedule.ratio(step) for step in (0, 100, 150, 200, 300)]
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._stop = start, stop

    def ratio(self, step: int) -> float:
        """A straight line between the two steps."""
        return min(1.0, max(0.0, (self._stop - step) / max(1, self._stop - self._start)))

    def fall(self, step: int) -> int | None:
        """`start`, from then on."""
        return self._start if step >= self._start else None


class ReverseSamplingScheduler(LinearSamplingScheduler):
    """Reverse scheduled sampling: observed frames are hidden at first, so that a model learns to remember.

    Until `start`, every frame but the first is true with probability one half. From then to `stop` this rises to 1 for
    the observed frames and falls to 0 for those beyond them, both along a straight line. (Wang et al., "PredRNN", TPAMI
    2022, which offers other curves for the rise too.)

    >>> schedule = ReverseSamplingScheduler(start=100, stop=200)
    >>> [schedule.ratios(step, observed=3, horizon=2) for step in (0, 150, 200)]
    [[0.5, 0.5, 0.5], [0.75, 0.75, 0.25], [1.0, 1.0, 0.0]]
    """

    def ratio(self, step: int) -> float:
        """From a half to 0."""
        return super().ratio(step) / 2

    def ratios(self, step: int, observed: int, horizon: int) -> list[float]:
        """For all frames but the first one."""
        ratio = self.ratio(step)
        return [1 - ratio] * (observed - 1) + [ratio] * (horizon - 1)


class SigmoidSamplingScheduler(SamplingScheduler):
    """`k / (k + exp(step / k))`: near 1 at first, one half after `k · log(k)` steps, then quickly towards 0.

    Bengio et al., "Scheduled sampling", NeurIPS 2015, section 2.4; CDNA (Finn et al., NeurIPS 2016) with k = 900.

    >>> schedule = SigmoidSamplingScheduler(k=100)
    >>> [round(schedule.ratio(step), 2) for step in (0, 461, 10_000)]
    [0.99, 0.5, 0.0]
    """

    def __init__(self, k: float) -> None:
        self._k = k

    def ratio(self, step: int) -> float:
        """The logistic curve."""
        return 1 / (1 + math.exp(min(700.0, step / self._k)) / self._k)

    def fall(self, step: int) -> int | None:
        """It falls from the first step on."""
        return 0


class AlwaysTrue(SamplingScheduler):
    """Every frame is the true one."""

    def ratio(self, step: int) -> float:
        """1."""
        return 1.0

    def fall(self, step: int) -> int | None:
        """Never."""
        return None


def make_sampling(sampling: settings.Sampling, epoch: int) -> SamplingScheduler:
    """The schedule that a recipe's settings describe; `epoch` is the optimiser steps of one epoch."""
    if isinstance(sampling, settings.PlateauSampling):
        return PlateauSamplingScheduler(sampling.patience, sampling.decay, epoch)
    if isinstance(sampling, settings.NoSampling):
        return AlwaysTrue()
    if isinstance(sampling, settings.SigmoidSampling):
        return SigmoidSamplingScheduler(sampling.k)
    if isinstance(sampling, settings.LinearSampling):
        return LinearSamplingScheduler(sampling.start, sampling.stop)
    return ReverseSamplingScheduler(sampling.start, sampling.stop)


def draw_truth(seed: int, step: int, samples: Sequence[int], batch: int, ratios: Sequence[float]) -> Tensor:
    """Draw which frames the model reads true.

    A pure function of (seed, step, sample): the draws are the same for any number of processes.

    Args:
        seed: random seed of the run.
        step: optimiser steps taken so far.
        samples: positions in the global batch.
        batch: clips in the global batch.
        ratios: probability of the true frame, for each frame to decide on.

    Returns:
        `(len(samples), len(ratios))`, bool, on the CPU.

    >>> whole = draw_truth(0, 7, range(4), 4, [0.5] * 9)
    >>> torch.equal(whole[2:], draw_truth(0, 7, [2, 3], 4, [0.5] * 9))
    True
    """
    counters = step * batch + np.asarray(samples, np.uint64)
    return torch.from_numpy(uniforms(seed, _STREAM, counters, len(ratios)) < np.asarray(ratios))
