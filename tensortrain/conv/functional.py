"""The evaluation of convolutional tensor trains as functions of plain tensors.

`conv_tt`, `conv_sum`, `compose` and `compose_all` are public and exported by `tensortrain.functional`. The other
functions are used by the rest of the package. `tensortrain.tt.functional` contains the functions of standard trains.

| paper | here |
|---|---|
| T(l), l = 1 … m | `cores[l - 1]`, a PyTorch convolution weight `(R_{l-1}, R_l / g_l, *k_l)` |
| U(l), l = 1 … m | `inputs[l - 1]`, `(B, R_l, *size)` |
| V(l) | the intermediate value of `conv_tt`, returned at `l = stop` |
| W(l) = T(1) * … * T(l) | `compose_all(cores[:l])` |
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tensortrain import checks
from tensortrain.conv.alignment import PADDINGS, Margin, margins, step_padding, stride_steps, whole_size
from tensortrain.conv.checks import check_chain, check_groups, check_inputs, check_weight, check_weights
from tensortrain.conv.memory import check_kernel
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def conv(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return one unpadded convolution in 1, 2 or 3 spatial dimensions; the groups follow from the shapes."""
    groups = x.shape[1] // weight.shape[1]
    return _CONV[weight.dim() - 2](x, weight, bias, stride=tuple(stride), dilation=tuple(dilation), groups=groups)


def _flat(margin: Iterable[tuple[int, int]]) -> list[int]:
    """Return margins in the order of `F.pad`: last axis first."""
    return [side for pair in reversed(tuple(margin)) for side in pair]


def _grow(x: Tensor, old: Margin, new: Margin) -> Tensor:
    """Return `x`, whose margins are `old`, padded with zeros or cropped to the margins `new`."""
    if old == new:
        return x
    return F.pad(x, _flat((b2 - b1, a2 - a1) for (b1, a1), (b2, a2) in zip(old, new, strict=True)))


def _wrap(x: Tensor, pads: Margin) -> Tensor:
    """Return `x` with periodic padding, by more than one period if a kernel is longer than the image."""
    for axis, (before, after) in enumerate(pads, start=2):
        if before or after:
            size = x.shape[axis]
            index = torch.arange(-before, size + after, device=x.device) % size
            x = x.index_select(axis, index)
    return x


def conv_tt(
    cores: Sequence[Tensor],
    inputs: Sequence[Tensor | None],
    biases: Sequence[Tensor | None] | None = None,
    padding: str = "same",
    stop: int = 0,
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Evaluate a convolutional tensor train core by core, without forming any W(l).

    Eq. (6) of the Conv-TT-LSTM paper: `V(m) = 0` and `V(l-1) = T(l) * (V(l) + U(l)) + b(l)` for l = m … stop + 1. The
    result is V(stop). Without biases, V(0) equals `Σ_l W(l) * U(l)` of eq. (5).

    Args:
        cores: `cores[l - 1]` is T(l), a convolution weight `(R_{l-1}, R_l / g_l, *k_l)`. The groups `g_l` follow from
            the number of channels of its input.
        inputs: `inputs[l - 1]` is U(l), `(B, R_l, *size)`; all inputs have the same size, and None means zero.
        biases: `biases[l - 1]` is b(l), `(R_{l-1},)`, or None.
        padding: how U(l) is continued beyond its frame.
            `"same"`: with zeros. The result equals the dense convolutions with zero padding everywhere and has the
            size `*size`.
            `"same_per_step"`: every step pads its input with zeros, as the published network does. The result differs
            from `"same"` within `alignment.border(...)` pixels of the border.
            `"valid"`: no continuation. The result is smaller by the reach of W(m).
            `"full"`: with zeros. The result is larger by the reach of W(m).
            `"circular"`: periodically. The result has the size `*size`.
        stop: index of the last map, 0 ≤ stop < m; the result is V(stop). Under `"same"`, V(stop) is returned on the
            frame `*size`.
        stride: stride of the whole chain, for each axis. It is applied in the last step whose core is longer than 1 on
            that axis.
        dilation: dilation of every core, for each axis.

    Returns:
        The map V(stop), `(B, R_stop, *output_size)`.

    Raises:
        TensorTrainError: the shapes, dtypes or devices do not fit, all inputs are None, or the padding is unknown.

    Complexity: `Σ_l k_l^d R_{l-1} R_l / g_l` multiplications for each pixel. The dense form needs `Σ_l K_l^d R_0 R_l`.

    >>> cores = [torch.ones(1, 2, 3), torch.ones(2, 1, 3)]
    >>> conv_tt(cores, [None, torch.ones(1, 1, 6)])
    tensor([[[12., 16., 18., 18., 16., 12.]]])
    """
    cores = check_weights("cores", cores)
    biases = None if biases is None else checks.listed("biases", biases)
    frame, steps, dilations = _prepare(cores, inputs, biases, padding, stop, stride, dilation)
    value: Tensor | None = None  # V(m) = 0
    for l in range(len(cores), stop, -1):
        core, bias, step = cores[l - 1], biases[l - 1] if biases is not None else None, steps[l - 1]
        total = _sum(value, inputs[l - 1], step.margin)  # V(l) + U(l), None while both are zero
        if total is not None:
            value = conv(step.extend(total), core, bias, step.stride, dilations)  # T(l) * (V(l) + U(l)) + b(l)
        elif bias is not None:
            value = step.constant(bias, frame)  # T(l) * 0 + b(l)
    assert value is not None
    return value


class _Step(NamedTuple):
    """The placement of the maps in step l, `V(l-1) = T(l) * (V(l) + U(l)) + b(l)`; see `tensortrain.conv.alignment`.

    Attributes:
        margin: margin of V(l); U(l) is extended or cropped to it before the addition.
        padding: numbers of pixels (before, after) per axis that T(l) reads beyond its result.
        result: margin of V(l-1).
        stride: stride of T(l), for each axis.
        periodic: whether maps are continued periodically instead of with zeros.
    """

    margin: Margin
    padding: Margin
    result: Margin
    stride: list[int]
    periodic: bool

    def extend(self, x: Tensor) -> Tensor:
        """Return `V(l) + U(l)`, padded or cropped to the region that T(l) reads."""
        if self.periodic:
            return _wrap(x, self.padding)
        pairs = zip(self.result, self.padding, strict=True)
        return _grow(x, self.margin, tuple([(m[0] + p[0], m[1] + p[1]) for m, p in pairs]))

    def constant(self, bias: Tensor, frame: Tensor) -> Tensor:
        """Return V(l-1) if V(l) and U(l) are zero: b(l) at every pixel, for the batch and image size of `frame`."""
        size = [n + before + after for n, (before, after) in zip(frame.shape[2:], self.result, strict=True)]
        return bias.reshape(1, -1, *[1] * len(size)).expand(frame.shape[0], -1, *size)


def _sum(value: Tensor | None, u: Tensor | None, margin: Margin) -> Tensor | None:
    """Return `V(l) + U(l)`, with U(l) brought to the margin of V(l); None means zero."""
    if u is None:
        return value
    u = _grow(u, ((0, 0),) * len(margin), margin)
    return u if value is None else value + u


def _prepare(
    cores: Sequence[Tensor],
    inputs: Sequence[Tensor | None],
    biases: Sequence[Tensor | None] | None,
    padding: str,
    stop: int,
    stride: int | Sequence[int],
    dilation: int | Sequence[int],
) -> tuple[Tensor, list[_Step], tuple[int, ...]]:
    """Check the other arguments of `conv_tt`, and return one present input, the steps l = 1 … m and the dilations."""
    axes, frame = check_chain(cores, inputs, biases, stop)
    checks.choice("padding", padding, PADDINGS)
    strides = checks.per_axis("stride", stride, axes)
    dilations = checks.per_axis("dilation", dilation, axes)
    if stop and max(strides) > 1:
        raise TensorTrainError(
            f"stride = {strides} cannot be combined with stop = {stop}, because the stride belongs to T(1); use stop=0"
        )
    sizes = [tuple(core.shape[2:]) for core in cores]
    present = [u is not None for u in inputs]
    biased = [biases is not None and biases[l] is not None for l in range(len(cores))]
    top = max(l for l, there in enumerate(present, start=1) if there)
    extent = margins(sizes, dilations, padding, top=top, stop=stop, biased=biased)
    if padding == "valid":
        _check_size(frame, extent[stop])
    pads = step_padding(sizes, dilations)
    strided = stride_steps(sizes, strides, present)
    steps = []
    for l in range(1, len(cores) + 1):
        own_stride = [s if at == l else 1 for s, at in zip(strides, strided, strict=True)]
        steps.append(_Step(extent[l], pads[l - 1], extent[l - 1], own_stride, padding == "circular"))
    return frame, steps, dilations


def _check_size(frame: Tensor, margin: Margin) -> None:
    """Refuse inputs that are smaller than the kernel; `margin` is that of the result under "valid"."""
    if any(n + before + after < 1 for n, (before, after) in zip(frame.shape[2:], margin, strict=True)):
        raise TensorTrainError(
            f'inputs of size {tuple(frame.shape[2:])} are smaller than the kernel; use padding="same"'
        )


def conv_sum(
    kernels: Sequence[Tensor],
    inputs: Sequence[Tensor | None],
    padding: str = "same",
    *,
    stride: int | Sequence[int] = 1,
    dilation: int | Sequence[int] = 1,
) -> Tensor:
    """Compute `Σ_l W(l) * U(l)` (eq. 5) with one dense convolution for each l, under the same alignment rule.

    Args:
        kernels: `kernels[l - 1]` is W(l), `(R_0, R_l, *K_l)`; none is longer than the last one.
        inputs: the inputs, as in `conv_tt`; the same holds for `padding`, `stride` and `dilation`.

    Returns:
        The sum, `(B, R_0, *output_size)`.

    Raises:
        TensorTrainError: the kernels or inputs do not fit, or all inputs are None.

    >>> conv_sum([torch.ones(1, 1, 3)], [torch.ones(1, 1, 4)])
    tensor([[[2., 3., 3., 2.]]])
    """
    kernels = check_weights("kernels", kernels)
    whole = tuple(kernels[-1].shape[2:])
    for l, kernel in enumerate(kernels):
        if kernel.shape[0] != kernels[-1].shape[0] or any(k > n for k, n in zip(kernel.shape[2:], whole, strict=True)):
            raise TensorTrainError(
                f"kernels[{l}] has shape {tuple(kernel.shape)}, the last kernel {tuple(kernels[-1].shape)}; all need"
                " the same output channels, and none may be longer than the last one"
            )
    axes = kernels[0].dim() - 2
    inputs = check_inputs(inputs, [None] * len(kernels), kernels[0])
    checks.choice("padding", padding, PADDINGS)
    strides, dilations = checks.per_axis("stride", stride, axes), checks.per_axis("dilation", dilation, axes)
    frame = next((u for u in inputs if u is not None), None)
    if frame is None:
        raise TensorTrainError("inputs are all None; at least one tensor is needed to know the size")
    if padding == "valid":
        _check_size(frame, margins([whole], dilations, padding, top=1)[0])
    total: Tensor | None = None
    for kernel, u in zip(kernels, inputs, strict=True):
        if u is None:
            continue
        # the reach of W(l) is smaller than that of W(m); "full" fills the difference with zeros, and "valid" crops it
        size = tuple(kernel.shape[2:])
        rest = margins([size, tuple(k - s + 1 for k, s in zip(whole, size, strict=True))], dilations, padding, top=2)
        u = _grow(u, ((0, 0),) * axes, rest[1]) if padding in ("full", "valid") else u
        value = conv_tt([kernel], [u], padding=padding, stride=strides, dilation=dilations)
        total = value if total is None else total + value
    assert total is not None
    return total


@precise
def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the weight of the convolution `inner` followed by `outer`.

    Weights `(O, R / g, *a)` and `(R, I, *b)` give `(O, I, *(a + b - 1))`. `outer` may be grouped. `inner` may be dense
    or the weight of a grouped convolution whose groups `outer` shares.

    Raises:
        TensorTrainError: the weights do not fit each other, or the result is larger than the memory.

    >>> compose(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0]]]))
    tensor([[[ 3., 10.,  8.]]])
    """
    check_weight("outer", outer, outer)
    check_weight("inner", inner, outer)
    groups = inner.shape[0] // outer.shape[1]
    if groups == 0 or inner.shape[0] % outer.shape[1] or outer.shape[0] % groups:
        raise TensorTrainError(
            f"outer of shape {tuple(outer.shape)} reads {outer.shape[1]} channels per group, and inner of shape"
            f" {tuple(inner.shape)} has {inner.shape[0]} outputs; the number of groups must divide both"
            f" {inner.shape[0]} and {outer.shape[0]}"
        )
    return _composed(outer, inner)


def _composed(outer: Tensor, inner: Tensor) -> Tensor:
    """Return `compose(outer, inner)` for weights that are known to fit."""
    size = whole_size([tuple(outer.shape[2:]), tuple(inner.shape[2:])])
    check_kernel(outer.shape[0] * inner.shape[1] * math.prod(size), inner)
    groups = inner.shape[0] // outer.shape[1]
    columns = inner.reshape(groups, outer.shape[1], -1)
    axes = range(2, outer.dim())
    # several pairs of positions have the same sum only on axes on which both kernels are longer than 1
    summed = [axis for axis in axes if outer.shape[axis] > 1 and inner.shape[axis] > 1]
    sizes = [outer.shape[axis] for axis in summed]
    free = [axis for axis in axes if axis not in summed]
    rows = outer.permute(*summed, 0, *free, 1).reshape(math.prod(sizes), groups, -1, outer.shape[1])
    out: Tensor | None = None
    # one matrix product for each position, which in float64 is several times faster than a convolution
    for row, tap in zip(rows, itertools.product(*map(range, sizes)), strict=True):
        part = _interleave(
            (row @ columns).reshape(outer.shape[0], *(outer.shape[a] for a in free), *inner.shape[1:]), free
        )
        margin = [(0, 0) for _ in axes]
        for axis, t in zip(summed, tap, strict=True):
            margin[axis - 2] = (t, outer.shape[axis] - 1 - t)
        part = F.pad(part, _flat(margin)) if summed else part
        out = part if out is None else out + part
    assert out is not None
    return out


def _interleave(x: Tensor, free: Sequence[int]) -> Tensor:
    """Merge the positions of two kernels in `x`, `(O, *outer, I, *inner)`, and return `(O, I, *merged)`.

    `outer` holds the lengths of the outer kernel on the axes `free` only, and `inner` those of the inner kernel on all
    axes. On each axis in `free`, one of the two lengths is 1, so no positions are added up.
    """
    for number, axis in enumerate(free):
        ahead = len(free) - number  # the axes to merge that are still in front
        x = x.movedim(1, ahead + axis - 1).flatten(ahead + axis - 1, ahead + axis)
    return x


def ungroup(core: Tensor, groups: int, left: int = 1) -> Tensor:
    """Return a grouped weight `(O, I / g, *k)` as the dense weight `(O, I, *k)`, or as a weight of `left` groups.

    The result is block-diagonal within each of the remaining groups.
    """
    if groups == left:
        return core
    check_kernel(core.numel() * (groups // left), core)
    blocks = core.reshape(left, groups // left, -1, *core.shape[1:])
    eye = torch.eye(groups // left, dtype=core.dtype, device=core.device)
    return torch.einsum("gh,fgoi...->fgohi...", eye, blocks).flatten(0, 2).flatten(1, 2)


@precise
def compose_all(cores: Sequence[Tensor], groups: Sequence[int]) -> Tensor:
    """Return the weight `(R_0, R_m / G, *K)` of a whole chain, where G is the greatest divisor that all `groups` share.

    Args:
        cores: the cores, `(R_{l-1}, R_l / g_l, *k_l)`, output side first.
        groups: the number of groups of each core.

    Raises:
        TensorTrainError: the cores or groups do not fit each other, or the weight is larger than the memory.

    >>> compose_all([torch.ones(4, 2, 3), torch.ones(2, 8, 3)], (1, 1)).shape
    torch.Size([4, 8, 5])
    """
    cores = check_weights("cores", cores)
    groups = check_groups(cores, groups, transposed=False)
    shared = math.gcd(*groups)
    if len(cores) > 2 and cores[0].shape[0] < cores[-1].shape[1] * groups[-1]:
        # every product has as many columns as the chain has inputs, so the adjoint chain is cheaper
        adjoint = [transpose_weight(core, g) for core, g in zip(cores, groups, strict=True)]
        return transpose_weight(_from_inside(adjoint[::-1], groups[::-1], shared), shared)
    return _from_inside(cores, groups, shared)


def _from_inside(cores: Sequence[Tensor], groups: Sequence[int], shared: int) -> Tensor:
    """Return the weight of a chain, computed from its input side.

    A grouped core then meets a weight that is dense within each of its groups.
    """
    weight = ungroup(cores[-1], groups[-1], shared)
    for core in reversed(cores[:-1]):
        weight = _composed(core, weight)
    return weight


def reconstruct(cores: Sequence[Tensor], groups: Sequence[int], transposed: bool) -> Tensor:
    """Return the weight of a whole chain of either kind; a transposed chain gives `(R_m, R_0 / G, *K)`."""
    if not transposed:
        return compose_all(cores, groups)
    turned = [transpose_weight(core, g) for core, g in zip(cores, groups, strict=True)]
    return transpose_weight(compose_all(turned, groups), math.gcd(*groups))


def transpose_weight(weight: Tensor, groups: int) -> Tensor:
    """Return the weight of the adjoint, transposed convolution for the weight of a convolution, or vice versa.

    The weights have the shapes `(O, I / g, *k)` and `(I, O / g, *k)` and are flipped in space. A transposed convolution
    with one of them equals a "full" convolution with the other.
    """
    blocks = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1)
    return blocks.flip(tuple(range(2, weight.dim())))


def spread(x: Tensor, factors: Sequence[int]) -> Tensor:
    """Return `x` with `factor - 1` zeros between neighbours on each axis, which are then `(n - 1) · factor + 1` long.

    >>> spread(torch.tensor([[[1.0, 2.0]]]), (3,))
    tensor([[[1., 0., 0., 2.]]])
    """
    if max(factors) == 1:
        return x
    size = [(n - 1) * s + 1 for n, s in zip(x.shape[2:], factors, strict=True)]
    out = x.new_zeros(*x.shape[:2], *size)
    out[(slice(None), slice(None), *(slice(None, None, s) for s in factors))] = x
    return out
