"""Trains and counts compute what the proofs speak of; P1.6 and the like are numbered steps of proofs/README.md.

The library's output equals, exactly, the definitions of `TensorTrain.v`, `Counts.v` and `Sweep.v` as transcribed in
`tests.support.transcription`.
"""

import itertools
import math
import random

import torch

import tensortrain as tt
from tensortrain.conv.fit.sweep import lift, split, sweep
from tensortrain.tt.matrix import TensorTrainMatrix
from tensortrain.tt.tensor_train import TensorTrain
from tests.support.transcription import (
    SEEDS,
    Position,
    identity,
    integers,
    path_sum,
    random_case,
    taps,
    ttseq,
)

# ---- TensorTrain.v: Theorem A ----------------------------------------------------------------------


@SEEDS
def test_sequential_is_the_sum_over_multi_indices_and_bond_paths(seed: int) -> None:
    """P1."""
    generator = random.Random(seed)
    shape = [generator.randint(1, 3) for _ in range(seed % 4 + 1)]
    ranks = [generator.randint(1, 3) for _ in range(len(shape) + 1)]
    cores = [integers(generator, ranks[l], n, ranks[l + 1]) for l, n in enumerate(shape)]
    inputs = [integers(generator, 1, n) for n in shape]
    G = [[core[:, i].int().tolist() for i in range(core.shape[1])] for core in cores]
    u = [x[0].int().tolist() for x in inputs]

    train = TensorTrain(cores)
    library = train.evaluate(inputs).reshape(ranks[0], ranks[-1])
    tensor = train.reconstruct().reshape(ranks[0], *shape, ranks[-1])

    assert torch.equal(library, torch.tensor(ttseq(identity(ranks[0]), G, u), dtype=torch.float64))
    for a, c in itertools.product(range(ranks[0]), range(ranks[-1])):
        dense = 0
        for i in itertools.product(*(range(n) for n in shape)):
            entry = path_sum(G, ranks, i, a, c)
            assert entry == tensor[(a, *i, c)]
            dense += entry * math.prod(u[l][i[l]] for l in range(len(shape)))
        assert dense == library[a, c]


@SEEDS
def test_a_tt_matrix_is_one_train_for_each_output(seed: int) -> None:
    """P1.6."""
    generator = random.Random(seed)
    shape = [(generator.randint(1, 3), generator.randint(1, 3)) for _ in range(seed % 3 + 1)]
    ranks = [1, *(generator.randint(1, 3) for _ in shape[1:]), 1]
    M = [integers(generator, ranks[l], o, i, ranks[l + 1]) for l, (o, i) in enumerate(shape)]
    u = [[generator.randint(-3, 3) for _ in range(i)] for _, i in shape]
    rank_one = torch.tensor([math.prod(x) for x in itertools.product(*u)], dtype=torch.float64)

    library = (TensorTrainMatrix(M) @ rank_one).reshape([o for o, _ in shape])

    for o in itertools.product(*(range(o) for o, _ in shape)):
        G = [[core[:, o[l], i].int().tolist() for i in range(core.shape[2])] for l, core in enumerate(M)]
        assert ttseq([[1]], G, u) == [[int(library[o])]]


# ---- Counts.v: Theorem C ----------------------------------------------------------------------


@SEEDS
def test_tensor_train_parameters(seed: int) -> None:
    """P6.1."""
    generator = random.Random(seed)
    shape = [generator.randint(1, 4) for _ in range(seed % 4 + 1)]
    r = [generator.randint(1, 4) for _ in range(len(shape) + 1)]
    train = TensorTrain([torch.zeros(r[l], n, r[l + 1]) for l, n in enumerate(shape)])
    positions = [
        (l, i, a, b) for l, n in enumerate(shape) for i in range(n) for a in range(r[l]) for b in range(r[l + 1])
    ]
    assert train.n_parameters == len(positions) == sum(n * r[l] * r[l + 1] for l, n in enumerate(shape))
    assert train.dense_parameters == r[0] * r[-1] * math.prod(shape)


@SEEDS
def test_conv_tensor_train_parameters(seed: int) -> None:
    """P6.2."""
    case = random_case(seed, biased=False)
    chain = case.chain
    groups = [chain.r[l + 1] // core.shape[1] for l, core in enumerate(case.cores)]
    train = tt.ConvTensorTrain(case.cores, groups=groups)
    on_blocks = 0  # positions of each block-diagonal core that may be non-zero
    for l, g in enumerate(groups):
        pairs = itertools.product(range(chain.r[l]), range(chain.r[l + 1]))
        a, b = chain.r[l] // g, chain.r[l + 1] // g
        on_blocks += sum(s // a == t // b for s, t in pairs) * len(list(taps(chain.deg[l])))
    formula = sum(
        chain.r[l] * (chain.r[l + 1] // g) * math.prod(e + 1 for e in chain.deg[l]) for l, g in enumerate(groups)
    )
    assert train.n_parameters == formula == on_blocks
    whole = len(list(taps(chain.extent(chain.m))))
    assert train.dense_parameters == chain.r[0] * chain.r[-1] * whole // math.gcd(*groups)


def test_the_papers_square_cores() -> None:
    """P6.2."""
    m, k, r = 3, 5, (7, 4, 3, 2)
    train = tt.ConvTensorTrain([torch.zeros(r[l], r[l + 1], k, k) for l in range(m)])
    assert train.n_parameters == sum(k**2 * r[l] * r[l + 1] for l in range(m))
    assert train.dense_parameters == (m * (k - 1) + 1) ** 2 * r[0] * r[m]


# ---- Sweep.v: the a-priori bound ----------------------------------------------------------------------


def overlap(D: Position, E: Position, c: Position) -> int:
    return sum(all(i + j == k for i, j, k in zip(a, b, c, strict=True)) for a in taps(D) for b in taps(E))


@SEEDS
def test_the_lift_divides_by_the_overlap(seed: int) -> None:
    """P7.2: `fold_lift` and `overlap_le`: the counts themselves are lifted to ones, exactly."""
    generator = random.Random(seed)
    D = tuple(generator.randint(0, 3) for _ in range(seed % 3 + 1))
    E = tuple(generator.randint(0, 3) for _ in D)
    F = tuple(d + e for d, e in zip(D, E, strict=True))
    counts = [overlap(D, E, c) for c in taps(F)]
    weight = torch.tensor(counts, dtype=torch.float64).reshape(1, 1, 1, *(f + 1 for f in F))
    assert torch.equal(
        lift(weight, tuple(d + 1 for d in D)),
        torch.ones(1, math.prod(d + 1 for d in D), math.prod(e + 1 for e in E), dtype=torch.float64),
    )
    assert max(counts) == math.prod(min(d + 1, e + 1) for d, e in zip(D, E, strict=True))


@SEEDS
def test_the_sweep_meets_the_hypotheses_and_the_bound(seed: int) -> None:
    """P7.5: `orthonormal`, `next` and `svd` for the library's split, and `sweep_bound` for its sweep."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [tuple(torch.randint(1, 4, (2,), generator=generator).tolist()) for _ in range(seed % 3 + 2)]
    whole = tuple(sum(k - 1 for k in axis) + 1 for axis in zip(*sizes, strict=True))
    weight = torch.randn(1, 3, 4, *whole, generator=generator, dtype=torch.float64)
    ranks = [int(torch.randint(1, 5, (), generator=generator)) for _ in sizes[1:]]

    matrix = lift(weight, sizes[0])[0]
    X, rest, discarded = split(weight, sizes[0], ranks[0])
    X = X[0].movedim(1, -1).movedim(0, -2).reshape(-1, X.shape[2])
    Y = rest[0].movedim(1, -1).reshape(X.shape[1], -1)
    torch.testing.assert_close(X.T @ X, torch.eye(X.shape[1], dtype=torch.float64))
    torch.testing.assert_close(Y, X.T @ matrix)
    assert math.isclose(discarded, float((matrix - X @ Y).square().sum()), rel_tol=1e-9, abs_tol=1e-10)

    factor, bound, left = 1, 0.0, weight
    for size, rank in zip(sizes[:-1], ranks, strict=True):
        remaining = [k - s + 1 for k, s in zip(left.shape[3:], size, strict=True)]
        factor *= math.prod(min(s, k) for s, k in zip(size, remaining, strict=True))
        _, left, tail = split(left, size, rank)
        bound += factor * tail
    cores, claimed = sweep(weight, sizes, ranks)
    assert math.isclose(claimed, bound, rel_tol=1e-9, abs_tol=1e-10)
    error = tt.ConvTensorTrain([core[0] for core in cores]).reconstruct() - weight[0]
    assert float(error.square().sum()) <= bound * (1 + 1e-9) + 1e-10
