"""The settings of the schedules: of scheduled sampling and of the learning rate, a class for each."""

from dataclasses import dataclass
from typing import Literal

from zoo.settings.base import Settings


@dataclass(frozen=True)
class PlateauSampling(Settings):
    """Training reads true frames until the validation loss stops improving, then ever fewer of them (Conv-TT-LSTM).

    Args:
        schedule: "plateau". The others, with settings of their own, are "none", "linear", "sigmoid" and "reverse".
        patience: epochs without improvement before the probability of the true frame begins to fall.
        decay: how much it falls in each epoch. The paper prints 2e-4 for Moving-MNIST, with which the fall would take
            5000 epochs; its authors' code uses 2e-3 to 4e-3.
    """

    schedule: Literal["plateau"] = "plateau"
    patience: int = 20
    decay: float = 2e-3


@dataclass(frozen=True)
class LinearSampling(Settings):
    """The probability that training reads the true frame falls from 1 to 0 along a straight line (PredRNN++).

    Args:
        schedule: "linear". The others, with settings of their own, are "none", "plateau", "sigmoid" and "reverse".
        start: the step at which it begins to fall.
        stop: the step from which on it is 0.
    """

    schedule: Literal["linear"] = "linear"
    start: int = 0
    stop: int = 50_000


@dataclass(frozen=True)
class ReverseSampling(Settings):
    """Observed frames are hidden too, half of them at first and none from `stop` on (PredRNN, 2022).

    Args:
        schedule: "reverse". The others, with settings of their own, are "none", "plateau", "linear" and "sigmoid".
        start: the step at which the probabilities begin to move from one half.
        stop: the step from which all observed frames are true and all others are the model's own.
    """

    schedule: Literal["reverse"] = "reverse"
    start: int = 0
    stop: int = 50_000


@dataclass(frozen=True)
class SigmoidSampling(Settings):
    """The probability that training reads the true frame is `k / (k + exp(step / k))` (Bengio et al., 2015; CDNA).

    Args:
        schedule: "sigmoid". The others, with settings of their own, are "none", "plateau", "linear" and "reverse".
        k: how long it stays near 1; it is one half after `k · log(k)` steps.
    """

    schedule: Literal["sigmoid"] = "sigmoid"
    k: float = 900.0


@dataclass(frozen=True)
class NoSampling(Settings):
    """Training always reads the true frame (teacher forcing), or the model reads none while it predicts.

    Args:
        schedule: "none". The others, with settings of their own, are "plateau", "linear", "sigmoid" and "reverse".
    """

    schedule: Literal["none"] = "none"


Sampling = NoSampling | PlateauSampling | LinearSampling | SigmoidSampling | ReverseSampling


@dataclass(frozen=True)
class PlateauRate(Settings):
    """The learning rate is constant, and decays once the validation loss has stopped improving twice (Conv-TT-LSTM).

    The first time scheduled sampling begins to fall; only then does the wait for the second time begin.

    Args:
        schedule: "plateau". The others, with settings of their own, are "constant", "step" and "cosine".
        base: the learning rate to begin with.
        patience: epochs without improvement in that second wait.
        factor: number by which each decay multiplies the learning rate.
        every: number of epochs between decays.
    """

    schedule: Literal["plateau"] = "plateau"
    base: float = 1e-4
    patience: int = 20
    factor: float = 0.98
    every: int = 5


@dataclass(frozen=True)
class ConstantRate(Settings):
    """The learning rate is the same throughout.

    Args:
        schedule: "constant". The others, with settings of their own, are "plateau", "step" and "cosine".
        base: the learning rate.
    """

    schedule: Literal["constant"] = "constant"
    base: float = 1e-3


@dataclass(frozen=True)
class CosineRate(Settings):
    """The learning rate rises linearly, then falls to zero at the last step along half a cosine.

    Args:
        schedule: "cosine". The others, with settings of their own, are "plateau", "constant" and "step".
        base: the highest learning rate.
        warmup: number of steps in which it rises.
    """

    schedule: Literal["cosine"] = "cosine"
    base: float = 1e-3
    warmup: int = 0


@dataclass(frozen=True)
class StepRate(Settings):
    """The learning rate is multiplied by a factor every so many steps.

    Args:
        schedule: "step". The others, with settings of their own, are "plateau", "constant" and "cosine".
        base: the learning rate to begin with.
        factor: number by which each decay multiplies the learning rate.
        every: number of steps between decays.
    """

    schedule: Literal["step"] = "step"
    base: float = 1e-3
    factor: float = 0.5
    every: int = 10_000


LearningRate = PlateauRate | ConstantRate | StepRate | CosineRate
