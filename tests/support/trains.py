"""Tensor trains and tensors to test, with integer cores where sums must be exact; definitions entry by entry."""

import itertools
import math
import random
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from tensortrain.tt import tangent
from tensortrain.tt.sums import round_sum
from tensortrain.tt.tensor_train import TensorTrain

DTYPES = (torch.float32, torch.float64, torch.complex64, torch.complex128)


SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=5).map(tuple)


F64 = torch.float64


def integers(*shape: int, seed: int = 0, dtype: torch.dtype = F64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, shape, generator=generator).to(dtype)


def integer_train(shape: Sequence[int], ranks: Sequence[int], seed: int = 0) -> TensorTrain:
    triples = zip(ranks[:-1], shape, ranks[1:], strict=True)
    return TensorTrain([integers(*triple, seed=seed + l) for l, triple in enumerate(triples)])


def gauged(train: Any, reach: int, seed: int) -> Any:
    """The same train or TT-matrix, each channel of a bond `2**k` times as large before it and as small behind it."""
    rng = random.Random(seed)
    cores = list(train.cores)
    for l in range(len(cores) - 1):
        powers = [rng.randint(-reach, reach) for _ in range(cores[l].shape[-1])]
        factor, inverse = (cores[l].new_tensor([2.0 ** (sign * k) for k in powers]) for sign in (1, -1))
        following = cores[l + 1]
        cores[l] = cores[l] * factor
        cores[l + 1] = following * inverse.reshape(-1, *(1 for _ in following.shape[1:]))
    return type(train)(cores)


def exact_square(train: TensorTrain) -> Fraction:
    """The squared norm of a real train, in rational arithmetic."""
    value, denominator = np.array([[1]], dtype=object), 1
    for core in train.cores:
        ratios = [float(entry).as_integer_ratio() for entry in core.flatten()]
        scale = max(ratio[1] for ratio in ratios)  # a power of two, as all of them
        whole = np.array([n * (scale // d) for n, d in ratios], dtype=object).reshape(core.shape)
        value = np.tensordot(whole, np.tensordot(value, whole, ([1], [0])), ([0, 1], [0, 1]))
        denominator *= scale**2
    return Fraction(value.item(), denominator)


@st.composite
def integer_trains(draw: Any, ends: bool = True) -> TensorTrain:
    shape = draw(SHAPES)
    ranks = [draw(st.integers(1, 4)) for _ in range(len(shape) + 1)]
    if not ends:
        ranks[0] = ranks[-1] = 1
    return integer_train(shape, ranks, draw(st.integers(0, 99)))


def entries(train: TensorTrain) -> Tensor:
    """The dense tensor by the definition, eq. (1), entry by entry, boundary axes always kept."""
    dense = torch.zeros(train.ranks[0], *train.shape, train.ranks[-1], dtype=train.dtype)
    for index in itertools.product(*map(range, train.shape)):
        entry = torch.eye(train.ranks[0], dtype=train.dtype)
        for core, i in zip(train.cores, index, strict=True):
            entry = entry @ core[:, i]
        dense[(slice(None), *index)] = entry
    return dense


def full(train: TensorTrain) -> Tensor:
    """`reconstruct()` with its boundary axes."""
    return train.reconstruct().reshape(train.ranks[0], *train.shape, train.ranks[-1])


def distance(a: Tensor, b: Tensor) -> float:
    """Relative Frobenius distance, in double precision."""
    a, b = a.to(torch.complex128), b.to(torch.complex128)
    return float((a - b).norm() / b.norm()) if float(b.norm()) else float(a.norm())


def structured(shape: Sequence[int], decay: float, dtype: torch.dtype, seed: int) -> Tensor:
    """A random tensor whose multilinear singular values fall like `decay ** i` on every axis."""
    wide = torch.complex128 if dtype.is_complex else F64
    generator = torch.Generator().manual_seed(seed)
    tensor = torch.randn(*shape, dtype=wide, generator=generator)
    for axis, size in enumerate(shape):
        basis = torch.linalg.qr(torch.randn(size, size, dtype=wide, generator=generator))[0]
        factor = basis * decay ** torch.arange(size, dtype=F64)
        tensor = torch.tensordot(tensor, factor, ([axis], [1])).movedim(-1, axis)
    return tensor.to(dtype)


def tails(tensor: Tensor, ranks: Sequence[int]) -> list[float]:
    """For each bond what the best matrix of its rank leaves of the unfolding, squared."""
    wide = tensor.to(torch.complex128)
    unfoldings = [wide.reshape(math.prod(wide.shape[:l]), -1) for l in range(1, wide.dim())]
    return [
        float((torch.linalg.svdvals(matrix)[rank:] ** 2).sum())
        for matrix, rank in zip(unfoldings, ranks[1:-1], strict=True)
    ]


LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "ranks": st.integers(1, 3),
        "rtol": st.sampled_from([0.0, 1e-9, 1e-4, 0.03, 0.3, 0.9]),
        "budget": st.sampled_from([0.3, 0.8, 2.0]),
        "max_parameters": st.integers(20, 200),
    },
).filter(bool)


def within(train: TensorTrain, limits: dict[str, Any]) -> None:
    assert all(rank <= limits.get("ranks", rank) for rank in train.ranks[1:-1])
    assert train.n_parameters <= limits.get("max_parameters", math.inf)
    assert train.n_parameters <= limits.get("budget", math.inf) * train.dense_parameters


def check_decomposed_train(device: torch.device, dtype: torch.dtype) -> None:
    """Decomposed by each kind of limit, evaluated, rounded, moved and drawn at random, on a device and in a dtype."""
    tensor = structured((4, 5, 6), 0.5, dtype, 0).to(device)
    for limits in ({"rtol": 0.1}, {"ranks": 2}, {"budget": 0.5}):
        train = TensorTrain.decompose(tensor, **limits)
        assert (train.device.type, train.dtype) == (device.type, dtype)
        inputs = [torch.ones(3, size, dtype=dtype, device=device) for size in train.shape]
        torch.testing.assert_close(train.evaluate(inputs), train.evaluate_dense(inputs))
        moved = train.round(ranks=2).to("cpu", torch.complex128)
        assert moved.dtype == torch.complex128
        assert moved.error == train.round(ranks=2).error
    train = TensorTrain.random((2, 3), 2, dtype=dtype, device=device)
    assert torch.equal(train.to("cpu").cores[0], TensorTrain.random((2, 3), 2, dtype=dtype).cores[0])


def check_used_train(device: torch.device, dtype: torch.dtype) -> None:
    """Looked up, contracted, drawn from, searched, fitted and projected, on a device and in a dtype."""
    train = TensorTrain.random((4, 5, 6), 2, dtype=dtype, device=device)
    dense = train.reconstruct()
    index = torch.tensor([[0, 3, 1], [4, 0, 2], [5, 1, 0]])
    for places in (index, index.to(device)):
        torch.testing.assert_close(train[tuple(places)], dense[tuple(places)])
    torch.testing.assert_close((train / 2 + 1).sum(1).reconstruct(), (dense / 2 + 1).sum(1))
    torch.testing.assert_close(
        train.permute(2, 0, 1).reshape(6, 2, 2, 5)[:, 1, None].reconstruct(),
        dense.permute(2, 0, 1).reshape(6, 2, 2, 5)[:, 1, None],
    )
    grid = TensorTrain.linspace(0, 1, (2,) * 8, dtype, device)
    torch.testing.assert_close(TensorTrain.quantize(grid.reshape(256)).reconstruct(), grid.reconstruct())
    scaled = gauged(train, 30, 0)
    torch.testing.assert_close(scaled.round(rtol=0.0).reconstruct(), dense, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(round_sum([scaled, train], ranks=2).reconstruct(), 2 * dense, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scaled.mean(), dense.mean(), rtol=1e-4, atol=1e-4)
    samples = train.sample(50)
    assert torch.equal(samples.indices.cpu(), train.cpu().sample(50).indices)
    if not dtype.is_complex:
        extreme = train.largest()
        assert abs(extreme.value - float(dense[extreme.position])) < 1e-5
        assert extreme.gap < 1e-6
    everywhere = torch.cartesian_prod(*map(torch.arange, train.shape)).to(device)
    fitted = TensorTrain.fit(everywhere, dense.flatten(), 2)
    assert (fitted.device.type, fitted.dtype) == (device.type, dtype)
    assert float((fitted - train).norm() / train.norm()) < 1e-4
    torch.testing.assert_close(tangent.project(train, train).reconstruct(), dense, rtol=1e-4, atol=1e-4)
