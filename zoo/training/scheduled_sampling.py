"""Scheduled sampling: how often training reads the true frame instead of the model's prediction (Bengio et al., 2015).

The classes implement the settings `PlateauSampling`, `LinearSampling`, `ReverseSampling`, `SigmoidSampling` and
`NoSampling`.
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
    """The probability of reading the true frame in each step. Its state is what it has learnt from validations; most
    schedules ignore them."""

    @abstractmethod
    def ratio(self, step: int) -> float:
        """The probability that the model reads the true frame instead of its prediction, after the observed frames."""

    @abstractmethod
    def fall(self, step: int) -> int | None:
        """The step at which the probability started to fall; None if it is still to fall, 0 if it never will."""

    def ratios(self, step: int, observed: int, horizon: int) -> list[float]:
        """The probability for each frame to decide on, one for each column of `use_truth`. By default these are the
        frames after the observed ones, except the last, which is never read."""
        return [self.ratio(step)] * (horizon - 1)

    def observe(self, step: int, loss: float) -> None:  # noqa: B027
        """Read a validation loss after `step` steps."""

    def state_dict(self) -> dict[str, Any]:
        """The state as plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore a state."""


class PlateauSamplingScheduler(SamplingScheduler):
    """1 until the validation loss has not improved for `patience` epochs. Then it falls by `decay` in each epoch to 0.

    Conv-TT-LSTM (Su et al., NeurIPS 2020), section 5.

    Args:
        patience: number of epochs without improvement before the probability starts to fall.
        decay: how much the probability falls in an epoch.
        epoch: number of steps in an epoch.

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
        """1 at first, and then a staircase with one step down in each epoch."""
        return 1.0 if self._fall < 0 else max(0.0, 1.0 - self._decay * (max(0, step - self._fall) // self._epoch))

    def fall(self, step: int) -> int | None:
        """The step of the validation after which the fall started."""
        return None if self._fall < 0 else self._fall

    def observe(self, step: int, loss: float) -> None:
        """Start the fall when the last improvement is `patience` epochs old."""
        if loss < self._best:
            self._best, self._best_step = loss, step
        elif self._fall < 0 and step - self._best_step >= self._wait:
            self._fall = step

    def state_dict(self) -> dict[str, Any]:
        """The best loss, its step, and the step at which the fall started."""
        return {"best": self._best, "best_step": self._best_step, "fall": self._fall}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        self._best, self._best_step, self._fall = state["best"], state["best_step"], state["fall"]


class LinearSamplingScheduler(SamplingScheduler):
    """A linear fall from 1 at step `start` to 0 at step `stop`, as in PredRNN++ (Wang et al., ICML 2018).

    >>> schedule = LinearSamplingScheduler(start=100, stop=200)
    >>> [schedule.ratio(step) for step in (0, 100, 150, 200, 300)]
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """

    def __init__(self, start: int, stop: int) -> None:
        self._start, self._stop = start, stop

    def ratio(self, step: int) -> float:
        """The value on the straight line between the two steps."""
        return min(1.0, max(0.0, (self._stop - step) / max(1, self._stop - self._start)))

    def fall(self, step: int) -> int | None:
        """`start`, once this step is reached."""
        return self._start if step >= self._start else None


class ReverseSamplingScheduler(LinearSamplingScheduler):
    """Reverse scheduled sampling: at first, observed frames are replaced too, so that a model learns to remember.

    Until `start`, every frame except the first is true with probability one half. From `start` to `stop` this
    probability rises linearly to 1 for the observed frames, and falls linearly to 0 for later frames. (Wang et al.,
    "PredRNN", TPAMI 2022, which offers other curves for the rise too.)

    >>> schedule = ReverseSamplingScheduler(start=100, stop=200)
    >>> [schedule.ratios(step, observed=3, horizon=2) for step in (0, 150, 200)]
    [[0.5, 0.5, 0.5], [0.75, 0.75, 0.25], [1.0, 1.0, 0.0]]
    """

    def ratio(self, step: int) -> float:
        """The probability for frames after the observed ones, which falls from one half to 0."""
        return super().ratio(step) / 2

    def ratios(self, step: int, observed: int, horizon: int) -> list[float]:
        """The probabilities for all frames except the first one."""
        ratio = self.ratio(step)
        return [1 - ratio] * (observed - 1) + [ratio] * (horizon - 1)


class SigmoidSamplingScheduler(SamplingScheduler):
    """`k / (k + exp(step / k))`: near 1 at first, one half after `k · log(k)` steps, and then quickly towards 0.

    Bengio et al., "Scheduled sampling", NeurIPS 2015, section 2.4; CDNA (Finn et al., NeurIPS 2016) with k = 900.

    >>> schedule = SigmoidSamplingScheduler(k=100)
    >>> [round(schedule.ratio(step), 2) for step in (0, 461, 10_000)]
    [0.99, 0.5, 0.0]
    """

    def __init__(self, k: float) -> None:
        self._k = k

    def ratio(self, step: int) -> float:
        """The value on the curve."""
        return 1 / (1 + math.exp(min(700.0, step / self._k)) / self._k)

    def fall(self, step: int) -> int | None:
        """0: it falls from the first step on."""
        return 0


class AlwaysTrue(SamplingScheduler):
    """The model always reads the true frame."""

    def ratio(self, step: int) -> float:
        """Return 1."""
        return 1.0

    def fall(self, step: int) -> int | None:
        """0: the probability never falls, so there is no fall to wait for."""
        return 0


def make_sampling(sampling: settings.Sampling, epoch: int) -> SamplingScheduler:
    """Make the schedule that a recipe's settings describe. `epoch` is the number of steps in an epoch."""
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
    """Draw the mask of scheduled sampling: which frames the model reads true.

    The result is a function of (seed, step, sample), so it is the same for any number of processes.

    Args:
        seed: random seed of the run.
        step: the number of steps taken so far.
        samples: positions in the global batch.
        batch: number of clips in the global batch.
        ratios: the probability of the true frame, for each frame to decide on.

    Returns:
        A bool tensor `(len(samples), len(ratios))` on the CPU.

    >>> whole = draw_truth(0, 7, range(4), 4, [0.5] * 9)
    >>> torch.equal(whole[2:], draw_truth(0, 7, [2, 3], 4, [0.5] * 9))
    True
    """
    counters = step * batch + np.asarray(samples, np.uint64)
    return torch.from_numpy(uniforms(seed, _STREAM, counters, len(ratios)) < np.asarray(ratios))
