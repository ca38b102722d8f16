"""Tasks on trains for `libraries.py`: looking up, drawing, searching the largest entry, completing, exchanging."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from tensortrain import TensorTrain
from tests.benchmarks.peers import F64, QUIMB, TENEVA, TNTORCH, TORCHTT, Run, Task, arrays, peer, relative


def lookup_rows() -> Iterator[Task]:
    """20,000 entries of one train."""
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
        yield Task(
            "look up",
            f"20,000 entries of {shape[0]}^{len(shape)}, rank {rank}",
            runs,
            lambda entries, e=expected: relative(e)(torch.as_tensor(entries).flatten()),
        )


def draw_rows() -> Iterator[Task]:
    """2,000 independent draws, with the squares of the entries as probabilities, and with the entries."""
    train = TensorTrain.random((6,) * 12, 8, seed=1, dtype=F64)
    density = TensorTrain([core.abs() for core in train.cores])
    runs: dict[str, Run] = {"ours": lambda: train.sample(2_000).indices}
    if TENEVA:
        runs["teneva"] = partial(TENEVA.sample_square, arrays(train), 2_000, unique=False)
    yield Task("draw", "2,000 by squares, 6^12, rank 8", runs, lambda i: f"{len(i)} draws")
    runs = {"ours": lambda: density.sample(2_000, density="value").indices}
    if TENEVA:
        runs["teneva"] = partial(TENEVA.sample, arrays(density), 2_000)
    yield Task("draw", "2,000 by values, 6^12, rank 8", runs, lambda i: f"{len(i)} draws")
    if QUIMB:
        state = train.to_quimb()
        state /= state.norm()
        runs = {"ours": lambda: train.sample(200).indices, "quimb": lambda: list(state.sample(200, seed=0))}
        yield Task("draw", "200 by squares, 6^12, rank 8", runs, lambda i: f"{len(i)} draws")


def extreme_rows() -> Iterator[Task]:
    """The largest entry: what is found, and what is known of the others."""
    for shape, rank, seed in (((8,) * 6, 4, 0), ((4,) * 15, 5, 1), ((20,) * 8, 6, 2)):
        train = TensorTrain.random(shape, rank, seed=seed, dtype=F64)
        runs: dict[str, Run] = {"ours": train.largest}
        if TENEVA:
            runs["teneva"] = partial(lambda y: TENEVA.optima_tt(y, 500)[3], arrays(train))
        yield Task("largest", f"{shape[0]}^{len(shape)}, rank {rank}", runs, _extreme)


def _extreme(entry: Any) -> str:
    return f"{entry.value:.4f} ≤ {entry.bound:.4f}" if hasattr(entry, "bound") else f"{float(entry):.4f}"


def completion_rows() -> Iterator[Task]:
    """A random train from six times as many entries as it has numbers; the error is that at all other entries."""
    truth = TensorTrain.random((12, 12, 12, 12), 3, seed=3, dtype=F64)
    count = 6 * truth.n_parameters
    indices = torch.randint(12, (count, 4), generator=torch.Generator().manual_seed(0))
    values = truth[indices.unbind(1)]
    start = TensorTrain.random(truth.shape, 3, seed=9, dtype=F64)

    runs: dict[str, Run] = {"ours": lambda: TensorTrain.fit(indices, values, 3)}
    if TENEVA:
        runs["teneva"] = lambda: TENEVA.als(indices.numpy(), values.numpy(), arrays(start), nswp=100, e=1e-10)
    yield Task("complete", f"12^4, rank 3, {count:,} of 20,736 entries", runs, relative(truth))


def exchange_rows() -> Iterator[Task]:
    """A train made into another library's and back, beside a copy of it; the error is that of what comes back."""
    train = TensorTrain.random((16,) * 30, 40, dtype=F64)

    def back(theirs: Any) -> TensorTrain:
        return TensorTrain.from_foreign(theirs)

    runs: dict[str, Run] = {"ours": train.clone}
    if peer("tensorly"):
        runs["tensorly"] = lambda: TensorTrain.from_tensorly(train.to_tensorly())
    if TORCHTT:
        runs["torchTT"] = lambda: back(train.to_torchtt())
    if TNTORCH:
        runs["tntorch"] = lambda: back(TNTORCH.Tensor(list(train.cores)))
    if TENEVA:
        runs["teneva"] = lambda: back(train.to_arrays())
    if QUIMB:
        runs["quimb"] = lambda: back(train.to_quimb())
    yield Task("exchange", "16^30, rank 40, there and back, beside a copy", runs, relative(train))
