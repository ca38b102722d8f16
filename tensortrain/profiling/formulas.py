"""Count floating-point operations of operators for which `torch.utils.flop_counter` has no formula.

Without a formula an operator counts as zero. This concerns attention and recurrent layers that a device computes in one
operator, attention layers in inference, products with vectors, products of groups, quantised products, and
convolutions and linear layers of single backends. Euclidean distances of all pairs of rows count like the product by
which torch computes most of them.

Not counted are elementwise products with or without a sum (so outer, Kronecker and cross products, and
`torch.linalg.vecdot` of more than two vectors), other distances, factorisations and solutions of systems, functions of
matrices, Fourier transforms, quantised LSTM and GRU layers, and semi-structured sparse products.
"""

import functools
import math
from collections.abc import Callable, Iterator
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


def _outer_product(added: Tensor, left: Tensor, right: Tensor, **_: Any) -> int:
    """Return the operations of an outer product that is added to a matrix."""
    return 2 * left.numel() * right.numel()


def _matrix_product(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a product of two matrices, or of each pair of a batch."""
    return 2 * left.numel() * right.shape[-1]


def _added_matrix_product(added: Tensor, left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of products of matrices that are added to a matrix."""
    return _matrix_product(left, right)


def _matrix_products(left: list[Tensor], right: list[Tensor], **_: Any) -> int:
    """Return the operations of one product for each pair of matrices of two lists."""
    return sum(map(_matrix_product, left, right))


def _grouped_product(left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a product for each group of rows, columns or terms, if each of these is in a group.

    Two stacks of matrices are a product for each pair. Otherwise the groups divide one axis, and the sum over all
    groups is that of one product.
    """
    operations: int = 2 * left.shape[-2] * left.shape[-1] * right.shape[-1]
    return operations * (len(left) if left.dim() == right.dim() == 3 else 1)


def _linear(x: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Return the operations of a linear layer, whose weight may be stored in any form."""
    return 2 * x.numel() * out_val.shape[-1]


def _linear_backward(x: Tensor, gradient: Tensor, weight: Tensor, mask: list[bool], **_: Any) -> int:
    """Return the operations of the gradients of a linear layer's input and weight, if the mask asks for them."""
    return 2 * x.numel() * weight.shape[0] * sum(mask[:2])


def _linear_to_input(size: Any, gradient: Tensor, weight: Tensor, **_: Any) -> int:
    """Return the operations of the gradient of a linear layer's input."""
    return 2 * gradient.numel() * weight.shape[1]


def _linear_to_weight(gradient: Tensor, x: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of the gradient of a linear layer's weight."""
    return 2 * gradient.numel() * x.shape[-1]


def _convolution(x: Tensor, weight: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Return the operations of a convolution, from its output `(N, channels, *size)`."""
    return 2 * _pixels(out_val) * weight.numel()


def _transposed_convolution(x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of a transposed convolution, from its input `(N, channels, *size)`."""
    return 2 * _pixels(x) * weight.numel()


def _convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, *arguments: Any, **_: Any) -> int:
    """Return the operations of the gradients of a convolution's input and weight, if a mask asks for them."""
    mask = arguments[-1] if arguments and arguments[-1] and isinstance(arguments[-1][0], bool) else (True, True)
    return 2 * _pixels(gradient) * weight.numel() * sum(mask[:2])


def _any_convolution_backward(gradient: Tensor, x: Tensor, weight: Tensor, *arguments: Any, **_: Any) -> int:
    """Return the operations of the gradients of a convolution, transposed or not; torch's formula ignores groups."""
    transposed, mask = arguments[4], arguments[7]
    operations: int = 2 * _pixels(x if transposed else gradient) * weight.numel() * sum(mask[:2])
    return operations


def _fused_convolution(*arguments: Any, out_val: Tensor, **_: Any) -> int:
    """Return the operations of a convolution whose weight is the second or, before a bias, the third argument."""
    second, third = arguments[1:3]
    weight = third if isinstance(third, Tensor) and third.dim() > 1 else second
    return _convolution(out_val, weight, out_val=out_val)


def _scaled_convolution(x: Tensor, scale: Any, zero_point: Any, weight: Tensor, *_: Any, out_val: Tensor) -> int:
    """Return the operations of a quantised convolution whose weight is a tensor."""
    return _convolution(x, weight, out_val=out_val)


def _packed_convolution(*arguments: Any, out_val: Tensor, **_: Any) -> int:
    """Return the operations of a quantised convolution whose weight is packed."""
    return _convolution(out_val, next(_packed(arguments)), out_val=out_val)


def _packed_transposed_convolution(x: Tensor, *arguments: Any, **_: Any) -> int:
    """Return the operations of a quantised transposed convolution whose weight is packed."""
    return _transposed_convolution(x, next(_packed(arguments)))


def _packed_cell(x: Tensor, *arguments: Any, **_: Any) -> int:
    """Return the operations of a recurrent cell whose two weights are packed."""
    return 2 * len(x) * sum(weight.numel() for weight in _packed(arguments))


def _packed(arguments: tuple[Any, ...]) -> Iterator[Tensor]:
    """Yield the weights of the packed parameters among the arguments."""
    return (argument.unpack()[0] for argument in arguments if hasattr(argument, "unpack"))


def _pixels(maps: Tensor) -> int:
    """Return the number of pixels of maps `(N, channels, *size)`."""
    return len(maps) * math.prod(maps.shape[2:])


def _convolution_over_time(x: Tensor, weight: Tensor, *_: Any, out_val: Tensor, **__: Any) -> int:
    """Return the operations of a convolution with the axes `(T, N, channels)`."""
    return 2 * math.prod(out_val.shape[:2]) * weight.numel()


def _convolution_over_time_backward(gradient: Tensor, x: Tensor, weight: Tensor, *_: Any, **__: Any) -> int:
    """Return the operations of the backward pass of a convolution with the axes `(T, N, channels)`."""
    return 2 * 2 * math.prod(gradient.shape[:2]) * weight.numel()


def _recurrent_layers(x: Tensor, weights: list[Tensor], *_: Any, **__: Any) -> int:
    """Return the operations of a stack of recurrent layers, from all their weights and biases."""
    return 2 * (x.numel() // x.shape[-1]) * sum(weight.numel() for weight in weights if weight.dim() == 2)


def _recurrent_layers_backward(x: Tensor, weights: list[Tensor], *_: Any, **__: Any) -> int:
    """Return the operations of the backward pass of a stack of recurrent layers."""
    return 2 * _recurrent_layers(x, weights)


def _distances(left: Tensor, right: Tensor, norm: float = 2.0, *_: Any, **__: Any) -> int:
    """Return the operations of Euclidean distances of all pairs of rows."""
    return 2 * left.numel() * right.shape[-2] if norm == 2 else 0


def _distances_backward(gradient: Tensor, left: Tensor, right: Tensor, norm: float, *_: Any, **__: Any) -> int:
    """Return the operations of the gradient of Euclidean distances with respect to the left rows."""
    return _distances(left, right, norm)


def _trilinear(*arguments: Any, **_: Any) -> int:
    """Return the operations of a sum over products of three tensors, to which axes of length 1 are added first."""
    shapes: list[torch.Size] = []
    for tensor, axes in zip(arguments[:3], arguments[3:6], strict=True):
        for axis in sorted(axes):
            tensor = tensor.unsqueeze(axis)
        shapes.append(tensor.shape)
    return 2 * torch.Size(torch.broadcast_shapes(*shapes)).numel()


_BY_NAME: dict[str, dict[Callable[..., int], str]] = {
    "aten": {
        _attention: "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_fused_attention_overrideable"
        " _scaled_dot_product_attention_math_for_mps",
        _attention_backward: "_scaled_dot_product_flash_attention_for_cpu_backward"
        " _scaled_dot_product_fused_attention_overrideable_backward",
        _attention_layer: "_native_multi_head_attention",
        _encoder_layer: "_transformer_encoder_layer_fwd",
        _recurrent_layer: "mkldnn_rnn_layer",
        _recurrent_layer_backward: "mkldnn_rnn_layer_backward",
        _recurrent_layers: "_cudnn_rnn miopen_rnn",
        _recurrent_layers_backward: "_cudnn_rnn_backward miopen_rnn_backward",
        _matrix_vector: "mv dot vdot",
        _added_matrix_vector: "addmv",
        _outer_product: "addr",
        _matrix_product: "_int_mm",
        _added_matrix_product: "addbmm _addmm_activation",
        _matrix_products: "_foreach_mm",
        _grouped_product: "_grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2 _scaled_mm_v2",
        _linear: "mkldnn_linear fbgemm_linear_int8_weight fbgemm_linear_int8_weight_fp32_activation"
        " fbgemm_linear_fp16_weight fbgemm_linear_fp16_weight_fp32_activation _wrapped_quantized_linear_prepacked"
        " _weight_int8pack_mm _weight_int4pack_mm _weight_int4pack_mm_for_cpu _weight_int4pack_mm_with_scales_and_zeros"
        " _dyn_quant_matmul_4bit _mixed_dtypes_linear",
        _linear_backward: "mkldnn_linear_backward",
        _linear_to_input: "mkldnn_linear_backward_input",
        _linear_to_weight: "mkldnn_linear_backward_weights",
        # torch's own formulas for the first two expect the arguments of another operator
        _convolution: "_slow_conv2d_forward cudnn_convolution cudnn_convolution_relu cudnn_convolution_add_relu"
        " miopen_convolution miopen_convolution_relu miopen_convolution_add_relu miopen_depthwise_convolution"
        " mkldnn_convolution _conv_depthwise2d conv_depthwise3d slow_conv3d_forward slow_conv_dilated2d"
        " slow_conv_dilated3d _nnpack_spatial_convolution _mps_convolution",
        _transposed_convolution: "cudnn_convolution_transpose miopen_convolution_transpose slow_conv_transpose2d"
        " slow_conv_transpose3d _mps_convolution_transpose",
        _any_convolution_backward: "convolution_backward convolution_backward_overrideable",
        _convolution_backward: "_slow_conv2d_backward",
        _convolution_over_time: "conv_tbc",
        _convolution_over_time_backward: "conv_tbc_backward",
        _distances: "_euclidean_dist _cdist_forward",
        _distances_backward: "_cdist_backward",
        _trilinear: "_trilinear",
    },
    "mkldnn": {
        _linear: "_linear_pointwise",
        _fused_convolution: "_convolution_pointwise",
        _transposed_convolution: "_convolution_transpose_pointwise",
    },
    "mkl": {_linear: "_mkl_linear"},
    "onednn": {
        _linear: "qlinear_pointwise linear_dynamic_fp16 linear_relu_dynamic_fp16",
        _scaled_convolution: "qconv_pointwise qconv1d_pointwise qconv2d_pointwise qconv3d_pointwise",
    },
    "quantized": {
        _matrix_product: "matmul",
        _linear: "linear linear_relu linear_leaky_relu linear_tanh linear_dynamic linear_relu_dynamic"
        " linear_dynamic_fp16 linear_relu_dynamic_fp16 linear_dynamic_fp16_unpacked_weight"
        " linear_with_input_q_dq_qweight_dq_output_fp32 linear_with_input_q_dq_qweight_dq_relu_output_fp32",
        _packed_convolution: "conv1d conv1d_relu conv1d_dynamic conv2d conv2d_relu conv2d_dynamic conv2d_add"
        " conv2d_add_relu conv3d conv3d_relu conv3d_dynamic",
        _packed_transposed_convolution: "conv_transpose1d conv_transpose1d_dynamic conv_transpose2d"
        " conv_transpose2d_dynamic conv_transpose3d conv_transpose3d_dynamic",
        _packed_cell: "quantized_gru_cell_dynamic quantized_lstm_cell_dynamic quantized_rnn_relu_cell_dynamic"
        " quantized_rnn_tanh_cell_dynamic",
    },
}


def _registered() -> dict[Any, Callable[..., int]]:
    """Return the formulas of `_BY_NAME` for those operators that this build of torch has."""
    by_operator: dict[Any, Callable[..., int]] = {}
    for namespace, formulas in _BY_NAME.items():
        operators = getattr(torch.ops, namespace)
        for formula, names in formulas.items():
            by_operator |= {getattr(operators, name): formula for name in names.split() if hasattr(operators, name)}
    return by_operator


FORMULAS: dict[Any, Callable[..., int]] = _registered()
"""For each operator a function from the arguments of a call to its floating-point operations, two for each MAC."""


@functools.cache
def out_of_place(operator: Any) -> Any:
    """Return the operator that computes the same as an operator in place, and any other operator itself.

    >>> out_of_place(aten.addmm_) is aten.addmm, out_of_place(aten.mm) is aten.mm
    (True, True)
    """
    namespace, _, name = operator._qualified_op_name.partition("::")
    if not name.endswith("_") or name.endswith("__"):
        return operator
    return getattr(getattr(torch.ops, namespace), name[:-1], operator)
