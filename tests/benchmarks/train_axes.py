"""Tasks on trains for `libraries.py`: their axes and numbers, quantised trains, and tangent spaces."""

from collections.abc import Iterator

import torch

from tensortrain import TensorTrain, tangent
from tests.benchmarks.peers import F64, QUIMB, TENEVA, TNTORCH, TORCHTT, Run, Task, arrays, relative

SHAPE, RANK = (20,) * 6, 12


def axis_rows() -> Iterator[Task]:
    """Axes summed, brought into another order, joined, and multiplied by a matrix."""
    train, other = (TensorTrain.random(SHAPE, RANK, seed, F64) for seed in (0, 1))
    exact = train.reconstruct()
    theirs = train.to_torchtt() if TORCHTT else None

    runs: dict[str, Run] = {"ours": lambda: train.sum((0, 2, 5)).reconstruct()}
    if TORCHTT:
        runs["torchTT"] = lambda: theirs.sum([0, 2, 5]).full()
    if TNTORCH:
        runs["tntorch"] = lambda: TNTORCH.sum(TNTORCH.Tensor(list(train.cores)), dim=[0, 2, 5]).torch()
    yield Task("sum of axes", f"3 of {_name(SHAPE)}", runs, relative(exact.sum((0, 2, 5))))

    small = TensorTrain.random((8,) * 6, 4, 0, F64)
    order = (1, 0, 2, 3, 5, 4)
    runs = {"ours": lambda: small.permute(*order).round(rtol=1e-12)}
    if TORCHTT:
        runs["torchTT"] = lambda: TORCHTT.permute(small.to_torchtt(), list(order), 1e-12)
    swapped = TensorTrain.decompose(small.reconstruct().permute(order), rtol=1e-14)
    yield Task("permute and round", f"8^6, rank 4, {order}", runs, relative(swapped))

    matrix = torch.randn(20, 20, generator=torch.Generator().manual_seed(0), dtype=F64)
    runs = {"ours": lambda: train.mode_product(matrix, 2)}
    if TORCHTT:
        runs["torchTT"] = lambda: theirs.mprod(matrix, 2)
    product = torch.tensordot(exact, matrix, ([2], [1])).movedim(-1, 2)
    yield Task("mode product", _name(SHAPE), runs, relative(TensorTrain.decompose(product, rtol=1e-14)))

    runs = {"ours": lambda: TensorTrain.cat([train, other], 1)}
    if TORCHTT:
        runs["torchTT"] = lambda: TORCHTT.cat((theirs, other.to_torchtt()), 1)
    joined = torch.cat([exact, other.reconstruct()], 1)
    yield Task("join", f"two of {_name(SHAPE)}", runs, relative(TensorTrain.decompose(joined, rtol=1e-14)))


def number_rows() -> Iterator[Task]:
    """Elementwise and inner products."""
    a, b = (TensorTrain.random(SHAPE, RANK, seed, F64) for seed in (0, 1))
    dense = (a.reconstruct(), b.reconstruct())
    runs: dict[str, Run] = {"ours": lambda: a * b}
    inner: dict[str, Run] = {"ours": lambda: a.inner(b)}
    if TORCHTT:
        x, y = a.to_torchtt(), b.to_torchtt()
        runs["torchTT"] = lambda: x * y
        inner["torchTT"] = lambda: TORCHTT.dot(x, y)
    if TNTORCH:
        t, u = (TNTORCH.Tensor(list(train.cores)) for train in (a, b))
        runs["tntorch"] = lambda: t * u
        inner["tntorch"] = lambda: TNTORCH.dot(t, u)
    if TENEVA:
        v, w = arrays(a), arrays(b)
        runs["teneva"] = lambda: TENEVA.mul(v, w)
        inner["teneva"] = lambda: TENEVA.mul_scalar(v, w)
    if QUIMB:
        p, q = a.to_quimb(), b.to_quimb()
        inner["quimb"] = lambda: p.overlap(q)
    product = TensorTrain.decompose(dense[0] * dense[1], rtol=1e-13)
    yield Task("elementwise product", f"{_name(SHAPE)}, rank {RANK}", runs, relative(product))
    yield Task("inner product", f"{_name(SHAPE)}, rank {RANK}", inner, relative((dense[0] * dense[1]).sum()))


def quantised_rows() -> Iterator[Task]:
    """A train on a grid of 4,096 points an axis, over its binary digits."""
    x = torch.linspace(0, 1, 4096, dtype=F64)
    axes = [TensorTrain.along(values, (4096,) * 3, l) for l, values in enumerate(((9 * x).sin(), (-x).exp(), x * x))]
    train = (axes[0] * axes[1] + axes[2]).round(rtol=1e-14)
    exact = train.reshape(*(2,) * 36)
    runs: dict[str, Run] = {"ours": lambda: TensorTrain.quantize(train, rtol=1e-12)}
    if TORCHTT:
        runs["torchTT"] = lambda: train.to_torchtt().to_qtt(1e-12)
    yield Task("quantise", f"4096^3, ranks {max(train.ranks)}", runs, relative(exact))


def tangent_rows() -> Iterator[Task]:
    """The projection of a train on the tangent space at another."""
    base, other = TensorTrain.random(SHAPE, 6, 0, F64), TensorTrain.random(SHAPE, RANK, 1, F64)
    exact = tangent.project(base, other)
    runs: dict[str, Run] = {"ours": lambda: tangent.project(base, other)}
    if TORCHTT:
        x, y = base.to_torchtt(), other.to_torchtt()
        runs["torchTT"] = lambda: TORCHTT.manifold.riemannian_projection(x, y)

    def off(result: object) -> str:
        """How far a projection is from being one: what is left is orthogonal to it, and it is its own projection."""
        train = result if isinstance(result, TensorTrain) else TensorTrain.from_foreign(result)
        return (
            f"{float((train - exact).norm() / exact.norm() + train.inner(other - train).abs() / other.norm() ** 2):.1e}"
        )

    yield Task("tangent space", f"{_name(SHAPE)}, ranks 6 and {RANK}", runs, off)


def _name(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}^{len(shape)}"
