"""Derivatives of any order, in reverse and in forward mode, of subspaces that a factorisation returns.

U, `(rows, k)`, spans the leading left singular vectors of a matrix A, or the whole column space of A. U is fixed only
up to a rotation `U → U R`, and so are its derivatives. Quantities that do not depend on R, such as `U Uᴴ A`, have exact
derivatives. With `H = A Aᴴ`, `P = U Uᴴ` and `H U = U S` every derivative is a solution of

    Z S − (1 − P) H Z = (1 − P) G,   Uᴴ Z = 0,        written Z = L⁻¹(G).

The solution divides by differences of a kept and a discarded σ², and never by differences of two kept or two
discarded ones:

    dU = L⁻¹(dH U),
    dZ = L⁻¹(dG + dH Z − Z Uᴴ dH U − dU Uᴴ G) − U dUᴴ Z.

L is self-adjoint. The backward formulas therefore use L⁻¹ as well, and all of them can be differentiated again.
H is given as `left gram leftᴴ`, where `gram = None` stands for the identity. The value of H itself is never used.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from tensortrain.errors import TensorTrainError
from tensortrain.transforms import differentiated, nestable, physical, unpack

WIDE = {torch.float32: torch.float64, torch.complex64: torch.complex128}


def record(function: Any, *args: Any) -> Any:
    """Apply an `autograd.Function`. PyTorch's own `apply` has no types."""
    return function.apply(*args)


class Spectrum(NamedTuple):
    """The kept and the discarded part of A, as constants without derivatives; see `split_wide` and `split_tall`.

    Attributes:
        lost: the discarded singular vectors: `(rows, d)` left ones, or `(columns, d)` right ones of a tall matrix.
        kept: `(k,)`, the kept singular values.
        discarded: `(d,)`, the discarded singular values.
        edge: `(d,)`, upper limits of the discarded singular values: the values plus their uncertainty.
        matrix: A itself if A is tall; otherwise None, as is `rotation`.
        rotation: `(k, k)`; the columns of `U rotation` are the kept left singular vectors.
    """

    lost: Tensor
    kept: Tensor
    discarded: Tensor
    edge: Tensor
    matrix: Tensor | None = None
    rotation: Tensor | None = None


def split_wide(vectors: Tensor, energies: Tensor, resolution: float | Tensor, rank: int) -> Spectrum:
    """Return the spectrum of a matrix all of whose left singular vectors are known.

    Args:
        vectors: `(rows, rows)`, in ascending order of σ²; the last `rank` vectors are kept.
        energies: `(rows,)`, the values σ².
        resolution: the uncertainty of σ.
        rank: the number k of kept vectors.
    """
    values = energies.clamp(min=0).sqrt()
    discarded = values[:-rank]
    return Spectrum(vectors[:, :-rank], values[-rank:], discarded, discarded + resolution)


def split_tall(
    matrix: Tensor, factor: Tensor, vectors: Tensor, energies: Tensor, resolution: float | Tensor
) -> Spectrum:
    """Return the spectrum of a tall matrix, from its right singular vectors.

    Args:
        matrix: `(rows, columns)`.
        factor: `(k, k)`, with `matrix V = U factor` for the kept right singular vectors V.
        vectors: `(columns, d)`, the discarded right singular vectors.
        energies: `(d,)`, the values σ² of the discarded vectors.
        resolution: the uncertainty of σ.
    """
    wide = WIDE.get(matrix.dtype, matrix.dtype)
    rotation, values, _ = torch.linalg.svd(factor.to(wide))
    discarded = energies.clamp(min=0).sqrt()
    return Spectrum(vectors.to(wide), values, discarded, discarded + resolution, matrix.to(wide), rotation)


def bond_name(bond: int | None) -> str:
    """Return the name that messages use for the bond between T(bond) and T(bond + 1), or for a single matrix."""
    return "the matrix" if bond is None else f"bond {bond} (ranks[{bond - 1}], between axes I_{bond} and I_{bond + 1})"


def subspace(basis: Tensor, left: Tensor, gram: Tensor | None, spectrum: Spectrum, bond: int | None) -> Tensor:
    """Return `basis` as a differentiable function of `left` and `gram`.

    Args:
        basis: `(rows, k)`, the matrix U.
        left: `(rows, c)`, with `left gram leftᴴ = A Aᴴ`.
        gram: `(c, c)`, Hermitian, or None for the identity.
        spectrum: the kept and discarded parts of A.
        bond: the bond of a train that A belongs to, which the error message names.

    Raises:
        TensorTrainError: a second or forward-mode derivative is computed where a kept and a discarded singular value
            coincide. First derivatives in reverse mode leave out the term that has no value.
    """
    differentiable: Tensor = record(_Subspace, left, gram, basis, *spectrum, bond)
    return differentiable


def _solve(left: Tensor, gram: Tensor | None, basis: Tensor, right: Tensor, data: tuple[Any, ...]) -> Tensor:
    """Return `L⁻¹(right)`, recorded for differentiation if any argument is differentiated."""
    recorded = differentiated(left, gram, basis, right)
    solution: Tensor = (
        record(_Solution, left, gram, basis, right, *data)
        if recorded
        else _Solution.forward(left, gram, basis, right, *data)
    )
    return solution


def _require_gap(basis: Tensor, data: tuple[Any, ...]) -> None:
    """Refuse a gap below the uncertainty of the singular values, or below the rounding error of the matrix."""
    _, kept, discarded, edge, matrix, _, bond = data
    rounding = 8 * torch.finfo(basis.dtype).eps * kept.amax(-1)
    apart = kept.amin(-1) > rounding * (1 if matrix is None else kept.shape[-1])
    if discarded.shape[-1] > 0:
        apart = apart & (kept.amin(-1) > edge.amax(-1)) & (kept.amin(-1) - discarded.amax(-1) > rounding)
    if not bool(physical(apart).all()):
        raise TensorTrainError(
            f"{bond_name(bond)}: the smallest kept and the largest discarded singular value coincide within rounding"
            " error, so there is no second and no forward-mode derivative; choose a rank there at which they differ"
        )


def _saved(ctx: Any) -> tuple[Any, ...]:
    """Return everything that `_save` stored in `ctx`."""
    return (*ctx.saved_tensors, ctx.bond)


def _primals(ctx: Any) -> tuple[Any, ...]:
    """Return the saved tensors without the tangents of the level that a `jvp` computes."""
    return tuple(None if saved is None else unpack(saved)[0] for saved in ctx.saved_tensors)


def _save(ctx: Any, tensors: tuple[Any, ...], bond: int | None) -> None:
    """Store the tensors and the bond in `ctx` for `backward` and `jvp`."""
    ctx.save_for_backward(*tensors)
    ctx.save_for_forward(*tensors)
    ctx.bond = bond


class _Batchable(torch.autograd.Function):
    """A function of matrices that accepts any number of batch axes before the rows and columns."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        """Move the batch axis of every tensor to the front and call the function once, without `torch.vmap`."""
        front = [
            arg
            if not isinstance(arg, Tensor)
            else arg.expand(info.batch_size, *arg.shape)
            if axis is None
            else arg.movedim(axis, 0)
            for arg, axis in zip(args, in_dims, strict=True)
        ]
        output = record(cls, *front)
        return output, 0 if isinstance(output, Tensor) else tuple(0 for _ in output)


class _Subspace(_Batchable):
    """The identity for U with the derivative `dU = L⁻¹(dH U)`."""

    @staticmethod
    def forward(left: Tensor, gram: Tensor | None, basis: Tensor, *data: Any) -> Tensor:
        return basis.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        left, gram, _, *data, bond = inputs
        _save(ctx, (left, gram, output, *data), bond)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        left, gram, basis, *data = _saved(ctx)
        solution = _solve(left, gram, basis, grad, tuple(data))
        return *_cotangents(left, gram, [(solution, basis)]), None, *(None for _ in data)

    @staticmethod
    @nestable
    def jvp(ctx: Any, left_tangent: Tensor | None, gram_tangent: Tensor | None, *_: Any) -> Tensor:
        left, gram, basis, *data = (*_primals(ctx), ctx.bond)
        _require_gap(basis, tuple(data))
        change = _tangent_product(left, gram, left_tangent, gram_tangent, basis)
        return _solve(left, gram, basis, change, tuple(data))


class _Solution(_Batchable):
    """The solution `L⁻¹(G)`, where G is the argument `right`."""

    @staticmethod
    def forward(
        left: Tensor,
        gram: Tensor | None,
        basis: Tensor,
        right: Tensor,
        lost: Tensor,
        kept: Tensor,
        discarded: Tensor,
        edge: Tensor,
        matrix: Tensor | None,
        rotation: Tensor | None,
        bond: int | None,
    ) -> Tensor:
        wide = right.to(lost.dtype)
        inner, outer = kept[..., None, :], discarded[..., None]
        gap = inner > edge[..., None]
        weight = torch.where(gap, 1 / torch.where(gap, inner.square() - outer.square(), 1), 0)
        if matrix is None or rotation is None:
            return (lost @ ((lost.mH @ wide) * weight)).to(right.dtype)
        turned = wide @ rotation
        inside = matrix @ (lost @ ((lost.mH @ (matrix.mH @ turned)) * weight))
        reached = inner > 8 * kept.shape[-1] * torch.finfo(right.dtype).eps * inner[..., :1]
        inverse = torch.where(reached, 1 / torch.where(reached, inner, 1).square(), 0)
        solution = (turned + inside) * inverse @ rotation.mH
        span = basis.to(lost.dtype)
        return (solution - span @ (span.mH @ solution)).to(right.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, bond = inputs
        _save(ctx, (output, *tensors), bond)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        solution, left, gram, basis, right, *data = _saved(ctx)
        _require_gap(basis, tuple(data))
        adjoint = _solve(left, gram, basis, grad, tuple(data))
        pairs = [(adjoint, solution), (-basis @ (solution.mH @ adjoint), basis)]
        to_basis = -adjoint @ (right.mH @ basis) - solution @ (grad.mH @ basis)
        return *_cotangents(left, gram, pairs), to_basis, adjoint, *(None for _ in data)

    @staticmethod
    @nestable
    def jvp(
        ctx: Any,
        left_tangent: Tensor | None,
        gram_tangent: Tensor | None,
        basis_tangent: Tensor | None,
        right_tangent: Tensor | None,
        *_: Any,
    ) -> Tensor:
        solution, left, gram, basis, right, *data = (*_primals(ctx), ctx.bond)
        _require_gap(basis, tuple(data))
        both = torch.cat([basis, solution], -1)
        product = _tangent_product(left, gram, left_tangent, gram_tangent, both)
        turned, moved = torch.split(product, basis.shape[-1], -1)
        change = moved - solution @ (basis.mH @ turned)
        if right_tangent is not None:
            change = change + right_tangent
        if basis_tangent is None:
            return _solve(left, gram, basis, change, tuple(data))
        inside: Tensor = _solve(left, gram, basis, change - basis_tangent @ (basis.mH @ right), tuple(data))
        turned_back: Tensor = basis @ (basis_tangent.mH @ solution)
        return inside - turned_back


def _tangent_product(
    left: Tensor, gram: Tensor | None, left_tangent: Tensor | None, gram_tangent: Tensor | None, right: Tensor
) -> Tensor:
    """Return `dH right` for `H = left gram leftᴴ`."""
    weighted = left if gram is None else left @ gram
    product = torch.zeros_like(right)
    if left_tangent is not None:
        product = left_tangent @ (weighted.mH @ right) + weighted @ (left_tangent.mH @ right)
    if gram_tangent is not None:
        product = product + left @ (gram_tangent @ (left.mH @ right))
    return product


def _cotangents(left: Tensor, gram: Tensor | None, pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor | None]:
    """Return the cotangents of `left` and `gram` from that of H, which is `Σ a bᴴ` over the pairs."""
    a, b = pairs[0] if len(pairs) == 1 else (torch.cat(side, -1) for side in zip(*pairs, strict=True))
    if gram is not None:
        to_gram = (left.mH @ a) @ (b.mH @ left)
        to_left = a @ ((b.mH @ left) @ gram) + b @ ((a.mH @ left) @ gram)
        return to_left, (to_gram + to_gram.mH) / 2
    if 4 * a.shape[-1] < left.shape[-2]:  # the narrow products cost less than the square one
        return a @ (b.mH @ left) + b @ (a.mH @ left), None
    half = a @ b.mH
    return (half + half.mH) @ left, None


class _QR(_Batchable):
    """The reduced QR factorisation, with `dQ = (1 − QQᴴ) dM R⁻¹` and `dR = Qᴴ dM` up to a rotation.

    PyTorch's own derivative of QR needs an invertible R.
    """

    @staticmethod
    def forward(matrix: Tensor, bond: int | None) -> tuple[Tensor, Tensor]:
        q, r = torch.linalg.qr(matrix)
        return q, r

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int | None], output: tuple[Tensor, Tensor]) -> None:
        _save(ctx, output, inputs[1])

    @staticmethod
    def backward(ctx: Any, grad_q: Tensor, grad_r: Tensor) -> tuple[Tensor, None]:
        q, r = ctx.saved_tensors
        grad: Tensor = q @ grad_r
        if q.shape[-2] > q.shape[-1]:
            grad = grad + (grad_q - q @ (q.mH @ grad_q)) @ _inverse(r, ctx.bond).mH
        return grad, None

    @staticmethod
    @nestable
    def jvp(ctx: Any, tangent: Tensor, _: None) -> tuple[Tensor, Tensor]:
        q, r = _primals(ctx)
        inside = q.mH @ tangent
        if q.shape[-2] == q.shape[-1]:
            return torch.zeros_like(q), inside
        inverse = _inverse(r, ctx.bond)
        _require_full_rank(r, inverse, ctx.bond)
        return (tangent - q @ inside) @ inverse, inside


class _Inverse(_Batchable):
    """The inverse of R, or its pseudo-inverse if R is singular; the pseudo-inverse has no derivatives here."""

    @staticmethod
    def forward(r: Tensor, bond: int | None) -> Tensor:
        inverse: Tensor = torch.linalg.pinv(r, rtol=8 * r.shape[-1] * torch.finfo(r.dtype).eps)
        return inverse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int | None], output: Tensor) -> None:
        _save(ctx, (inputs[0], output), inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        r, inverse = ctx.saved_tensors
        _require_full_rank(r, inverse, ctx.bond)
        return -inverse.mH @ grad @ inverse.mH, None

    @staticmethod
    @nestable
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        r, inverse = _primals(ctx)
        _require_full_rank(r, inverse, ctx.bond)
        change: Tensor = -inverse @ tangent @ inverse
        return change


def _inverse(r: Tensor, bond: int | None) -> Tensor:
    """Return the inverse of R, recorded for differentiation if R is differentiated."""
    inverse: Tensor = record(_Inverse, r, bond) if differentiated(r) else _Inverse.forward(r, bond)
    return inverse


def _require_full_rank(r: Tensor, inverse: Tensor, bond: int | None) -> None:
    """Refuse to differentiate the inverse of a matrix that is singular within rounding error."""
    rank = torch.linalg.matrix_rank(physical(r), rtol=8 * r.shape[-1] * torch.finfo(r.dtype).eps)
    if bool((rank < r.shape[-1]).any()):
        raise TensorTrainError(
            f"{bond_name(bond)}: a kept singular value is zero within rounding error, so there is no second and no"
            " forward-mode derivative; first lower that rank with round()"
        )


def qr(matrix: Tensor, bond: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the reduced QR factorisation of any matrix.

    The first derivative in reverse mode is finite for rank-deficient matrices as well.

    Args:
        matrix: `(rows, columns)`.
        bond: the bond of a train that the matrix belongs to, which the error message names.

    Raises:
        TensorTrainError: a second or forward-mode derivative of a tall matrix without full rank is computed.
    """
    factors: tuple[Tensor, Tensor] = record(_QR, matrix, bond) if differentiated(matrix) else _QR.forward(matrix, bond)
    return factors


class _Root(_Batchable):
    """The square root of `square`, whose `value` is known; its derivative is `d(square) / 2r`, or 0 for r = 0."""

    @staticmethod
    def forward(square: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * _half_reciprocal(*ctx.saved_tensors), None

    @staticmethod
    @nestable
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent * _half_reciprocal(*_primals(ctx))


def _half_reciprocal(root: Tensor) -> Tensor:
    """Return `1 / 2r`, or 0 where the root r is 0."""
    zero = root == 0
    # without Python numbers: under nested transforms they turn a 0-d tensor of single precision into double
    return (root + root).masked_fill(zero, 1).reciprocal().masked_fill(zero, 0)


def root(square: Tensor, value: Tensor) -> Tensor:
    """Return `value`, an accurate square root of `square`, with the derivatives of the square root of `square`.

    >>> x = torch.tensor(4.0, requires_grad=True)
    >>> torch.autograd.grad(root(x, torch.tensor(2.0)), x)
    (tensor(0.2500),)
    """
    differentiable: Tensor = record(_Root, square, value)
    return differentiable


class _Measured(_Batchable):
    """The identity for `number`, whose accurate `value` is known."""

    @staticmethod
    def forward(number: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None

    @staticmethod
    @nestable
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent.clone()


def measured(number: Tensor, value: Tensor) -> Tensor:
    """Return `value`, which equals `number` but is more accurate, with the derivatives of `number`.

    >>> x = torch.tensor(3.0, requires_grad=True)
    >>> torch.autograd.grad(measured(x * x, torch.tensor(9.0)), x)
    (tensor(6.),)
    """
    differentiable: Tensor = record(_Measured, number, value)
    return differentiable
