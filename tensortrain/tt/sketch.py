"""Randomised rounding: sums and products of trains in lower ranks, without forming the trains of large ranks.

A chain is a train that is defined by two operations: it multiplies a carry by its next core from the left, or a sketch
by its next core from the right. `compress` needs only these operations of the trains whose sum it approximates. The
method is "randomize-then-orthogonalize" (Al Daas, Ballard, Cazeaux, Hallman, Międlar, Pasha, Reid and Saibaba 2023,
algorithm 3.2): the right interface M_l of bond l is replaced by M_l Ω_l with a random train Ω. The next core is Q_l, a
basis of the product of the cores up to bond l with M_l Ω_l.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tensortrain.derivatives import qr
from tensortrain.tt.checks import useful_ranks
from tensortrain.tt.interfaces import drifts, scaled_bonds
from tensortrain.tt.scaling import exponent, peak, shifted, unit

OVERSAMPLING = 10  # number of columns of a sketch beyond twice the requested rank
_CHECKS = 10  # number of columns of an independent sketch that estimates the error


class Chain(Protocol):
    """A train with cores `(R, I, R')` that is defined by products with its cores, numbered l = 0 … m - 1."""

    ends: tuple[int, int]

    def left(self, l: int, carry: Tensor) -> Tensor:
        """Return `carry`, `(r, R)`, times core l, `(R, I, R')`: `(r, I, R')`."""

    def right(self, l: int, sketch: Tensor) -> Tensor:
        """Return core l, `(R, I, R')`, times `sketch`, `(R', k)`: `(R, I, k)`."""


class Train:
    """The chain of a train that is stored as cores."""

    def __init__(self, cores: Sequence[Tensor]) -> None:
        self.cores = cores
        self.ends = cores[0].shape[0], cores[-1].shape[2]

    def left(self, l: int, carry: Tensor) -> Tensor:
        """Return `carry` times core l; see `Chain`."""
        product: Tensor = torch.tensordot(carry, self.cores[l], 1)
        return product

    def right(self, l: int, sketch: Tensor) -> Tensor:
        """Return core l times `sketch`; see `Chain`."""
        product: Tensor = torch.tensordot(self.cores[l], sketch, 1)
        return product


class Product:
    """The chain of a TT-matrix times a TT-matrix, with axes `O_l · I_l`, or times a train, for which I_l is 1.

    Args:
        first: the cores of the left operand, `(A_{l-1}, O_l, J_l, A_l)`.
        second: the cores of the right operand, `(B_{l-1}, J_l, I_l, B_l)`. The ranks of the product are `A_l · B_l`.
    """

    ends = (1, 1)

    def __init__(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> None:
        self.first, self.second = first, second

    def left(self, l: int, carry: Tensor) -> Tensor:
        """Return `carry` times core l; see `Chain`."""
        a, b = self.first[l], self.second[l]
        value = torch.tensordot(carry.reshape(-1, a.shape[0], b.shape[0]), b, 1)  # r a j i q
        product: Tensor = torch.tensordot(value, a, ([1, 2], [0, 2]))  # r i q o s
        return product.permute(0, 3, 1, 4, 2).reshape(len(carry), a.shape[1] * b.shape[2], -1)

    def right(self, l: int, sketch: Tensor) -> Tensor:
        """Return core l times `sketch`; see `Chain`."""
        a, b = self.first[l], self.second[l]
        value = torch.tensordot(b, sketch.reshape(a.shape[3], b.shape[3], -1), ([3], [1]))  # p j i s k
        product: Tensor = torch.tensordot(a, value, ([2, 3], [1, 3]))  # a o p i k
        return product.transpose(1, 2).reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[2], -1)


class Compression(NamedTuple):
    """A train that is `2**exponent` times that of `cores`; all cores except the last are left-orthogonal.

    Attributes:
        cores: the cores, `(R_{l-1}, I_l, R_l)`.
        exponent: the exponent k.
        error: estimate of the relative Frobenius error; the expected value of its square is correct.
        noise: estimate of the rounding error, relative to the sum; it is large if the chains cancel one another, and
            `error` cannot be much smaller.
    """

    cores: list[Tensor]
    exponent: int
    error: float
    noise: float


class Sketches(NamedTuple):
    """The products `M_l Ω_l` of each chain, `(R_l, k_l)`, at each bond l = 1 … m - 1, divided by `2**exponents`."""

    parts: list[list[Tensor]]
    exponents: list[int]


def random_train(
    shape: Sequence[int], ends: tuple[int, int], ranks: Sequence[int], like: Tensor, generator: torch.Generator
) -> list[Tensor]:
    """Return a random train whose columns at each bond are orthonormal on average; the first axis has no core."""
    sides = [*ranks, ends[1]]
    cores: list[Tensor] = []
    for left, size, right in zip(sides[:-1], shape[1:], sides[1:], strict=True):
        inner = len(cores) < len(shape) - 2  # R_m is summed over without a random factor
        core = torch.randn(left, size, right, generator=generator, dtype=like.dtype, device="cpu").to(like.device)
        cores.append(core / math.sqrt(right if inner else 1))
    return cores


def sketch(chains: Sequence[Chain], random: Sequence[Tensor]) -> Sketches:
    """Return the products of all chains with a random train, from the last core to the first bond."""
    if not random:  # a train of one core has no bonds
        return Sketches([], [])
    last = torch.eye(random[-1].shape[2], dtype=random[-1].dtype, device=random[-1].device)
    values, total = [last for _ in chains], 0
    parts, exponents = [], []
    for l in range(len(random), 0, -1):
        core = random[l - 1]
        values = [
            torch.tensordot(chain.right(l, w), core, ([1, 2], [1, 2])) for chain, w in zip(chains, values, strict=True)
        ]
        values, power = common_unit(values)
        total += power
        parts.append(values)
        exponents.append(total)
    return Sketches(parts[::-1], exponents[::-1])


def common_unit(tensors: Sequence[Tensor]) -> tuple[list[Tensor], int]:
    """Return `(t, k)` such that each tensor is `2**k` times the one in t, the largest of which is ordinary."""
    k = exponent(max(peak(tensor) for tensor in tensors))
    return [shifted(tensor, -k) for tensor in tensors], k


def balanced(trains: Sequence[Sequence[Tensor]]) -> tuple[list[list[Tensor]], int]:
    """Return `(t, k)`: the trains are `2**k` times those in t, whose cores except the last have ordinary sizes.

    Args:
        trains: the cores of each train, `(R_{l-1}, …, R_l)`, with any number of axes between the ranks.
    """
    scaled, exponents = [], []
    for cores in trains:
        flat = [core.flatten(1, -2) for core in cores]
        pairs = [unit(core) for core in flat]
        parts, power = [core for core, _ in pairs], sum(power for _, power in pairs)
        if drifts(flat, [power for _, power in pairs]):
            parts, power = scaled_bonds(flat)
        scaled.append([part.reshape(core.shape) for part, core in zip(parts, cores, strict=True)])
        exponents.append(power)
    k = max(exponents)
    return [[*cores[:-1], shifted(cores[-1], e - k)] for cores, e in zip(scaled, exponents, strict=True)], k


def compress(
    chains: Sequence[Chain], shape: Sequence[int], ranks: Sequence[int], like: Tensor, generator: torch.Generator
) -> Compression:
    """Return the sum of the chains as a train of at most `ranks`, about as good as the best train of lower ranks.

    Args:
        chains: chains of the same shape and with the same boundary ranks.
        shape: the shape I_1 … I_m.
        ranks: one rank for each bond; see `sketch_ranks`.
        like: a tensor with the dtype and the device of the cores.
        generator: the random generator of the random train, on the CPU.

    Complexity: for each chain, m steps of `right` and of `left` with carries and sketches as wide as `ranks`, and in
    addition `Σ_l I_l R³`.
    """
    ends = chains[0].ends
    sketches = sketch(chains, random_train(shape, ends, ranks, like, generator))
    checks = sketch(chains, random_train(shape, ends, [_CHECKS] * len(ranks), like, generator))
    start = torch.eye(ends[0], dtype=like.dtype, device=like.device)
    carries, total = [start for _ in chains], 0
    cores: list[Tensor] = []
    missed: list[tuple[float, int]] = []
    rounded: list[tuple[float, int]] = []
    for l in range(len(shape) - 1):
        steps = [chain.left(l, carry).flatten(0, 1) for chain, carry in zip(chains, carries, strict=True)]
        basis = qr(_applied(steps, sketches.parts[l]), l + 1)[0]
        check = _applied(steps, checks.parts[l]).detach()
        plain = basis.detach()
        off = float(torch.linalg.vector_norm(check - plain @ (plain.mH @ check))) / math.sqrt(_CHECKS)
        missed.append((off, total + checks.exponents[l]))
        rounded.append((_rounding(steps, checks.parts[l]) / math.sqrt(_CHECKS), total + checks.exponents[l]))
        cores.append(basis.reshape(-1, shape[l], basis.shape[1]))
        carries, power = common_unit([basis.mH @ step for step in steps])
        total += power
    last = sum_of([chain.left(len(shape) - 1, carry) for chain, carry in zip(chains, carries, strict=True)])
    norm = float(torch.linalg.vector_norm(last.detach()))
    error, noise = (
        math.hypot(*(math.ldexp(size, power - total) for size, power in sizes)) for sizes in (missed, rounded)
    )
    whole = math.hypot(norm, error)
    return Compression([*cores, last], total, error / whole if whole else 0.0, noise / whole if whole else 0.0)


def _applied(steps: Sequence[Tensor], parts: Sequence[Tensor]) -> Tensor:
    """Return the sum of the products of steps and sketches."""
    return torch.cat(list(steps), 1) @ torch.cat(list(parts), 0)


def _rounding(steps: Sequence[Tensor], parts: Sequence[Tensor]) -> float:
    """Return the size of the rounding error of `_applied(steps, parts)`, from the sizes of all terms of its sums."""
    left, right = torch.cat(list(steps), 1).detach(), torch.cat(list(parts), 0).detach()
    terms = torch.linalg.vector_norm(left, dim=0) * torch.linalg.vector_norm(right, dim=1)
    return torch.finfo(left.dtype).eps * float(torch.linalg.vector_norm(terms))


def sum_of(tensors: Sequence[Tensor]) -> Tensor:
    """Return the sum of tensors of the same shape."""
    return tensors[0] if len(tensors) == 1 else torch.stack(list(tensors)).sum(0)


def sketch_ranks(shape: Sequence[int], ends: tuple[int, int], ranks: Sequence[int]) -> list[int]:
    """Return twice `ranks` plus `OVERSAMPLING`, limited to the largest useful ranks.

    With such ranks the rounding that follows is nearly as good as rounding the train itself, even if its singular
    values fall slowly.
    """
    return [min(2 * rank + OVERSAMPLING, most) for rank, most in zip(ranks, useful_ranks(shape, ends), strict=True)]
