"""The definitions of `proofs/*.v` transcribed line by line to Python integers, without torch, and random calls of them.

Names are those of the Coq sources; the cores are counted from 0 there.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor

from tensortrain.conv.functional import conv_tt

SEEDS = pytest.mark.parametrize("seed", range(27))  # plain seeds: every shape of train in turn

Matrix = list[list[int]]


def zero(rows: int, columns: int) -> Matrix:
    return [[0] * columns for _ in range(rows)]


def identity(size: int) -> Matrix:
    return [[int(i == j) for j in range(size)] for i in range(size)]


def add(a: Matrix, b: Matrix) -> Matrix:
    return [[x + y for x, y in zip(r, s, strict=True)] for r, s in zip(a, b, strict=True)]


def scale(factor: int, a: Matrix) -> Matrix:
    return [[factor * x for x in row] for row in a]


def mul(a: Matrix, b: Matrix) -> Matrix:
    return [[sum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*b, strict=True)] for row in a]


def ttseq(v0: Matrix, G: list[list[Matrix]], u: list[list[int]]) -> Matrix:
    """`v_{l+1} = sum_j u_l j *: (v_l *m G_l j)`; `G[l][i]` is the matrix of core l at index i."""
    v = v0
    for core, x in zip(G, u, strict=True):
        terms = [scale(x[j], mul(v, core[j])) for j in range(len(core))]
        v = terms[0]
        for term in terms[1:]:
            v = add(v, term)
    return v


def path_sum(G: list[list[Matrix]], ranks: list[int], i: tuple[int, ...], a: int, c: int) -> int:
    """`sum over bond paths b from a to c of prod_l G_l (i_l) (b_l) (b_{l+1})`."""
    paths = itertools.product(*(range(r) for r in ranks))
    return sum(math.prod(G[l][i[l]][b[l]][b[l + 1]] for l in range(len(G))) for b in paths if b[0] == a and b[-1] == c)


def integers(generator: random.Random, *shape: int) -> Tensor:
    values = [generator.randint(-3, 3) for _ in range(math.prod(shape))]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


Position = tuple[int, ...]
Image = Callable[[Position], Matrix]


def taps(D: Position) -> Iterator[Position]:
    return itertools.product(*(range(n + 1) for n in D))


def compose(w: dict[Position, Matrix], v: dict[Position, Matrix]) -> dict[Position, Matrix]:
    """`(w * v)[c] = sum_{a + b = c} w[a] *m v[b]`."""
    composite: dict[Position, Matrix] = {}
    for a, b in itertools.product(w, v):
        c = tuple(i + j for i, j in zip(a, b, strict=True))
        term = mul(w[a], v[b])
        composite[c] = add(composite[c], term) if c in composite else term
    return composite


@dataclass(frozen=True)
class Chain:
    """The section variables of `Alignment.v`: dilation, degrees, ranks, batch and cores."""

    dil: Position
    deg: list[Position]
    r: list[int]
    n: int
    T: list[dict[Position, Matrix]]

    @property
    def m(self) -> int:
        return len(self.deg)

    def extent(self, l: int) -> Position:
        return tuple(sum(self.deg[j][i] for j in range(l)) for i in range(len(self.dil)))

    def reach(self, l: int) -> Position:
        return tuple(d * e for d, e in zip(self.dil, self.extent(l), strict=True))

    def lead(self, l: int) -> Position:
        return tuple(e // 2 for e in self.reach(l))

    def tail(self, l: int) -> Position:
        return tuple(e - f for e, f in zip(self.reach(l), self.lead(l), strict=True))

    def read(self, p: Position, a: Position, before: Position) -> Position:
        """`p + offset a before`, as `plane_offset` writes it out."""
        return tuple(q + (d * i - b) for q, d, i, b in zip(p, self.dil, a, before, strict=True))

    def step(self, l: int, x: Image, p: Position) -> Matrix:
        before = tuple(i - o for i, o in zip(self.lead(l + 1), self.lead(l), strict=True))
        total = zero(self.r[l], self.n)
        for a in taps(self.deg[l]):
            total = add(total, mul(self.T[l][a], x(self.read(p, a, before))))
        return total

    def kernel(self, l: int) -> dict[Position, Matrix]:
        if l == 0:
            return {(0,) * len(self.dil): identity(self.r[0])}
        return compose(self.kernel(l - 1), self.T[l - 1])

    def dense(self, l: int, x: Image, p: Position) -> Matrix:
        total = zero(self.r[0], self.n)
        for c, matrix in self.kernel(l).items():
            total = add(total, mul(matrix, x(self.read(p, c, self.lead(l)))))
        return total

    def dense_sum(self, U: list[Image], b: list[Image], p: Position) -> Matrix:
        total = zero(self.r[0], self.n)
        for l in range(1, self.m + 1):
            total = add(total, self.dense(l, U[l], p))
        for l in range(self.m):
            total = add(total, self.dense(l, b[l], p))
        return total

    def box(self, lo: Position, hi: Position, p: Position) -> bool:
        return all(a <= x < b for a, x, b in zip(lo, p, hi, strict=True))

    def canvas(self, lo: Position, hi: Position, l: int) -> tuple[Position, Position]:
        return (
            tuple(a - b for a, b in zip(lo, self.lead(l), strict=True)),
            tuple(a + b for a, b in zip(hi, self.tail(l), strict=True)),
        )

    def support(self, h: Position, t: int, l: int) -> tuple[Position, Position]:
        return (
            tuple(a - b for a, b in zip(self.tail(l), self.tail(t), strict=True)),
            tuple(n + a - b for n, a, b in zip(h, self.lead(t), self.lead(l), strict=True)),
        )


def solve(
    chain: Chain, equation: Callable[[int, Position, Callable[[int, Position], Matrix]], Matrix]
) -> Callable[[int, Position], Matrix]:
    """The family V with `V m = 0` and `V l p = equation`, every value computed once."""

    @cache
    def V(l: int, p: Position) -> Matrix:
        return zero(chain.r[l], chain.n) if l == chain.m else equation(l, p, V)

    return V


@dataclass(frozen=True)
class Case:
    """One random call of `conv_tt`, as tensors and as the data of the Coq statements."""

    cores: list[Tensor]
    inputs: list[Tensor | None]
    biases: list[Tensor | None]
    size: Position
    chain: Chain

    @property
    def top(self) -> int:
        """The t of `Support`: U l = 0 for l > t."""
        return max(l for l, u in enumerate(self.inputs, start=1) if u is not None)

    @property
    def last_bias(self) -> int:
        """The s of `Support`: b l = 0 for l >= s."""
        return max((l + 1 for l, b in enumerate(self.biases) if b is not None), default=0)

    @property
    def origin(self) -> Position:
        return (0,) * len(self.size)

    def frame(self, p: Position) -> bool:
        return self.chain.box(self.origin, self.size, p)

    def U(self, l: int, p: Position) -> Matrix:
        """The pixel p of U l, channels × batch; asked for on the frame only."""
        assert self.frame(p)
        u = self.inputs[l - 1]
        return zero(self.chain.r[l], self.chain.n) if u is None else u[(..., *p)].T.int().tolist()

    def pad(self, x: Image, rank: int) -> Image:
        return lambda p: x(p) if self.frame(p) else zero(rank, self.chain.n)

    def padded_U(self, l: int) -> Image:
        return self.pad(lambda p: self.U(l, p), self.chain.r[l])

    def b(self, l: int) -> Matrix:
        bias = self.biases[l]
        return zero(self.chain.r[l], self.chain.n) if bias is None else [[int(x)] * self.chain.n for x in bias]


def random_case(seed: int, biased: bool = True) -> Case:
    """Each number of axes with each order, in turn; everything else at random."""
    generator = random.Random(seed)
    axes, order = seed % 3 + 1, seed // 3 % 3 + 1
    longest, largest = {1: (4, 6), 2: (3, 4), 3: (2, 2)}[axes]
    sizes = [tuple(generator.randint(1, longest) for _ in range(axes)) for _ in range(order)]
    dil = tuple(generator.randint(1, 2) for _ in range(axes))
    room = seed % 2 == 0  # with room for the whole kernel, or an image that may be smaller than it
    reach = [room * d * sum(k - 1 for k in axis) for d, axis in zip(dil, zip(*sizes, strict=True), strict=True)]
    size = tuple(e + generator.randint(1, largest) for e in reach)
    batch = generator.randint(1, 2)
    groups = [generator.randint(1, 2) for _ in range(order)]
    ranks = [math.lcm(*groups[max(l - 1, 0) : l + 1]) * generator.randint(1, 2) for l in range(order + 1)]
    cores = [integers(generator, ranks[l], ranks[l + 1] // groups[l], *sizes[l]) for l in range(order)]
    top = generator.randint(1, order) if seed % 4 < 2 else order
    present = [l == top or (l < top and generator.random() < 0.5) for l in range(1, order + 1)]
    inputs = [
        integers(generator, batch, rank, *size) if u else None for rank, u in zip(ranks[1:], present, strict=True)
    ]
    biases = [integers(generator, ranks[l]) if biased and generator.random() < 0.4 else None for l in range(order)]
    T = [
        {a: block_diagonal(core[(..., *a)].int().tolist(), g) for a in taps(tuple(k - 1 for k in core.shape[2:]))}
        for core, g in zip(cores, groups, strict=True)
    ]
    chain = Chain(dil, [tuple(k - 1 for k in s) for s in sizes], ranks, batch, T)
    return Case(cores, inputs, biases, size, chain)


def block_diagonal(stored: Matrix, groups: int) -> Matrix:
    """The matrix that a grouped core's `(R, R' / g)` entries stand for."""
    rows, columns = len(stored) // groups, len(stored[0])
    full = zero(len(stored), columns * groups)
    for i, row in enumerate(stored):
        for j, value in enumerate(row):
            full[i][j + (i // rows) * columns] = value
    return full


def pixels(lo: Position, hi: Position, stride: Position | None = None) -> Iterator[Position]:
    axes = zip(lo, hi, stride or (1,) * len(lo), strict=True)
    return itertools.product(*(range(*axis) for axis in axes))


def on(lo: Position, hi: Position, x: Image, stride: Position | None = None) -> Tensor:
    """The image x on the pixels `lo, lo + stride, … < hi` as the tensor (batch, channels, *size)."""
    stride = stride or (1,) * len(lo)
    values = torch.tensor([x(p) for p in pixels(lo, hi, stride)], dtype=torch.float64)
    size = [len(range(*axis)) for axis in zip(lo, hi, stride, strict=True)]
    return values.reshape(*size, *values.shape[1:]).movedim((-1, -2), (0, 1))


def call(case: Case, padding: str, **options: object) -> Tensor:
    return conv_tt(case.cores, case.inputs, case.biases, padding, dilation=case.chain.dil, **options)
