"""The settings of the optimisers, a class for each; the learning rate is a part of its own."""

from dataclasses import dataclass
from typing import Literal

from zoo.settings.base import Settings


@dataclass(frozen=True)
class AdamOptimizer(Settings):
    """Adam (Kingma and Ba, 2015).

    Args:
        method: "adam". The others, with settings of their own, are "rmsprop" and "sgd".
        beta1: decay of the running mean of the gradients.
        beta2: decay of the running mean of their squares.
    """

    method: Literal["adam"] = "adam"
    beta1: float = 0.9
    beta2: float = 0.999


@dataclass(frozen=True)
class RMSPropOptimizer(Settings):
    """RMSProp (Tieleman and Hinton, 2012).

    Args:
        method: "rmsprop". The others, with settings of their own, are "adam" and "sgd".
        decay: decay of the running mean of the squared gradients.
    """

    method: Literal["rmsprop"] = "rmsprop"
    decay: float = 0.9


@dataclass(frozen=True)
class SGDOptimizer(Settings):
    """Stochastic gradient descent with momentum.

    Args:
        method: "sgd". The others, with settings of their own, are "adam" and "rmsprop".
        momentum: share of the running sum of gradients that is kept in each step.
        weight_decay: this times the weight is added to its gradient (L2 penalty).
    """

    method: Literal["sgd"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0


Optimizer = AdamOptimizer | RMSPropOptimizer | SGDOptimizer
