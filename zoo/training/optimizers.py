"""The optimisers of the settings, all from PyTorch, and how their moments are restored from a checkpoint."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from zoo import settings


def make_optimizer(
    optimizer: settings.Optimizer, parameters: Iterable[nn.Parameter], rate: float, recordable: bool
) -> torch.optim.Optimizer:
    """Make the optimiser that a recipe's settings describe.

    Args:
        optimizer: the settings.
        parameters: the parameters to train.
        rate: the initial learning rate.
        recordable: read the learning rate and the number of steps from the device, and use PyTorch's fused kernels if
            there are any. This is not possible with 16-mixed, whose gradients must be unscaled before they are clipped:
            the fused kernels do not allow that.
    """
    fused = recordable or None
    if isinstance(optimizer, settings.AdamOptimizer):
        betas = optimizer.beta1, optimizer.beta2
        return torch.optim.Adam(parameters, lr=rate, betas=betas, fused=fused, capturable=recordable)
    if isinstance(optimizer, settings.RMSPropOptimizer):
        return torch.optim.RMSprop(parameters, lr=rate, alpha=optimizer.decay, capturable=recordable)
    momentum, decay = optimizer.momentum, optimizer.weight_decay
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=decay, fused=fused)


def moments_like(optimizer: settings.Optimizer, weight: Tensor) -> dict[str, Tensor]:
    """The tensors that an optimiser keeps for a parameter after its first step, by name, with shapes and dtypes."""
    steps = torch.zeros(())
    if isinstance(optimizer, settings.AdamOptimizer):
        return {"step": steps, "exp_avg": weight, "exp_avg_sq": weight}
    if isinstance(optimizer, settings.RMSPropOptimizer):
        return {"step": steps, "square_avg": weight}
    return {"momentum_buffer": weight} if optimizer.momentum else {}


def load_moments(optimizer: torch.optim.Optimizer, moments: Mapping[int, Mapping[str, Tensor]]) -> None:
    """Restore the moments of a checkpoint, which may come from another kind of device.

    Whether kernels are fused depends on `optimizer`, not on the checkpoint. If the optimiser has taken a step, its
    tensors are changed in place.

    Args:
        optimizer: the optimiser, which is changed in place.
        moments: the moments of each parameter, by its number.
    """
    present = {p: dict(of) for p, of in optimizer.state.items()}
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for p, of in optimizer.state.items():
        for name, value in of.items():
            kept = present.get(p, {}).get(name)
            if kept is None:  # has the memory layout of the weight, as the fused kernels need it
                kept = torch.empty_like(p if value.shape == p.shape else value, dtype=value.dtype, device=value.device)
            of[name] = kept.copy_(value)
