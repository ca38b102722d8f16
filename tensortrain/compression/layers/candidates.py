"""Closed forms that may replace a layer, and the error of each at every rank, in the metric of the layer's inputs.

All forms are one: `1×1 (p ← s) | K×K (s ← r) | 1×1 (r ← q)`, a kernel between two changes of channels. Rank s = p
leaves the outer change out, r = q the inner one, both together are the dense layer; of a linear or 1×1 layer only s
matters. The error is that of the layer's outputs, `E‖y − ŷ‖² / E‖y‖²` with `y = W x`, or in terms of weights
`‖(W − Ŵ) Σ^½‖² / ‖W Σ^½‖²` with Σ = E[x xᵀ] over patches x. Σ = 1 gives the Frobenius error of the weights.

- The outer factor spans the leading eigenvectors of E[y yᵀ] = W Σ Wᵀ. Alone it is the optimum of all layers whose
  outputs have that rank, and the discarded eigenvalues are its error (Eckart and Young 1936).
- The inner factor comes from the same decomposition of the kernel's unfolding `(p·T, q)`, with Σ replaced by its mean
  over the T taps. The kernel behind it is then optimal in the full Σ, by least squares; one Cholesky factorisation
  gives its error for every r. With an outer factor this is Tucker-2, truncated one side after the other.

Matrices are batched over the G groups of a layer: W is `(G, p, q·T)`, Σ `(G, q·T, q·T)`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-6  # of the mean diagonal of a moment, which may be singular: few inputs, dead channels
FULL = 256  # input channels up to which all inner ranks are tried
GRID = 32  # inner ranks tried of wider layers


@dataclass(frozen=True)
class Curve:
    """The error of every form of a layer.

    Attributes:
        ranks: `(n, 2)`, outer and inner rank within a group; the last row is the dense layer.
        errors: `(n,)`, squared relative errors; float64.
        tails: `(p,)`, what no layer whose outputs have rank 1 … p can go below on the measured inputs.
        taps: T.
    """

    ranks: Tensor
    errors: Tensor
    tails: Tensor
    taps: int

    def bound(self, ranks: tuple[int, int]) -> float:
        """What no layer can go below whose outputs have as low a rank as those of one form.

        Without regularisation, and of a form without an inner factor, this is its error.
        """
        outer, inner = ranks
        return self.bound_at(min(outer, inner * self.taps))

    def bound_at(self, rank: int) -> float:
        """What no layer can go below whose outputs have at most this rank."""
        return float(self.tails[min(rank, len(self.tails)) - 1])


@dataclass(frozen=True)
class Factors:
    """One form: `(G, p, s)` or None, `(G, s, r, T)`, and `(G, r, q)` or None."""

    outer: Tensor | None
    kernel: Tensor
    inner: Tensor | None

    def matrix(self) -> Tensor:
        """The composed matrix `(G, p, q·T)`."""
        kernel = self.kernel if self.inner is None else torch.einsum("gsrt,grq->gsqt", self.kernel, self.inner)
        matrix = kernel.flatten(2)
        return matrix if self.outer is None else self.outer @ matrix


def error_curve(
    matrix: Tensor, outputs: Tensor, moment: Tensor | None, taps: int, measured: Tensor | None = None
) -> Curve:
    """Errors of all forms.

    Args:
        matrix: W, `(G, p, q·T)`.
        outputs: E[y yᵀ], `(G, p, p)`.
        moment: Σ, `(G, q·T, q·T)`, or None: then, as with T = 1, only outer factors are tried.
        taps: T.
        measured: E[y yᵀ] for the bounds, if `outputs` and `moment` are regularised and so hold for other inputs.

    Cost: `O(G (qT)³)` for the Cholesky factorisation and `O(G q p³)` for the eigenvalues.
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
    exact = outputs if measured is None else measured
    tails = _tails(exact, exact.diagonal(dim1=1, dim2=2).sum(), matrix).clamp(min=0).cpu()
    return Curve(torch.cat(ranks), torch.cat([e.cpu() for e in errors]).clamp(min=0), tails, taps)


def approximate(matrix: Tensor, outputs: Tensor, moment: Tensor | None, taps: int, ranks: tuple[int, int]) -> Factors:
    """The factors of one form, from the arguments of `error_curve` and the outer and inner rank.

    >>> matrix, moment = torch.randn(1, 6, 36, dtype=torch.float64), torch.eye(36, dtype=torch.float64)[None]
    >>> curve = error_curve(matrix, matrix @ matrix.mT, moment, taps=9)
    >>> factors = approximate(matrix, matrix @ matrix.mT, moment, taps=9, ranks=(3, 4))
    >>> error = (matrix - factors.matrix()).square().sum() / matrix.square().sum()
    >>> torch.allclose(error, curve.errors[(curve.ranks == torch.tensor([3, 4])).all(1)], rtol=1e-4)
    True
    """
    groups, p, d = matrix.shape
    s, r = ranks
    inner, wanted = None, matrix
    if r < d // taps:
        assert moment is not None
        inner = _inner_basis(matrix, moment, taps)[:, :r]
        features, square = _features(inner, moment, taps)
        wanted = torch.cholesky_solve(features @ matrix.mT, torch.linalg.cholesky(square)).mT  # (G, p, r·T)
        outputs = wanted @ square @ wanted.mT
    outer = _leading(outputs, wanted, s) if s < p else None
    kernel = wanted if outer is None else outer.mT @ wanted
    return Factors(outer, kernel.reshape(groups, s, r, taps), inner)


def _tails(moment: Tensor, total: Tensor, matrix: Tensor | None = None) -> Tensor:
    """`(p,)`: what the leading 1 … p eigenvalues leave of `total`, relative, all groups together.

    With `matrix` `(G, p, d)`, whose columns span those of `moment`, the eigenvalues are those of a d × d matrix where d
    is less than p.
    """
    p = moment.shape[-1]
    if matrix is not None and matrix.shape[2] < p:
        basis = torch.linalg.qr(matrix)[0]
        moment = basis.mT @ moment @ basis
    values = torch.linalg.eigvalsh(moment).flip(-1).clamp(min=0).sum(0)
    values = torch.nn.functional.pad(values, (0, p - len(values)))
    return 1 - values.cumsum(0) / total if total else torch.zeros_like(values)


def _leading(moment: Tensor, matrix: Tensor, s: int) -> Tensor:
    """`(G, p, s)`: the leading eigenvectors of a moment, whose columns those of `matrix` `(G, p, d)` span."""
    if s > matrix.shape[2] or matrix.shape[2] >= matrix.shape[1]:
        leading: Tensor = torch.linalg.eigh(moment)[1][..., -s:]
    else:
        basis = torch.linalg.qr(matrix)[0]
        leading = basis @ torch.linalg.eigh(basis.mT @ moment @ basis)[1][..., -s:]
    return leading


def _inner_basis(matrix: Tensor, moment: Tensor, taps: int) -> Tensor:
    """`(G, r, q)`: rows that map the input channels to features, the most important first; r = min(q, p·T)."""
    groups, p, d = matrix.shape
    q = d // taps
    channels = torch.einsum("gatbt->gab", moment.reshape(groups, q, taps, q, taps)) / taps
    lower = torch.linalg.cholesky(_ridged(channels))
    unfolded = matrix.reshape(groups, p, q, taps).movedim(-1, 2).reshape(groups, p * taps, q)
    rows = torch.linalg.svd(unfolded @ lower, full_matrices=False)[2]
    basis: Tensor = torch.linalg.solve_triangular(lower, rows, upper=False, left=False)
    return basis


def _features(inner: Tensor, moment: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """Moments of the features `z = (inner ⊗ 1) x`: E[z xᵀ], `(G, r·T, q·T)`, and E[z zᵀ], `(G, r·T, r·T)`."""
    groups, r, q = inner.shape
    cross = inner @ moment.reshape(groups, q, taps * q * taps)
    cross = cross.reshape(groups, r * taps, q, taps)
    square = torch.einsum("gnqt,grq->gnrt", cross, inner).reshape(groups, r * taps, r * taps)
    return cross.reshape(groups, r * taps, q * taps), _ridged(square)


def _explained(matrix: Tensor, moment: Tensor, taps: int) -> Tensor:
    """`(G, r·T, p)` whose first n·T rows make, squared, the moment of the best outputs from the first n features."""
    features, square = _features(_inner_basis(matrix, moment, taps), moment, taps)
    lower = torch.linalg.cholesky(square)
    explained: Tensor = torch.linalg.solve_triangular(lower, features @ matrix.mT, upper=False)
    return explained


def _ridged(moment: Tensor) -> Tensor:
    """A moment that is not singular; the unit matrix in place of one that is zero."""
    scale = moment.diagonal(dim1=-2, dim2=-1).mean(-1)
    ridge = torch.where(scale > 0, RIDGE * scale, torch.ones_like(scale))
    return moment + ridge[:, None, None] * torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
