"""Closed-form approximations of a layer, and the error of each at every rank, in the metric of the layer's inputs.

All forms are special cases of one: `1×1 (p ← s) | K×K (s ← r) | 1×1 (r ← q)`, a kernel between an outer and an inner
1×1 convolution. There is no outer factor if s = p, and no inner factor if r = q; without both, the form is the dense
layer. For a linear or 1×1 layer, only s matters. The error is that of the layer's outputs, `E‖y − ŷ‖² / E‖y‖²` with
`y = W x`. In terms of weights it is `‖(W − Ŵ) Σ^½‖² / ‖W Σ^½‖²` with Σ = E[x xᵀ] over patches x. With Σ = 1 it is the
relative Frobenius error of the weights, squared.

- The outer factor spans the leading eigenvectors of E[y yᵀ] = W Σ Wᵀ. Without an inner factor it is optimal among all
  layers whose outputs have that rank, and the discarded eigenvalues are its error (Eckart and Young 1936).
- The inner factor comes from the same decomposition of the kernel's unfolding `(p·T, q)`, with Σ replaced by its mean
  over the T taps. The kernel for this inner factor is then the least-squares optimum in the full Σ. One Cholesky
  factorisation gives its error for every r. With an outer factor, this is Tucker-2 with one side truncated after the
  other.

Matrices are batched over the G groups of a layer: W is `(G, p, q·T)`, Σ `(G, q·T, q·T)`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-6  # share of a moment's mean diagonal; few inputs or dead channels make moments singular
FULL = 256  # with at most this many input channels, all inner ranks are tried
GRID = 32  # number of inner ranks that are tried for wider layers


@dataclass(frozen=True)
class Curve:
    """The error of every form of a layer.

    Attributes:
        ranks: `(n, 2)`, outer and inner rank within a group; the last row is the dense layer.
        errors: `(n,)`, squared relative errors; float64.
        tails: `(p,)`: entry n − 1 is a lower bound of the squared relative error of all layers whose outputs have rank
            n, for outputs with the moments from which the curve was computed.
        taps: T, the number of kernel positions.
    """

    ranks: Tensor
    errors: Tensor
    tails: Tensor
    taps: int

    def bound(self, ranks: tuple[int, int]) -> float:
        """Return a lower bound of the squared error for all layers whose outputs have the rank of a form's outputs.

        Without regularisation, the bound of a form without an inner factor is its error.

        Args:
            ranks: outer and inner rank of the form, within a group.
        """
        outer, inner = ranks
        return self.bound_at(min(outer, inner * self.taps))

    def bound_at(self, rank: int) -> float:
        """Return a lower bound of the squared error for all layers whose outputs have at most this rank."""
        return float(self.tails[min(rank, len(self.tails)) - 1])


@dataclass(frozen=True)
class Factors:
    """The factors of one form.

    Attributes:
        outer: `(G, p, s)`, or None if there is no outer factor.
        kernel: `(G, s, r, T)`.
        inner: `(G, r, q)`, or None if there is no inner factor.
    """

    outer: Tensor | None
    kernel: Tensor
    inner: Tensor | None

    def matrix(self) -> Tensor:
        """Return the composed matrix `(G, p, q·T)`."""
        kernel = self.kernel if self.inner is None else torch.einsum("gsrt,grq->gsqt", self.kernel, self.inner)
        matrix = kernel.flatten(2)
        return matrix if self.outer is None else self.outer @ matrix


def error_curve(matrix: Tensor, outputs: Tensor, moment: Tensor | None, taps: int) -> Curve:
    """Compute the errors of all forms of a layer.

    The cost is `O(G (qT)³)` for the Cholesky factorisation and `O(G q p³)` for the eigenvalues.

    Args:
        matrix: W, `(G, p, q·T)`.
        outputs: E[y yᵀ], `(G, p, p)`.
        moment: Σ, `(G, q·T, q·T)`. If it is None, or if T = 1, only outer factors are tried.
        taps: T.
    """
    p, d = matrix.shape[1:]
    q = d // taps
    total = outputs.diagonal(dim1=1, dim2=2).sum()
    ranks = [torch.stack([torch.arange(1, p), torch.full((p - 1,), q)], 1)]
    errors = [_tails(outputs, total, matrix)[:-1]]
    if moment is not None and taps > 1:
        explained = _explained(matrix, moment, taps)  # (G, r·T, p)
        most = min(explained.shape[1] // taps, q - 1)
        square, last = torch.zeros_like(outputs), 0
        for r in range(1, most + 1, 1 if q <= FULL else -(-q // GRID)):
            part = explained[:, last * taps : r * taps]
            square, last = square + part.mT @ part, r
            ranks.append(torch.stack([torch.arange(1, p + 1), torch.full((p,), r)], 1))
            errors.append(_tails(square, total))
    ranks.append(torch.tensor([[p, q]]))
    errors.append(torch.zeros(1, dtype=torch.float64))
    tails = unexplained(outputs, float(total), matrix)
    return Curve(torch.cat(ranks), torch.cat([e.cpu() for e in errors]).clamp(min=0), tails, taps)


def unexplained(moment: Tensor, energy: float, matrix: Tensor) -> Tensor:
    """Return the lower bounds `(p,)` of the squared errors of layers whose outputs have rank 1, …, p.

    Args:
        moment: Σ y yᵀ of what is to be approximated, `(G, p, p)`.
        energy: the sum of squares to which the errors are relative.
        matrix: W, `(G, p, d)`, the layer's own matrix.
    """
    if not energy:
        return torch.zeros(moment.shape[-1], dtype=torch.float64)
    total = moment.diagonal(dim1=1, dim2=2).sum()
    return (_tails(moment, total, matrix) * total / energy).clamp(min=0).cpu()


def approximate(matrix: Tensor, outputs: Tensor, moment: Tensor | None, taps: int, ranks: tuple[int, int]) -> Factors:
    """Compute the factors of one form.

    Args:
        matrix: W, `(G, p, q·T)`.
        outputs: E[y yᵀ], `(G, p, p)`.
        moment: Σ, `(G, q·T, q·T)`; it may be None if there is no inner factor.
        taps: T.
        ranks: outer and inner rank of the form, within a group.

    >>> matrix, moment = torch.randn(1, 6, 36, dtype=torch.float64), torch.eye(36, dtype=torch.float64)[None]
    >>> curve = error_curve(matrix, matrix @ matrix.mT, moment, taps=9)
    >>> factors = approximate(matrix, matrix @ matrix.mT, moment, taps=9, ranks=(3, 4))
    >>> error = (matrix - factors.matrix()).square().sum() / matrix.square().sum()
    >>> torch.allclose(error, curve.errors[(curve.ranks == torch.tensor([3, 4])).all(1)], rtol=1e-4)
    True
    """
    groups, p, d = matrix.shape
    s, r = ranks
    inner, target = None, matrix
    if r < d // taps:
        assert moment is not None
        inner = _inner_basis(matrix, moment, taps)[:, :r]
        features, square = _features(inner, moment, taps)
        target = torch.cholesky_solve(features @ matrix.mT, torch.linalg.cholesky(square)).mT  # (G, p, r·T)
        outputs = target @ square @ target.mT
    outer = _leading(outputs, target, s) if s < p else None
    kernel = target if outer is None else outer.mT @ target
    return Factors(outer, kernel.reshape(groups, s, r, taps), inner)


def _tails(moment: Tensor, total: Tensor, matrix: Tensor | None = None) -> Tensor:
    """Return `(p,)`: the share of `total` that the leading 1, …, p eigenvalues do not explain, for all groups together.

    If `matrix` `(G, p, d)` is passed, its columns must span those of `moment`. If d is less than p, the eigenvalues are
    then computed from a d × d matrix.
    """
    p = moment.shape[-1]
    if matrix is not None and matrix.shape[2] < p:
        basis = torch.linalg.qr(matrix)[0]
        moment = basis.mT @ moment @ basis
    values = torch.linalg.eigvalsh(moment).flip(-1).clamp(min=0).sum(0)
    values = torch.nn.functional.pad(values, (0, p - len(values)))
    return 1 - values.cumsum(0) / total if total else torch.zeros_like(values)


def _leading(moment: Tensor, matrix: Tensor, s: int) -> Tensor:
    """Return the s leading eigenvectors of a moment, `(G, p, s)`.

    The columns of `matrix` `(G, p, d)` must span those of the moment.
    """
    if s > matrix.shape[2] or matrix.shape[2] >= matrix.shape[1]:
        leading: Tensor = torch.linalg.eigh(moment)[1][..., -s:]
    else:
        basis = torch.linalg.qr(matrix)[0]
        leading = basis @ torch.linalg.eigh(basis.mT @ moment @ basis)[1][..., -s:]
    return leading


def _inner_basis(matrix: Tensor, moment: Tensor, taps: int) -> Tensor:
    """Return `(G, r, q)`, r = min(q, p·T): rows that map input channels to features, the most important first."""
    groups, p, d = matrix.shape
    q = d // taps
    channels = torch.einsum("gatbt->gab", moment.reshape(groups, q, taps, q, taps)) / taps
    lower = torch.linalg.cholesky(_ridged(channels))
    unfolded = matrix.reshape(groups, p, q, taps).movedim(-1, 2).reshape(groups, p * taps, q)
    rows = torch.linalg.svd(unfolded @ lower, full_matrices=False)[2]
    basis: Tensor = torch.linalg.solve_triangular(lower, rows, upper=False, left=False)
    return basis


def _features(inner: Tensor, moment: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """Return moments of the features `z = (inner ⊗ 1) x`: E[z xᵀ], `(G, r·T, q·T)`, and E[z zᵀ], `(G, r·T, r·T)`."""
    groups, r, q = inner.shape
    cross = inner @ moment.reshape(groups, q, taps * q * taps)
    cross = cross.reshape(groups, r * taps, q, taps)
    square = torch.einsum("gnqt,grq->gnrt", cross, inner).reshape(groups, r * taps, r * taps)
    return cross.reshape(groups, r * taps, q * taps), _ridged(square)


def _explained(matrix: Tensor, moment: Tensor, taps: int) -> Tensor:
    """Return a matrix `(G, r·T, p)` that gives the moments of the best outputs from the first features.

    If A are its first n·T rows, AᵀA is the moment of the best outputs from the first n features.
    """
    features, square = _features(_inner_basis(matrix, moment, taps), moment, taps)
    lower = torch.linalg.cholesky(square)
    explained: Tensor = torch.linalg.solve_triangular(lower, features @ matrix.mT, upper=False)
    return explained


def _ridged(moment: Tensor) -> Tensor:
    """Return a moment with a ridge, so that it is not singular. A moment that is zero becomes the unit matrix."""
    scale = moment.diagonal(dim1=-2, dim2=-1).mean(-1)
    ridge = torch.where(scale > 0, RIDGE * scale, torch.ones_like(scale))
    return moment + ridge[:, None, None] * torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
