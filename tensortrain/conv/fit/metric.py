"""The metric of the data, `‖W‖² = tr(W Σ Wᵀ)`, where Σ is the second moment of the patches of the inputs.

‖W‖² is the mean squared output of the kernel W, summed over its channels. W is `(G, p, d)` with d = q·K, one matrix for
each group of the convolution. For Σ = I, ‖W‖ is the Frobenius norm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv.alignment import whole_size
from tensortrain.conv.moments import scaled_moment
from tensortrain.errors import TensorTrainError
from tensortrain.tt.scaling import unit

Axes = tuple[int, ...]

SYMMETRIC = 1e-6  # largest relative asymmetry or negative eigenvalue of a second moment that rounding may cause
RIDGE = 1e-8  # fraction of the mean variance that is added where a solver divides by the moment


@dataclass(frozen=True)
class Metric:
    """The metric of inputs, scaled so that the kernel has unit norm.

    Attributes:
        moment: the scaled second moment Σ, `(G, d, d)`, symmetric, in float64.
    """

    moment: Tensor

    @classmethod
    def of(cls, inputs: Tensor, weight: Tensor, transposed: bool) -> "Metric | None":
        """Return the metric of samples or of a second moment, or None if it is a multiple of the Frobenius norm.

        Args:
            inputs: the second moment Σ, `(d, d)` or `(G, d, d)`, or samples `(N, G·q, *size)`, in which every position
                counts once.
            weight: the kernel, `(G, p, q, *K)`, of unit Frobenius norm or zero.
            transposed: whether the samples are inputs of a transposed convolution, whose patches reach beyond their
                border.

        Raises:
            TensorTrainError: the inputs are neither samples nor a second moment, or the kernel is zero in their metric.
        """
        moment = _moment(inputs, weight, transposed)
        eye = torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
        if bool(moment[0, 0, 0] > 0) and torch.equal(moment, moment[0, 0, 0] * eye.expand_as(moment)):
            return None
        energy = float(_energy(weight.flatten(2), moment))
        if not energy > 0:
            if not weight.any():
                return None
            raise TensorTrainError("the kernel's outputs are zero for all inputs; pass inputs with non-zero outputs")
        return cls(moment / energy)

    def error(self, difference: Tensor) -> float:
        """Return the norm of a difference of kernels `(G, p, q, *K)`; it is relative, as the kernel has unit norm."""
        return math.sqrt(max(0.0, float(_energy(difference.flatten(2), self.moment))))

    def lower_bound(
        self, weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int], frobenius: float
    ) -> float:
        """Return a lower bound of the error of all chains with these ranks in this metric.

        Bond l connects `R_l` filters over the positions of T(1) * … * T(l) with the rest of the chain, so the chain
        times `Σ^½` has rank at most `R_l · positions`. The Frobenius bound, times the root of the smallest eigenvalue
        of Σ, is a lower bound as well.

        Args:
            weight: the kernel, `(G, p, q, *K)`.
            kernel_sizes: the size of each core.
            ranks: the inner ranks within one group of the convolution.
            frobenius: a lower bound of the Frobenius error.
        """
        rows = weight.flatten(2)
        values = torch.linalg.eigvalsh(rows @ self.moment @ rows.mT).clamp(min=0)  # (G, p), ascending
        best = 0.0
        for l, rank in enumerate(ranks, start=1):
            count = values.shape[1] - rank * math.prod(whole_size(kernel_sizes[:l]))
            best = max(best, float(values[:, :count].sum()) if count > 0 else 0.0)
        smallest = max(0.0, float(torch.linalg.eigvalsh(self.moment)[:, 0].min()))
        return max(math.sqrt(best), math.sqrt(smallest) * frobenius)


def _energy(rows: Tensor, moment: Tensor) -> Tensor:
    """Return the squared norm in the metric."""
    return ((rows @ moment) * rows).sum()


def _moment(inputs: Tensor, weight: Tensor, transposed: bool) -> Tensor:
    """Return the second moment Σ `(G, d, d)` in float64 from the argument of the caller, times some power of two.

    The metric does not depend on the power, but without it the energy of a kernel could leave the range of float64.
    """
    checks.entries("inputs", inputs, min_dim=2)
    (groups, _, q, *size), d = weight.shape, weight[0, 0].numel()
    if tuple(inputs.shape) in ((groups, d, d), (d, d)) and (inputs.dim() == 3 or groups == 1):
        moment, _ = unit(inputs.detach().to(weight.device, torch.float64).reshape(groups, d, d))
        scale = float(moment.diagonal(dim1=1, dim2=2).abs().amax()) or 1.0
        if float((moment - moment.mT).abs().amax()) > SYMMETRIC * scale:
            raise TensorTrainError("inputs is not a second moment: the matrix is not symmetric")
        moment = (moment + moment.mT) / 2
        if float(torch.linalg.eigvalsh(moment)[:, 0].min()) < -SYMMETRIC * scale * d:
            raise TensorTrainError("inputs is not a second moment: the matrix has negative eigenvalues")
        return moment
    if inputs.dim() != weight.dim() - 1 or inputs.shape[1] != groups * q:
        raise TensorTrainError(
            f"inputs has shape {tuple(inputs.shape)}; a second moment {(groups, d, d)} or samples"
            f" (N, {groups * q}{', size' * len(size)}) are needed"
        )
    pads = [k - 1 for k in size] if transposed else 0
    moment, _ = scaled_moment(inputs, size, padding=pads, groups=groups)
    return moment.to(weight.device)
