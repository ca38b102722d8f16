"""Count floating-point operations of operators for which `torch.utils.flop_counter` has no formula.

Without a formula an operator counts as zero. This concerns attention and recurrent layers that a CPU computes in one
operator, attention layers in inference, and products with vectors.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

aten = torch.ops.aten


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of scaled dot-product attention."""
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of the backward pass of scaled dot-product attention."""
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))


def _attention_layer(query: Tensor, key: Tensor, value: Tensor, width: int, *_: Any, **__: Any) -> int:
    """Return the operations of four projections and, for each query, of products with all keys and all values."""
    queries, keys = _lengths(query), _lengths(key)
    projections = 2 * width * (sum(queries) + sum(keys))
    return 2 * width * (projections + 2 * sum(q * k for q, k in zip(queries, keys, strict=True)))


def _encoder_layer(x: Tensor, width: int, *arguments: Any, **_: Any) -> int:
    """Return the operations of an attention layer and of two linear layers at each position."""
    weights: int = arguments[12].numel() + arguments[14].numel()
    return _attention_layer(x, x, x, width) + 2 * sum(_lengths(x)) * weights


def _lengths(sequences: Tensor) -> list[int]:
    """Return the length of each sequence `(T, width)` of a batch; in a nested tensor the lengths differ."""
    if sequences.is_nested:
        return [len(one) for one in sequences.unbind()]
    return [sequences.shape[1]] * len(sequences)


def _recurrent_layer(x: Tensor, from_x: Tensor, from_h: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a recurrent layer."""
    return 2 * math.prod(x.shape[:2]) * (from_x.numel() + from_h.numel())


def _recurrent_layer_backward(x: Tensor, from_x: Tensor, from_h: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of the backward pass of a recurrent layer."""
    return 2 * _recurrent_layer(x, from_x, from_h)


def _matrix_vector(matrix: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a product of a matrix and a vector."""
    return 2 * matrix.numel()


def _added_matrix_vector(added: Tensor, matrix: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a product of a matrix and a vector that is added to another vector."""
    return 2 * matrix.numel()


def _trilinear(*arguments: Any, **_: Any) -> int:
    """Return the operations of a sum over products of three tensors, to which axes of length 1 are added first."""
    shapes: list[torch.Size] = []
    for tensor, axes in zip(arguments[:3], arguments[3:6], strict=True):
        for axis in sorted(axes):
            tensor = tensor.unsqueeze(axis)
        shapes.append(tensor.shape)
    return 2 * torch.Size(torch.broadcast_shapes(*shapes)).numel()


FORMULAS: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
    aten._native_multi_head_attention: _attention_layer,
    aten._transformer_encoder_layer_fwd: _encoder_layer,
    aten.mkldnn_rnn_layer: _recurrent_layer,
    aten.mkldnn_rnn_layer_backward: _recurrent_layer_backward,
    aten.mv: _matrix_vector,
    aten.dot: _matrix_vector,
    aten.vdot: _matrix_vector,
    aten.addmv: _added_matrix_vector,
    aten._trilinear: _trilinear,
}
"""For each operator a function from the arguments of a call to its floating-point operations, two for each MAC."""
