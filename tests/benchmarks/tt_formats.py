"""Compare TT-SVD, reconstruction and rounding with TensorLy, torchTT and tntorch, in one run and at equal error.

    python -m tests.benchmarks.tt_formats [--threads 2] [--repeats 9] [--only rounding]

Every number is the median, over repeats in which all libraries take turns, of a peer's time divided by
ours: above 1 we are faster. Peers that are not installed are reported as absent:
`pip install --no-deps torchTT==0.5.0 tntorch==1.1.2`.

Where we were not ahead on the machine of the committed table: two reconstructions that are the same matrix
products in every library, and rounding to 1e-8 beside tntorch's `eig`, which squares its matrices and so has no
digits to spare at that tolerance. On another machine, rounding of many thin cores too.
"""

import argparse
import contextlib
import io
import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tensortrain.tt.tensor_train import TensorTrain
from tests.benchmarks.peers import TNTORCH, TORCHTT, Run, peer


@dataclass
class Row:
    """One task: what each library runs, and how the relative error of its result is computed."""

    task: str
    name: str
    runs: dict[str, Run]
    error: Callable[[Any], float]
    times: dict[str, list[float]] = field(default_factory=dict)


TENSORLY = peer("tensorly")


def dense(result: Any) -> Tensor:
    """The dense tensor of any library's train."""
    if isinstance(result, Tensor):
        return result
    if isinstance(result, TensorTrain):
        return result.reconstruct()
    cores = result.factors if hasattr(result, "factors") else result.cores
    return TensorTrain(cores).reconstruct()


def relative_error(reference: Tensor) -> Callable[[Any], float]:
    """A function that gives the relative error of a library's result."""
    wide = reference.to(torch.float64)
    return lambda result: float((dense(result).to(torch.float64) - wide).norm() / wide.norm())


def noisy(shape: tuple[int, ...], rank: int, noise: float, dtype: torch.dtype) -> Tensor:
    """A tensor of TT ranks `rank` and standard deviation 1, plus noise."""
    exact = TensorTrain.random(shape, rank, seed=1, dtype=torch.float64).reconstruct()
    generator = torch.Generator().manual_seed(2)
    return (exact + noise * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def hilbert(size: int, order: int) -> Tensor:
    """`1 / (1 + i_1 + … + i_m)`: singular values that fall exponentially at every bond."""
    total = torch.zeros(())
    for _ in range(order):
        total = total[..., None] + torch.arange(size, dtype=torch.float64)
    return 1 / (1 + total)


def decomposition_rows() -> Iterator[Row]:
    """TT-SVD at given ranks and at given tolerances. A peer that takes no tolerance gets the ranks that ours needed."""
    f64, f32 = torch.float64, torch.float32
    cases: list[tuple[str, Tensor, dict[str, Any]]] = [
        ("32^4, rank 8 + 1e-3 noise, ranks=8", noisy((32,) * 4, 8, 1e-3, f64), {"ranks": 8}),
        ("32^4, rank 8 + 1e-3 noise, ranks=8, float32", noisy((32,) * 4, 8, 1e-3, f32), {"ranks": 8}),
        ("32^4, rank 8 exactly, ranks=8", noisy((32,) * 4, 8, 0.0, f64), {"ranks": 8}),
        ("32^4, rank 8 exactly, rtol=1e-10", noisy((32,) * 4, 8, 0.0, f64), {"rtol": 1e-10}),
        ("12^5, noise, ranks=16", noisy((12,) * 5, 1, 10.0, f64), {"ranks": 16}),
        ("12^5, noise, rtol=0.5", noisy((12,) * 5, 1, 10.0, f64), {"rtol": 0.5}),
        ("24^4, Hilbert, rtol=1e-3", hilbert(24, 4), {"rtol": 1e-3}),
        ("24^4, Hilbert, rtol=1e-8", hilbert(24, 4), {"rtol": 1e-8}),
        ("24^4, Hilbert, rtol=1e-3, float32", hilbert(24, 4).float(), {"rtol": 1e-3}),
        ("400×500, rank 20 + 1e-2 noise, ranks=20", noisy((400, 500), 20, 1e-2, f64), {"ranks": 20}),
        ("64×64×64×3, rank 16 + 1e-2 noise, rtol=1e-1", noisy((64, 64, 64, 3), 16, 1e-2, f64), {"rtol": 1e-1}),
        ("4^9, rank 6 + 1e-3 noise, rtol=1e-2", noisy((4,) * 9, 6, 1e-3, f64), {"rtol": 1e-2}),
    ]
    for name, tensor, limits in cases:
        ranks = list(TensorTrain.decompose(tensor, **limits).ranks)
        # torchTT takes a rank cap with a tolerance, or the machine's precision; tntorch one of the two
        eps = limits.get("rtol", 1e-14)
        cap: Any = ranks if "ranks" in limits else 10**9
        runs: dict[str, Run] = {"ours": lambda t=tensor, k=limits: TensorTrain.decompose(t, **k)}
        if TENSORLY:
            from tensorly.decomposition import tensor_train

            runs["tensorly"] = lambda t=tensor, r=ranks: tensor_train(t, r)
        if TORCHTT:
            runs["torchTT"] = lambda t=tensor, e=eps, c=cap: TORCHTT.TT(t, eps=e, rmax=c)
        if TNTORCH and tensor.numel() <= 2**20:
            for algorithm in ("svd", "eig"):
                runs[f"tntorch {algorithm}"] = lambda t=tensor, k=limits, r=ranks, a=algorithm: _tntorch(t, k, r, a)
        yield Row("TT-SVD", name, runs, relative_error(tensor))


def _tntorch(tensor: Tensor, limits: dict[str, Any], ranks: list[int], algorithm: str) -> Any:
    if "ranks" in limits:
        return TNTORCH.Tensor(tensor, ranks_tt=ranks[1:-1], algorithm=algorithm)
    train = TNTORCH.Tensor(tensor)
    train.round_tt(eps=limits["rtol"], algorithm=algorithm)
    return train


def reconstruction_rows() -> Iterator[Row]:
    """Reconstruction of the dense tensor from the same train in every library."""
    cases = [
        ((32,) * 4, 8, torch.float64),
        ((32,) * 4, 32, torch.float64),
        ((32,) * 4, 32, torch.float32),
        ((10,) * 6, 20, torch.float64),
        ((64, 48, 80), 24, torch.float64),
        ((2,) * 20, 16, torch.float64),
        ((1000, 1000), 50, torch.float64),
    ]
    for shape, rank, dtype in cases:
        train = TensorTrain.random(shape, rank, seed=3, dtype=dtype)
        runs: dict[str, Run] = {"ours": train.reconstruct}
        if TENSORLY:
            runs["tensorly"] = train.to_tensorly().to_tensor
        if TORCHTT:
            runs["torchTT"] = TORCHTT.TT(list(train.cores)).full
        if TNTORCH:
            runs["tntorch"] = TNTORCH.Tensor(list(train.cores)).torch
        yield Row(
            "reconstruction", f"{_shape(shape)}, rank {rank}, {_dtype(dtype)}", runs, relative_error(dense(train))
        )


def rounding_rows() -> Iterator[Row]:
    """Trains with falling singular values, alone or added to themselves, rounded by tolerance or to given ranks."""
    f64, f32 = torch.float64, torch.float32
    single = [
        ("32^6, rank 64", _falling((32,) * 6, 64, f64), {"rtol": 1e-8}),
        ("32^6, rank 64", _falling((32,) * 6, 64, f64), {"rtol": 1e-3}),
        ("32^6, rank 64", _falling((32,) * 6, 64, f32), {"ranks": 16}),
        ("4^20, rank 60", _falling((4,) * 20, 60, f64), {"rtol": 1e-4}),
        ("8^8, rank 200", _falling((8,) * 8, 200, f64), {"ranks": 20}),
    ]
    sums = [
        ("32^6, rank 32 + 32", _falling((32,) * 6, 32, f64), {"rtol": 1e-3}),
        ("32^6, rank 32 + 32", _falling((32,) * 6, 32, f64), {"ranks": 16}),
        ("32^6, rank 32 + 32", _falling((32,) * 6, 32, f32), {"ranks": 16}),
        ("100^4, rank 20 + 20", _falling((100,) * 4, 20, f64), {"rtol": 1e-6}),
        ("4^20, rank 40 + 40", _falling((4,) * 20, 40, f64), {"rtol": 1e-6}),
    ]
    for name, train, limits in single + [(name, train + train, limits) for name, train, limits in sums]:
        ranks = list(train.round(**limits).ranks)
        eps = limits.get("rtol", 1e-14)
        cap: Any = ranks if "ranks" in limits else [10**9] * len(ranks)
        runs: dict[str, Run] = {"ours": lambda t=train, k=limits: t.round(**k)}
        if TORCHTT:
            theirs = TORCHTT.TT(list(train.cores))
            runs["torchTT"] = lambda t=theirs, e=eps, c=cap: t.round(e, c)
        if TNTORCH:
            for algorithm in ("svd", "eig"):
                theirs = TNTORCH.Tensor(list(train.cores))
                options = {"eps": eps, "rmax": cap[1:-1], "algorithm": algorithm}
                runs[f"tntorch {algorithm}"] = lambda t=theirs, o=options: TNTORCH.round_tt(t, **o)
        yield Row(
            "rounding",
            f"{name}, {', '.join(f'{k}={v}' for k, v in limits.items())}, {_dtype(train.dtype)}",
            runs,
            lambda result, t=train: _train_error(t, result),
        )


def _falling(shape: tuple[int, ...], rank: int, dtype: torch.dtype) -> TensorTrain:
    """A train whose singular values fall by two thirds from one to the next at each bond."""
    train = TensorTrain.random(shape, rank, seed=4, dtype=torch.float64).orthogonalize(0)
    cores = [core * (2 / 3) ** torch.arange(core.shape[2], dtype=torch.float64) for core in train.cores]
    return TensorTrain(cores).to(dtype)


def _train_error(reference: TensorTrain, result: Any) -> float:
    cores = result.cores
    difference = reference.to(torch.float64) - TensorTrain(cores).to(torch.float64)
    return float(difference.norm() / reference.to(torch.float64).norm())


def _shape(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}^{len(shape)}" if len(set(shape)) == 1 and len(shape) > 2 else "×".join(map(str, shape))


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def measure(row: Row, repeats: int) -> dict[str, float]:
    """Time all libraries in turn; returns the error of each."""
    errors = {}
    for name, run in row.runs.items():
        with contextlib.redirect_stdout(io.StringIO()):
            errors[name] = row.error(run())
    for turn in range(repeats):
        names = list(row.runs)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.perf_counter()
            row.runs[name]()
            row.times.setdefault(name, []).append(time.perf_counter() - start)
    return errors


def report(row: Row, errors: dict[str, float]) -> None:
    """Print our time and, for each peer, the median ratio, with its error in brackets if that differs from ours."""
    ours = row.times["ours"]
    parts = [f"{row.task:14} {row.name:52} {statistics.median(ours) * 1e3:8.2f} ms  {errors['ours']:8.1e}"]
    for name, times in row.times.items():
        if name == "ours":
            continue
        ratio = statistics.median(t / o for t, o in zip(times, ours, strict=True))
        same = math.isclose(errors[name], errors["ours"], rel_tol=0.02, abs_tol=1e-13)
        parts.append(f"{name} {ratio:6.2f}×" + ("" if same else f" ({errors[name]:.0e})"))
    print(" | ".join(parts), flush=True)


def main() -> None:
    """Run every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", default="", help="tasks or row names that contain this")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cpu = next((x.split(":")[1].strip() for x in _lines("/proc/cpuinfo") if x.startswith("model name")), "")
    print(f"{cpu or platform.processor()}, {arguments.threads} threads, torch {torch.__version__}")
    for name, module in {"tensorly": TENSORLY, "torchTT": TORCHTT, "tntorch": TNTORCH}.items():
        print(f"{name} {metadata.version(name) if module else 'absent'}")
    print("task, case, our time and error | peer: its time / ours (its error where that is another one)")
    if TENSORLY:
        TENSORLY.set_backend("pytorch", local_threadsafe=True)
    for rows in (decomposition_rows, reconstruction_rows, rounding_rows):
        for row in rows():
            if arguments.only in f"{row.task} {row.name}":
                report(row, measure(row, arguments.repeats))


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


if __name__ == "__main__":
    main()
