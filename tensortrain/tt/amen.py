"""One core after the other: sweeps that solve a problem projected on all but one core, and widen the bonds.

x is a train whose cores are orthonormal but for one, its center. The problem, `A x = b` or `A x = λ x`, is projected
on the basis that the other cores span, solved for the center, and the center moves on. Its bond is widened by what
the residual would add to the basis: AMEn (Dolgov and Savostyanov 2014, algorithm 5) for systems, and single-site
DMRG with subspace expansion (Hubig, McCulloch, Schollwöck and Wolf 2015) for eigenvalues. The residual is not
approximated by a train of its own: its sketch by a random train, as in randomised rounding, spans what is needed.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tensortrain.tt.interfaces import mirrored
from tensortrain.tt.sketch import Chain, Product, Train, random_train, sketch

Apply = Callable[[Tensor], Tensor]

_WIDER = 4  # columns that the residual adds to a bond at each visit
DENSE = 400  # unknowns of a projected problem up to which its matrix is formed


class Local(NamedTuple):
    """The problem projected on one core.

    Attributes:
        left: `(R, A, R)`, A between what is left of the core.
        core: `(A, O, I, A')`, of the matrix.
        right: `(R', A', R')`, A between what is right of it.
        load: `(R, I, R')`, b projected; None for an eigenproblem.
    """

    left: Tensor
    core: Tensor
    right: Tensor
    load: Tensor | None

    def halfway(self, x: Tensor) -> Tensor:
        """A times the core x, with its bonds to the right left open: `(R, O, A', R')`."""
        value = torch.tensordot(self.left, x, 1)  # a p i e
        product: Tensor = torch.tensordot(value, self.core, ([1, 2], [0, 2]))  # a e o q
        return product.permute(0, 2, 3, 1)

    def apply(self, x: Tensor) -> Tensor:
        """The projected matrix times the core x, `(R, I, R')`."""
        product: Tensor = torch.tensordot(self.halfway(x), self.right, ([2, 3], [1, 2]))
        return product

    def matrix(self) -> Tensor:
        """The projected matrix itself."""
        dense = torch.einsum("apc,poiq,dqe->aodcie", self.left, self.core, self.right)
        return dense.reshape(dense.shape[:3].numel(), -1)


class Solver(Protocol):
    """How a projected problem is solved."""

    @property
    def allowed(self) -> float:
        """A misfit that does not matter."""

    def solve(self, local: Local, x: Tensor) -> Tensor:
        """The new core, from the old one."""

    def misfit(self, local: Local, x: Tensor) -> float:
        """How far a core is from a solution."""


class Problem(NamedTuple):
    """`A x = b`, or `A x = λ x` if b is None: cores of A, `(A_{l-1}, I_l, I_l, A_l)`, and of b."""

    matrix: list[Tensor]
    load: list[Tensor] | None

    def mirrored(self) -> "Problem":
        """The same with its axes in reverse order."""
        matrix = [core.permute(3, 1, 2, 0) for core in reversed(self.matrix)]
        return Problem(matrix, None if self.load is None else mirrored(self.load))


def half_sweep(problem: Problem, x: Sequence[Tensor], solver: Solver, generator: torch.Generator) -> list[Tensor]:
    """Solve for one core after the other, from the first to the last.

    Args:
        problem: what is solved.
        x: the train so far, all cores but the first right-orthogonal.
        solver: of the projected problems.
        generator: of the random trains.

    Returns:
        The new train, all cores but the last left-orthogonal.

    Cost: `Σ_l (R³ I A + R² I² A²)` for each product that the solver needs.
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
    """For each core what A and b are on the basis right of it: `(R, A, R)` and `(R, B)`."""
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
    """The sketch of the residual `b − A x` at each bond: what a wider basis should contain."""

    def __init__(self, problem: Problem, x: Sequence[Tensor], generator: torch.Generator) -> None:
        chains: list[Chain] = [Product(problem.matrix, [core[:, :, None] for core in x])]
        if problem.load is not None:
            chains.append(Train(problem.load))
        shape = [core.shape[1] for core in x]
        self._parts = sketch(chains, random_train(shape, (1, 1), [_WIDER] * (len(x) - 1), x[0], generator)).parts

    def columns(self, l: int, product: Tensor, load: Tensor | None) -> Tensor:
        """`(R I, k)`, from `product`, `(R, I, A, R')`, and b up to there, `(R, I, B)`."""
        columns = product.flatten(2).flatten(0, 1) @ self._parts[l][0]
        if load is None:
            return columns
        return load.flatten(0, 1) @ self._parts[l][1] - columns


def _shortened(local: Local, x: Tensor, solver: Solver) -> Tensor:
    """A basis `(R I, k)` for the core x, the smallest with which the misfit stays allowed or hardly grows."""
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
    """`A Vᵀ = V₊ᵀ H`, the orthonormal rows of V, `(k, n)`, and of V₊ with one more, and H, `(k + 1, k)`."""

    rows: Tensor
    image: Tensor


def krylov(apply: Apply, start: Tensor, steps: int) -> Krylov:
    """Arnoldi's basis of `start, A start, …`, each new row orthogonalised twice; it ends where nothing is new."""
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
