"""Find out which of PyTorch's function transforms (`torch.func`, `torch.vmap`, forward-mode AD) act on a tensor."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def differentiated(*tensors: Tensor | None) -> bool:
    """Return whether somebody may ask for a derivative of a result of `tensors`, in reverse or in forward mode."""
    if torch._C._are_functorch_transforms_active():
        return True
    present = [tensor for tensor in tensors if tensor is not None]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in present):
        return True
    inside = forward_ad._current_level >= 0  # whether a `dual_level` is active
    return inside and any(unpack(tensor)[1] is not None for tensor in present)


def unpack(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the primal and the tangent of a tensor in forward-mode AD. PyTorch's own function has no types."""
    primal, tangent = forward_ad.unpack_dual(tensor)  # type: ignore[no-untyped-call]
    return primal, tangent


def batched(tensor: Tensor) -> bool:
    """Return whether `torch.vmap` runs over `tensor`; if so, no single number can be read from it.

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


def vectorized() -> bool:
    """Return whether `torch.vmap` is running; torch then draws no random numbers unless the caller allowed it to.

    >>> seen = []
    >>> _ = torch.vmap(lambda x: seen.append(vectorized()) or x)(torch.ones(2))
    >>> seen, vectorized()
    ([True], False)
    """
    levels = torch._C._functorch.get_interpreter_stack() or []
    return any(level.key() == torch._C._functorch.TransformType.Vmap for level in levels)


def physical(tensor: Tensor) -> Tensor:
    """Return the stored numbers of `tensor` without any transform: all samples of a batch, and no tangents."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor.detach()


def samples(tensor: Tensor) -> Tensor:
    """Return the same numbers as `physical`, with the axes of all `torch.vmap` batches in front."""
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        axis = torch._C._functorch.maybe_get_bdim(tensor)
        tensor = torch._C._functorch.get_unwrapped(tensor)
        tensor = tensor if axis < 0 else tensor.movedim(axis, 0)
    return tensor.detach()


def nestable(jvp: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the `jvp` of an `autograd.Function` so that outer forward-mode derivatives pass through it as well.

    PyTorch switches forward mode off while it calls a `jvp`, also for the outer levels. `torch.func.jvp` of
    `torch.func.jvp` would then silently be zero. This wrapper switches forward mode on again, so the `jvp` itself has
    to remove the tangents of its own level from its saved tensors.
    """

    @functools.wraps(jvp)
    def nested(*args: Any) -> Any:
        """Call `jvp` with forward mode switched on."""
        with forward_ad._set_fwd_grad_enabled(True):
            return jvp(*args)

    return nested
