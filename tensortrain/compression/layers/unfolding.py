"""A conv or linear layer as a matrix that multiplies patches of its input.

At each position of the output, a layer multiplies one patch of the input (the values under its kernel) by one matrix.
This holds for any number of axes, stride, padding, dilation and groups, and for transposed convolutions. So statistics,
approximation and refit only handle patches `(G, N, d)` and a matrix `(G, p, d)`, with G groups and N positions. Within
one group there are p outputs and d = q·T values of a patch, for q input channels and T taps.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tensortrain.conv import functional

_MODES = {"zeros": "constant"}  # padding mode of a layer → mode of `F.pad`; the other names agree


@dataclass(frozen=True)
class PatchMap:
    """A plain conv, transposed conv or linear layer as a matrix that multiplies patches of its input.

    Attributes:
        layer: the plain module.
        groups: G.
        outputs: p, the number of outputs of one group.
        inputs: q, the number of input channels of one group.
        size: kernel size, one length for each spatial axis; empty for a linear layer.
    """

    layer: Any
    groups: int
    outputs: int
    inputs: int
    size: tuple[int, ...]

    @classmethod
    def of(cls, layer: nn.Module) -> "PatchMap":
        """Return the map of a plain module.

        >>> PatchMap.of(nn.ConvTranspose2d(4, 6, 3, groups=2)).matrix().shape   # G, p, q·T
        torch.Size([2, 3, 18])
        """
        module: Any = layer
        if isinstance(layer, nn.Linear):
            return cls(module, 1, layer.out_features, layer.in_features, ())
        groups = module.groups
        return cls(module, groups, module.out_channels // groups, module.in_channels // groups, module.kernel_size)

    @property
    def taps(self) -> int:
        """T, the number of kernel positions."""
        return math.prod(self.size)

    @property
    def patch(self) -> int:
        """d, the number of values of a patch that one group reads."""
        return self.inputs * self.taps

    @property
    def transposed(self) -> bool:
        """Whether the layer is a transposed convolution."""
        return bool(getattr(self.layer, "transposed", False))

    def matrix(self) -> Tensor:
        """Return the weight as `(G, p, d)`, float64.

        For a transposed convolution it is the weight of the equivalent convolution of the spread input.
        """
        weight: Tensor = self.layer.weight.detach().double()
        if self.transposed:
            weight = functional.transpose_weight(weight, self.groups)
        return weight.reshape(self.groups, self.outputs, self.patch)

    def weight(self, matrix: Tensor) -> Tensor:
        """Convert a matrix `(G, p, d)` to a weight in the layer's layout and dtype; the inverse of `matrix`."""
        weight = matrix.reshape(self.groups * self.outputs, self.inputs, *self.size)
        if self.transposed:
            weight = functional.transpose_weight(weight, self.groups)
        return weight.reshape(self.layer.weight.shape).to(self.layer.weight.dtype)

    def positions(self, output: Tensor) -> int:
        """Return the number of positions of an output, over the whole batch."""
        return output.numel() // (self.groups * self.outputs)

    def results(self, output: Tensor, positions: Tensor) -> Tensor:
        """Return the products of the matrix at some positions, `(G, N, p)` in float64: the output without the bias."""
        rows = output.movedim(-1 - len(self.size), -1).reshape(-1, self.groups, self.outputs)[positions].double()
        if self.layer.bias is not None:
            rows = rows - self.layer.bias.detach().double().reshape(self.groups, self.outputs)
        return rows.movedim(1, 0)

    def patches(self, input: Tensor, output: Tensor, positions: Tensor) -> Tensor:
        """Return the patches at some positions of the output, `(G, N, d)` in float64."""
        if not self.size:
            return input.reshape(1, -1, self.inputs)[:, positions].double()
        axes = len(self.size)
        batched = input if input.dim() == axes + 2 else input[None]
        windows = self._spread(batched, output) if self.transposed else self._padded(batched)
        stride = (1,) * axes if self.transposed else self.layer.stride
        for axis, (k, s, d) in enumerate(zip(self.size, stride, self.layer.dilation, strict=True), start=2):
            windows = windows.unfold(axis, d * (k - 1) + 1, s)[..., ::d]
        windows = windows.movedim(1, 1 + axes)  # (B, *output size, G·q, *K), a view; only selected patches are copied
        patches = windows[torch.unravel_index(positions, windows.shape[: 1 + axes])].double()  # (N, G·q, *K)
        return patches.reshape(len(positions), self.groups, self.patch).movedim(1, 0)

    def _padded(self, input: Tensor) -> Tensor:
        """Return the input with the padding that the convolution applies."""
        padding, dilation = self.layer.padding, self.layer.dilation
        if padding == "valid":
            return input
        sides = []
        for axis in reversed(range(len(self.size))):
            reach = dilation[axis] * (self.size[axis] - 1)
            before = reach // 2 if padding == "same" else padding[axis]
            sides += [before, reach - before if padding == "same" else before]
        mode = self.layer.padding_mode
        return F.pad(input, sides, _MODES.get(mode, mode)) if any(sides) else input

    def _spread(self, input: Tensor, output: Tensor) -> Tensor:
        """Return the input that the equivalent convolution reads: with zeros between the pixels, and padded."""
        spread = functional.spread(input, self.layer.stride)
        sides = []
        for axis in reversed(range(len(self.size))):
            reach = self.layer.dilation[axis] * (self.size[axis] - 1)
            before = reach - self.layer.padding[axis]
            size = output.shape[axis - len(self.size)]
            sides += [before, size + reach - before - spread.shape[axis + 2]]
        return F.pad(spread, sides)
