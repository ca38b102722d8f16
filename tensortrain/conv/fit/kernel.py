"""The kernel in the form that all solvers use, and the conversion of their cores back to convolution weights.

In `tensortrain.conv.fit` a kernel is `(G, p, q, *K)`, in float64 and with unit Frobenius norm: G groups of the
convolution, each with p outputs and q inputs. T(l) is `(G, r_{l-1}, r_l / g_l, *k_l)`, where ranks and groups are
counted within one group of the convolution. All operations are batched over G.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv import functional
from tensortrain.conv.fit.lower_bounds import lower_bound, quick_lower_bound
from tensortrain.conv.fit.metric import Metric
from tensortrain.conv.statements import check_kind
from tensortrain.errors import TensorTrainError
from tensortrain.linalg import frobenius_norm


@dataclass(frozen=True)
class NormalizedKernel:
    """A kernel to decompose, checked and scaled to unit norm.

    Attributes:
        raw: the kernel without scaling, `(G, p, q, *K)`, in float64.
        weight: the kernel scaled to unit norm (or zero).
        norm: Frobenius norm of the original kernel.
        dtype: dtype of the original kernel.
        transposed: whether the kernel belongs to a transposed convolution.
        metric: the metric of the data; None for the Frobenius norm.
    """

    raw: Tensor
    weight: Tensor
    norm: float
    dtype: torch.dtype
    transposed: bool
    metric: Metric | None = None

    @classmethod
    def of(cls, weight: Tensor, groups: int, transposed: bool, inputs: Tensor | None = None) -> "NormalizedKernel":
        """Check a convolution weight and bring it into the shape and scale that the solvers expect.

        Args:
            weight: the weight of a convolution.
            groups: number of groups of the convolution.
            transposed: whether the convolution is transposed.
            inputs: samples or their second moment, which define the metric of the fit; see `Metric.of`.

        Raises:
            TensorTrainError: the weight is not real and finite with 1 to 3 spatial axes, the groups do not divide it,
                or its norm is beyond the range of float64.
        """
        weight = checks.entries("weight", weight, min_dim=3).detach()
        if weight.dim() > 5:
            raise TensorTrainError(f"weight has shape {tuple(weight.shape)}; 1 to 3 spatial axes are supported")
        if weight.is_complex():
            raise TensorTrainError(f"weight has dtype {weight.dtype}; decompose its real and imaginary parts instead")
        groups, transposed = checks.integer("groups", groups), check_kind(transposed)
        if weight.shape[0] % groups:
            raise TensorTrainError(
                f"groups = {groups} does not divide the first axis of weight, {weight.shape[0]} long"
            )
        dtype, weight = weight.dtype, weight.double()
        if transposed:
            weight = functional.transpose_weight(weight, groups)
        # the same memory layout for all, so that results agree bit for bit
        blocks = weight.reshape(groups, -1, *weight.shape[1:]).contiguous()
        norm = frobenius_norm(blocks)
        if norm == math.inf:
            raise TensorTrainError("the norm of weight is beyond the range of float64; scale it first, say by 1e-10")
        unit = blocks / norm if norm else blocks
        metric = None if inputs is None else Metric.of(inputs, unit, transposed)
        return cls(blocks, unit, norm, dtype, transposed, metric)

    @property
    def conv_groups(self) -> int:
        """Return the number of groups G of the convolution."""
        return self.weight.shape[0]

    @property
    def size(self) -> tuple[int, ...]:
        """Return the size of the kernel on each axis."""
        return tuple(self.weight.shape[3:])

    @property
    def channels(self) -> tuple[int, int]:
        """Return the output and input channels of one group."""
        return self.weight.shape[1], self.weight.shape[2]

    @property
    def dense_parameters(self) -> int:
        """Return the number of entries of the kernel."""
        return self.weight.numel()

    def finish(self, cores: Sequence[Tensor], groups: Sequence[int]) -> tuple[list[Tensor], tuple[int, ...], float]:
        """Return cores of the normalised kernel as balanced weights in the original scale and dtype; see `export`."""
        return self.export(self._scaled(cores, groups), groups)

    def _scaled(self, cores: Sequence[Tensor], groups: Sequence[int]) -> list[Tensor]:
        """Return cores of the normalised kernel, balanced and in the original scale."""
        scale = self.norm ** (1 / len(cores))
        return [core * scale for core in balance(even_gauge(cores, groups))]

    def rounding(self, cores: Sequence[Tensor], groups: Sequence[int]) -> float:
        """Return by how much the rounding in `finish` moves the kernel of these cores, relative to its norm."""
        scaled = self._scaled(cores, groups)
        exact, short = composed(scaled, groups), [core.to(self.dtype).double() for core in scaled]
        return frobenius_norm(composed(short, groups) - exact) / (self.norm or 1.0)

    def export(self, cores: Sequence[Tensor], groups: Sequence[int]) -> tuple[list[Tensor], tuple[int, ...], float]:
        """Return cores of the raw kernel as weights of convolutions, their total groups, and the relative error.

        Raises:
            TensorTrainError: entries of the kernel of the cores overflow its dtype.
        """
        total = tuple(self.conv_groups * g for g in groups)
        weights = [core.flatten(0, 1).to(self.dtype) for core in cores]
        kernel = self._kernel(weights, total)
        largest = torch.finfo(self.dtype).max
        near = not bool(kernel.abs().amax() < largest / 256)  # then intermediate sums may overflow as well
        if near and not bool(functional.compose_all(weights, total).isfinite().all()):
            raise TensorTrainError(
                f"weight has entries up to {float(self.raw.abs().amax()):.3g}, near the largest {self.dtype},"
                f" {largest:.3g}, and the kernel of the cores would overflow; scale it first"
            )
        error = self._distance(kernel)
        if self.transposed:
            weights = [functional.transpose_weight(w, g) for w, g in zip(weights, total, strict=True)]
        return [w.contiguous() for w in weights], total, error

    def stored_error(self, weights: Sequence[Tensor], total: Sequence[int]) -> float:
        """Return the relative error of weights in the form that `export` returns."""
        if self.transposed:
            weights = [functional.transpose_weight(w, g) for w, g in zip(weights, total, strict=True)]
        return self._distance(self._kernel(weights, total))

    def _kernel(self, weights: Sequence[Tensor], total: Sequence[int]) -> Tensor:
        """Return the kernel of weights of ordinary convolutions, in the form of `raw`."""
        cores = [weight.double().reshape(self.conv_groups, -1, *weight.shape[1:]) for weight in weights]
        return composed(cores, [g // self.conv_groups for g in total])

    def _distance(self, kernel: Tensor) -> float:
        """Return the relative error of a kernel in the scale of the raw kernel."""
        difference = (kernel - self.raw) / (self.norm or 1.0)
        return frobenius_norm(difference) if self.metric is None else self.metric.error(difference)

    def error(self, cores: Sequence[Tensor], groups: Sequence[int]) -> float:
        """Return `‖W - T(1) * … * T(m)‖` in the metric of the kernel; it is relative, because W has unit norm."""
        difference = composed(cores, groups) - self.weight
        return float(difference.norm()) if self.metric is None else self.metric.error(difference)

    def quick_lower_bound(self, kernel_sizes: Sequence[tuple[int, ...]], ranks: Sequence[int]) -> float:
        """Return a lower bound of the error of all chains with these inner ranks, at low cost, for searches."""
        return self._in_metric(kernel_sizes, ranks, quick_lower_bound(self.weight, kernel_sizes, ranks))

    def lower_bound(
        self, kernel_sizes: Sequence[tuple[int, ...]], ranks: Sequence[int], error: float = math.inf
    ) -> float:
        """Return the best known lower bound of the error of all chains with these inner ranks, for reports.

        In the Frobenius norm, the search ends if the bound reaches `error`, the error of a chain with these ranks.
        """
        if self.metric is not None:
            error = math.inf
        return self._in_metric(kernel_sizes, ranks, lower_bound(self.weight, kernel_sizes, ranks, error))

    def _in_metric(self, kernel_sizes: Sequence[tuple[int, ...]], ranks: Sequence[int], frobenius: float) -> float:
        """Return the bound in the metric of the data for a bound in the Frobenius norm."""
        if self.metric is None:
            return frobenius
        return self.metric.lower_bound(self.weight, kernel_sizes, ranks, frobenius)


def composed(cores: Sequence[Tensor], groups: Sequence[int]) -> Tensor:
    """Return the dense kernel `(G, r, q, *K)` of consecutive cores `(G, r_{l-1}, r_l / g_l, *k_l)`."""
    count = len(cores[0])
    total = [count * g for g in groups]
    flat = functional.compose_all([core.flatten(0, 1) for core in cores], total)
    kernel = functional.ungroup(flat, math.gcd(*total), count)
    return kernel.reshape(count, -1, *kernel.shape[1:])


def balance(cores: Sequence[Tensor]) -> list[Tensor]:
    """Return the same chain with cores of equal norm."""
    norms = [float(core.norm()) for core in cores]
    if min(norms) == 0:
        return list(cores)
    mean = math.exp(sum(map(math.log, norms)) / len(norms))
    return [core * (mean / norm) for core, norm in zip(cores, norms, strict=True)]


def even_gauge(cores: Sequence[Tensor], groups: Sequence[int]) -> list[Tensor]:
    """Return the same chain with balanced neighbouring ungrouped cores.

    `T(l) M` and `M⁻¹ T(l+1)` give the same kernel for any invertible M. After refinement, M can be badly conditioned,
    and rounding to a short dtype then causes errors many times its precision. Here M minimises the norms of the two
    cores: it follows from an SVD of the product of their triangular factors, whose singular values are shared equally.
    """
    out = list(cores)
    for l, (g, h) in enumerate(itertools.pairwise(groups)):
        left, right = out[l].movedim(2, -1), out[l + 1]
        rank = right.shape[1]
        rows, columns = left.flatten(1, -2), right.flatten(2)
        if g > 1 or h > 1 or rank > min(rows.shape[1], columns.shape[2]) or not (left.any() and right.any()):
            continue
        q, r = torch.linalg.qr(rows)
        p, t = torch.linalg.qr(columns.mT)
        u, s, v = torch.linalg.svd(r @ t.mT)
        root = s.sqrt()
        out[l] = (q @ (u * root[:, None])).reshape(left.shape).movedim(-1, 2)
        out[l + 1] = ((root[..., None] * v) @ p.mT).reshape(right.shape)
    return out
