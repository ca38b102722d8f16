"""The metric of the data: `‖W‖² = tr(W Σ Wᵀ)`, what a kernel does to inputs with the second moment Σ of their patches.

W is `(G, p, d)`, d = q·K, a matrix for each group of the convolution. With Σ = I this is the Frobenius norm.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.conv.alignment import whole_size
from tensortrain.conv.moments import second_moment
from tensortrain.errors import TensorTrainError

Axes = tuple[int, ...]

SYMMETRIC = 1e-6  # relative asymmetry, or negative part, of a second moment that may be rounding
RIDGE = 1e-8  # of the mean variance, added where a solver divides by the moment


@dataclass(frozen=True)
class Metric:
    """The metric of inputs, scaled so that the kernel has unit norm.

    Attributes:
        moment: Σ, `(G, d, d)`, float64, symmetric, scaled.
    """

    moment: Tensor

    @classmethod
    def of(cls, inputs: Tensor, weight: Tensor, transposed: bool) -> "Metric | None":
        """The metric of samples or of a second moment; None if it is a multiple of the Frobenius norm.

        Args:
            inputs: Σ, `(d, d)` or `(G, d, d)`; or samples `(N, G·q, *size)`, of which every position counts once.
            weight: the kernel, `(G, p, q, *K)`, of unit Frobenius norm or zero.
            transposed: whether the samples are inputs of a transposed convolution, which reads patches that reach
                beyond their border.

        Raises:
            TensorTrainError: neither; a matrix that is no second moment; one in which the kernel is zero.
        """
        moment = _moment(inputs, weight, transposed)
        eye = torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
        if bool(moment[0, 0, 0] > 0) and torch.equal(moment, moment[0, 0, 0] * eye.expand_as(moment)):
            return None
        energy = float(_energy(weight.flatten(2), moment))
        if not energy > 0:
            if not weight.any():
                return None
            raise TensorTrainError("inputs: the kernel yields zero for all of them; give inputs that excite it")
        return cls(moment / energy)

    def error(self, difference: Tensor) -> float:
        """Norm of a difference of kernels `(G, p, q, *K)`, relative because the kernel has unit norm."""
        return math.sqrt(max(0.0, float(_energy(difference.flatten(2), self.moment))))

    def lower_bound(
        self, weight: Tensor, kernel_sizes: Sequence[Axes], ranks: Sequence[int], frobenius: float
    ) -> float:
        """What no chain of these ranks can go below in this metric.

        Behind bond l stand `R_l` filters over the positions of T(1) * … * T(l), so the chain times `Σ^½` has rank at
        most `R_l · positions`. The Frobenius bound holds as well, times the root of the smallest eigenvalue of Σ.

        Args:
            weight: the kernel, `(G, p, q, *K)`.
            kernel_sizes: of every core.
            ranks: interior ranks within a conv group.
            frobenius: lower bound on the Frobenius error.
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
    return ((rows @ moment) * rows).sum()


def _moment(inputs: Tensor, weight: Tensor, transposed: bool) -> Tensor:
    """Σ `(G, d, d)` in float64 from what the caller gave."""
    checks.entries("inputs", inputs, min_dim=2)
    (groups, _, q, *size), d = weight.shape, weight[0, 0].numel()
    if tuple(inputs.shape) in ((groups, d, d), (d, d)) and (inputs.dim() == 3 or groups == 1):
        moment = inputs.detach().to(weight.device, torch.float64).reshape(groups, d, d)
        scale = float(moment.diagonal(dim1=1, dim2=2).abs().amax()) or 1.0
        if float((moment - moment.mT).abs().amax()) > SYMMETRIC * scale:
            raise TensorTrainError("inputs is no second moment: the matrix is not symmetric")
        moment = (moment + moment.mT) / 2
        if float(torch.linalg.eigvalsh(moment)[:, 0].min()) < -SYMMETRIC * scale * d:
            raise TensorTrainError("inputs is no second moment: the matrix has negative eigenvalues")
        return moment
    if inputs.dim() != weight.dim() - 1 or inputs.shape[1] != groups * q:
        raise TensorTrainError(
            f"inputs has shape {tuple(inputs.shape)}; a second moment {(groups, d, d)} or samples"
            f" (N, {groups * q}{', size' * len(size)}) are needed"
        )
    pads = [k - 1 for k in size] if transposed else 0
    return second_moment(inputs, size, padding=pads, groups=groups).to(weight.device)
