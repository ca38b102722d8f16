"""Matrix factorisations under the decompositions: accurate, differentiable and fast.

Every differentiable function here returns factors that are fixed only up to a rotation (of the kept
subspace, of the columns of Q). Its backward is exact for whatever does not depend on that rotation, such
as the truncated matrix itself, and divides by no difference of two *kept* singular values. It is finite
for every input: where there is no gap to divide by, that term is left out.
"""

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tensortrain import checks
from tensortrain.errors import TensorTrainError

SEEDS = 2**32  # NumPy, which TensorLy draws its starts from, takes smaller seeds only
_EPS = torch.finfo(torch.float64).eps
_CACHED = 2**18  # entries of a block that stays in the cache
_WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}


class Truncation(NamedTuple):
    """`matrix ≈ basis @ basis.mH @ matrix`, the closest matrix of that rank.

    Attributes:
        basis: `(rows, rank)`, orthonormal columns that span the leading left singular vectors.
        discarded: squared Frobenius norm of what is cut off.
    """

    basis: Tensor
    discarded: float


def truncate(matrix: Tensor, max_rank: int | None = None, allowed: float | None = None) -> Truncation:
    """The smallest leading left singular subspace of `matrix` that loses no more than `allowed`.

    Differentiable wherever there is a gap between the last kept and the first discarded singular value.

    Args:
        matrix: `(rows, columns)`, single or double precision.
        max_rank: cap on the rank, which is at least 1; no cap by default.
        allowed: squared Frobenius norm that may be cut off; None cuts at `max_rank` alone.

    Cost: with p ≤ q the two sides, `p² q` for a Gram matrix in double precision and an eigendecomposition
    of its size; two to four times that where half the digits of a Gram matrix do not settle the result.

    >>> basis, discarded = truncate(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2)
    >>> (basis @ basis.mH).diagonal().round(decimals=4), round(discarded, 6)
    (tensor([1., 1., 0.]), 1.0)
    """
    rows, columns = matrix.shape
    if rows > columns:  # the short side is cheaper, and its basis leads to that of the long one
        basis, discarded = truncate(matrix.mH, max_rank, allowed)
        return Truncation(qr((basis.mH @ matrix.mH).mH)[0], discarded)
    cap = rows if max_rank is None else min(max_rank, rows)
    if cap < rows or allowed is not None:
        with torch.no_grad():
            wide = matrix.detach().to(_WIDE.get(matrix.dtype, matrix.dtype))
            cut = _cut_gram(wide, cap, allowed) or _cut_exact(wide, cap, allowed)
        if cut.rank < rows:
            return Truncation(_apply(_Subspace, matrix, cut), cut.discarded)
    # nothing is cut: any basis will do, and this one costs nothing
    return Truncation(torch.eye(rows, dtype=matrix.dtype, device=matrix.device), 0.0)


class _Cut(NamedTuple):
    """All left singular vectors, their σ² from small to large (accurate for σ above `resolution`), and the cut."""

    vectors: Tensor
    energies: Tensor
    resolution: float
    rank: int
    discarded: float

    @property
    def kept(self) -> Tensor:
        """The last `rank` vectors."""
        return self.vectors[:, -self.rank :]


def _cut_gram(matrix: Tensor, cap: int, allowed: float | None) -> _Cut | None:
    """The cut by the eigenvectors of the Gram matrix, or None where its rounding error would matter.

    A sum of eigenvalues σ² is accurate to about `noise`, some ε‖A‖². Where the discarded part is not far above
    that, it is computed from the residual instead.
    """
    gram = matrix @ matrix.mH
    noise = 32 * _EPS * float(gram.diagonal().sum().real)
    if allowed is not None and allowed < 2 * noise:
        return None
    energies, vectors = torch.linalg.eigh(gram)
    tails = _tails(energies)
    rank = _smallest_rank(tails, cap, None if allowed is None else allowed - min(noise, 1e-6 * allowed))
    cut = _Cut(vectors, energies, noise**0.5, rank, tails[rank])
    if cut.discarded < 1e6 * noise and rank < len(vectors):
        residual = torch.addmm(matrix, cut.kept, cut.kept.mH @ matrix, alpha=-1)
        measured = float(torch.linalg.vector_norm(residual)) ** 2
        optimal = cut.discarded > 32 * noise or measured <= (64 * _EPS) ** 2 * tails[0]
        if not optimal if allowed is None else measured > allowed:
            return None
        return cut._replace(discarded=measured)
    return cut


def _cut_exact(matrix: Tensor, cap: int, allowed: float | None) -> _Cut:
    """The cut by a singular value decomposition, every σ known to within some ε‖A‖."""
    vectors, values, _ = torch.linalg.svd(triangular_factor(matrix.mH).mH)
    energies = values.flip(0) ** 2
    tails = _tails(energies)
    rank = _smallest_rank(tails, cap, allowed)
    return _Cut(vectors.flip(1), energies, 8 * len(matrix) * _EPS * float(values[0]), rank, tails[rank])


def _tails(energies: Tensor) -> list[float]:
    """`tails[k]`, k = 0 … n, is the sum of all but the k largest of n energies, which are sorted in ascending order."""
    return list(itertools.accumulate((max(energy, 0.0) for energy in energies.tolist()), initial=0.0))[::-1]


def _smallest_rank(tails: list[float], cap: int, allowed: float | None) -> int:
    if allowed is None:
        return cap
    return next((k for k in range(1, cap) if tails[k] <= allowed), cap)


def _apply(function: Any, matrix: Tensor, *args: Any) -> Any:
    """An autograd `function` of `matrix`, without the cost of recording it where no gradient is wanted."""
    recorded = torch.is_grad_enabled() and matrix.requires_grad
    return (function.apply if recorded else function.forward)(matrix, *args)


class _Subspace(torch.autograd.Function):
    """Leading left singular vectors U of A.

    With U₂ the discarded ones, `dU = U₂ X` up to a rotation of U, where
    `X_ij = [U₂ᴴ (dA Aᴴ + A dAᴴ) U]_ij / (σ_j² − σ_i²)`, j kept and i discarded.
    """

    @staticmethod
    def forward(matrix: Tensor, cut: _Cut) -> Tensor:
        return cut.kept.to(matrix.dtype, copy=True)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, _Cut], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.cut = inputs[1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (matrix,) = ctx.saved_tensors
        vectors, energies, resolution, rank, _ = ctx.cut
        kept, lost = vectors[:, -rank:], vectors[:, :-rank]
        energies = energies.clamp(min=0)
        inner, outer = energies[-rank:], energies[:-rank, None]
        gap = inner.sqrt() - outer.sqrt() > resolution
        weight = torch.where(gap, 1 / torch.where(gap, inner - outer, 1), 0)
        half = lost @ (lost.mH @ grad.to(vectors.dtype) * weight) @ kept.mH
        return (half + half.mH).to(matrix.dtype) @ matrix, None


class _QR(torch.autograd.Function):
    """Reduced QR: `dQ = (1 − QQᴴ) dM R⁺` and `dR = Qᴴ dM` up to a rotation; torch's own needs R invertible."""

    @staticmethod
    def forward(matrix: Tensor) -> tuple[Tensor, Tensor]:
        q, r = torch.linalg.qr(matrix)
        return q, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_q: Tensor, grad_r: Tensor) -> Tensor:
        q, r = ctx.saved_tensors
        grad: Tensor = q @ grad_r
        if q.shape[0] > q.shape[1]:
            grad = grad + (grad_q - q @ (q.mH @ grad_q)) @ _pseudo_inverse(r).mH
        return grad


class _Triangular(torch.autograd.Function):
    """R alone, from blocks of rows: `d(RᴴR) = dMᴴM + MᴴdM`, so `dR = Qᴴ dM` with `Q = M R⁺`."""

    @staticmethod
    def forward(matrix: Tensor) -> Tensor:
        rows, columns = matrix.shape
        blocks = rows // max(_CACHED // columns, 2 * columns)
        r = matrix
        if blocks > 1:  # up to twice as fast as one tall factorisation that does not fit the cache
            split = blocks * (rows // blocks)
            stacked = torch.linalg.qr(matrix[:split].reshape(blocks, -1, columns), mode="r")[1]
            r = torch.cat([stacked.reshape(-1, columns), matrix[split:]])
        factor: Tensor = torch.linalg.qr(r, mode="r")[1]
        return factor

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        matrix, r = ctx.saved_tensors
        grad_matrix: Tensor = matrix @ (_pseudo_inverse(r) @ grad)
        return grad_matrix


def _pseudo_inverse(r: Tensor) -> Tensor:
    inverse: Tensor = torch.linalg.pinv(r, rtol=8 * max(r.shape) * torch.finfo(r.dtype).eps)
    return inverse


def qr(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Reduced QR of any matrix, with a backward that is finite for rank-deficient ones as well."""
    factors: tuple[Tensor, Tensor] = _apply(_QR, matrix)
    return factors


def triangular_factor(matrix: Tensor) -> Tensor:
    """R with `Rᴴ R = Mᴴ M`, `(min(rows, columns), columns)`: the R of a QR, without its Q.

    >>> m = torch.tensor([[3.0], [4.0]])
    >>> triangular_factor(m).abs()
    tensor([[5.]])
    """
    factor: Tensor = _apply(_Triangular, matrix)
    return factor


def singular_values(matrix: Tensor) -> Tensor:
    """All singular values, in double precision, each to within some ε‖A‖."""
    matrix = matrix.detach().to(_WIDE.get(matrix.dtype, matrix.dtype))
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mH
    values: Tensor = torch.linalg.svdvals(triangular_factor(tall))
    return values


def frobenius_norm(tensor: Tensor) -> float:
    """Frobenius norm as a number, in double precision, whatever the size of the entries."""
    tensor = tensor.detach()
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    peak = 1.0
    norm = float(torch.linalg.vector_norm(tensor, dtype=wide).real)
    if norm == 0 or square_fails(norm):
        peak = float(torch.linalg.vector_norm(tensor, math.inf)) or 1.0
        norm = float(torch.linalg.vector_norm(tensor / peak, dtype=wide).real)
    return peak * norm


def square_fails(norm: float) -> bool:
    """Whether squares of numbers of this size may vanish or overflow in double precision."""
    return norm > 0 and not 1e-140 < norm < 1e140


def randomized_svd(
    matrix: Tensor, rank: int, *, seed: int = 0, oversampling: int = 10, power_iterations: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """The leading `rank` singular triples of a large matrix, by random projection with power iterations.

    Halko, Martinsson and Tropp 2011, algorithm 5.1, as TensorLy implements it; dense where the projection
    would be no smaller than half the matrix. The same seed gives the same result.

    Args:
        matrix: `(rows, columns)`.
        rank: number of triples.
        seed: of the random projection.
        oversampling: columns of the projection beyond `rank`.
        power_iterations: more of them separate a slowly falling spectrum better.

    Returns:
        U `(rows, rank)`, S `(rank,)` and Vh `(rank, columns)`.

    Raises:
        TensorTrainError: a rank above the smaller side.

    Cost: `(2 + 2 · power_iterations) · rows · columns · (rank + oversampling)`.

    >>> u, s, vh = randomized_svd(torch.ones(40, 30), 1)
    >>> s.round(decimals=3)
    tensor([34.6410])
    """
    matrix = checks.entries("matrix", matrix, min_dim=2)
    rank, seed = checks.integer("rank", rank), checks.integer("seed", seed, minimum=0)
    smaller = min(matrix.shape)
    if rank > smaller:
        raise TensorTrainError(f"rank = {rank} exceeds {smaller}, the largest rank of a {tuple(matrix.shape)} matrix")
    if 2 * (rank + oversampling) >= smaller:
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        return u[:, :rank], s[:rank], vh[:rank]

    import tensorly
    from tensorly.tenalg.svd import randomized_svd as project

    wide = matrix.shape[0] < matrix.shape[1]  # handed over tall: TensorLy's turn of a wide complex one is not Hermitian
    with tensorly.backend_context("pytorch", local_threadsafe=True), matrix.device:
        u, s, vh = project(
            matrix.mH if wide else matrix, rank, oversampling, n_iter=power_iterations, random_state=seed % SEEDS
        )
    return (vh.mH, s, u.mH) if wide else (u, s, vh)
