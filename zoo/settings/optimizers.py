"""The settings of the optimisers, with a class for each. The learning rate is a separate part of the recipe."""

from dataclasses import dataclass
from typing import Literal

from zoo.settings.base import Settings


@dataclass(frozen=True)
class AdamOptimizer(Settings):
    """Optimiser: Adam (Kingma and Ba, 2015).

    Args:
        method: "adam". The other methods, "rmsprop" and "sgd", have their own settings.
        beta1: decay factor of the running mean of the gradients.
        beta2: decay factor of the running mean of the squared gradients.
    """

    method: Literal["adam"] = "adam"
    beta1: float = 0.9
    beta2: float = 0.999


@dataclass(frozen=True)
class RMSPropOptimizer(Settings):
    """Optimiser: RMSProp (Tieleman and Hinton, 2012).

    Args:
        method: "rmsprop". The other methods, "adam" and "sgd", have their own settings.
        decay: decay factor of the running mean of the squared gradients.
    """

    method: Literal["rmsprop"] = "rmsprop"
    decay: float = 0.9


@dataclass(frozen=True)
class SGDOptimizer(Settings):
    """Optimiser: stochastic gradient descent with momentum.

    Args:
        method: "sgd". The other methods, "adam" and "rmsprop", have their own settings.
        momentum: fraction of the running sum of gradients that is kept in each step.
        weight_decay: L2 penalty: the gradient of each weight is increased by weight_decay times the weight.
    """

    method: Literal["sgd"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0


Optimizer = AdamOptimizer | RMSPropOptimizer | SGDOptimizer
