"""Tensors as the checker sees them: exact integers."""

import safetensors.torch
from torch import Tensor

import tensortrain_check

Kernel = dict[tuple[int, ...], list[list[int]]]


def exact_kernel(weight: Tensor, groups: int) -> Kernel:
    """A conv weight as `{position: matrix}` of integers, over some power of 2."""
    file = tensortrain_check.tensors(safetensors.torch.save({"weight": weight}))
    kernel: Kernel = tensortrain_check.read(file, "weight", groups)[0]
    return kernel
