"""The settings of scheduled sampling and of the learning rate, with a class for each schedule."""

from dataclasses import dataclass
from typing import Literal

from zoo.settings.base import Settings


@dataclass(frozen=True)
class PlateauSampling(Settings):
    """Scheduled sampling: true frames until the validation loss stops improving, then fewer and fewer.

    This is the schedule of Conv-TT-LSTM (Su et al., 2020).

    Args:
        schedule: "plateau". The other schedules, "none", "linear", "sigmoid" and "reverse", have their own settings.
        patience: number of epochs without improvement before the probability of true frames starts to fall.
        decay: how much this probability falls in each epoch. The paper prints 2e-4 for Moving-MNIST, which would take
            5000 epochs; its authors' code uses 2e-3 to 4e-3.
    """

    schedule: Literal["plateau"] = "plateau"
    patience: int = 20
    decay: float = 2e-3


@dataclass(frozen=True)
class LinearSampling(Settings):
    """Scheduled sampling: the probability that training reads the true frame falls linearly from 1 to 0.

    This is the schedule of PredRNN++ (Wang et al., 2018).

    Args:
        schedule: "linear". The other schedules, "none", "plateau", "sigmoid" and "reverse", have their own settings.
        start: the step at which the probability starts to fall.
        stop: the step from which the probability is 0.
    """

    schedule: Literal["linear"] = "linear"
    start: int = 0
    stop: int = 50_000


@dataclass(frozen=True)
class ReverseSampling(Settings):
    """Reverse scheduled sampling: half of the observed frames are predictions at first, and none in the end.

    This is a schedule of PredRNN (Wang et al., TPAMI 2022).

    Args:
        schedule: "reverse". The other schedules, "none", "plateau", "linear" and "sigmoid", have their own settings.
        start: the step at which the probabilities start to move away from one half.
        stop: the step from which all observed frames are true, and all later frames are the model's own predictions.
    """

    schedule: Literal["reverse"] = "reverse"
    start: int = 0
    stop: int = 50_000


@dataclass(frozen=True)
class SigmoidSampling(Settings):
    """Scheduled sampling: the probability that training reads the true frame is `k / (k + exp(step / k))`.

    Bengio et al., 2015, and CDNA (Finn et al., 2016).

    Args:
        schedule: "sigmoid". The other schedules, "none", "plateau", "linear" and "reverse", have their own settings.
        k: a larger k keeps the probability near 1 for longer; it is one half after `k · log(k)` steps.
    """

    schedule: Literal["sigmoid"] = "sigmoid"
    k: float = 900.0


@dataclass(frozen=True)
class NoSampling(Settings):
    """No scheduled sampling: a model that reads a frame before each prediction gets the true one (teacher forcing).

    A model that reads no frames after the observed ones is always trained with this schedule.

    Args:
        schedule: "none". The other schedules, "plateau", "linear", "sigmoid" and "reverse", have their own settings.
    """

    schedule: Literal["none"] = "none"


Sampling = NoSampling | PlateauSampling | LinearSampling | SigmoidSampling | ReverseSampling


@dataclass(frozen=True)
class PlateauRate(Settings):
    """Learning rate: constant until the validation loss has stopped improving twice, then it decays.

    This is the schedule of Conv-TT-LSTM (Su et al., 2020), for use with the sampling schedule "plateau". When the loss
    has stopped improving for the first time, scheduled sampling starts to reduce the true frames. Only then does the
    second wait start. If the probability of true frames never falls (sampling schedule "none"), there is one wait only:
    the decay starts as soon as the validation loss has not improved for `patience` epochs.

    Args:
        schedule: "plateau". The other schedules, "constant", "step" and "cosine", have their own settings.
        base: the initial learning rate.
        patience: number of epochs without improvement in the second wait.
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
    """Learning rate: constant.

    Args:
        schedule: "constant". The other schedules, "plateau", "step" and "cosine", have their own settings.
        base: the learning rate.
    """

    schedule: Literal["constant"] = "constant"
    base: float = 1e-3


@dataclass(frozen=True)
class CosineRate(Settings):
    """Learning rate: a linear rise, and then a fall along half a cosine to zero at the end of training.

    Args:
        schedule: "cosine". The other schedules, "plateau", "constant" and "step", have their own settings.
        base: the highest learning rate.
        warmup: number of steps in which the learning rate rises.
    """

    schedule: Literal["cosine"] = "cosine"
    base: float = 1e-3
    warmup: int = 0


@dataclass(frozen=True)
class StepRate(Settings):
    """Learning rate: multiplied by a factor at regular intervals.

    Args:
        schedule: "step". The other schedules, "plateau", "constant" and "cosine", have their own settings.
        base: the initial learning rate.
        factor: number by which each decay multiplies the learning rate.
        every: number of steps between decays.
    """

    schedule: Literal["step"] = "step"
    base: float = 1e-3
    factor: float = 0.5
    every: int = 10_000


LearningRate = PlateauRate | ConstantRate | StepRate | CosineRate
