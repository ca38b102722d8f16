"""`lowest_eigenpair`: the lowest eigenvalue of a Hermitian TT-matrix."""

import math
import warnings
from typing import NamedTuple

import torch
from torch import Tensor

from tensortrain import checks
from tensortrain.derivatives import WIDE
from tensortrain.errors import TensorTrainError
from tensortrain.tt.amen import DENSE, Local, Problem, half_sweep, krylov
from tensortrain.tt.interfaces import mirrored
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.scaling import shifted
from tensortrain.tt.sketch import balanced
from tensortrain.tt.systems import square
from tensortrain.tt.tensor_train import TensorTrain

_KRYLOV = 20  # steps before a restart
_RESTARTS = 3


class Eigenpair(NamedTuple):
    """What `lowest_eigenpair` returns.

    Attributes:
        value: λ, a real 0-d tensor in double precision.
        train: x, of norm 1.
        residual: `‖A x − λ x‖`, measured: A has an eigenvalue at most that far from λ.
        sweeps: how often every core was solved for.
    """

    value: Tensor
    train: TensorTrain
    residual: float
    sweeps: int


def lowest_eigenpair(matrix: TensorTrainMatrix, rtol: float, *, max_sweeps: int = 40, seed: int = 0) -> Eigenpair:
    """The lowest eigenvalue of a Hermitian matrix and its vector as a train, by DMRG (White 1992).

    Single-site with subspace expansion (Hubig, McCulloch, Schollwöck and Wolf 2015): each sweep takes the lowest
    eigenvector for one core after the other, in the basis of all others, so that λ never rises within a sweep but for
    what rounding adds, and widens that basis by a sketch of the residual. λ is always at least the lowest eigenvalue.
    The residual proves that an eigenvalue is near, not that it is the lowest one: another `seed` is a check. A
    warning tells of a tolerance that was not reached. There are no gradients.

    Args:
        matrix: A, Hermitian to rounding error, with equal axes of rows and columns.
        rtol: tolerance in [0, 1) for the residual, relative to the largest absolute eigenvalue met on the way.
        max_sweeps: cap on the sweeps.
        seed: of the first guess and of the sketches; equal seeds give equal results.

    Raises:
        TensorTrainError: a matrix that is not square or not Hermitian, or an argument out of range.

    Cost: as of `tensortrain.solve`.

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
    if matrix.dtype != wide:  # as it is after rounding to the dtype of A
        rounded = best.train.to(matrix.dtype)
        best = best._replace(train=rounded, residual=_residual(a, rounded.to(wide))[1])
    value, residual = shifted(best.value, power), float(shifted(best.value.new_tensor(best.residual), power))
    return best._replace(value=value, residual=residual)


def _check(matrix: object) -> None:
    if not isinstance(matrix, TensorTrainMatrix):
        raise TensorTrainError(f"matrix is a {type(matrix).__name__}; a TensorTrainMatrix is needed")
    square(matrix)
    norm, off = float(matrix.train.norm()), float((matrix - matrix.H).train.norm())
    if off > 1e3 * torch.finfo(matrix.dtype).eps * norm:
        raise TensorTrainError(
            f"matrix is not Hermitian: ‖A − Aᴴ‖ is {off:.2g}, ‖A‖ is {norm:.2g}; take (A + A.H) * 0.5 if it should be"
        )


def _swept(problem: Problem, x: list[Tensor], rtol: float, most: int, generator: torch.Generator) -> Eigenpair:
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
            f"lowest_eigenpair has reached a residual of {best.residual / solver.scale:.2g} of the largest eigenvalue"
            f" in {sweep} sweeps, more than rtol = {rtol:.2g}",
            stacklevel=3,
        )
    return best._replace(sweeps=sweep)


def _residual(a: list[Tensor], x: TensorTrain) -> tuple[Tensor, float]:
    """The Rayleigh quotient, and `‖A x − λ x‖ / ‖x‖`."""
    product = TensorTrainMatrix._of(a) @ x
    value = (x.inner(product) / x.inner(x)).real
    return value, float((product - x * value).norm() / x.norm())


class _Solver:
    """Projected eigenproblems: dense where they are small, else by the Lanczos method from the old core.

    Attributes:
        scale: largest absolute eigenvalue of the projected matrices so far.
    """

    def __init__(self, allowed: float) -> None:
        self._rtol, self.scale, self._value = allowed, 0.0, 0.0

    @property
    def allowed(self) -> float:
        """See `Solver`; relative to what the matrix does to a vector."""
        return self._rtol * self.scale

    def misfit(self, local: Local, x: Tensor) -> float:
        """Norm of `A x − λ x`, projected, with the λ of the last solution."""
        return float(torch.linalg.vector_norm(local.apply(x) - self._value * x) / torch.linalg.vector_norm(x))

    def solve(self, local: Local, x: Tensor) -> Tensor:
        """See `Solver`."""
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
            if len(image) == len(rows) or float((image[-1, -1] * vectors[-1, 0]).abs()) <= 0.3 * self.allowed:
                break
        return x

    def _note(self, values: Tensor) -> None:
        self._value = float(values[0])
        self.scale = max(self.scale, float(values.abs().max()))
