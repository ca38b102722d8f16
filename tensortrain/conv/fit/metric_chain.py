"""Fit a chain of any format in the metric of the data, with its first core eliminated.

The chain is `T(1) M`, where the rows of M are the product of the other cores, shifted to every position of T(1). The
best T(1) for given M is the solution of one linear least-squares problem for all output channels,
`T(1) = W Σ Mᵀ (M Σ Mᵀ)⁻¹` (variable projection). Only T(2) … T(m) are unknowns. L-BFGS finds them, starting from the
Frobenius fits of the kernel and of the whitened kernel.
"""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.kernel import composed
from tensortrain.conv.fit.lbfgs import Derivatives, Evaluation
from tensortrain.conv.fit.metric import RIDGE, Metric
from tensortrain.conv.fit.spectral import cholesky

Axes = tuple[int, ...]


def shifted(rest: Tensor, taps: Axes) -> Tensor:
    """Return a kernel `(B, r, q, *rest)` at all P positions of a core of size `taps` before it: `(B, r·P, q·K)`."""
    places = []
    for offsets in itertools.product(*[range(t) for t in taps]):
        pads = [side for o, t in zip(reversed(offsets), reversed(taps), strict=True) for side in (o, t - 1 - o)]
        places.append(F.pad(rest, pads).flatten(2))
    return torch.stack(places, dim=2).flatten(1, 2)


def windows(moment: Tensor, channels: int, size: Axes, part: Axes) -> Tensor:
    """Return the second moment of a smaller patch, `(G, q·Π part, q·Π part)`, the mean over its places in the patch."""
    g = len(moment)
    full = moment.reshape(g, channels, *size, channels, *size)
    cuts = []
    for offsets in itertools.product(*[range(k - t + 1) for k, t in zip(size, part, strict=True)]):
        cut = full
        for axis, (o, t) in enumerate(zip(offsets, part, strict=True)):
            cut = cut.narrow(2 + axis, o, t).narrow(3 + len(size) + axis, o, t)
        cuts.append(cut)
    d = channels * math.prod(part)
    mean: Tensor = sum(cuts[1:], cuts[0]) / len(cuts)
    return mean.reshape(g, d, d)


def whitening(moment: Tensor, channels: int, size: Axes) -> tuple[Tensor, Tensor]:
    """Return roots C^½ and C^-½ `(G, q, q)` of the channels' second moment, the mean over the positions of a patch."""
    covariance = windows(moment, channels, size, (1,) * len(size))
    values, vectors = torch.linalg.eigh(covariance)
    values = values.clamp(min=0)
    roots = (values + 1e-4 * values.mean(1, keepdim=True)).sqrt()[:, None]
    return (vectors * roots) @ vectors.mT, (vectors / roots) @ vectors.mT


class MetricChain:
    """The least-squares problem of one kernel and one format in the metric of the data, for `lbfgs.minimise`.

    Args:
        weight: the kernel, `(G, p, q, *K)`.
        kernel_sizes: the size of each core.
        groups: the groups of each core, within one group of the convolution.
        metric: the metric, in which the kernel has unit norm.
        ridge: weight of the squared norms of the unknown cores, which are added to the squared error.
    """

    def __init__(
        self, weight: Tensor, kernel_sizes: Sequence[Axes], groups: Sequence[int], metric: Metric, ridge: float = 0.0
    ) -> None:
        self.weight, self.kernel_sizes, self.groups, self.ridge = weight, list(kernel_sizes), list(groups), ridge
        d, first = weight[0, 0].numel(), groups[0]
        eye = torch.eye(d, dtype=weight.dtype, device=weight.device)
        mean = metric.moment.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
        moment = metric.moment + RIDGE * mean * eye
        # a grouped T(1) gives a separate problem for each of its groups
        self.moment = moment.repeat_interleave(first, 0)
        self.rows = weight.reshape(len(weight) * first, -1, d)
        self.reading = self.rows @ self.moment  # W Σ
        self.energy = float((self.reading * self.rows).sum())
        self.parts = [
            windows(moment, weight.shape[2], tuple(weight.shape[3:]), whole_size(kernel_sizes[l:]))
            for l in range(len(kernel_sizes))
        ]

    def step_cost(self, ranks: Sequence[int]) -> float:
        """Return the multiplications of one step: products of M, and of rows of the preconditioner, with Σ."""
        d = self.moment.shape[-1]
        reach = sum(
            r * math.prod(k) * part.shape[-1] ** 2
            for r, k, part in zip(ranks, self.kernel_sizes, self.parts, strict=False)
        )
        return float(len(self.weight) * (2 * reach + ranks[0] * d * self.rows.shape[1]))

    def _inner(self, x: Sequence[Tensor]) -> Tensor:
        """Return M, `(G·g_1, n, d)`, for T(2) … T(m)."""
        rest = self._behind(x, 0)
        return shifted(rest.reshape(len(rest) * self.groups[0], -1, *rest.shape[2:]), self.kernel_sizes[0])

    def _first(self, inner: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return T(1), `(G·g_1, p / g_1, n)`, the product M Σ, and the decrease of the squared error by T(1)."""
        read = inner @ self.moment
        gram, right = read @ inner.mT, self.reading @ inner.mT
        first = torch.cholesky_solve(right.mT, cholesky(gram, 1e-13)).mT
        return first, read, float((first * (2 * right - first @ gram)).sum())

    def complete(self, x: Sequence[Tensor]) -> list[Tensor]:
        """Return all m cores: the optimal first core, followed by `x`."""
        first, _, _ = self._first(self._inner(x))
        taps = self.kernel_sizes[0]
        return [first.reshape(len(self.weight), self.weight.shape[1], -1, *taps), *x]

    def evaluate(self, x: list[Tensor]) -> Evaluation:
        """Return the squared error with the optimal first core, and its derivatives."""
        with torch.enable_grad():
            leaves = [core.detach().requires_grad_() for core in x]
            inner = self._inner(leaves)
        first, read, explained = self._first(inner.detach())
        value = self.energy - explained + self.ridge * sum(float(core.square().sum()) for core in x)

        def derivatives() -> Derivatives:
            """Return the gradient, in which by variable projection the first core is constant."""
            slope = 2 * (first.mT @ (first @ read - self.reading))
            gradient = torch.autograd.grad(inner, leaves, slope)
            return Derivatives(
                [g + 2 * self.ridge * core for g, core in zip(gradient, x, strict=True)],
                lambda: self._preconditioner(self.complete(x)),
            )

        return Evaluation(max(value, 0.0), derivatives)

    def _preconditioner(self, cores: list[Tensor]) -> Callable[[list[Tensor]], list[Tensor]]:
        """Return the inverse normal equations of each core and group, with Σ taken as equal at all places in the patch.

        The cores to the left of a core enter by their Gram matrix. Those to the right enter by their normal matrix in
        the second moment of a patch that is as large as their reach.
        """
        factors: list[tuple[Tensor, Tensor]] = []
        for l in range(1, len(cores)):
            groups = self.groups[l]
            left = composed(cores[:l], self.groups[:l]).movedim(2, 1).flatten(2)  # (G, r_{l-1}, …)
            left = left.reshape(len(left) * groups, -1, left.shape[2])
            row = cholesky(left @ left.mT, 1e-8)
            right = self._behind(cores[l + 1 :], l)
            right = right.reshape(len(right) * groups, -1, *right.shape[2:])
            rows = shifted(right, self.kernel_sizes[l])
            part = self.parts[l].repeat_interleave(groups, 0) if groups > 1 else self.parts[l]
            column = rows @ part @ rows.mT
            factors.append((row, cholesky(column, 1e-8)))

        def apply(gradient: list[Tensor]) -> list[Tensor]:
            """Apply the preconditioner to a gradient."""
            out = []
            for g, groups, (row, column) in zip(gradient, self.groups[1:], factors, strict=True):
                blocks = g.reshape(len(g) * groups, g.shape[1] // groups, -1)  # (G·g, outputs, inputs·positions)
                blocks = torch.cholesky_solve(torch.cholesky_solve(blocks, row).mT, column).mT / 2
                out.append(blocks.reshape(g.shape))
            return out

        return apply

    def _behind(self, cores: Sequence[Tensor], l: int) -> Tensor:
        """Return the `cores` T(l+2), …, T(m) as one kernel `(G, r_{l+1}, q, *K)`, or the identity if there are none."""
        if cores:
            return composed(cores, self.groups[l + 1 :])
        g, q, axes = len(self.weight), self.weight.shape[2], self.weight.dim() - 3
        eye = torch.eye(q, dtype=self.weight.dtype, device=self.weight.device)
        return eye.reshape(1, q, q, *[1] * axes).expand(g, *[-1] * (2 + axes))


def closed_form(weight: Tensor, rank: int, metric: Metric) -> list[Tensor]:
    """Return the optimal `1×1 | K×K`: the principal axes of the outputs, and the kernel projected on them."""
    rows = weight.flatten(2)
    axes = torch.linalg.eigh(rows @ metric.moment @ rows.mT)[1][..., -rank:]  # (G, p, rank)
    ones = [1] * (weight.dim() - 3)
    return [axes.reshape(*axes.shape, *ones), (axes.mT @ rows).reshape(len(weight), -1, *weight.shape[2:])]
