"""Which ranks a chain may usefully have, and the order in which they grow."""

import math
from collections.abc import Iterator, Sequence

import torch

from tensortrain.conv.alignment import whole_size
from tensortrain.conv.fit.exact import exact_chains
from tensortrain.conv.fit.kernel import NormalizedKernel
from tensortrain.conv.fit.sweep import lift
from tensortrain.conv.formats import Format
from tensortrain.errors import TensorTrainError

MANY_BONDS = 8  # that grow on their own; of more, none is preferred


def largest_useful(chain_format: Format, kernel: NormalizedKernel) -> tuple[int, ...]:
    """For each interior bond the largest rank, within a conv group, that can still lower the error of some kernel.

    For two ungrouped cores the rank of the smallest exact chain; for more, what the positions on either side
    can carry; for grouped cores as many blocks as W has channel pairs of full rank at every position.
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
    """Ranks within a conv group, both ends included."""
    p, q = kernel.channels
    return (p, *interior, q)


class Growth:
    """A path of interior ranks from the smallest chain to the caps.

    Bonds tied by grouped cores grow together. Where several bonds compete, the next unit of rank goes where the
    lifted unfolding discards most, as a tolerance shared equally by all bonds would have it. (Dividing the gain by
    its parameters would starve a bond: the more its neighbours have grown, the more each unit costs.)

    Args:
        chain_format: core sizes and groups.
        kernel: what is decomposed.
        caps: for each interior bond, within a conv group.
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
        """Interior ranks at the given count of each class."""
        ranks = [0] * (self.chain_format.order - 1)
        for (tied, _), count in zip(self.classes, counts, strict=True):
            for bond, factor in tied.items():
                ranks[bond - 1] = factor * count
        return tuple(ranks)

    def n_parameters(self, ranks: Sequence[int]) -> int:
        """Entries of the whole chain, all conv groups together."""
        return self.kernel.conv_groups * self.chain_format.n_parameters(with_ends(self.kernel, ranks))

    @property
    def smallest(self) -> tuple[int, ...]:
        """Counts of the smallest chain."""
        return tuple(fixed or 1 for _, fixed in self.classes)

    def largest_within(self, parameters: int | None) -> tuple[int, ...]:
        """Interior ranks that use up a budget, as far along the path as it goes.

        Raises:
            TensorTrainError: the smallest chain does not fit.
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
        full: set[int] = set()  # classes that can grow no more: the others only grow
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
        """Interior ranks along the whole path, smallest first."""
        counts = list(self.smallest)
        out = [self.ranks(counts)]
        for c in self._path():
            counts[c] += 1
            out.append(self.ranks(counts))
        return out

    def _path(self) -> list[int]:
        """The class that grows at each step."""
        if self._steps is None:
            self._steps = list(self._grow())
        return self._steps

    def _grow(self) -> Iterator[int]:
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
        """All classes in turn, as the singular values at so many bonds would take longer than any fit."""
        while open_classes:
            for c in open_classes:
                counts[c] += 1
                yield c
            open_classes = [c for c in open_classes if counts[c] < self.limits[c]]

    def _tails(self, bond: int) -> list[float]:
        """Energy of the lift beyond the leading 0, 1, 2, … singular values at a bond, all conv groups together."""
        sizes = self.chain_format.kernel_sizes[:bond]
        matrix = lift(self.kernel.weight, whole_size(sizes))
        if matrix.shape[1] > matrix.shape[2]:
            matrix = matrix.mT
        values = torch.linalg.eigvalsh(matrix @ matrix.mT).clamp(min=0).sum(0)
        return [float(v) for v in values.cumsum(0).flip(0)] + [0.0]
