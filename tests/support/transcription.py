"""Lengths, leads and boxes of `proofs/Alignment.v` and `Border.v` transcribed to Python integers, and random shapes.

What the evaluations compute is compared with the oracle (`tests.support.oracle`); this is for counts and margins.
Names are those of the Coq sources; the cores are counted from 0 there.
"""

import itertools
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

SEEDS = pytest.mark.parametrize("seed", range(27))  # plain seeds: every shape of train in turn

Position = tuple[int, ...]


def taps(D: Position) -> Iterator[Position]:
    return itertools.product(*(range(n + 1) for n in D))


@dataclass(frozen=True)
class Chain:
    """The shapes of a chain: dilation, degrees, ranks and groups, and the size of its inputs."""

    dil: Position
    deg: list[Position]
    r: list[int]
    groups: list[int]
    h: Position

    @property
    def m(self) -> int:
        return len(self.deg)

    @property
    def sizes(self) -> list[Position]:
        return [tuple(e + 1 for e in deg) for deg in self.deg]

    def extent(self, l: int) -> Position:
        return tuple(sum(self.deg[j][i] for j in range(l)) for i in range(len(self.dil)))

    def reach(self, l: int) -> Position:
        return tuple(d * e for d, e in zip(self.dil, self.extent(l), strict=True))

    def lead(self, l: int) -> Position:
        return tuple(e // 2 for e in self.reach(l))

    def tail(self, l: int) -> Position:
        return tuple(e - f for e, f in zip(self.reach(l), self.lead(l), strict=True))

    def canvas(self, l: int) -> tuple[Position, Position]:
        """Of the frame."""
        return tuple(-a for a in self.lead(l)), tuple(n + a for n, a in zip(self.h, self.tail(l), strict=True))

    def support(self, t: int, l: int) -> tuple[Position, Position]:
        return (
            tuple(a - b for a, b in zip(self.tail(l), self.tail(t), strict=True)),
            tuple(n + a - b for n, a, b in zip(self.h, self.lead(t), self.lead(l), strict=True)),
        )


def random_chain(seed: int) -> Chain:
    """Each number of axes with each order, in turn; everything else at random."""
    generator = random.Random(seed)
    axes, order = seed % 3 + 1, seed // 3 % 3 + 1
    longest, largest = {1: (4, 6), 2: (3, 4), 3: (2, 2)}[axes]
    deg = [tuple(generator.randrange(longest) for _ in range(axes)) for _ in range(order)]
    dil = tuple(generator.randint(1, 2) for _ in range(axes))
    groups = [generator.randint(1, 2) for _ in range(order)]
    ranks = [math.lcm(*groups[max(l - 1, 0) : l + 1]) * generator.randint(1, 2) for l in range(order + 1)]
    return Chain(dil, deg, ranks, groups, tuple(generator.randint(1, largest) for _ in range(axes)))
