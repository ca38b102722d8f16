"""The optimisers that the settings name, all from PyTorch."""

from collections.abc import Iterable

import torch
from torch import nn

from zoo import settings


def make_optimizer(
    optimizer: settings.Optimizer, parameters: Iterable[nn.Parameter], rate: float, fused: bool | None
) -> torch.optim.Optimizer:
    """The optimiser that a recipe's settings describe.

    Args:
        optimizer: its settings.
        parameters: to be trained.
        rate: the learning rate to begin with.
        fused: use PyTorch's fused kernels where the optimiser has them; None leaves that to PyTorch.
    """
    if isinstance(optimizer, settings.AdamOptimizer):
        return torch.optim.Adam(parameters, lr=rate, betas=(optimizer.beta1, optimizer.beta2), fused=fused)
    if isinstance(optimizer, settings.RMSPropOptimizer):
        return torch.optim.RMSprop(parameters, lr=rate, alpha=optimizer.decay)
    momentum, decay = optimizer.momentum, optimizer.weight_decay
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, fused=fused)
