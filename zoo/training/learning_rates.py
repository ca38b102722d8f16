"""Learning-rate rules."""

import math
from typing import Any, Protocol

from zoo import settings


class RateRule(Protocol):
    """The learning rate, step by step; what it learned from validations is its state."""

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        ...

    def observe(self, step: int, loss: float, fall: int | None) -> None:
        """Take note of a validation loss, and of the step at which the sampling ratio began to fall."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Plain values to go on from."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`'s."""
        ...


class _Blind:
    """A rule that looks at the step alone."""

    def observe(self, step: int, loss: float, fall: int | None) -> None:
        """Nothing to learn."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to restore."""


class ConstantRate(_Blind):
    """Always `base`."""

    def __init__(self, base: float) -> None:
        self._base = base

    def rate(self, step: int) -> float:
        """`base`."""
        return self._base


class CosineRate(_Blind):
    """A linear rise to `base` over `warmup` steps, then half a cosine down to 0 at step `steps`.

    >>> rule = CosineRate(base=1.0, warmup=2, steps=6)
    >>> [round(rule.rate(step), 3) for step in range(7)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """

    def __init__(self, base: float, warmup: int, steps: int) -> None:
        self._base, self._warmup, self._steps = base, warmup, steps

    def rate(self, step: int) -> float:
        """Rise, then fall."""
        if step < self._warmup:
            return self._base * (step + 1) / self._warmup
        done = (step - self._warmup) / max(1, self._steps - self._warmup)
        return self._base * (1 + math.cos(math.pi * min(1.0, done))) / 2


class PlateauRate:
    """`base` until a second wait of `patience` epochs, counted from when the sampling ratio began to fall, has brought
    no lower validation loss; then times `factor` every `every` epochs.

    Conv-TT-LSTM (Su et al., NeurIPS 2020), section 5.

    Args:
        base: the rate to begin with.
        patience: epochs of the wait.
        factor: of each decay.
        every: epochs between decays.
        epoch: optimiser steps of an epoch.

    >>> rule = PlateauRate(1.0, patience=1, factor=0.5, every=2, epoch=10)
    >>> rule.observe(10, 1.0, fall=None)
    >>> rule.observe(20, 1.0, fall=20)
    >>> rule.observe(30, 1.0, fall=20)
    >>> [rule.rate(step) for step in (30, 49, 50, 70)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(self, base: float, patience: int, factor: float, every: int, epoch: int) -> None:
        self._base, self._factor = base, factor
        self._wait, self._every = patience * epoch, every * epoch
        self._best, self._best_step, self._decay = float("inf"), 0, -1

    def rate(self, step: int) -> float:
        """`base`, then decaying."""
        if self._decay < 0:
            return self._base
        return self._base * self._factor ** (max(0, step - self._decay) // self._every)

    def observe(self, step: int, loss: float, fall: int | None) -> None:
        """Wait from the last improvement, or from the fall of the ratio if that came later."""
        if loss < self._best:
            self._best, self._best_step = loss, step
        elif self._decay < 0 and fall is not None and step - max(self._best_step, fall) >= self._wait:
            self._decay = step

    def state_dict(self) -> dict[str, Any]:
        """The best loss, its step, and the step of the decay's beginning."""
        return {"best": self._best, "best_step": self._best_step, "decay": self._decay}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self._best, self._best_step, self._decay = state["best"], state["best_step"], state["decay"]


def make_rate(rate: settings.LearningRate, epoch: int, steps: int) -> RateRule:
    """The schedule that a recipe's settings describe.

    `epoch` and `steps` are the optimiser steps of an epoch and of the whole run.
    """
    if isinstance(rate, settings.PlateauRate):
        return PlateauRate(rate.base, rate.patience, rate.factor, rate.every, epoch)
    if isinstance(rate, settings.CosineRate):
        return CosineRate(rate.base, rate.warmup, steps)
    return ConstantRate(rate.base)
