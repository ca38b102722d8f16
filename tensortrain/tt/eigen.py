"""`lowest_eigenpair` computes the lowest eigenvalue of a Hermitian TT-matrix."""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.derivatives import WIDE
from tensortrain.errors import TensorTrainError
from tensortrain.tt import checks as tt_checks
from tensortrain.tt.amen import DENSE, Local, Problem, half_sweep, krylov
from tensortrain.tt.interfaces import mirrored, right_interfaces
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.scaling import shifted
from tensortrain.tt.sketch import balanced
from tensortrain.tt.systems import square
from tensortrain.tt.tensor_train import TensorTrain

_KRYLOV = 20  # number of steps before a restart
_RESTARTS = 3


class Eigenpair(NamedTuple):
    """The result of `lowest_eigenpair`.

    Attributes:
        value: the eigenvalue λ, a real 0-d tensor in double precision.
        train: the eigenvector x, of norm 1.
        residual: the measured residual `‖A x − λ x‖`; A has an eigenvalue at most that far from λ.
        sweeps: number of sweeps; each solves for every core once.
    """

    value: Tensor
    train: TensorTrain
    residual: float
    sweeps: int


def lowest_eigenpair(matrix: TensorTrainMatrix, rtol: float, *, max_sweeps: int = 40, seed: int = 0) -> Eigenpair:
    """Return the lowest eigenvalue of a Hermitian matrix and its eigenvector as a train, by DMRG (White 1992).

    The method is single-site DMRG with subspace expansion (Hubig, McCulloch, Schollwöck and Wolf 2015). A sweep
    replaces one core after the other by the lowest eigenvector in the basis of all other cores, and widens that basis
    by random combinations of the residual. The new core never raises λ; truncating a bond to the tolerance may. Apart
    from rounding error, λ is always at least the lowest eigenvalue. The residual proves that an eigenvalue is near, but
    not that it is the lowest; to check this, repeat the computation with another `seed`. A warning is issued if the
    tolerance was not reached. The result has no gradients.

    Args:
        matrix: the matrix A, Hermitian up to rounding error, with equal axes of rows and columns.
        rtol: tolerance in [0, 1) for the residual, relative to the largest absolute eigenvalue of the projected
            matrices.
        max_sweeps: largest number of sweeps.
        seed: seed of the initial train and of the random combinations; equal seeds give equal results.

    Raises:
        TensorTrainError: the matrix is not square or not Hermitian, or an argument is out of range.

    Complexity: that of `tensortrain.solve`.

    >>> x, z = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), torch.tensor([1.0, -1.0]).double().diag()
    >>> one = torch.eye(2).double()
    >>> two_spins = TensorTrainMatrix.decompose(-torch.kron(z, z) - torch.kron(x, one), (2, 2), (2, 2), rtol=1e-12)
    >>> lowest_eigenpair(two_spins, 1e-10).value.round(decimals=6)   # −√2
    tensor(-1.4142, dtype=torch.float64)
    """
    _check(matrix)
    rtol = checks.fraction("rtol", rtol)
    most = checks.integer("max_sweeps", max_sweeps)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    wide = WIDE.get(matrix.dtype, matrix.dtype)
    (a,), power = balanced([[core.detach().to(wide) for core in matrix.cores]])
    start = TensorTrain.random(matrix.in_shape, 2, seed, dtype=wide, device=matrix.device)
    best = _swept(Problem(a, None), [*start.orthogonalize(0).cores], rtol, most, generator)
    if matrix.dtype != wide:  # measure the residual after rounding to the dtype of A
        rounded = best.train.to(matrix.dtype)
        best = best._replace(train=rounded, residual=_residual(a, rounded.to(wide))[1])
    value, residual = shifted(best.value, power), float(shifted(best.value.new_tensor(best.residual), power))
    return best._replace(value=value, residual=residual)


def _check(matrix: object) -> None:
    """Refuse a matrix that is not a square, Hermitian TT-matrix."""
    if not isinstance(matrix, TensorTrainMatrix):
        raise TensorTrainError(f"matrix is a {type(matrix).__name__}; a TensorTrainMatrix is needed")
    square(matrix)
    tt_checks.check_single("lowest_eigenpair", *matrix.cores)
    whole, difference = (
        right_interfaces([core.detach() for core in each.train.cores]) for each in (matrix, matrix - matrix.H)
    )
    assert whole.norm is not None
    assert difference.norm is not None
    # the norms themselves may be too large or too small for the dtype; 1100 more powers of two change no decision
    shift = max(-1100, min(difference.exponent - whole.exponent, 1000))
    off = math.ldexp(difference.norm, shift)
    if off > 1e3 * torch.finfo(matrix.dtype).eps * whole.norm:
        raise TensorTrainError(
            f"matrix is not Hermitian: ‖A − Aᴴ‖ is {off / whole.norm:.2g} ‖A‖; use (A + A.H) * 0.5 instead"
        )


def _swept(problem: Problem, x: list[Tensor], rtol: float, most: int, generator: torch.Generator) -> Eigenpair:
    """Return the best eigenpair after at most `most` sweeps, and warn if the tolerance was not reached."""
    solver = _Solver(max(rtol, 4 * torch.finfo(x[0].dtype).eps) / math.sqrt(4 * len(x)))
    a = problem.matrix
    best: Eigenpair | None = None
    for sweep in range(1, most + 1):
        x = half_sweep(problem, x, solver, generator)
        problem, x = problem.mirrored(), mirrored(x)
        x[0] = x[0] / torch.linalg.vector_norm(x[0])
        train = TensorTrain._of(x if sweep % 2 == 0 else mirrored(x))
        value, residual = _residual(a, train)
        if best is None or residual < best.residual:
            best = Eigenpair(value, train, residual, sweep)
        if residual <= rtol * solver.scale:
            break
    assert best is not None
    if best.residual > max(rtol, 64 * torch.finfo(x[0].dtype).eps) * solver.scale:
        warnings.warn(
            f"lowest_eigenpair has reached a residual of {best.residual / solver.scale:.2g} times the largest"
            f" absolute eigenvalue in {sweep} sweeps, which is more than rtol = {rtol:.2g}; raise max_sweeps or rtol",
            stacklevel=3,
        )
    return best._replace(sweeps=sweep)


def _residual(a: list[Tensor], x: TensorTrain) -> tuple[Tensor, float]:
    """Return the Rayleigh quotient and `‖A x − λ x‖ / ‖x‖`."""
    product = TensorTrainMatrix._of(a) @ x
    value = (x.inner(product) / x.inner(x)).real
    return value, float((product - x * value).norm() / x.norm())


class _Solver:
    """Solves projected eigenproblems: small ones by dense matrices, others by the Lanczos method from the old core.

    Attributes:
        scale: largest absolute eigenvalue of the projected matrices so far.
    """

    def __init__(self, allowed: float) -> None:
        self._rtol, self.scale, self._value = allowed, 0.0, 0.0

    @property
    def allowed(self) -> float:
        """Return the largest negligible residual; it is relative to the largest absolute eigenvalue so far."""
        return self._rtol * self.scale

    def misfit(self, local: Local, x: Tensor) -> float:
        """Return the norm of `A x − λ x` after projection, with the λ of the last solution."""
        return float(torch.linalg.vector_norm(local.apply(x) - self._value * x) / torch.linalg.vector_norm(x))

    def solve(self, local: Local, x: Tensor) -> Tensor:
        """Return the eigenvector of the lowest eigenvalue, computed from the old core."""
        if x.numel() <= DENSE:
            matrix = local.matrix()
            values, vectors = torch.linalg.eigh((matrix + matrix.mH) / 2)
            self._note(values)
            lowest: Tensor = vectors[:, 0].reshape(x.shape)
            return lowest
        for _ in range(_RESTARTS):
            rows, image = krylov(local.apply, x, _KRYLOV)
            projected = image[: len(rows)]
            values, vectors = torch.linalg.eigh((projected + projected.mH) / 2)
            self._note(values)
            x = (vectors[:, 0] @ rows).reshape(x.shape)
            if float((image[-1, -1] * vectors[-1, 0]).abs()) <= 0.3 * self.allowed:
                break
        return x

    def _note(self, values: Tensor) -> None:
        """Store the lowest eigenvalue and the largest absolute eigenvalue."""
        self._value = float(values[0])
        self.scale = max(self.scale, float(values.abs().max()))
