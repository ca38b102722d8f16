"""Numbers `v · 2**k` whose derivatives stay in range even where the number itself does not.

The derivative of `⟨A, B⟩` with respect to A is B, which the dtype may hold although `⟨A, B⟩` is too small or too large
for it. A backward pass begins at the number, however, and multiplies the incoming gradient by `2**k` first, which may
then vanish or overflow. Here the factor is applied at the other end, where the gradient leaves for the cores: between
both ends all gradients are `2**-k` times the usual ones. Mathematically the space of all intermediate results has the
inner product `2**k ⟨x, y⟩`. Derivatives of all orders are therefore consistent.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from tensortrain.derivatives import record
from tensortrain.transforms import differentiated, nestable
from tensortrain.tt.scaling import exponent, peak, range_of, shifted

Scaled = tuple[Tensor, int]


class _Passage(torch.autograd.Function):
    """The product `tensor · 2**k` whose gradient is multiplied by another power, `2**back`."""

    @staticmethod
    def forward(tensor: Tensor, k: int, back: int) -> Tensor:
        return shifted(tensor, k) if k else tensor.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int, int], output: Tensor) -> None:
        ctx.powers = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        k, back = ctx.powers
        return _passed(grad, back, k), None, None

    @staticmethod
    @nestable
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:
        return _passed(tangent, *ctx.powers)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None, None], tensor: Tensor, k: int, back: int) -> tuple[Tensor, int]:
        return _passed(tensor, k, back), in_dims[0]


def _passed(tensor: Tensor, k: int, back: int) -> Tensor:
    """Return `tensor · 2**k`, with gradients that are multiplied by `2**back`."""
    passed: Tensor = record(_Passage, tensor, k, back)
    return passed


def unscaled(compute: Callable[[Sequence[Tensor]], Scaled], cores: Sequence[Tensor], degree: int) -> Tensor:
    """Return the number `v · 2**k` for `(v, k) = compute(cores)`.

    Args:
        compute: a function of the cores; k does not depend on derivatives.
        cores: the cores of one train, or of several.
        degree: the degree of the number in each core: `c` times a core gives `c**degree` times the number, up to sign
            and conjugation.

    >>> from tensortrain.tt.scaling import unit
    >>> def square(cores: Sequence[Tensor]) -> Scaled:
    ...     x, k = unit(cores[0])
    ...     return x.square().sum(), 2 * k
    >>> x = torch.full((2,), 1e-30, requires_grad=True)
    >>> value = unscaled(square, [x], 2)
    >>> value.item(), torch.autograd.grad(value, x)
    (0.0, (tensor([2.0000e-30, 2.0000e-30]),))
    """
    value, k = compute(cores)
    if abs(k) <= range_of(value.dtype) or not differentiated(*cores):
        return shifted(value, k)
    own = [exponent(peak(core)) for core in cores]
    value, rest = compute([_passed(core, -o, k - o) for core, o in zip(cores, own, strict=True)])
    return _passed(shifted(value, rest + degree * sum(own) - k), k, 0)
