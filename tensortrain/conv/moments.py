"""The second moment of the patches that a convolution reads; it defines the error of the outputs."""

import math
import sys
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tensortrain import checks
from tensortrain.errors import TensorTrainError
from tensortrain.tt.scaling import exponent, peak, shifted

CHUNK = 2**22  # number of entries of patches in memory at the same time
MIN_POWER, MAX_POWER = sys.float_info.min_exp, sys.float_info.max_exp  # of normal floats, 2**(power - 1) … 2**power


def second_moment(
    samples: Tensor,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Return Σ = E[x xᵀ] over the patches x that a convolution reads, the mean over all positions of all samples.

    For two convolutions with the kernels W and Ŵ on these samples, the mean squared difference of the outputs at a
    position is `tr((W - Ŵ) Σ (W - Ŵ)ᵀ)`, where W is a matrix with one row for each output channel.

    Args:
        samples: the samples, `(N, C, *size)`, real and at least as large as one patch.
        kernel_size: kernel size of the convolution, one int or one for each axis. The same holds for `stride`,
            `padding` and `dilation`.
        groups: number of groups G of the convolution.

    Returns:
        Σ in float64, `(G, d, d)` with d = C / G · Π kernel_size. The entries of a patch have the order of
        `weight.flatten(1)`.

    Raises:
        TensorTrainError: the arguments do not fit each other, or the moment is beyond the range of float64.

    Complexity: `d²` multiplications for each position and group.

    >>> second_moment(torch.tensor([[[1.0, 2.0, 3.0]]]), 2)   # patches (1, 2) and (2, 3)
    tensor([[[2.5000, 4.0000],
             [4.0000, 6.5000]]], dtype=torch.float64)
    """
    moment, k = scaled_moment(samples, kernel_size, stride=stride, padding=padding, dilation=dilation, groups=groups)
    largest = float(moment.abs().amax())
    power = math.frexp(largest)[1] + k  # the largest entry of Σ is below 2**power
    if largest and not MIN_POWER <= power <= MAX_POWER:
        raise TensorTrainError(
            f"the second moment of samples is beyond the range of float64: their squares are about 2**{power}; divide"
            f" samples by {float(samples.detach().abs().amax()):.1e} first, as only relative sizes matter for a fit"
        )
    return shifted(moment, k)


def scaled_moment(
    samples: Tensor,
    kernel_size: int | Sequence[int],
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> tuple[Tensor, int]:
    """Return `(Σ', k)` with `Σ = Σ' · 2**k` for the second moment Σ of samples, which may be beyond every float.

    The arguments and errors are those of `second_moment`. The samples are divided by a power of two before they are
    squared, which is exact.
    """
    samples = checks.entries("samples", samples, min_dim=3)
    axes = samples.dim() - 2
    if axes > 3 or samples.is_complex():
        raise TensorTrainError(
            f"samples have shape {tuple(samples.shape)} and dtype {samples.dtype}; real samples with 1 to 3 spatial"
            " axes are needed"
        )
    sizes = checks.per_axis("kernel_size", kernel_size, axes)
    strides, dilations = checks.per_axis("stride", stride, axes), checks.per_axis("dilation", dilation, axes)
    pads = checks.per_axis("padding", padding, axes, minimum=0)
    groups = checks.integer("groups", groups)
    if samples.shape[1] % groups:
        raise TensorTrainError(f"groups = {groups} does not divide the {samples.shape[1]} channels of samples")
    spans = [d * (k - 1) + 1 for k, d in zip(sizes, dilations, strict=True)]
    for axis, (length, pad, span) in enumerate(zip(samples.shape[2:], pads, spans, strict=True)):
        if length + 2 * pad < span:
            raise TensorTrainError(
                f"samples are {length} long on axis {axis}, with padding {length + 2 * pad}; a patch needs {span}"
            )
    windows = F.pad(samples.detach(), [p for pad in reversed(pads) for p in (pad, pad)])
    for axis, (span, s, d) in enumerate(zip(spans, strides, dilations, strict=True), start=2):
        windows = windows.unfold(axis, span, s)[..., ::d]
    windows = windows.movedim(1, 1 + axes)  # (N, *positions, C, *K), a view
    count, size = 0, windows[0].numel()
    d = windows[(0,) * (1 + axes)].numel() // groups
    total = torch.zeros(groups, d, d, dtype=torch.float64, device=samples.device)
    k = exponent(peak(samples)) if samples.is_floating_point() else 0
    for part in torch.split(windows, max(1, CHUNK // size)):
        patches = shifted(part.reshape(-1, groups, d).double(), -k).movedim(1, 0)
        total.baddbmm_(patches.mT, patches)
        count += patches.shape[1]
    return total / count, 2 * k
