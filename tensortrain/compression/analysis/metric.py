"""Compute the metric that the user defines for a network."""

import math
from collections.abc import Callable

import torch
from torch import nn

from tensortrain.compression.layers.modules import duplicate
from tensortrain.errors import TensorTrainError

Metric = Callable[[nn.Module], float]


def measured_metric(metric: Metric, model: nn.Module, *, original: bool = False) -> float:
    """Compute the metric of a copy of a network in evaluation mode.

    Many functions that evaluate a network put it into training mode at their end, or change it in other ways. The
    network itself must stay as it is.

    Args:
        metric: the user's function.
        model: the network.
        original: whether it is the original network, with which all others are compared.

    Raises:
        TensorTrainError: the function raises an error, does not return a number, or returns NaN or an infinity for the
            original network.

    >>> measured_metric(lambda net: sum(p.numel() for p in net.train().parameters()), nn.Linear(2, 3).eval())
    9.0
    """
    try:
        with torch.no_grad():
            value = metric(duplicate(model).eval())
    except Exception as error:  # whatever the user's function raises
        raise TensorTrainError(f"the metric raised {type(error).__name__}: {error}") from error
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TensorTrainError(f"the metric returned {_described(value)}; a number is needed") from None
    if original and not math.isfinite(number):
        raise TensorTrainError(f"the metric of the original network is {number}; a finite number is needed")
    return number


def _described(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"a {type(value).__name__}"
