"""`solve`: linear systems of TT-matrices."""

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

_KRYLOV = 40  # steps before a restart
_RESTARTS = 5


class Solution(NamedTuple):
    """What `solve` returns.

    Attributes:
        train: x.
        residual: `‖A x − b‖ / ‖b‖`, measured.
        sweeps: how often every core was solved for.
    """

    train: TensorTrain
    residual: float
    sweeps: int


def solve(
    matrix: TensorTrainMatrix, load: TensorTrain, rtol: float, *, max_sweeps: int = 40, seed: int = 0
) -> Solution:
    """Solve `A x = b` by alternating minimal energy (AMEn, Dolgov and Savostyanov 2014); the ranks follow from `rtol`.

    Each sweep solves for one core of x after the other, in the basis of all others, and widens that basis by a sketch
    of the residual. For Hermitian positive definite A the energy norm of the error falls in each step. For others the
    projected systems need not be regular; it converges as a rule, and what is reported is measured in any case:
    `residual` is the norm of the train `A x − b`. A warning tells of a tolerance that was not reached. There are no
    gradients.

    Args:
        matrix: A, square, with equal axes of rows and columns.
        load: b.
        rtol: tolerance in [0, 1) for the relative residual.
        max_sweeps: cap on the sweeps.
        seed: of the first guess and of the sketches; equal seeds give equal solutions.

    Raises:
        TensorTrainError: a matrix that is not square, a train that does not fit, or an argument out of range.

    Cost: for each sweep about `Σ_l (R³ I A + R² I² A²)` for each of some ten to hundred products with a projected
    matrix, with R the ranks of x and A those of the matrix.

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
    if not norm:
        return Solution(TensorTrain.zeros(load.shape, dtype=load.dtype, device=load.device), 0.0, 0)
    problem = Problem(a, right.cores)
    start = TensorTrain.random(load.shape, 2, seed, dtype=wide, device=load.device)
    best = _solved(problem, [*start.orthogonalize(0).cores], norm, rtol, sweeps, generator)
    shift = right.exponent - power
    sizes = [exponent(peak(core), 0) for core in best.train.cores]
    # the power of two is spread over all cores, so that sums with other trains lose no digits
    cores = spread([shifted(core, -k) for core, k in zip(best.train.cores, sizes, strict=True)], sum(sizes) + shift)
    train = TensorTrain._of([core.to(load.dtype) for core in cores])
    residual = best.residual
    if load.dtype != wide:  # as it is after rounding to the dtype of b
        residual = _residual(problem, spread([core.to(wide) for core in train.cores], -shift), norm)
    if residual > max(rtol, 64 * torch.finfo(load.dtype).eps):
        warnings.warn(
            f"solve has reached a residual of {residual:.2g} in {best.sweeps} sweeps, more than rtol = {rtol:.2g}",
            stacklevel=2,
        )
    return Solution(train, residual, best.sweeps)


def _checked(matrix: object, load: object, rtol: float) -> float:
    if not isinstance(matrix, TensorTrainMatrix):
        raise TensorTrainError(f"matrix is a {type(matrix).__name__}; a TensorTrainMatrix is needed")
    if not isinstance(load, TensorTrain):
        raise TensorTrainError(f"load is a {type(load).__name__}; a TensorTrain is needed")
    square(matrix)
    matrix._fitting(load)
    return checks.fraction("rtol", rtol)


def square(matrix: TensorTrainMatrix) -> None:
    """Refuse a matrix without equal axes of rows and columns, or one that is not of single or double precision."""
    if matrix.out_shape != matrix.in_shape:
        raise TensorTrainError(
            f"out_shape = {matrix.out_shape} and in_shape = {matrix.in_shape} differ; a square matrix with equal axes"
            " is needed"
        )
    tt_checks.check_numbers("matrix", matrix.cores[0])


def _solved(
    problem: Problem, x: list[Tensor], norm: float, rtol: float, sweeps: int, generator: torch.Generator
) -> Solution:
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
    assert problem.load is not None
    product = TensorTrainMatrix._of(problem.matrix) @ TensorTrain._of(x)
    return float((product - TensorTrain._of(problem.load)).norm()) / norm


class _Solver:
    """Projected systems: dense where they are small, else by GMRES (Saad and Schultz 1986) from the old core."""

    def __init__(self, norm: float, allowed: float) -> None:
        self.allowed, self._norm = allowed, norm

    def misfit(self, local: Local, x: Tensor) -> float:
        """Norm of the residual, relative to that of b."""
        assert local.load is not None
        return float(torch.linalg.vector_norm(local.load - local.apply(x))) / self._norm

    def solve(self, local: Local, x: Tensor) -> Tensor:
        """See `Solver`."""
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
