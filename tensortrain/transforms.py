"""What PyTorch's function transforms (`torch.func`, `torch.vmap`, forward-mode AD) are doing to a tensor."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def differentiated(*tensors: Tensor | None) -> bool:
    """Whether a derivative of what is computed from `tensors` may be asked for, in reverse or in forward mode."""
    if torch._C._are_functorch_transforms_active():
        return True
    present = [tensor for tensor in tensors if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in present):
        return True
    inside = forward_ad._current_level >= 0  # of a `dual_level`
    return inside and any(unpack(tensor)[1] is not None for tensor in present)


def unpack(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    """Primal and tangent of a tensor in forward-mode AD; torch leaves its own function untyped."""
    primal, tangent = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return primal, tangent


def batched(tensor: Tensor) -> bool:
    """Whether `torch.vmap` runs over `tensor`, so that no single number can be read from it.

    >>> seen = []
    >>> _ = torch.vmap(lambda x: seen.append(batched(x)) or x)(torch.ones(2))
    >>> seen, batched(torch.ones(2))
    ([True], False)
    """
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False


def physical(tensor: Tensor) -> Tensor:
    """The numbers behind `tensor` without any transform: all samples of a batch, tangents left out."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.detach()


def samples(tensor: Tensor) -> Tensor:
    """The same with the axes of all batches of `torch.vmap` in front."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        axis = torch._C._functorch.maybe_get_bdim(tensor)
        tensor = torch._C._functorch.get_unwrapped(tensor)
        tensor = tensor if axis < 0 else tensor.movedim(axis, 0)
    return tensor.detach()


def nestable(jvp: Callable[..., Any]) -> Callable[..., Any]:
    """A `jvp` of an `autograd.Function` through which outer forward-mode derivatives pass as well.

    PyTorch switches forward mode off while it calls a `jvp`, also for the levels around it, so that
    `torch.func.jvp` of `torch.func.jvp` would silently be zero. With it switched on, a `jvp` has to take the
    tangents of its own level off its saved tensors.
    """

    @functools.wraps(jvp)
    def nested(*args: Any) -> Any:
        with forward_ad._set_fwd_grad_enabled(True):
            return jvp(*args)

    return nested
