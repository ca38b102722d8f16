"""Count floating-point operations of products of tensors that have no single grid of entries: nested and sparse ones.

A strided nested tensor holds matrices of different lengths. Of a sparse tensor only the stored entries are multiplied.
Operators on jagged nested tensors run operators on dense tensors, which are counted by themselves.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten


def is_sparse(tensor: Tensor) -> bool:
    """Return whether a tensor stores only some of its entries, with their places."""
    return tensor.layout not in (torch.strided, torch.jagged, torch._mkldnn)  # type: ignore[attr-defined]


def _nested_linear(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a linear layer."""
    return 2 * x.numel() * weight.shape[0]


def _nested_linear_backward(x: Tensor, gradient: Tensor, weight: Tensor, mask: Sequence[bool], **_: Any) -> int:
    """Return the operations of the gradients of a linear layer's input and weight, if the mask asks for them."""
    return _nested_linear(x, weight) * sum(mask[:2])


def _nested_product(left: Tensor, right: Tensor, **_: Any) -> int:
    """Return the operations of one product for each pair of components."""
    return sum(2 * a.numel() * b.shape[-1] for a, b in zip(left.unbind(), right.unbind(), strict=True))


def _nested_product_backward(gradient: Tensor, left: Tensor, right: Tensor, mask: Sequence[bool], **_: Any) -> int:
    """Return the operations of the gradients of both factors, if the mask asks for them."""
    return _nested_product(left, right) * sum(mask)


NESTED: dict[Any, Callable[..., int]] = {
    aten.linear: _nested_linear,
    aten.linear_backward: _nested_linear_backward,
    aten.matmul: _nested_product,
    aten.matmul_backward: _nested_product_backward,
    aten.bmm: _nested_product,
}
"""Formulas of operators on strided nested tensors, as in `tensortrain.profiling.formulas.FORMULAS`."""


def _sparse_product(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a product, of a product with a vector, or of one product for each pair of a batch."""
    batch = [0] if left.dim() == 3 else []
    terms = _stored(left, [*batch, left.dim() - 1]) * _stored(right, [*batch, len(batch)])
    return 2 * int(terms.sum())


def _added_sparse_product(added: Tensor, left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a product that is added to a matrix or vector."""
    return _sparse_product(left, right)


def _sampled_product(pattern: Tensor, left: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a product of dense matrices that is computed at the stored entries of a sparse one."""
    return 2 * pattern._nnz() * left.shape[-1]


def _stored(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """Return how many entries of a matrix, vector or batch are stored at each place on these axes, as a flat vector."""
    sizes = [tensor.shape[axis] for axis in axes]
    if not is_sparse(tensor):
        count = tensor.numel() // max(1, math.prod(sizes))
        return torch.full((math.prod(sizes),), count, device=tensor.device)
    places = tensor.to_sparse_coo()._indices()
    flat = torch.zeros_like(places[0])
    for axis, size in zip(axes, sizes, strict=True):
        flat = flat * size + places[axis]
    return torch.bincount(flat, minlength=math.prod(sizes))


SPARSE: dict[Any, Callable[..., int]] = {
    aten.mm: _sparse_product,
    aten.mv: _sparse_product,
    aten.bmm: _sparse_product,
    aten.hspmm: _sparse_product,
    aten._sparse_sparse_matmul: _sparse_product,
    aten.addmm: _added_sparse_product,
    aten.addmv: _added_sparse_product,
    aten._sparse_addmm: _added_sparse_product,
    aten.sspaddmm: _added_sparse_product,
    aten.sparse_sampled_addmm: _sampled_product,
}
"""Formulas of operators of which an argument is sparse, as in `tensortrain.profiling.formulas.FORMULAS`."""
