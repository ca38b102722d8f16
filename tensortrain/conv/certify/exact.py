"""Tensors as the checker sees them: exact integers."""

import safetensors.torch
from torch import Tensor

import tensortrain_check

Kernel = dict[tuple[int, ...], list[list[int]]]


def exact_kernel(weight: Tensor, groups: int) -> Kernel:
    """A conv weight as `{position: matrix}` of integers, over some power of 2."""
    kernel: Kernel = tensortrain_check.read(safetensors.torch.save({"weight": weight}), "weight", groups)[0]
    return kernel
