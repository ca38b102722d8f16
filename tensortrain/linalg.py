"""Accurate and fast matrix factorisations, which the decompositions use.

A truncation returns a basis that is fixed only up to a rotation. Its derivatives are exact for every result that
does not depend on that rotation, such as the truncated matrix itself; see `tensortrain.derivatives`.
"""

import itertools
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.derivatives import WIDE, bond_name, record, split_tall, split_wide, subspace
from tensortrain.errors import TensorTrainError
from tensortrain.precision import precise
from tensortrain.transforms import batched, differentiated, physical
from tensortrain.tt.scaling import shifted, unit

SEEDS = 2**32  # TensorLy draws random starts from NumPy, whose seeds must be smaller than this
_EPS = torch.finfo(torch.float64).eps
_CACHED = 2**18  # number of entries of a block that fits the cache


class Truncation(NamedTuple):
    """The result of `truncate`: of all matrices of rank at most `rank`, `basis @ basis.mH @ matrix` is the closest one.

    Attributes:
        basis: `(rows, rank)`, orthonormal columns that span the leading left singular vectors.
        discarded: squared Frobenius norm of the truncation error; NaN under `torch.vmap`.
    """

    basis: Tensor
    discarded: float


class Product(NamedTuple):
    """Two differentiable factors from which a matrix A is derived: `A Aᴴ = left gram leftᴴ`.

    Attributes:
        left: `(rows, c)`, any matrix.
        gram: `(c, c)`, a Hermitian matrix; None means the identity.
    """

    left: Tensor
    gram: Tensor | None


def truncate(
    matrix: Tensor,
    max_rank: int | None = None,
    allowed: float | None = None,
    *,
    origin: Product | None = None,
    bond: int | None = None,
) -> Truncation:
    """Return a basis of the smallest leading left singular subspace of `matrix` whose error is at most `allowed`.

    The basis has derivatives of any order, in reverse and in forward mode, wherever there is a gap between the
    last kept and the first discarded singular value.

    Args:
        matrix: `(rows, columns)`, single or double precision.
        max_rank: upper limit of the rank, at least 1; by default the rank is not limited.
        allowed: squared Frobenius norm of the largest error that is allowed. With None the rank is `max_rank`. Under
            `torch.vmap` only None is possible.
        origin: the factors with respect to which the result is differentiated; by default the matrix itself.
        bond: the bond of a train that the matrix belongs to, which the error message names.

    Raises:
        TensorTrainError: some entries are not finite, or a second or forward-mode derivative is computed where there is
            no gap.

    Complexity: for side lengths p ≤ q, `p² q` for a Gram matrix in double precision, and an eigendecomposition of a
    p×p matrix. Where the precision of the Gram matrix does not suffice, the cost is two to four times as high.

    >>> basis, discarded = truncate(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2)
    >>> (basis @ basis.mH).diagonal().round(decimals=4), round(discarded, 6)
    (tensor([1., 1., 0.]), 1.0)
    """
    left, gram = (matrix, None) if origin is None else origin
    plain = matrix.detach()
    rows, columns = matrix.shape
    recorded = differentiated(left, gram)
    short = plain.mH if rows > columns else plain  # the left singular vectors of this matrix are cheaper to compute
    cut = _cut(short, max_rank, allowed, bond)
    if rows <= columns:
        if cut is None:  # every basis of the whole space is correct, and the identity costs nothing
            return Truncation(torch.eye(rows, dtype=matrix.dtype, device=matrix.device), 0.0)
        basis = cut.kept.to(matrix.dtype, copy=True)
        if recorded:
            spectrum = split_wide(cut.vectors, cut.energies, cut.resolution, cut.rank)
            basis = subspace(basis, left, gram, spectrum, bond)
        return Truncation(basis, cut.discarded)
    kept = torch.eye(columns, dtype=matrix.dtype, device=matrix.device) if cut is None else cut.kept.to(matrix.dtype)
    basis, factor = torch.linalg.qr((kept.mH @ short).mH)
    if recorded:
        whole = cut or _Cut(kept, kept.diagonal().real, 0.0, columns, 0.0)  # a cut that discards nothing
        vectors, energies = whole.vectors[:, : -whole.rank], whole.energies[: -whole.rank]
        spectrum = split_tall(plain, factor, vectors, energies, whole.resolution)
        basis = subspace(basis, left, gram, spectrum, bond)
    return Truncation(basis, 0.0 if cut is None else cut.discarded)


class _Cut(NamedTuple):
    """All left singular vectors, their σ² in ascending order (accurate for σ above `resolution`), and where to cut.

    The last `rank` vectors are kept; `discarded` is the energy of the others, NaN for a batch.
    """

    vectors: Tensor
    energies: Tensor
    resolution: float | Tensor
    rank: int
    discarded: float

    @property
    def kept(self) -> Tensor:
        """Return the last `rank` vectors."""
        return self.vectors[:, -self.rank :]


def _cut(matrix: Tensor, max_rank: int | None, allowed: float | None, bond: int | None) -> _Cut | None:
    """Return the cut of a matrix with no more rows than columns, or None if nothing is discarded."""
    rows = len(matrix)
    cap = rows if max_rank is None else min(max_rank, rows)
    if cap == rows and allowed is None:
        return None
    if batched(matrix):
        vectors, energies, resolution = record(_BatchedCut, matrix, cap, bond)
        return _Cut(vectors, energies, resolution, cap, math.nan)
    cut = _cut_plain(matrix, cap, allowed, bond)
    return cut if cut.rank < rows else None


def _cut_plain(matrix: Tensor, cap: int, allowed: float | None, bond: int | None) -> _Cut:
    """Return the cut from the Gram matrix, or from a singular value decomposition if the former is too inaccurate."""
    wide = matrix.to(WIDE.get(matrix.dtype, matrix.dtype))
    return _cut_gram(wide, cap, allowed, bond) or _cut_exact(wide, cap, allowed)


class _BatchedCut(torch.autograd.Function):
    """The vectors, energies and resolutions of `(…, rows, columns)`, computed one matrix after the other."""

    @staticmethod
    def forward(matrix: Tensor, rank: int, bond: int | None) -> tuple[Tensor, Tensor, Tensor]:
        batch = matrix.shape[:-2]
        cuts = [_cut_plain(one, rank, None, bond) for one in matrix.reshape(-1, *matrix.shape[-2:])]
        vectors, energies = torch.stack([cut.vectors for cut in cuts]), torch.stack([cut.energies for cut in cuts])
        resolution = energies.new_tensor([cut.resolution for cut in cuts])
        parts = (vectors, energies, resolution)
        return tuple(part.reshape(*batch, *part.shape[1:]) for part in parts)  # type: ignore[return-value]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        return None, None, None

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> tuple[None, None, None]:
        return None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int, None, None], matrix: Tensor, rank: int, bond: int | None) -> Any:
        return record(_BatchedCut, matrix.movedim(in_dims[0], 0), rank, bond), (0, 0, 0)


def _cut_gram(matrix: Tensor, cap: int, allowed: float | None, bond: int | None) -> _Cut | None:
    """Return the cut by the eigenvectors of the Gram matrix, or None where its rounding error would matter.

    A sum of eigenvalues σ² is accurate to about `noise`, a small multiple of ε‖A‖². Where the discarded part is not
    far above `noise`, it is computed from the residual instead.
    """
    gram = matrix @ matrix.mH
    noise = 32 * _EPS * float(gram.diagonal().sum().real)
    if not math.isfinite(noise):
        raise TensorTrainError(f"{bond_name(bond)} holds NaN or infinite entries, or entries whose squares overflow")
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
    """Return the cut by a singular value decomposition, whose σ are accurate to a small multiple of ε‖A‖."""
    vectors, values, _ = torch.linalg.svd(triangular_factor(matrix.mH).mH)
    energies = values.flip(0) ** 2
    tails = _tails(energies)
    rank = _smallest_rank(tails, cap, allowed)
    return _Cut(vectors.flip(1), energies, 8 * len(matrix) * _EPS * float(values[0]), rank, tails[rank])


def _tails(energies: Tensor) -> list[float]:
    """Return the sums `tails[k]`, k = 0 … n, of all but the k largest of n energies, which are in ascending order."""
    return list(itertools.accumulate((max(energy, 0.0) for energy in energies.tolist()), initial=0.0))[::-1]


def _smallest_rank(tails: list[float], cap: int, allowed: float | None) -> int:
    """Return the smallest rank whose discarded energy is at most `allowed`, or `cap` if there is none."""
    if allowed is None:
        return cap
    return next((k for k in range(1, cap) if tails[k] <= allowed), cap)


def triangular_factor(matrix: Tensor) -> Tensor:
    """Return R, `(min(rows, columns), columns)`, with `Rᴴ R = Mᴴ M`: the R of a QR without Q and without derivatives.

    >>> m = torch.tensor([[3.0], [4.0]])
    >>> triangular_factor(m).abs()
    tensor([[5.]])
    """
    r = matrix.detach()
    rows, columns = matrix.shape
    blocks = rows // max(_CACHED // columns, 2 * columns)
    if blocks > 1:  # up to twice as fast as a single tall factorisation that does not fit the cache
        split = blocks * (rows // blocks)
        stacked = torch.linalg.qr(r[:split].reshape(blocks, -1, columns), mode="r")[1]
        r = torch.cat([stacked.reshape(-1, columns), r[split:]])
    factor: Tensor = torch.linalg.qr(r, mode="r")[1]
    return factor


def singular_values(matrix: Tensor) -> Tensor:
    """Return all singular values in double precision, each accurate to a small multiple of ε‖A‖."""
    matrix = matrix.detach().to(WIDE.get(matrix.dtype, matrix.dtype))
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.mH
    values: Tensor = torch.linalg.svdvals(triangular_factor(tall))
    return values


def frobenius_norm(tensor: Tensor) -> float:
    """Return the Frobenius norm as a number in double precision, without overflow or underflow of the squares.

    It is NaN if an entry is NaN, and otherwise infinite if an entry is infinite.

    >>> frobenius_norm(torch.tensor([1.0, math.inf])), frobenius_norm(torch.tensor([math.inf, math.nan]))
    (inf, nan)
    """
    tensor = tensor.detach()
    wide = torch.complex128 if tensor.is_complex() else torch.float64
    peak = 1.0
    norm = float(torch.linalg.vector_norm(tensor, dtype=wide).real)
    if not 1e-140 < norm < 1e140:  # the squares of such numbers underflow or overflow
        peak = float(torch.linalg.vector_norm(tensor, math.inf)) or 1.0
        if math.isinf(peak):
            return peak
        norm = float(torch.linalg.vector_norm(tensor / peak, dtype=wide).real)
    return peak * norm


@precise
def randomized_svd(
    matrix: Tensor, rank: int, *, seed: int = 0, oversampling: int = 10, power_iterations: int = 2
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading `rank` singular triples of a large matrix, by random projection with power iterations.

    The method is algorithm 5.1 of Halko, Martinsson and Tropp (2011), as TensorLy implements it. If the projection
    would be at least half as large as the matrix, a dense decomposition is computed. The same seed gives the same
    result.

    Args:
        matrix: `(rows, columns)`.
        rank: number of singular triples.
        seed: seed of the random projection.
        oversampling: number of columns of the projection beyond `rank`.
        power_iterations: number of power iterations; more iterations separate a slowly falling spectrum better.

    Returns:
        U `(rows, rank)`, S `(rank,)` and Vh `(rank, columns)`.

    Raises:
        TensorTrainError: the rank exceeds the smaller side of the matrix, a singular value is too large for the dtype,
            or an argument is invalid.

    Complexity: `(2 + 2 · power_iterations) · rows · columns · (rank + oversampling)`.

    >>> u, s, vh = randomized_svd(torch.ones(40, 30), 1)
    >>> s.round(decimals=3)
    tensor([34.6410])
    """
    matrix = checks.entries("matrix", matrix, min_dim=2)
    if matrix.dim() != 2 or matrix.dtype not in (*WIDE, *WIDE.values()):
        raise TensorTrainError(
            f"matrix has shape {tuple(matrix.shape)} and dtype {matrix.dtype}; (rows, columns) in single or double"
            " precision is needed"
        )
    rank, seed = checks.integer("rank", rank), checks.seed(seed)
    oversampling = checks.integer("oversampling", oversampling, minimum=0)
    power_iterations = checks.integer("power_iterations", power_iterations, minimum=0)
    smaller = min(matrix.shape)
    if rank > smaller:
        raise TensorTrainError(f"rank = {rank} exceeds {smaller}, the largest rank of a {tuple(matrix.shape)} matrix")
    scaled, k = unit(matrix)  # so that no product overflows
    if 2 * (rank + oversampling) >= smaller:
        u, s, vh = torch.linalg.svd(scaled, full_matrices=False)
        u, s, vh = u[:, :rank], s[:rank], vh[:rank]
    else:
        u, s, vh = _projected_svd(scaled, rank, oversampling, power_iterations, seed)
    s = shifted(s, k)
    if not bool(physical(s).isfinite().all()):
        raise TensorTrainError(f"the largest singular value does not fit {s.dtype}; scale the matrix down")
    return u, s, vh


def _projected_svd(
    matrix: Tensor, rank: int, oversampling: int, power_iterations: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the leading singular triples by TensorLy's random projection."""
    import tensorly
    from tensorly.tenalg.svd import randomized_svd as project

    # TensorLy transposes a wide complex matrix without conjugation, so it gets a tall matrix
    wide = matrix.shape[0] < matrix.shape[1]
    with tensorly.backend_context("pytorch", local_threadsafe=True), matrix.device:
        u, s, vh = project(
            matrix.mH if wide else matrix, rank, oversampling, n_iter=power_iterations, random_state=seed % SEEDS
        )
    return (vh.mH, s, u.mH) if wide else (u, s, vh)
