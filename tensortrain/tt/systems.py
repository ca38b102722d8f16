"""`solve` solves linear systems of TT-matrices."""

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
from tensortrain.tt.scaling import exponent, peak, shifted, spread
from tensortrain.tt.sketch import balanced
from tensortrain.tt.tensor_train import TensorTrain

_KRYLOV = 40  # number of steps before a restart
_RESTARTS = 5


class Solution(NamedTuple):
    """The result of `solve`.

    Attributes:
        train: the solution x.
        residual: the measured relative residual `‖A x − b‖ / ‖b‖`.
        sweeps: number of sweeps; each solves for every core once.
    """

    train: TensorTrain
    residual: float
    sweeps: int


def solve(
    matrix: TensorTrainMatrix, load: TensorTrain, rtol: float, *, max_sweeps: int = 40, seed: int = 0
) -> Solution:
    """Solve `A x = b` by alternating minimal energy (AMEn, Dolgov and Savostyanov 2014); `rtol` determines the ranks.

    A sweep solves for one core of x after the other, in the basis of all other cores, and widens that basis by random
    combinations of the residual. For Hermitian positive definite A, solving for a core never raises the energy norm of
    the error; truncating a bond to the tolerance may. For other matrices a projected system may be singular, but the
    method usually converges. The reported `residual` is always measured: it is the norm of the train `A x − b` relative
    to the norm of b. A warning is issued if the tolerance was not reached. The result has no gradients.

    Args:
        matrix: the square matrix A, with equal axes of rows and columns.
        load: the right-hand side b.
        rtol: tolerance in [0, 1) for the relative residual.
        max_sweeps: largest number of sweeps.
        seed: seed of the initial train and of the random combinations; equal seeds give equal solutions.

    Raises:
        TensorTrainError: the matrix is not square, the train does not fit, or an argument is out of range.

    Complexity: each sweep needs about ten to a hundred products with projected matrices. A product costs
    `Σ_l (R³ I P + R² I² P²)`, where R is the rank of x, P the rank of the matrix and I the length of an axis.

    >>> second = 2 * torch.eye(8, dtype=torch.float64) - torch.ones(7, dtype=torch.float64).diag(1)
    >>> one = TensorTrainMatrix.eye((8,), dtype=torch.float64)
    >>> laplace = TensorTrainMatrix([(second - torch.ones(7, dtype=torch.float64).diag(-1))[None, ..., None]])
    >>> poisson = laplace.kron(one) + one.kron(laplace)
    >>> b = TensorTrain([torch.ones(1, 8, 1, dtype=torch.float64)] * 2)
    >>> solve(poisson, b, 1e-10).residual < 1e-10
    True
    """
    rtol = _checked(matrix, load, rtol)
    sweeps = checks.integer("max_sweeps", max_sweeps)
    generator = torch.Generator().manual_seed(checks.seed(seed))
    wide = WIDE.get(matrix.dtype, matrix.dtype)
    (a,), power = balanced([[core.detach().to(wide) for core in matrix.cores]])
    right = right_interfaces([core.detach().to(wide) for core in load.cores])
    norm = right.norm
    assert norm is not None
    if norm == 0:
        return Solution(TensorTrain.zeros(load.shape, dtype=load.dtype, device=load.device), 0.0, 0)
    problem = Problem(a, right.cores)
    start = TensorTrain.random(load.shape, 2, seed, dtype=wide, device=load.device)
    best = _solved(problem, [*start.orthogonalize(0).cores], norm, rtol, sweeps, generator)
    shift = right.exponent - power
    sizes = [exponent(peak(core), 0) for core in best.train.cores]
    # the power of two is spread over all cores, so that sums with other trains lose no digits
    cores = spread([shifted(core, -k) for core, k in zip(best.train.cores, sizes, strict=True)], sum(sizes) + shift)
    train = TensorTrain._of(cores).to(load.dtype)
    residual = best.residual
    if load.dtype != wide:  # measure the residual after rounding to the dtype of b
        residual = _residual(problem, spread([core.to(wide) for core in train.cores], -shift), norm)
    if residual > max(rtol, 64 * torch.finfo(load.dtype).eps):
        warnings.warn(
            f"solve has reached a residual of {residual:.2g} in {best.sweeps} sweeps, more than rtol = {rtol:.2g};"
            " raise max_sweeps or rtol",
            stacklevel=2,
        )
    return Solution(train, residual, best.sweeps)


def _checked(matrix: object, load: object, rtol: float) -> float:
    """Return the checked tolerance, if matrix and right-hand side fit."""
    if not isinstance(matrix, TensorTrainMatrix):
        raise TensorTrainError(f"matrix is a {type(matrix).__name__}; a TensorTrainMatrix is needed")
    if not isinstance(load, TensorTrain):
        raise TensorTrainError(f"load is a {type(load).__name__}; a TensorTrain is needed")
    square(matrix)
    matrix._fitting(load)
    tt_checks.check_single("solve", *matrix.cores, *load.cores)
    return checks.fraction("rtol", rtol)


def square(matrix: TensorTrainMatrix) -> None:
    """Refuse a matrix whose rows and columns have different axes, or that is not in single or double precision."""
    if matrix.out_shape != matrix.in_shape:
        raise TensorTrainError(
            f"out_shape = {matrix.out_shape} and in_shape = {matrix.in_shape} differ; a square matrix with equal axes"
            " is needed"
        )
    tt_checks.check_numbers("matrix", matrix.cores[0])


def _solved(
    problem: Problem, x: list[Tensor], norm: float, rtol: float, sweeps: int, generator: torch.Generator
) -> Solution:
    """Return the best solution after at most `sweeps` sweeps."""
    solver = _Solver(norm, max(rtol, 4 * torch.finfo(x[0].dtype).eps) / math.sqrt(4 * len(x)))
    best = Solution(TensorTrain._of(x), math.inf, 0)
    for sweep in range(1, sweeps + 1):
        x = half_sweep(problem, x, solver, generator)
        problem, x = problem.mirrored(), mirrored(x)
        residual = _residual(problem, x, norm)
        if residual < best.residual:
            forward = x if sweep % 2 == 0 else mirrored(x)
            best = Solution(TensorTrain._of(forward), residual, sweep)
        if residual <= rtol:
            break
    return best._replace(sweeps=sweep)


def _residual(problem: Problem, x: list[Tensor], norm: float) -> float:
    """Return the norm of `A x − b`, relative to `norm`."""
    assert problem.load is not None
    product = TensorTrainMatrix._of(problem.matrix) @ TensorTrain._of(x)
    return float((product - TensorTrain._of(problem.load)).norm()) / norm


class _Solver:
    """Solves projected systems: small ones by dense matrices, others by GMRES (Saad and Schultz 1986)."""

    def __init__(self, norm: float, allowed: float) -> None:
        self.allowed, self._norm = allowed, norm

    def misfit(self, local: Local, x: Tensor) -> float:
        """Return the norm of the residual, relative to that of b."""
        assert local.load is not None
        return float(torch.linalg.vector_norm(local.load - local.apply(x))) / self._norm

    def solve(self, local: Local, x: Tensor) -> Tensor:
        """Return the solution of a projected system, computed from the old core."""
        assert local.load is not None
        if x.numel() <= DENSE:
            solution, singular = torch.linalg.solve_ex(local.matrix(), local.load.flatten())
            if not int(singular) and bool(solution.isfinite().all()):
                dense: Tensor = solution.reshape(x.shape)
                return dense
        for _ in range(_RESTARTS):
            rest = local.load - local.apply(x)
            size = float(torch.linalg.vector_norm(rest))
            if size <= 0.3 * self.allowed * self._norm:
                break
            rows, image = krylov(local.apply, rest, _KRYLOV)
            target = image.new_zeros(len(image), 1)
            target[0] = size
            weights = torch.linalg.lstsq(image, target).solution[:, 0]
            x = x + (weights @ rows).reshape(x.shape)
        return x
