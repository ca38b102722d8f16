"""Learning-rate schedules: the classes that implement the settings `ConstantRate`, `StepRate`, `CosineRate` and
`PlateauRate`."""

import math
from abc import ABC, abstractmethod
from typing import Any

from zoo import settings


class RateScheduler(ABC):
    """The learning rate of each step. Its state is what it has learnt from validations; most schedules ignore them."""

    @abstractmethod
    def rate(self, step: int) -> float:
        """The learning rate of a step."""

    def observe(self, step: int, loss: float, fall: int | None) -> None:  # noqa: B027
        """Read a validation loss after `step` steps, and the step at which the sampling ratio started to fall.

        `fall` is None as long as the ratio is still to fall, and 0 if it is constant.
        """

    def state_dict(self) -> dict[str, Any]:
        """The state as plain values."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Restore a state."""


class ConstantRateScheduler(RateScheduler):
    """The constant rate `base`."""

    def __init__(self, base: float) -> None:
        self._base = base

    def rate(self, step: int) -> float:
        """Return `base`."""
        return self._base


class CosineRateScheduler(RateScheduler):
    """A linear rise to `base` over `warmup` steps, and then half a cosine down to 0 at step `steps`.

    >>> schedule = CosineRateScheduler(base=1.0, warmup=2, steps=6)
    >>> [round(schedule.rate(step), 3) for step in range(7)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(self, base: float, warmup: int, steps: int) -> None:
        self._base, self._warmup, self._steps = base, warmup, steps

    def rate(self, step: int) -> float:
        """The rate at a step, on the linear rise or on the cosine."""
        if step < self._warmup:
            return self._base * (step + 1) / self._warmup
        done = (step - self._warmup) / max(1, self._steps - self._warmup)
        return self._base * (1 + math.cos(math.pi * min(1.0, done))) / 2


class StepRateScheduler(RateScheduler):
    """The rate `base`, multiplied by `factor` after each interval of `every` steps.

    >>> schedule = StepRateScheduler(base=1.0, factor=0.5, every=10)
    >>> [schedule.rate(step) for step in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, base: float, factor: float, every: int) -> None:
        self._base, self._factor, self._every = base, factor, every

    def rate(self, step: int) -> float:
        """The rate after the decays up to a step."""
        return self._base * self._factor ** (step // self._every)


class PlateauRateScheduler(RateScheduler):
    """A constant rate that is later multiplied by `factor` after each interval of `every` epochs.

    The decay starts when the validation loss has not improved for `patience` epochs after the sampling ratio started to
    fall. With a constant ratio there is no fall to wait for, and these epochs count from the start of training.

    Conv-TT-LSTM (Su et al., NeurIPS 2020), section 5.

    Args:
        base: the initial rate.
        patience: number of epochs without improvement before the decay starts.
        factor: number by which each decay multiplies the rate.
        every: number of epochs between decays.
        epoch: number of steps in an epoch.

    >>> schedule = PlateauRateScheduler(1.0, patience=1, factor=0.5, every=2, epoch=10)
    >>> schedule.observe(10, 1.0, fall=None)
    >>> schedule.observe(20, 1.0, fall=20)
    >>> schedule.observe(30, 1.0, fall=20)
    >>> [schedule.rate(step) for step in (30, 49, 50, 70)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, base: float, patience: int, factor: float, every: int, epoch: int) -> None:
        self._base, self._factor = base, factor
        self._wait, self._every = patience * epoch, every * epoch
        self._best, self._best_step, self._decay = float("inf"), 0, -1

    def rate(self, step: int) -> float:
        """The rate after the decays up to a step."""
        if self._decay < 0:
            return self._base
        return self._base * self._factor ** (max(0, step - self._decay) // self._every)

    def observe(self, step: int, loss: float, fall: int | None) -> None:
        """Count epochs from the last improvement, or from the fall of the ratio if that came later."""
        if loss < self._best:
            self._best, self._best_step = loss, step
        elif self._decay < 0 and fall is not None and step - max(self._best_step, fall) >= self._wait:
            self._decay = step

    def state_dict(self) -> dict[str, Any]:
        """The best loss, its step, and the step at which the decay started."""
        return {"best": self._best, "best_step": self._best_step, "decay": self._decay}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state."""
        self._best, self._best_step, self._decay = state["best"], state["best_step"], state["decay"]


def make_rate(rate: settings.LearningRate, epoch: int, steps: int) -> RateScheduler:
    """Make the schedule that a recipe's settings describe.

    Args:
        rate: the settings.
        epoch: number of steps in an epoch.
        steps: number of steps in the whole run.
    """
    if isinstance(rate, settings.PlateauRate):
        return PlateauRateScheduler(rate.base, rate.patience, rate.factor, rate.every, epoch)
    if isinstance(rate, settings.CosineRate):
        return CosineRateScheduler(rate.base, rate.warmup, steps)
    if isinstance(rate, settings.StepRate):
        return StepRateScheduler(rate.base, rate.factor, rate.every)
    return ConstantRateScheduler(rate.base)
