"""Scheduled sampling: how often training reads the true frame instead of the model's own (Bengio et al., 2015)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from zoo import settings
from zoo.counter_rng import uniforms

_STREAM = 0x5A4D0001


class SamplingRule(Protocol):
    """The probability of the true frame, step by step; what it learned from validations is its state."""

    def ratio(self, step: int) -> float:
        """Probability that a frame beyond the observed ones is the true one."""
        ...

    def ratios(self, step: int, observed: int, horizon: int) -> list[float]:
        """Probability of the true frame for each frame to decide on, as many as `VideoModel`'s `use_truth` has."""
        ...

    def fall(self, step: int) -> int | None:
        """The step at which the ratio began to fall, if it has by now."""
        ...

    def observe(self, step: int, loss: float) -> None:
        """Take note of a validation loss."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain values to go on from."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s."""
        ...


class _Plain(ABC):
    """A rule that decides about the frames beyond the observed ones, about all alike."""

    @abstractmethod
    def ratio(self, step: int) -> float:
        """Probability of the true frame."""

    def ratios(self, step: int, observed: int, horizon: int) -> list[float]:
        """`ratio`, `horizon - 1` times."""
        return [self.ratio(step)] * (horizon - 1)


class PlateauSampling(_Plain):
    """1 until the validation loss has not improved for `patience` epochs, then `decay` less in each epoch, down to 0.

    Conv-TT-LSTM (Su et al., NeurIPS 2020), section 5.

    Args:
        patience: epochs.
        decay: fall in an epoch.
        epoch: optimiser steps of an epoch.

    >>> rule = PlateauSampling(patience=2, decay=0.25, epoch=10)
    >>> for step, loss in ((10, 1.0), (20, 0.5), (30, 0.5), (40, 0.6)):
    ...     rule.observe(step, loss)
    >>> [rule.ratio(step) for step in (40, 49, 50, 60, 1000)]
    [1.0, 1.0, 0.75, 0.5, 0.0]
    """

    def __init__(self, patience: int, decay: float, epoch: int) -> None:
        self._wait, self._decay, self._epoch = patience * epoch, decay, epoch
        self._best, self._best_step, self._fall = float("inf"), 0, -1

    def ratio(self, step: int) -> float:
        """1, then falling."""
        return 1.0 if self._fall < 0 else max(0.0, 1.0 - self._decay * (max(0, step - self._fall) // self._epoch))

    def fall(self, step: int) -> int | None:
        """The step of the validation that ended the wait."""
        return None if self._fall < 0 else self._fall

    def observe(self, step: int, loss: float) -> None:
        """Wait from the last improvement on."""
        if loss < self._best:
            self._best, self._best_step = loss, step
        elif self._fall < 0 and step - self._best_step >= self._wait:
            self._fall = step

    def state_dict(self) -> dict[str, Any]:
        """The best loss, its step, and the step of the fall."""
        return {"best": self._best, "best_step": self._best_step, "fall": self._fall}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self._best, self._best_step, self._fall = state["best"], state["best_step"], state["fall"]


class LinearSampling(_Plain):
    """From 1 at step `start` to 0 at step `stop`, whatever the validation loss: PredRNN++ (Wang et al., ICML 2018).

    >>> rule = LinearSampling(start=100, stop=200)
    >>> [rule.ratio(step) for step in (0, 100, 150, 200, 300)]
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

    def observe(self, step: int, loss: float) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class ReverseSampling(LinearSampling):
    """Reverse scheduled sampling: observed frames are hidden at first, so that a model learns to remember.

    Until `start`, every frame but the first is the true one half of the time. From then to `stop` the observed ones
    become true and those beyond them the model's own, both along a straight line. (Wang et al., "PredRNN", TPAMI
    2022, which offers other curves for the rise too.)

    >>> rule = ReverseSampling(start=100, stop=200)
    >>> [rule.ratios(step, observed=3, horizon=2) for step in (0, 150, 200)]
    [[0.5, 0.5, 0.5], [0.75, 0.75, 0.25], [1.0, 1.0, 0.0]]
    """

    def ratio(self, step: int) -> float:
        """From a half to 0."""
        return super().ratio(step) / 2

    def ratios(self, step: int, observed: int, horizon: int) -> list[float]:
        """For all frames but the first one."""
        ratio = self.ratio(step)
        return [1 - ratio] * (observed - 1) + [ratio] * (horizon - 1)


def make_sampling(sampling: settings.Sampling, epoch: int) -> SamplingRule:
    """The schedule that a recipe's settings describe; `epoch` is the optimiser steps of one epoch."""
    if isinstance(sampling, settings.PlateauSampling):
        return PlateauSampling(sampling.patience, sampling.decay, epoch)
    if isinstance(sampling, settings.LinearSampling):
        return LinearSampling(sampling.start, sampling.stop)
    return ReverseSampling(sampling.start, sampling.stop)


def draw_truth(seed: int, step: int, samples: Sequence[int], batch: int, ratios: Sequence[float]) -> Tensor:
    """Which frames the model reads true: a pure function of (seed, step, sample), the same on any number of ranks.

    Args:
        seed: of the run.
        step: optimiser steps done.
        samples: places in the global batch.
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
