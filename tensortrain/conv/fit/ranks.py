"""The useful ranks of a chain, and the order in which the ranks grow."""

import math
from collections.abc import Iterator, Sequence

import torch

from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.exact import exact_chains
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.sweep import lift
from tensortrain.conv.formats import Format
from tensortrain.errors import TensorTrainError

MANY_BONDS = 8  # if more bonds grow independently, they grow evenly


def largest_useful(chain_format: Format, kernel: NormalizedKernel) -> tuple[int, ...]:
    """Return for each inner bond the largest rank, within one group of the convolution, that can be useful.

    For two ungrouped cores it is the rank of the smallest exact chain. For more cores it is the number of channels
    times positions on the smaller side of the bond. For grouped cores it is the largest useful number of blocks, which
    is the largest rank of W at one position, min(p, q), times the number of positions.
    """
    p, q = kernel.channels
    if chain_format.dense and chain_format.order == 2:
        return (min(chain.ranks[0] for chain in exact_chains(chain_format.kernel_sizes, p, q)),)
    caps = []
    for l in range(1, chain_format.order):
        left, right = (
            math.prod(whole_size(sizes)) for sizes in (chain_format.kernel_sizes[:l], chain_format.kernel_sizes[l:])
        )
        caps.append(min(left * p, right * q))
    if not chain_format.dense:
        pairs = math.prod(kernel.size) * min(p, q)
        for tied, _ in chain_format.bonds(p, q):
            for bond, factor in tied.items():
                if len(tied) > 1 or factor > 1:
                    caps[bond - 1] = pairs * factor
    return tuple(caps)


def with_ends(kernel: NormalizedKernel, interior: Sequence[int]) -> tuple[int, ...]:
    """Return ranks within one group of the convolution, with both ends."""
    p, q = kernel.channels
    return (p, *interior, q)


class Growth:
    """A path of inner ranks from the smallest chain to the upper limits.

    Bonds tied by grouped cores grow together. Among several bonds, the one whose lifted unfolding discards most energy
    grows next, which corresponds to a tolerance shared equally by all bonds. (If the gain were divided by its number of
    parameters, a bond might stop growing, because each unit costs more when its neighbours have grown.)

    Args:
        chain_format: the core sizes and groups.
        kernel: the kernel to decompose.
        caps: the upper limit of each inner rank, within one group of the convolution.
    """

    def __init__(self, chain_format: Format, kernel: NormalizedKernel, caps: Sequence[int]) -> None:
        self.chain_format, self.kernel = chain_format, kernel
        self.classes = chain_format.bonds(*kernel.channels)
        self.limits = []
        for tied, fixed in self.classes:
            limit = min(caps[bond - 1] // factor for bond, factor in tied.items())
            if limit < (fixed or 1):
                bond, factor = min(tied.items(), key=lambda item: caps[item[0] - 1] // item[1])
                raise TensorTrainError(
                    f"ranks[{bond - 1}] = {caps[bond - 1] * kernel.conv_groups} is too small: the groups of this format"
                    f" need at least {(fixed or 1) * factor * kernel.conv_groups}"
                )
            self.limits.append(limit if fixed is None else fixed)
        self._steps: list[int] | None = None

    def ranks(self, counts: Sequence[int]) -> tuple[int, ...]:
        """Return the inner ranks for the given count of each class."""
        ranks = [0] * (self.chain_format.order - 1)
        for (tied, _), count in zip(self.classes, counts, strict=True):
            for bond, factor in tied.items():
                ranks[bond - 1] = factor * count
        return tuple(ranks)

    def n_parameters(self, ranks: Sequence[int]) -> int:
        """Return the number of entries of the whole chain, for all groups of the convolution together."""
        return self.kernel.conv_groups * self.chain_format.n_parameters(with_ends(self.kernel, ranks))

    @property
    def smallest(self) -> tuple[int, ...]:
        """Return the counts of the smallest chain."""
        return tuple(fixed or 1 for _, fixed in self.classes)

    def largest_within(self, parameters: int | None) -> tuple[int, ...]:
        """Return the inner ranks that use up a budget, as far along the path as possible.

        Raises:
            TensorTrainError: the smallest chain exceeds the budget.
        """
        counts = list(self.smallest)
        if parameters is None:
            return self.ranks(self.limits)
        need = self.n_parameters(self.ranks(counts))
        if need > parameters:
            raise TensorTrainError(
                f"max_parameters (or budget) = {parameters} is below the smallest chain of these core sizes, {need}"
                f" of {self.kernel.dense_parameters} dense parameters; raise it or use other kernel_sizes"
            )
        full: set[int] = set()  # classes that cannot grow further, because the others never shrink
        for c in self._path():
            if c in full:
                continue
            counts[c] += 1
            if self.n_parameters(self.ranks(counts)) > parameters:
                counts[c] -= 1
                full.add(c)
                if len(full) == len(counts):
                    break
        return self.ranks(counts)

    def path(self) -> list[tuple[int, ...]]:
        """Return the inner ranks along the whole path, smallest first."""
        counts = list(self.smallest)
        out = [self.ranks(counts)]
        for c in self._path():
            counts[c] += 1
            out.append(self.ranks(counts))
        return out

    def _path(self) -> list[int]:
        """Return the class that grows at each step."""
        if self._steps is None:
            self._steps = list(self._grow())
        return self._steps

    def _grow(self) -> Iterator[int]:
        """Yield the class that grows at each step."""
        counts, free = list(self.smallest), range(len(self.classes))
        open_classes = [c for c in free if counts[c] < self.limits[c]]
        if len(open_classes) == 1:
            yield from [open_classes[0]] * (self.limits[open_classes[0]] - counts[open_classes[0]])
            return
        if len(open_classes) > MANY_BONDS:
            yield from self._grow_evenly(counts, open_classes)
            return
        tails = {c: self._tails(min(self.classes[c][0])) for c in open_classes}
        while open_classes:
            best = max(open_classes, key=lambda c: tails[c][min(counts[c], len(tails[c]) - 1)])
            counts[best] += 1
            yield best
            open_classes = [c for c in open_classes if counts[c] < self.limits[c]]

    def _grow_evenly(self, counts: list[int], open_classes: list[int]) -> Iterator[int]:
        """Yield all classes in turn, because the singular values at so many bonds would take longer than any fit."""
        while open_classes:
            for c in open_classes:
                counts[c] += 1
                yield c
            open_classes = [c for c in open_classes if counts[c] < self.limits[c]]

    def _tails(self, bond: int) -> list[float]:
        """Return the energy of the lift beyond the leading 0, 1, 2, … singular values at a bond, for all groups."""
        sizes = self.chain_format.kernel_sizes[:bond]
        matrix = lift(self.kernel.weight, whole_size(sizes))
        if matrix.shape[1] > matrix.shape[2]:
            matrix = matrix.mT
        values = torch.linalg.eigvalsh(matrix @ matrix.mT).clamp(min=0).sum(0)
        return [float(v) for v in values.cumsum(0).flip(0)] + [0.0]
