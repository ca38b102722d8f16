"""The unknowns of chains with depthwise or blocked middle cores, and first guesses for them.

W is a sum of R blocks `A_n D_n B_n`: A `(p, R·s)`, B `(R·t, q)`, and for each n a small filter bank D_n of
s × t channels, which is the product of one factor for each middle core.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensortrain.conv.formats import Format

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Blocks:
    """The unknowns of R blocks of G independent problems, in one tensor, so that few operations move them all.

    The problems are the groups of a convolution, for each start if there are several.

    Attributes:
        entries: `(G, R, L)`.
        shapes: the shapes of the parts, which follow each other on the last axis: A `(s, p)`, the factors of D
            `(s, t, *k)`, B `(t, q)`.
    """

    entries: Tensor
    shapes: tuple[Axes, ...]

    @classmethod
    def of(cls, parts: Sequence[Tensor]) -> "Blocks":
        """Return the blocks of A `(G, R, s, p)`, the factors of D `(G, R, s, t, *k)` and B `(G, R, t, q)`."""
        entries = torch.cat([part.flatten(2) for part in parts], 2)
        return cls(entries, tuple(tuple(part.shape[2:]) for part in parts))

    def parts(self) -> list[Tensor]:
        """Return A, the factors of D, and B."""
        lines = self.entries.split_with_sizes([math.prod(shape) for shape in self.shapes], 2)
        return [line.reshape(*line.shape[:2], *shape) for line, shape in zip(lines, self.shapes, strict=True)]

    def at(self, entries: Tensor) -> "Blocks":
        """Return other unknowns of the same shapes."""
        return Blocks(entries, self.shapes)

    def norms(self) -> Tensor:
        """Return the norm of each part of each block, `(G, R, D + 2)`."""
        lines = self.entries.split_with_sizes([math.prod(shape) for shape in self.shapes], 2)
        return torch.stack([torch.linalg.vector_norm(line, dim=2) for line in lines], 2).clamp(min=1e-30)

    def scaled(self, scales: Tensor) -> "Blocks":
        """Return the blocks with every part multiplied by its scale, `(G, R, D + 2)`."""
        lines = self.entries.split_with_sizes([math.prod(shape) for shape in self.shapes], 2)
        pairs = zip(lines, scales[..., None].unbind(2), strict=True)
        return self.at(torch.cat([line * scale for line, scale in pairs], 2))


def join(points: Sequence[Blocks]) -> Blocks:
    """Return several points as one batch."""
    return points[0].at(torch.cat([x.entries for x in points]))


def product(factors: Sequence[Tensor]) -> Tensor:
    """Return the product of the factors."""
    out = factors[0]
    for factor in factors[1:]:
        out = out * factor
    return out


def start(weight: Tensor, chain_format: Format, count: int) -> tuple[Blocks, float]:
    """Return blocks from the strongest channel pairs over a spatial eigenbasis of W, and the energy that they omit.

    Each slice of W along one basis filter is a matrix, and its singular triples are blocks of rank one. The basis is a
    product over the axes if there is a factor for each axis.
    """
    g, p, q, *size = weight.shape
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    basis = _spatial_basis(weight, separable=chain_format.order > 3)
    slices = torch.einsum("gpqa,gan->gnpq", weight.flatten(3), basis)
    u, s, v = torch.linalg.svd(slices, full_matrices=False)
    energy, strongest = s.flatten(1).sort(descending=True, stable=True)
    strongest, strength = strongest[:, :count], energy[:, :count] ** (1 / chain_format.order)
    filters, triple = strongest // s.shape[2], strongest % s.shape[2]
    batch = torch.arange(g, device=weight.device)[:, None]
    n = strongest.shape[1]
    a = weight.new_zeros(g, count, outputs, p)
    a[:, :n, 0] = u.mT[batch, filters, triple] * strength[..., None]
    b = weight.new_zeros(g, count, inputs, q)
    b[:, :n, 0] = v[batch, filters, triple] * strength[..., None]
    d = basis.mT[batch, filters].reshape(g, n, *size)
    factors = []
    for factor, taps in zip(
        _separate(d, chain_format.kernel_sizes[1:-1]), chain_format.kernel_sizes[1:-1], strict=True
    ):
        wide = weight.new_zeros(g, count, outputs, inputs, *taps)
        wide[:, :n, 0, 0] = factor * strength.reshape(g, n, *[1] * len(size))
        factors.append(wide)
    return Blocks.of([a, *factors, b]), float(energy[:, count:].square().sum())


def critical_ridge(x: Blocks) -> float:
    """Return the ridge at which the weakest of the blocks would vanish if it were the only block.

    A block of norm σ, spread over P parts, shrinks to the σ' that minimises `(σ - σ')² + P λ σ'^(2/P)`. The
    minimum is at 0 if `λ > σ^(1+a) a^a / (1+a)^(1+a)` with `a = 1 - 2/P`.
    """
    norms = x.norms()
    a = 1 - 2 / norms.shape[-1]
    weakest = float(norms.prod(-1).min())
    return float(weakest ** (1 + a) * a**a / (1 + a) ** (1 + a))


def with_noise(x: Blocks, share: float, seed: int) -> Blocks:
    """Return the blocks with noise of relative size `share` on every unknown, which breaks ties and changes zeros."""
    generator = torch.Generator().manual_seed(seed)

    def noisy(part: Tensor) -> Tensor:
        noise = torch.randn(part.shape, generator=generator, dtype=torch.float64, device="cpu").to(part)
        size = share * float(part.norm()) / math.sqrt(part.numel())
        return part + size * noise

    return Blocks.of([noisy(part) for part in x.parts()])


def _spatial_basis(weight: Tensor, separable: bool) -> Tensor:
    """Return orthonormal filters `(G, positions, positions)`, the principal axes of W over space, leading ones last."""
    if not separable:
        return _principal_axes(weight.flatten(3).flatten(1, 2))
    basis = weight.new_ones(weight.shape[0], 1, 1)
    for axis in range(3, weight.dim()):
        own = _principal_axes(weight.movedim(axis, -1).flatten(1, -2))
        basis = torch.einsum("gab,gcd->gacbd", basis, own).flatten(3, 4).flatten(1, 2)
    return basis


def _principal_axes(x: Tensor) -> Tensor:
    """Return the eigenvectors of `xᵀx` for each matrix of the batch."""
    vectors: Tensor = torch.linalg.eigh(x.mT @ x)[1]
    return vectors


def _separate(filters: Tensor, sizes: Sequence[Axes]) -> list[Tensor]:
    """Return separable unit filters `(G, n, *K)` as one factor for each core; a single core gets the whole filters."""
    if len(sizes) == 1:
        return [filters]
    factors = []
    for taps in sizes:
        line = filters
        for axis, t in enumerate(taps, start=2):
            if t == 1 and line.shape[axis] > 1:  # all lines along the other axes are parallel: use the strongest
                across = [i for i in range(2, line.dim()) if i != axis]
                strongest = line.square().sum(across, keepdim=True).argmax(axis, keepdim=True)
                line = line.take_along_dim(strongest, axis)
        norm = line.flatten(2).norm(dim=2).clamp(min=1e-30)
        factors.append(line / norm.reshape(*norm.shape, *[1] * len(taps)))
    sign = (product(factors) * filters).flatten(2).sum(2).sign()
    return [factors[0] * sign.reshape(*sign.shape, *[1] * len(sizes[0])), *factors[1:]]


def from_cores(cores: Sequence[Tensor], chain_format: Format) -> Blocks:
    """Return the unknowns for given cores, the inverse of `to_cores`."""
    outputs, inputs = chain_format.blocks[1] or (1, 1)
    a, *middle, b = cores
    count = a.shape[2] // outputs
    factors = [f.reshape(len(f), count, outputs, *f.shape[2:]) for f in middle]
    rows = a.flatten(2).mT.reshape(len(a), count, outputs, -1)
    return Blocks.of([rows, *factors, b.reshape(len(b), count, inputs, b.shape[2])])


def to_cores(x: Blocks, chain_format: Format) -> list[Tensor]:
    """Return the unknowns as cores."""
    ones = [1] * len(chain_format.kernel_size)
    a, *factors, b = x.parts()
    g, q = len(a), b.shape[3]
    middle = [f.flatten(1, 2) for f in factors]
    return [a.flatten(1, 2).mT.reshape(g, a.shape[3], -1, *ones), *middle, b.flatten(1, 2).reshape(g, -1, q, *ones)]
