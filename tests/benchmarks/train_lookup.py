"""Looking up, drawing, completing and searching trains, beside torchTT, teneva, tntorch and quimb, in one run.

    python tests/benchmarks/train_lookup.py [--threads 1] [--repeats 3] [--only draw]

Every row is one task on the same train for all: the median time of each, and what it achieved. Peers that are not
installed are reported as absent: `pip install --no-deps torchTT==0.5.0 teneva==0.14.11 tntorch==1.1.2 quimb==1.16.0`.
"""

import argparse
import contextlib
import importlib
import io
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from tensortrain import TensorTrain, TensorTrainMatrix, nn

Run = Callable[[], Any]
F64 = torch.float64


@dataclass
class Row:
    """One task: what each library runs, and what is said about its result."""

    task: str
    name: str
    runs: dict[str, Run]
    quality: Callable[[Any], str]


def peer(name: str) -> Any:
    """The module of a library, silenced while it is imported, or None if it is not installed."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


TORCHTT, TENEVA, TNTORCH, QUIMB = peer("torchtt"), peer("teneva"), peer("tntorch"), peer("quimb.tensor")


def arrays(train: TensorTrain) -> Any:
    """The train as teneva has it."""
    return [np.ascontiguousarray(array) for array in train.to_arrays()]


def lookup_rows() -> Iterator[Row]:
    """20,000 entries of one train, and rows of a table."""
    for shape, rank in (((20,) * 6, 8), ((4,) * 20, 16)):
        train = TensorTrain.random(shape, rank, dtype=F64)
        indices = torch.randint(shape[0], (20_000, len(shape)), generator=torch.Generator().manual_seed(0))
        expected = train[indices.unbind(1)]
        runs: dict[str, Run] = {"ours": partial(train.__getitem__, indices.unbind(1))}
        if TENEVA:
            runs["teneva"] = partial(TENEVA.get_many, arrays(train), indices.numpy())
        if TORCHTT:
            runs["torchTT"] = partial(train.to_torchtt().apply_mask, indices)
        if TNTORCH:
            theirs = TNTORCH.Tensor(list(train.cores))
            runs["tntorch"] = lambda t=theirs, i=indices: t[i].torch()
        yield Row(
            "look up",
            f"20,000 entries of {shape[0]}^{len(shape)}, rank {rank}",
            runs,
            lambda found, e=expected: f"{float((torch.as_tensor(found).flatten() - e).norm() / e.norm()):.0e}",
        )
    table = TensorTrainMatrix.random((50, 50, 40), (4, 8, 8), 16)
    layer, ids = nn.TTEmbedding(table), torch.randint(100_000, (4096,))
    with torch.no_grad():
        dense = layer.merge()
    yield Row(
        "embedding",
        f"4,096 rows of 100,000 × 256 in {table.n_parameters:,} numbers",
        {"ours": lambda: layer(ids).detach(), "dense table": lambda: dense(ids).detach()},
        lambda rows: f"{float((rows - dense(ids).detach()).norm() / rows.norm()):.0e}",
    )


def draw_rows() -> Iterator[Row]:
    """2,000 independent draws, with the squares of the entries as probabilities, and with the entries."""
    train = TensorTrain.random((6,) * 12, 8, seed=1, dtype=F64)
    density = TensorTrain([core.abs() for core in train.cores])
    runs: dict[str, Run] = {"ours": lambda: train.sample(2_000).indices}
    if TENEVA:
        runs["teneva"] = partial(TENEVA.sample_square, arrays(train), 2_000, unique=False)
    yield Row("draw", "2,000 by squares, 6^12, rank 8", runs, lambda i: f"{len(i)} draws")
    runs = {"ours": lambda: density.sample(2_000, density="value").indices}
    if TENEVA:
        runs["teneva"] = partial(TENEVA.sample, arrays(density), 2_000)
    yield Row("draw", "2,000 by values, 6^12, rank 8", runs, lambda i: f"{len(i)} draws")
    if QUIMB:
        state = train.to_quimb()
        state /= state.norm()
        runs = {"ours": lambda: train.sample(200).indices, "quimb": lambda: list(state.sample(200, seed=0))}
        yield Row("draw", "200 by squares, 6^12, rank 8", runs, lambda i: f"{len(i)} draws")


def extreme_rows() -> Iterator[Row]:
    """The largest entry: what is found, and what is known of the others."""
    for shape, rank, seed in (((8,) * 6, 4, 0), ((4,) * 15, 5, 1), ((20,) * 8, 6, 2)):
        train = TensorTrain.random(shape, rank, seed=seed, dtype=F64)
        runs: dict[str, Run] = {"ours": train.largest}
        if TENEVA:
            runs["teneva"] = partial(lambda y: TENEVA.optima_tt(y, 500)[3], arrays(train))
        yield Row("largest", f"{shape[0]}^{len(shape)}, rank {rank}", runs, _extreme)


def _extreme(found: Any) -> str:
    return f"{found.value:.4f} ≤ {found.bound:.4f}" if hasattr(found, "bound") else f"{float(found):.4f}"


def completion_rows() -> Iterator[Row]:
    """A random train from six times as many entries as it has numbers; the error is that at all other entries."""
    truth = TensorTrain.random((12, 12, 12, 12), 3, seed=3, dtype=F64)
    count = 6 * truth.n_parameters
    indices = torch.randint(12, (count, 4), generator=torch.Generator().manual_seed(0))
    values = truth[indices.unbind(1)]
    start = TensorTrain.random(truth.shape, 3, seed=9, dtype=F64)

    runs: dict[str, Run] = {"ours": lambda: TensorTrain.fit(indices, values, 3)}
    if TENEVA:
        runs["teneva"] = lambda: TENEVA.als(indices.numpy(), values.numpy(), arrays(start), nswp=100, e=1e-10)
    yield Row("complete", f"12^4, rank 3, {count:,} of 20,736 entries", runs, lambda t: _error(truth, t))


def _error(truth: TensorTrain, found: Any) -> str:
    train = found if isinstance(found, TensorTrain) else TensorTrain.from_foreign(found)
    return f"{float((train - truth).norm() / truth.norm()):.0e}"


def measure(row: Row, repeats: int) -> None:
    """Time all libraries in turn, and print the median of each with what it achieved."""
    times: dict[str, list[float]] = {name: [] for name in row.runs}
    said: dict[str, str] = {}
    for _ in range(repeats):
        for name, run in row.runs.items():
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    start = time.perf_counter()
                    outcome = run()
                    times[name].append(time.perf_counter() - start)
            except Exception as error:  # of a peer, such as one that does not know this version of NumPy
                if name == "ours":
                    raise
                said[name] = f"fails: {type(error).__name__}"
            else:
                said.setdefault(name, row.quality(outcome))
    medians = {name: f"{statistics.median(t) * 1e3:.1f} ms" for name, t in times.items() if t}
    parts = [f"{name} {medians.get(name, '')} ({said[name]})" for name in row.runs]
    print(f"{row.task:10} {row.name:52} {' | '.join(parts)}", flush=True)


def main() -> None:
    """Run every row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", default="", help="tasks or row names that contain this")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    absent = [n for n, m in {"torchTT": TORCHTT, "teneva": TENEVA, "tntorch": TNTORCH, "quimb": QUIMB}.items() if not m]
    print(f"torch {torch.__version__}, {arguments.threads} threads; absent: {', '.join(absent) or 'none'}")
    for rows in (lookup_rows, draw_rows, extreme_rows, completion_rows):
        for row in rows():
            if arguments.only in f"{row.task} {row.name}":
                measure(row, arguments.repeats)


if __name__ == "__main__":
    main()
