"""The sizes, counts and costs of a chain of convolution cores, and its printed form."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv import alignment
from tensortrain.notebooks import chain_drawing, facts

_MOST_DRAWN = 12  # chains of more cores are not drawn


@dataclass(frozen=True, init=False, eq=False, repr=False)
class ChainShape:
    """The cores and groups of a chain, and all properties that follow from their shapes; see `ConvTensorTrain`."""

    cores: tuple[Tensor, ...]
    groups: tuple[int, ...]
    transposed: bool
    error: float | None
    upper_bound: float | None
    lower_bound: float | None
    data_error: float | None
    data_lower_bound: float | None

    @property
    def order(self) -> int:
        """Return the number of cores m."""
        return len(self.cores)

    @property
    def ranks(self) -> tuple[int, ...]:
        """Return the ranks `(R_0, …, R_m)`: output channels, inner ranks, input channels."""
        last = self.cores[-1].shape[0] if self.transposed else self.cores[-1].shape[1] * self.groups[-1]
        heads = (
            c.shape[1] * g if self.transposed else c.shape[0] for c, g in zip(self.cores, self.groups, strict=True)
        )
        return (*heads, last)

    @property
    def out_channels(self) -> int:
        """Return the number of output channels, R_0."""
        return self.ranks[0]

    @property
    def in_channels(self) -> int:
        """Return the number of input channels, R_m."""
        return self.ranks[-1]

    @property
    def conv_groups(self) -> int:
        """Return the groups of the whole convolution, the greatest common divisor of the groups of all cores."""
        return math.gcd(*self.groups)

    @property
    def kernel_sizes(self) -> tuple[tuple[int, ...], ...]:
        """Return the length of each core on each axis."""
        return tuple(tuple(core.shape[2:]) for core in self.cores)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Return the length of the whole kernel on each axis."""
        return alignment.whole_size(self.kernel_sizes)

    @property
    def dtype(self) -> torch.dtype:
        """Return the data type of the cores."""
        return self.cores[0].dtype

    @property
    def device(self) -> torch.device:
        """Return the device of the cores."""
        return self.cores[0].device

    @property
    def n_parameters(self) -> int:
        """Return the number of stored entries, `Σ_l k_l^d R_{l-1} R_l / g_l`."""
        return sum(core.numel() for core in self.cores)

    @property
    def dense_parameters(self) -> int:
        """Return the number of entries of the whole kernel, `K^d R_0 R_m / G`."""
        return math.prod(self.kernel_size) * self.out_channels * self.in_channels // self.conv_groups

    def border(self, dilation: int | Sequence[int] = 1) -> alignment.Margin:
        """Return the width (before, after) per axis of the border in which "same_per_step" differs from "same".

        Args:
            dilation: dilation of the cores, one int or one for each axis.

        Raises:
            TensorTrainError: the dilation is not a positive integer.

        >>> import torch
        >>> from tensortrain import ConvTensorTrain
        >>> ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)]).border()
        ((1, 1), (1, 1))
        """
        return alignment.border(self.kernel_sizes, checks.per_axis("dilation", dilation, len(self.kernel_size)))

    def macs(
        self,
        size: int | Sequence[int],
        padding: str = "same",
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
    ) -> int:
        """Return the multiply-accumulates of `evaluate` for one image of `size`: `Σ_l |core l| · |output of step l|`.

        For a transposed chain, the zeros that the stride inserts into the input are included, as in `evaluate`.

        Args:
            size: the size of the image, one int or one for each axis.
            padding, stride, dilation: as in `ConvTensorTrain.evaluate`.

        Raises:
            TensorTrainError: an argument is out of range, or the image is smaller than the kernel under "valid".

        >>> from tensortrain import ConvTensorTrain
        >>> ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)]).macs(16, "same_per_step")
        55296
        """
        sizes = alignment.output_sizes(self.kernel_sizes, size, padding, stride, dilation, self.transposed)
        return sum(core.numel() * math.prod(out) for core, out in zip(self.cores, sizes, strict=True))

    def dense_macs(
        self,
        size: int | Sequence[int],
        padding: str = "same",
        *,
        stride: int | Sequence[int] = 1,
        dilation: int | Sequence[int] = 1,
    ) -> int:
        """Return the multiply-accumulates of the dense convolution for one image of `size`.

        Args:
            size, padding, stride, dilation: as in `macs`.

        Raises:
            TensorTrainError: in the same cases as `macs`.

        >>> import torch
        >>> from tensortrain import ConvTensorTrain
        >>> ConvTensorTrain([torch.ones(4, 2, 3, 3), torch.ones(2, 8, 3, 3)]).dense_macs(16)
        204800
        """
        (out,) = alignment.output_sizes([self.kernel_size], size, padding, stride, dilation, self.transposed)
        return self.dense_parameters * math.prod(out)

    def __repr__(self) -> str:
        kind = "conv_transpose" if self.transposed else "conv"
        pixels = math.prod(self.kernel_size)
        cores = " | ".join(_describe(k, g) for k, g in zip(self.kernel_sizes, self.groups, strict=True))
        grouped = "; gN: N groups" if max(self.groups) > 1 else ""
        lines = [
            f"ConvTensorTrain of a {kind} kernel {'×'.join(map(str, self.kernel_size))},"
            f" {self.in_channels} → {self.out_channels} channels"
            + (f", {self.conv_groups} groups" if self.conv_groups > 1 else ""),
            f"  cores       {cores}  (from output to input{grouped})",
            f"  ranks       {self.ranks}  (channels: outputs, between the cores, inputs)",
            f"  parameters  {self.n_parameters:,} of {self.dense_parameters:,}"
            f" ({self.n_parameters / self.dense_parameters:.1%})",
            f"  MACs/pixel  {self.n_parameters:,} sequential, {self.dense_parameters:,} dense ({pixels} taps)",
            "              borders and strides: .macs(size); faster here or not: .plan(size)",
        ]
        if self.error is not None:
            lines.append(f"  error       {self.error:.4g} relative (Frobenius)")
        if self.lower_bound is not None and self.upper_bound is not None:
            lines.append(f"  bounds      {bounds_text(self.lower_bound, self.upper_bound)}")
        if self.data_error is not None:
            bound = "" if self.data_lower_bound is None else f", at least {self.data_lower_bound:.4g} at these ranks"
            lines.append(f"  data error  {self.data_error:.4g} relative (outputs){bound}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return for notebooks the printed lines, and below them a drawing of the chain from input to output."""
        cores = [_describe(size, groups) for size, groups in zip(self.kernel_sizes, self.groups, strict=True)]
        title, *lines = str(self).splitlines()
        drawing = chain_drawing(self.ranks[::-1], cores[::-1]) if len(cores) <= _MOST_DRAWN else ""
        return facts(title, {}, {"report": "\n".join(lines)}) + drawing


def bounds_text(lower: float, upper: float) -> str:
    """Return both bounds of an error as text; a lower bound of 0 and an upper bound of 1 say nothing and are left out.

    >>> bounds_text(0.25, 0.5), bounds_text(0.25, 1.0), bounds_text(0.0, 1.0)
    ('0.25 ≤ error ≤ 0.5', '0.25 ≤ error, none known from above', 'none known, from below or above')
    """
    if lower <= 0 and upper >= 1:
        return "none known, from below or above"
    if upper >= 1:
        return f"{lower:.4g} ≤ error, none known from above"
    if lower <= 0:
        return f"error ≤ {upper:.4g}, none known from below"
    return f"{lower:.4g} ≤ error ≤ {upper:.4g}"


def _describe(size: Sequence[int], groups: int) -> str:
    """Return the text of a core: its size, and its groups if there are several."""
    text = "×".join(map(str, size))
    return text if groups == 1 else f"{text} g{groups}"
