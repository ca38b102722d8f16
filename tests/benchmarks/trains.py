"""Tasks on trains for `libraries.py`: cross interpolation, systems, eigenvalues, products and sums."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tensortrain as tt
from tensortrain.tt.cross import gathered, random_indices
from tests.benchmarks.peers import F64, QUIMB, TENEVA, TNTORCH, TORCHTT, Run, Task, relative
from tests.support.operators import ising, kronecker_sum, second_difference


class Counted:
    """A function of indices that counts how many it gets."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function, self.evaluations = function, 0

    def __call__(self, indices: Any) -> Any:
        """Values of a tensor, or of an array as an array."""
        self.evaluations += len(indices)
        if isinstance(indices, Tensor):
            return self.function(indices.long())
        return self.function(torch.from_numpy(np.asarray(indices)).long()).numpy()


def cross_rows() -> Iterator[Task]:
    """Functions on grids: `largest error at 2000 points / largest value`, and how many values all calls asked for."""
    cases: list[tuple[str, Callable[[Tensor], Tensor], int, int, int]] = [
        ("sine of a sum", lambda i: torch.sin(0.1 * i.sum(1).double()), 20, 16, 2),
        ("sine of a sum", lambda i: torch.sin(0.1 * i.sum(1).double()), 100, 16, 2),
        ("1 / (1 + sum)", lambda i: 1 / (1.0 + i.sum(1).double()), 10, 16, 12),
        ("root of 1 + squares", lambda i: (1 + (i.double() / 16).square().sum(1)).sqrt(), 10, 16, 8),
    ]
    for name, function, order, size, rank in cases:
        shape = (size,) * order
        points = random_indices(shape, 2000, torch.Generator().manual_seed(7))
        truth = function(points)

        def result(outcome: Any, points: Tensor = points, truth: Tensor = truth) -> str:
            cores, evaluations = outcome
            values = gathered([torch.as_tensor(core) for core in cores], points)
            return f"{float((values - truth).abs().max() / truth.abs().max()):.1e}, {evaluations:,} values"

        def ours(function: Callable[[Tensor], Tensor] = function, shape: tuple[int, ...] = shape) -> Any:
            counted = Counted(function)
            return tt.TensorTrain.from_function(counted, shape, rtol=1e-10).cores, counted.evaluations

        runs: dict[str, Run] = {"ours": ours}
        if TENEVA:

            def teneva(
                function: Callable[[Tensor], Tensor] = function, shape: tuple[int, ...] = shape, rank: int = rank
            ) -> Any:
                counted = Counted(function)
                start = TENEVA.rand(list(shape), 1, seed=0)
                cores = TENEVA.cross(counted, start, e=1e-10, nswp=2 * rank, dr_min=1, dr_max=2, cache={})
                return TENEVA.truncate(cores, 1e-12), counted.evaluations

            runs["teneva"] = teneva
        if TORCHTT:

            def torchtt(function: Callable[[Tensor], Tensor] = function, shape: tuple[int, ...] = shape) -> Any:
                counted = Counted(function)
                train = TORCHTT.interpolate.dmrg_cross(counted, list(shape), eps=1e-10)
                return train.cores, counted.evaluations

            runs["torchTT"] = torchtt
        yield Task("cross", f"{name}, {size}^{order}", runs, result)


def map_rows() -> Iterator[Task]:
    """A function of the entries of a train: the logarithm of one plus a sum of squares."""
    for order in (6, 12):
        shape = (16,) * order
        squares = [
            tt.TensorTrain.along((torch.arange(16, dtype=F64) / 16).square(), shape, axis) for axis in range(order)
        ]
        train = sum(squares[1:], squares[0]).round(rtol=1e-14)
        points = random_indices(shape, 2000, torch.Generator().manual_seed(7))
        truth = torch.log1p(gathered(train.cores, points))
        runs: dict[str, Run] = {"ours": lambda t=train: t.map(torch.log1p, rtol=1e-9).cores}
        if TORCHTT:
            theirs = train.to_torchtt()
            runs["torchTT"] = lambda t=theirs: TORCHTT.interpolate.function_interpolate(torch.log1p, t, eps=1e-9).cores

        def error(cores: Any, points: Tensor = points, truth: Tensor = truth) -> str:
            return f"{float((gathered(cores, points) - truth).abs().max() / truth.abs().max()):.1e}"

        yield Task("map", f"logarithm, 16^{order}", runs, error)


def system_rows() -> Iterator[Task]:
    """Poisson's equation to a residual of 1e-8, with and without drift, measured by us for both."""
    for order, size, drift in ((4, 16, 0.0), (16, 16, 0.0), (16, 16, 1.0), (64, 16, 0.0)):
        matrix = kronecker_sum(second_difference(size, drift), order)
        load = tt.TensorTrain([torch.ones(1, size, 1, dtype=F64)] * order)
        runs: dict[str, Run] = {"ours": lambda a=matrix, b=load: tt.solve(a, b, 1e-8).train.cores}
        if TORCHTT:
            a, b = TORCHTT.TT(list(matrix.cores)), TORCHTT.TT(list(load.cores))
            runs["torchTT"] = lambda a=a, b=b: TORCHTT.solvers.amen_solve(a, b, eps=1e-8, nswp=30, verbose=False).cores

        def residual(cores: Any, matrix: tt.TensorTrainMatrix = matrix, load: tt.TensorTrain = load) -> str:
            return f"{float((matrix @ tt.TensorTrain(cores) - load).norm() / load.norm()):.1e}"

        yield Task("solve", f"Poisson {size}^{order}, drift {drift}", runs, residual)


def eigen_rows() -> Iterator[Task]:
    """The critical Ising chain; the error is that of the energy for each site."""
    for sites in (20, 60):
        matrix = ising(sites, 1.0)
        exact = 1 - 1 / math.sin(math.pi / (2 * (2 * sites + 1)))
        runs: dict[str, Run] = {"ours": lambda a=matrix: float(tt.lowest_eigenpair(a, 1e-6).value)}
        if QUIMB:

            def quimb(cores: Any = matrix.cores) -> float:
                arrays = [core.permute(0, 3, 1, 2).numpy() for core in cores]
                arrays[0], arrays[-1] = arrays[0][0], arrays[-1][:, 0]
                dmrg = QUIMB.DMRG2(QUIMB.MatrixProductOperator(arrays), bond_dims=[10, 20, 40, 60], cutoffs=1e-12)
                dmrg.solve(tol=1e-9, verbosity=0)
                return float(dmrg.energy)

            runs["quimb"] = quimb
        yield Task(
            "lowest eigenvalue", f"Ising, {sites} sites", runs, lambda e, n=sites, x=exact: f"{abs(e - x) / n:.1e}"
        )


def product_rows() -> Iterator[Task]:
    """A product of a TT-matrix and a train to rank 20, rounded on the way or afterwards."""
    for rank in (10, 20):
        matrix = tt.TensorTrainMatrix.random((8,) * 10, (8,) * 10, rank, 0, F64)
        vector = falling((8,) * 10, rank, 1)
        exact = matrix @ vector
        runs: dict[str, Run] = {
            "ours": lambda a=matrix, b=vector: a.matmul(b, ranks=20).cores,
            "ours, afterwards": lambda a=matrix, b=vector: (a @ b).round(ranks=20).cores,
        }
        if TORCHTT:
            a, b = TORCHTT.TT(list(matrix.cores)), TORCHTT.TT(list(vector.cores))
            runs["torchTT, afterwards"] = lambda a=a, b=b: (a @ b).round(1e-14, 20).cores
        yield Task("product", f"8^10, ranks {rank} and {rank}", runs, relative(exact))


def sum_rows() -> Iterator[Task]:
    """Fifty summands of rank 10 to rank 20, and the same by adding and rounding."""
    for shape in ((20,) * 6, (8,) * 12):
        trains = [falling(shape, 10, n) * 0.7**n for n in range(50)]
        total = sum(trains[1:], trains[0])
        runs: dict[str, Run] = {
            "ours": lambda t=trains: tt.round_sum(t, ranks=20).cores,
            "ours, afterwards": lambda t=trains: sum(t[1:], t[0]).round(ranks=20).cores,
        }
        if TORCHTT:
            theirs = [TORCHTT.TT(list(train.cores)) for train in trains]
            runs["torchTT, afterwards"] = lambda t=theirs: sum(t[1:], t[0]).round(1e-14, 20).cores
        if TNTORCH:
            others = [TNTORCH.Tensor(list(train.cores)) for train in trains]
            runs["tntorch, afterwards"] = lambda t=others: TNTORCH.round_tt(sum(t[1:], t[0]), rmax=20).cores
        yield Task("sum", f"50 of rank 10, {shape[0]}^{len(shape)}", runs, relative(total))


def falling(shape: tuple[int, ...], rank: int, seed: int) -> tt.TensorTrain:
    """A train with halving singular values."""
    train = tt.TensorTrain.random(shape, rank, seed, F64).orthogonalize(0)
    return tt.TensorTrain([core * 0.5 ** torch.arange(core.shape[2]) for core in train.cores])
