"""Count multiply-accumulates and memory traffic of a computation from the operators that it dispatches."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nested._internal.nested_tensor import NestedTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from tensortrain.profiling.cudnn import Convolutions
from tensortrain.profiling.formulas import FORMULAS, out_of_place
from tensortrain.profiling.uneven import NESTED, SPARSE, is_sparse

_aten = torch.ops.aten
# Operators that are not products but do the main work of a layer: sampling along a flow or a map, unfolding an image
# into patches and folding it back, and softmax.
SPECIAL = frozenset(
    {
        _aten.grid_sampler_2d,
        _aten.grid_sampler_2d_backward,
        _aten.im2col,
        _aten.col2im,
        _aten._softmax,
        _aten._softmax_backward_data,
    }
)


class Spec(NamedTuple):
    """The shape, stride and dtype of a tensor, without its numbers."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @property
    def reach(self) -> int:
        """Return the span of the tensor in memory, in elements, from its first element to its last."""
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.stride, strict=True))

    @property
    def layout(self) -> str:
        """Return the memory layout of a tensor `(N, C, H, W)`: "channels last" or "contiguous"."""
        last = torch.empty_strided(self.shape, self.stride, device="meta").is_contiguous(
            memory_format=torch.channels_last
        )
        return "channels last" if last else "contiguous"


class NestedSpec(NamedTuple):
    """The specifications of the components of a nested tensor."""

    components: tuple[Spec, ...]


class OtherSpec(NamedTuple):
    """The shape, layout and dtype of a tensor that is neither strided nor nested, such as a sparse one."""

    shape: tuple[int, ...]
    layout: torch.layout
    dtype: torch.dtype


class Call(NamedTuple):
    """A convolution, its backward pass, a matrix product or an operator of `SPECIAL` on tensors of given shapes, to be
    timed in isolation."""

    operator: Any
    args: tuple[Any, ...]
    precision: str

    @property
    def first(self) -> Spec:
        """Return the specification of the input, or of the gradient of the output."""
        spec: Spec = next(arg for arg in self.args if isinstance(arg, Spec))
        return spec


@dataclass
class Count:
    """The operations and the memory traffic of a computation.

    Args:
        macs: multiply-accumulates of all convolutions, matrix products and attention, forward and backward, including
            kernel positions on the padding.
        operators: number of dispatched operators, including views.
        traffic: bytes that all other operators read and write.
        calls: number of calls of each convolution or matrix product.
        call_macs: multiply-accumulates of one such call.
        special: how often each operator of `SPECIAL` is called; what they read and write is part of `traffic`.
    """

    macs: int = 0
    operators: int = 0
    traffic: int = 0
    calls: Counter[Call] = field(default_factory=Counter)
    call_macs: dict[Call, int] = field(default_factory=dict)
    special: Counter[Call] = field(default_factory=Counter)

    def prevailing(self, of: Any) -> Any:
        """Return the value of `of(call)` that accounts for most multiply-accumulates, such as the main precision.

        It is None if there are no calls.
        """
        weights: Counter[Any] = Counter()
        for call, times in self.calls.items():
            weights[of(call)] += times * self.call_macs[call]
        return max(weights, key=lambda value: weights[value], default=None)


class Recorder(TorchDispatchMode):
    """Counts the operators that run within its block, including backward passes.

    >>> from torch.nn.functional import conv2d
    >>> x, weight = torch.ones(2, 3, 8, 8), torch.ones(4, 3, 5, 5)
    >>> with Recorder() as recorder:
    ...     y = conv2d(x, weight, padding=2).relu()
    >>> recorder.count.macs == 2 * 8 * 8 * 4 * 3 * 5 * 5, recorder.count.operators
    (True, 2)
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = Count()
        self._formulas = FlopCounterMode(display=False).flop_registry | FORMULAS

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(issubclass(kind, NestedTensor) for kind in types):
            return NotImplemented  # jagged tensors then run operators on dense tensors, which come here
        values = (*args, *kwargs.values())
        formula = self._formula(func, values)
        if formula is None and not _has_nested_kernel(func, values):
            with self:  # in inference mode composite operators are not split into others
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:
                return result
        result = func(*args, **kwargs)
        count = self.count
        count.operators += 1
        if formula is not None:
            call = Call(func, specs(args), _precision(values))
            macs = int(formula(*args, **kwargs, out_val=result)) // 2
            count.macs += macs
            count.calls[call] += 1
            count.call_macs[call] = macs
        elif not func.is_view:
            if func.overloadpacket in SPECIAL:
                count.special[Call(func, specs(args), _precision(values))] += 1
            count.traffic += sum(_bytes(tensor) for tensor in _tensors((*values, result)))
        return result

    def _formula(self, func: Any, values: Any) -> Callable[..., int] | None:
        """Return the function that counts the operations of a call, or None if the operator is not a product."""
        operator = out_of_place(func.overloadpacket)
        kinds = [(tensor.is_nested, is_sparse(tensor)) for tensor in _tensors(values)]
        if any(nested for nested, _ in kinds) and operator in NESTED:
            return NESTED[operator]
        if any(sparse for _, sparse in kinds) and operator in SPARSE:
            return SPARSE[operator]
        return self._formulas.get(operator)


def specs(value: Any) -> Any:
    """Return the arguments with the specification of each tensor and a tuple for each list, so they can be dict keys.

    The specification is a `Spec`, `NestedSpec` or `OtherSpec`.
    """
    if not isinstance(value, Tensor):
        return tuple(map(specs, value)) if isinstance(value, list | tuple) else value
    if value.is_nested:
        return NestedSpec(tuple(map(specs, value.unbind())))
    if value.layout != torch.strided:
        return OtherSpec(tuple(value.shape), value.layout, value.dtype)
    return Spec(tuple(value.shape), value.stride(), value.dtype)


def _has_nested_kernel(func: Any, values: Any) -> bool:
    """Return whether a call has nested tensors and a kernel for them; its decomposition would expect dense ones."""
    keys = ("NestedTensorCPU", "NestedTensorCUDA", "CompositeImplicitAutogradNestedTensor")
    return any(tensor.is_nested for tensor in _tensors(values)) and any(
        torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key) for key in keys
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in an argument."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _tensors(one)


def _precision(args: Any) -> str:
    """Return the precision of the products: "fp32", "tf32", "bf16" and so on."""
    x = next(_tensors(args))
    if x.is_cuda and x.dtype == torch.float32 and Convolutions.now().precision == "tf32":
        return "tf32"
    return {torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64"}.get(x.dtype, str(x.dtype))


def _bytes(tensor: Tensor) -> int:
    """Return the bytes of the entries of a tensor. An expanded axis counts once; of a sparse tensor all stored ones."""
    if is_sparse(tensor):
        return tensor._nnz() * tensor.element_size()
    if tensor.is_nested or tensor.layout != torch.strided:
        return tensor.numel() * tensor.element_size()
    real = (size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)
    return math.prod(real) * tensor.element_size() if tensor.numel() else 0
