"""Sweeps that solve a linear system or eigenproblem for one core after the other and widen the bonds (AMEn, DMRG).

x is a train whose cores are orthonormal except for one core, its center. The problem, `A x = b` or `A x = λ x`, is
projected on the basis that the other cores span and solved for the center; then the next core becomes the center. The
bond between both is widened by the directions that the residual adds to the basis. Linear systems are solved by AMEn
(Dolgov and Savostyanov 2014, algorithm 5), eigenproblems by single-site DMRG with subspace expansion (Hubig,
McCulloch, Schollwöck and Wolf 2015). The residual is not approximated by a train of its own. Instead its product with
a random train, as in randomised rounding, gives the directions that are needed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tensortrain.tt.interfaces import mirrored
from tensortrain.tt.sketch import Chain, Product, Train, random_train, sketch

Apply = Callable[[Tensor], Tensor]

_WIDER = 4  # number of columns that the residual adds to a bond at each visit
DENSE = 400  # largest number of unknowns for which the matrix of a projected problem is formed


class Local(NamedTuple):
    """The linear system or eigenproblem, projected on one core.

    Attributes:
        left: `(R, A, R)`, A projected on the cores to the left of the core.
        core: `(A, O, I, A')`, the core of the matrix.
        right: `(R', A', R')`, A projected on the cores to the right of the core.
        load: `(R, I, R')`, the projection of b; None for an eigenproblem.
    """

    left: Tensor
    core: Tensor
    right: Tensor
    load: Tensor | None

    def halfway(self, x: Tensor) -> Tensor:
        """Return A times the core x, with the bonds to the right not contracted: `(R, O, A', R')`."""
        value = torch.tensordot(self.left, x, 1)  # a p i e
        product: Tensor = torch.tensordot(value, self.core, ([1, 2], [0, 2]))  # a e o q
        return product.permute(0, 2, 3, 1)

    def apply(self, x: Tensor) -> Tensor:
        """Return the projected matrix times the core x, `(R, I, R')`."""
        product: Tensor = torch.tensordot(self.halfway(x), self.right, ([2, 3], [1, 2]))
        return product

    def matrix(self) -> Tensor:
        """Return the projected matrix as a dense matrix."""
        dense = torch.einsum("apc,poiq,dqe->aodcie", self.left, self.core, self.right)
        return dense.reshape(dense.shape[:3].numel(), -1)


class Solver(Protocol):
    """A method that solves projected problems."""

    @property
    def allowed(self) -> float:
        """Return the largest residual that is negligible."""

    def solve(self, local: Local, x: Tensor) -> Tensor:
        """Return the new core, computed from the old core."""

    def misfit(self, local: Local, x: Tensor) -> float:
        """Return the norm of the residual of a core."""


class Problem(NamedTuple):
    """The problem `A x = b`, or `A x = λ x` if b is None: cores of A, `(A_{l-1}, I_l, I_l, A_l)`, and of b."""

    matrix: list[Tensor]
    load: list[Tensor] | None

    def mirrored(self) -> "Problem":
        """Return the same problem with the axes in reverse order."""
        matrix = [core.permute(3, 1, 2, 0) for core in reversed(self.matrix)]
        return Problem(matrix, None if self.load is None else mirrored(self.load))


def half_sweep(problem: Problem, x: Sequence[Tensor], solver: Solver, generator: torch.Generator) -> list[Tensor]:
    """Solve for one core after the other, from the first to the last, and return the new train.

    Args:
        problem: the linear system or eigenproblem.
        x: the current train; all cores except the first are right-orthogonal.
        solver: the method that solves the projected problems.
        generator: the random generator for the random trains.

    Returns:
        The new train; all cores except the last are left-orthogonal.

    Complexity: `Σ_l (R³ I A + R² I² A²)` for each product that the solver needs.
    """
    x = list(x)
    rights = _right_interfaces(problem, x)
    widening = _Widening(problem, x, generator)
    one = torch.ones(1, 1, 1, dtype=x[0].dtype, device=x[0].device)
    left, left_load = one, one[0]
    for l, core in enumerate(problem.matrix):
        right, right_load = rights[l]
        load = None
        if problem.load is not None:
            load_core = torch.tensordot(left_load, problem.load[l], 1)
            load = torch.tensordot(load_core, right_load, ([2], [1]))
        local = Local(left, core, right, load)
        x[l] = solver.solve(local, x[l])
        if l == len(x) - 1:
            break
        basis = _shortened(local, x[l], solver)
        added = widening.columns(l, local.halfway(x[l]), None if problem.load is None else load_core)
        basis = torch.linalg.qr(torch.cat([basis, added], 1))[0]
        carry = basis.mH @ x[l].flatten(0, 1)
        x[l], x[l + 1] = basis.reshape(*x[l].shape[:2], -1), torch.tensordot(carry, x[l + 1], 1)
        left = torch.tensordot(x[l].conj(), local.halfway(x[l]), ([0, 1], [0, 1]))
        if problem.load is not None:
            left_load = torch.tensordot(x[l].conj(), load_core, ([0, 1], [0, 1]))
    return x


def _right_interfaces(problem: Problem, x: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return for each core the projections of A and b on the cores to its right: `(R, A, R)` and `(R, B)`."""
    value = torch.ones(1, 1, 1, dtype=x[0].dtype, device=x[0].device)
    load = value[0]
    interfaces = [(value, load)]
    for l in range(len(x) - 1, 0, -1):
        step = torch.tensordot(x[l], value, ([2], [2]))  # c i d q
        step = torch.tensordot(problem.matrix[l], step, ([2, 3], [1, 3]))  # p o c d
        value = torch.tensordot(x[l].conj(), step, ([1, 2], [1, 3]))  # a p c
        if problem.load is not None:
            step = torch.tensordot(problem.load[l], load, ([2], [1]))  # b i d
            load = torch.tensordot(x[l].conj(), step, ([1, 2], [1, 2]))
        interfaces.append((value, load))
    return interfaces[::-1]


class _Widening:
    """The products of the residual `b − A x` with a random train, from which each bond gets additional columns."""

    def __init__(self, problem: Problem, x: Sequence[Tensor], generator: torch.Generator) -> None:
        chains: list[Chain] = [Product(problem.matrix, [core[:, :, None] for core in x])]
        if problem.load is not None:
            chains.append(Train(problem.load))
        shape = [core.shape[1] for core in x]
        self._parts = sketch(chains, random_train(shape, (1, 1), [_WIDER] * (len(x) - 1), x[0], generator)).parts

    def columns(self, l: int, product: Tensor, load: Tensor | None) -> Tensor:
        """Return `(R I, k)` additional columns, from `product`, `(R, I, A, R')`, and b up to this core, `(R, I, B)`."""
        columns = product.flatten(2).flatten(0, 1) @ self._parts[l][0]
        if load is None:
            return columns
        return load.flatten(0, 1) @ self._parts[l][1] - columns


def _shortened(local: Local, x: Tensor, solver: Solver) -> Tensor:
    """Return the smallest basis `(R I, k)` on which the core x has a residual that is allowed or hardly larger."""
    vectors, values, right = torch.linalg.svd(x.flatten(0, 1), full_matrices=False)
    allowed = max(solver.allowed, 1.5 * solver.misfit(local, x))
    low, high = 1, len(values)
    while low < high:
        rank = (low + high) // 2
        shorter = (vectors[:, :rank] * values[:rank]) @ right[:rank]
        if solver.misfit(local, shorter.reshape(x.shape)) <= allowed:
            high = rank
        else:
            low = rank + 1
    basis: Tensor = vectors[:, :high]
    return basis


class Krylov(NamedTuple):
    """The Arnoldi relation `A Vᵀ = V₊ᵀ H`, where V₊ has the rows of V and one more, which is not stored.

    Attributes:
        rows: V, `(k, n)`, with orthonormal rows.
        image: H, `(k + 1, k)`.
    """

    rows: Tensor
    image: Tensor


def krylov(apply: Apply, start: Tensor, steps: int) -> Krylov:
    """Return Arnoldi's basis of `start, A start, …`. It ends where a product adds no new direction.

    Each new row is orthogonalised twice.
    """
    n = start.numel()
    steps = min(steps, n)
    rows = start.new_zeros(steps + 1, n)
    image = start.new_zeros(steps + 1, steps)
    rows[0] = start.flatten() / torch.linalg.vector_norm(start)
    eps = torch.finfo(start.dtype).eps
    for k in range(steps):
        new = apply(rows[k].reshape(start.shape)).flatten()
        size = float(torch.linalg.vector_norm(new))
        for _ in range(2):
            parts = rows[: k + 1].conj() @ new
            new = new - parts @ rows[: k + 1]
            image[: k + 1, k] += parts
        rest = torch.linalg.vector_norm(new)
        image[k + 1, k] = rest
        if float(rest) <= 8 * eps * size:
            return Krylov(rows[: k + 1], image[: k + 2, : k + 1])
        rows[k + 1] = new / rest
    return Krylov(rows[:steps], image)
