"""Compare cross interpolation, linear systems, lowest eigenvalues, products and sums of trains with other libraries.

    python -m tests.benchmarks.trains [--threads 1] [--repeats 3] [--only cross]

Every number comes from one run on one machine: first the error of each library's result, measured in the same way, and
then the ratio of its time to ours; above 1 we are faster. Peers that are not installed are left out:
`pip install --no-deps torchTT==0.5.0 tntorch==1.1.2 teneva==0.14.11 quimb==1.16.0`.

Where we are not ahead: systems, which torchTT's AMEn solves to the same residual in 0.5 to 0.75 of the time, and sums
of few trains, which are added and rounded faster than they are sketched.
"""

import argparse
import contextlib
import importlib
import io
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import tensortrain as tt
from tensortrain.tt.cross import gathered, random_indices
from tests.support.operators import ising, kronecker_sum, second_difference

Run = Callable[[], Any]
F64 = torch.float64


@dataclass
class Row:
    """One task: what each library runs, and what is told of its result, an error first."""

    task: str
    runs: dict[str, Run]
    error: Callable[[Any], float]


def peer(name: str) -> Any:
    """The module of a library, silenced while it is imported, or None if it is not installed."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


TORCHTT, TNTORCH, TENEVA, QUIMB = peer("torchtt"), peer("tntorch"), peer("teneva"), peer("quimb.tensor")


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


def cross_rows() -> Iterator[Row]:
    """Functions on grids: `largest error at 2000 points / largest value`, with the evaluations of all calls."""
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

        def error(result: Any, points: Tensor = points, truth: Tensor = truth) -> float:
            cores, evaluations = result
            print(f"      {evaluations} evaluations, ranks up to {max(core.shape[0] for core in cores)}")
            values = gathered([torch.as_tensor(core) for core in cores], points)
            return float((values - truth).abs().max() / truth.abs().max())

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
        yield Row(f"cross: {name}, {size}^{order}", runs, error)


def system_rows() -> Iterator[Row]:
    """Poisson's equation to a residual of 1e-8, with and without drift, measured by us for both."""
    for order, size, drift in ((4, 16, 0.0), (16, 16, 0.0), (16, 16, 1.0), (64, 16, 0.0)):
        matrix = kronecker_sum(second_difference(size, drift), order)
        load = tt.TensorTrain([torch.ones(1, size, 1, dtype=F64)] * order)
        runs: dict[str, Run] = {"ours": lambda a=matrix, b=load: tt.solve(a, b, 1e-8).train.cores}
        if TORCHTT:
            a, b = TORCHTT.TT(list(matrix.cores)), TORCHTT.TT(list(load.cores))
            runs["torchTT"] = lambda a=a, b=b: TORCHTT.solvers.amen_solve(a, b, eps=1e-8, nswp=30, verbose=False).cores

        def error(cores: Any, matrix: tt.TensorTrainMatrix = matrix, load: tt.TensorTrain = load) -> float:
            product = (matrix @ tt.TensorTrain(cores)).orthogonalize(0)
            return float((product - load.orthogonalize(0)).norm() / load.norm())

        yield Row(f"solve: Poisson {size}^{order}, drift {drift}", runs, error)


def eigen_rows() -> Iterator[Row]:
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
        yield Row(f"lowest eigenvalue: Ising, {sites} sites", runs, lambda e, n=sites, x=exact: abs(e - x) / n)


def product_rows() -> Iterator[Row]:
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
        yield Row(f"product: 8^10, ranks {rank} and {rank}", runs, lambda cores, x=exact: relative(cores, x))


def sum_rows() -> Iterator[Row]:
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
        yield Row(f"sum: 50 of rank 10, {shape[0]}^{len(shape)}", runs, lambda cores, x=total: relative(cores, x))


def falling(shape: tuple[int, ...], rank: int, seed: int) -> tt.TensorTrain:
    """A train with halving singular values."""
    train = tt.TensorTrain.random(shape, rank, seed, F64).orthogonalize(0)
    return tt.TensorTrain([core * 0.5 ** torch.arange(core.shape[2]) for core in train.cores])


def relative(cores: Any, exact: tt.TensorTrain) -> float:
    """Relative Frobenius error."""
    return float((tt.TensorTrain(cores) - exact).norm() / exact.norm())


def report(row: Row, repeats: int) -> None:
    """Errors first, then the ratios of times, from runs in turn."""
    print(row.task, flush=True)
    times: dict[str, list[float]] = {}
    for name, run in row.runs.items():
        start = time.perf_counter()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                result = run()
            seconds = time.perf_counter() - start
            print(f"  {name:22} error {row.error(result):.1e}", flush=True)
        except Exception as error:  # of a peer: say so, and go on
            print(f"  {name:22} fails: {type(error).__name__}: {str(error)[:80]}", flush=True)
            continue
        times[name] = [seconds]
    for turn in range(repeats):
        names = list(times)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                row.runs[name]()
            times[name].append(time.perf_counter() - start)
    if "ours" in times:
        ours = times["ours"]
        ratios = [
            f"{name} {statistics.median(t / o for t, o in zip(values, ours, strict=True)):.2f}×"
            for name, values in times.items()
            if name != "ours"
        ]
        print(f"  {statistics.median(ours):.3f} s | " + " | ".join(ratios), flush=True)


def main() -> None:
    """Run every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="tasks that contain this")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.simplefilter("ignore")
    for rows in (cross_rows, system_rows, eigen_rows, product_rows, sum_rows):
        for row in rows():
            if arguments.only in row.task:
                report(row, arguments.repeats)


if __name__ == "__main__":
    main()
