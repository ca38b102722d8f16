"""What the tests of decompositions share: errors by the oracle, random kernels with core sizes and ranks, formats."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from tensortrain import ConvTensorTrain
from tensortrain.conv import formats
from tensortrain.conv.fit.options import SolverOptions
from tests.support import oracles

Axes = tuple[int, ...]
Problem = tuple[Tensor, list[Axes], list[int]]
SEEDS = st.integers(0, 2**31)
QUIET = SolverOptions(seed=0, target=0.0, tick=lambda work: None)


def norm(x: Tensor) -> float:
    return float(x.double().norm())


def svd_tail(matrix: Tensor, rank: int) -> float:
    """Energy beyond the leading singular values, by NumPy."""
    return float((np.linalg.svd(matrix.numpy(), compute_uv=False)[rank:] ** 2).sum())


def composed(cores: list[Tensor], groups: list[int] | None = None) -> Tensor:
    """`(G, p, q, *K)` of cores `(G, r, r' / g, *k)`, by the oracle."""
    groups = groups or [1] * len(cores)
    blocks = [
        oracles.kernels([oracles.ungroup(core[i].numpy(), g) for core, g in zip(cores, groups, strict=True)])[-1]
        for i in range(len(cores[0]))
    ]
    return torch.from_numpy(np.stack(blocks))


def relative_error(chain: ConvTensorTrain, weight: Tensor) -> float:
    return norm(chain.reconstruct().double() - weight.double()) / norm(weight)


@st.composite
def kernel_sizes(draw: st.DrawFn, least: int = 1, most: int = 4) -> list[Axes]:
    """Sizes of every core: 1–3 axes, mixed, even and rectangular."""
    axes, order = draw(st.integers(1, 3)), draw(st.integers(least, most))
    longest = {1: 4, 2: 3, 3: 2}[axes]
    return [tuple(draw(st.integers(1, longest)) for _ in range(axes)) for _ in range(order)]


@st.composite
def problems(draw: st.DrawFn, least: int = 2, most: int = 4, fewest: int = 1, rank: int = 6) -> Problem:
    """A normalised kernel `(G, p, q, *K)` of at least `fewest` channels, core sizes, interior ranks up to `rank`."""
    sizes = draw(kernel_sizes(least, most))
    whole = [sum(k - 1 for k in axis) + 1 for axis in zip(*sizes, strict=True)]
    channels = [draw(st.integers(fewest, fewest + 2)) for _ in range(2)]
    weight = oracles.floats(draw(SEEDS), draw(st.integers(1, 2)), *channels, *whole)
    return weight / weight.norm(), sizes, [draw(st.integers(1, rank)) for _ in sizes[1:]]


FORMATS = [
    formats.chain([2, 2], (3, 3)),
    formats.chain([2, 2, 2], (4, 4)),
    formats.tucker2((3, 3)),
    formats.cp((3, 3)),
    formats.block_term((3, 3), 1, 2),
]
NAMES = ["|".join(map(str, chain_format.kernel_sizes)) + chain_format.name for chain_format in FORMATS]
EACH_FORMAT = pytest.mark.parametrize("chain_format", FORMATS, ids=NAMES)
