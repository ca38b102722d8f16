"""Convert tensors to the exact integers with which the checker calculates."""

import safetensors.torch
from torch import Tensor

import tensortrain_check

Kernel = dict[tuple[int, ...], list[list[int]]]


def exact_kernel(weight: Tensor, groups: int) -> Kernel:
    """Return a convolution weight as `{position: matrix}` of integers, which are multiples of a power of 2."""
    # safetensors takes only contiguous tensors, which weights in the format channels_last are not
    plain = weight.detach().resolve_neg().contiguous()
    file = tensortrain_check.tensors(safetensors.torch.save({"weight": plain}))
    kernel: Kernel = tensortrain_check.read(file, "weight", groups)[0]
    return kernel
